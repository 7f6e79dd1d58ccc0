//! What is Alibaba Cloud OSS's own: BucketWorm, forbidden overwriting, error codes.

use std::time::Duration;

use http::header::HeaderMap;
use http::{HeaderName, HeaderValue, StatusCode};

use super::super::sink::{Immutability, Promise};
use super::digest::Digests;
use super::{s3, xml};
use crate::remote::failure::FailureKind;

/// The headers of a write: once, and with a checksum.
pub(super) fn put_headers(digests: &Digests) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(HeaderName::from_static("x-oss-forbid-overwrite"), HeaderValue::from_static("true"));
    if let Ok(md5) = HeaderValue::from_str(&digests.md5_base64) {
        headers.insert(HeaderName::from_static("content-md5"), md5);
    }
    headers
}

/// What a bucket's retention policy promises; `None` for an answer that tells nothing of it.
pub(super) fn promise(status: StatusCode, body: &[u8], code: &str) -> Option<Promise> {
    let broken = |why: String| Some(Promise::Broken { why });
    if code == "NoSuchWORMConfiguration" {
        return broken("the bucket has no retention policy (BucketWorm)".to_owned());
    }
    if !status.is_success() {
        return None;
    }
    let state = xml::text(body, "State")?;
    if state != "Locked" {
        return broken(format!("the bucket's retention policy (BucketWorm) is {state}, and not Locked"));
    }
    let days: u64 = xml::text(body, "RetentionPeriodInDays")?.parse().ok()?;
    Some(Promise::Keeps {
        retention: Some(Duration::from_secs(days.saturating_mul(86_400))),
        immutability: Immutability::Immutable,
        detail: format!("BucketWorm locked, {days} days"),
    })
}

/// What an error means, by its code and then by its status.
pub(super) fn kind(status: StatusCode, code: &str) -> FailureKind {
    match code {
        "AccessDenied"
        | "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "UserDisable"
        | "InvalidSecurityToken" => FailureKind::Unauthorized,
        "SecurityTokenExpired" => FailureKind::Expired,
        "RequestTimeTooSkewed" => FailureKind::ClockSkew,
        "NoSuchBucket" | "NoSuchKey" => FailureKind::Missing,
        "QpsLimitExceeded" | "TotalQpsLimitExceeded" | "DownloadTrafficRateLimitExceeded" => {
            FailureKind::Throttled
        }
        "EntityTooLarge" => FailureKind::TooLarge,
        "FileAlreadyExists" | "FileImmutable" => FailureKind::Conflict,
        "InternalError" | "ServiceUnavailable" | "RequestTimeout" | "InvalidDigest" => {
            FailureKind::Unavailable
        }
        _ => s3::by_status(status, code),
    }
}
