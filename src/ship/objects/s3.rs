//! What is S3's own: Object Lock, checksums, error codes.

use std::time::Duration;

use http::header::{HeaderMap, IF_NONE_MATCH};
use http::{HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp;

use super::super::sink::{Immutability, Promise};
use super::digest::Digests;
use super::xml;
use crate::remote::failure::FailureKind;

const DAY: u64 = 86_400;

/// The headers of a write: once, with a checksum, and locked until then if the bucket locks.
pub(super) fn put_headers(digests: &Digests, lock_until: Option<Timestamp>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
    let mut insert = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    insert("x-amz-checksum-sha256", &digests.sha256_base64);
    // What checks a lock's request on services older than the checksum.
    insert("content-md5", &digests.md5_base64);
    if let Some(until) = lock_until {
        insert("x-amz-object-lock-mode", "COMPLIANCE");
        insert("x-amz-object-lock-retain-until-date", &until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    }
    headers
}

/// Until when an object is locked in COMPLIANCE mode, by the head of an answer.
pub(super) fn retention_of(headers: &HeaderMap) -> Option<Timestamp> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let until = text("x-amz-object-lock-retain-until-date")?.parse().ok();
    until.filter(|_| text("x-amz-object-lock-mode").is_some_and(|mode| mode == "COMPLIANCE"))
}

/// What a bucket's lock configuration promises; `None` for an answer that tells nothing of it.
pub(super) fn promise(status: StatusCode, body: &[u8], code: &str) -> Option<Promise> {
    let broken = |why: &str| Some(Promise::Broken { why: why.to_owned() });
    if code == "ObjectLockConfigurationNotFoundError" {
        return broken("the bucket has no Object Lock; it is enabled when a bucket is created");
    }
    if !status.is_success() {
        return None;
    }
    if xml::text(body, "ObjectLockEnabled")? != "Enabled" {
        return broken("Object Lock is not enabled on the bucket");
    }
    let Some(mode) = xml::text(body, "Mode") else {
        let detail =
            "Object Lock; every segment is locked in COMPLIANCE mode for access_log.retention".to_owned();
        return Some(Promise::Keeps { retention: None, immutability: Immutability::Immutable, detail });
    };
    if mode != "COMPLIANCE" {
        return broken(&format!("the bucket's default lock is {mode}, which an administrator can lift"));
    }
    let number = |name: &str| xml::text(body, name)?.parse::<u64>().ok();
    let days = number("Days").or_else(|| number("Years").map(|years| years.saturating_mul(365)))?;
    let (retention, immutability) =
        (Some(Duration::from_secs(days.saturating_mul(DAY))), Immutability::Immutable);
    Some(Promise::Keeps {
        retention,
        immutability,
        detail: format!("Object Lock COMPLIANCE, {days} days by default"),
    })
}

/// What an error means, by its code and then by its status.
pub(super) fn kind(status: StatusCode, code: &str) -> FailureKind {
    match code {
        "AccessDenied"
        | "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "InvalidToken"
        | "AllAccessDisabled" => FailureKind::Unauthorized,
        "ExpiredToken" | "TokenRefreshRequired" => FailureKind::Expired,
        "RequestTimeTooSkewed" => FailureKind::ClockSkew,
        "NoSuchBucket" | "NoSuchKey" => FailureKind::Missing,
        "SlowDown" | "TooManyRequests" | "RequestLimitExceeded" => FailureKind::Throttled,
        "EntityTooLarge" => FailureKind::TooLarge,
        "PreconditionFailed" => FailureKind::Conflict,
        "QuotaExceeded" | "InsufficientStorage" => FailureKind::Full,
        "InternalError"
        | "ServiceUnavailable"
        | "ConditionalRequestConflict"
        | "OperationAborted"
        | "RequestTimeout"
        | "BadDigest"
        | "XAmzContentSHA256Mismatch" => FailureKind::Unavailable,
        _ => by_status(status, code),
    }
}

/// What an error means whose code is not known.
pub(super) fn by_status(status: StatusCode, code: &str) -> FailureKind {
    match status.as_u16() {
        // The answer to HEAD has no body.
        401 | 403 => FailureKind::Unauthorized,
        404 => FailureKind::Missing,
        409 | 412 => FailureKind::Conflict,
        413 => FailureKind::TooLarge,
        429 => FailureKind::Throttled,
        507 => FailureKind::Full,
        500.. => FailureKind::Unavailable,
        400..500 if !code.is_empty() => FailureKind::Rejected,
        _ => FailureKind::Protocol,
    }
}
