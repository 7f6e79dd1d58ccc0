//! Signatures of S3 (`AWS4-HMAC-SHA256`) and of OSS (`OSS4-HMAC-SHA256`).
//!
//! They differ in what is signed and in the names of things; the chain of keys is the same. The date signed is the
//! caller's: the services refuse one that is more than 15 minutes off their own clock.

use http::HeaderMap;
use http::header::{CONTENT_TYPE, HOST};
use jiff::Timestamp;

use crate::remote::credentials::Credentials;
use crate::remote::signing::{
    NotAField, authorize, canonical_fields, canonical_query, hex, hmac_chain, insert, sha256,
};

/// The digest of a request without a body.
const NO_PAYLOAD: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Who signs, and for which region.
#[derive(Clone, Copy, Debug)]
pub struct Signer<'a> {
    /// The keys.
    pub keys: &'a Credentials,
    /// The service's region.
    pub region: &'a str,
}

/// What is signed besides the headers.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// In upper case.
    pub method: &'a str,
    /// As it is sent, of unreserved characters and slashes alone.
    pub path: &'a str,
    /// `/BUCKET/KEY`, wherever the bucket stands in the request.
    pub resource: &'a str,
    /// Names and values, not encoded.
    pub query: &'a [(&'a str, &'a str)],
    /// The SHA-256 of the body in hexadecimal digits, if there is a body.
    pub payload: Option<&'a str>,
}

impl Signer<'_> {
    /// Adds date, payload digest, token and `authorization` to the headers of a request to S3.
    pub fn sign_s3(
        &self,
        request: Signed<'_>,
        headers: &mut HeaderMap,
        now: Timestamp,
    ) -> Result<(), NotAField> {
        let date = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let payload = request.payload.unwrap_or(NO_PAYLOAD);
        insert(headers, "x-amz-date", &date, "the date")?;
        insert(headers, "x-amz-content-sha256", payload, "the payload digest")?;
        if let Some(token) = &self.keys.security_token {
            insert(headers, "x-amz-security-token", token, "the security token")?;
        }
        let (fields, names) = canonical_fields(headers, |name| {
            name == HOST || name.as_str() == "content-md5" || name.as_str().starts_with("x-amz-")
        });
        let Signed { method, path, query, .. } = request;
        // A name without a value is signed with an equals sign.
        let query = canonical_query(query, "=");
        let canonical = format!("{method}\n{path}\n{query}\n{fields}\n{names}\n{payload}");
        let (scope, signature) = self.signature("AWS4", ("s3", "aws4_request"), &date, &canonical);
        let id = &self.keys.access_key_id;
        authorize(
            headers,
            format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}"),
        )
    }

    /// Adds date, token and `authorization` to the headers of a request to OSS. The body is not signed, as in
    /// Alibaba's own SDKs.
    pub fn sign_oss(
        &self,
        request: Signed<'_>,
        headers: &mut HeaderMap,
        now: Timestamp,
    ) -> Result<(), NotAField> {
        const PAYLOAD: &str = "UNSIGNED-PAYLOAD";
        let date = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        insert(headers, "x-oss-date", &date, "the date")?;
        insert(headers, "x-oss-content-sha256", PAYLOAD, "the payload digest")?;
        if let Some(token) = &self.keys.security_token {
            insert(headers, "x-oss-security-token", token, "the security token")?;
        }
        let (fields, _) = canonical_fields(headers, |name| {
            name == CONTENT_TYPE || name.as_str() == "content-md5" || name.as_str().starts_with("x-oss-")
        });
        let Signed { method, resource, query, .. } = request;
        let query = canonical_query(query, "");
        let canonical = format!("{method}\n{resource}\n{query}\n{fields}\n\n{PAYLOAD}");
        let (scope, signature) = self.signature("OSS4", ("oss", "aliyun_v4_request"), &date, &canonical);
        let id = &self.keys.access_key_id;
        authorize(headers, format!("OSS4-HMAC-SHA256 Credential={id}/{scope}, Signature={signature}"))
    }

    /// The scope of a signature, and the signature.
    fn signature(
        &self,
        algorithm: &str,
        (service, end): (&str, &str),
        date: &str,
        canonical: &str,
    ) -> (String, String) {
        let day = date.get(..8).unwrap_or_default();
        let scope = format!("{day}/{}/{service}/{end}", self.region);
        let hashed = sha256(canonical.as_bytes());
        let to_sign = format!("{algorithm}-HMAC-SHA256\n{date}\n{scope}\n{hashed}");
        let prefix = if algorithm == "AWS4" { "AWS4" } else { "aliyun_v4" };
        let first = format!("{prefix}{}", self.keys.access_key_secret).into_bytes();
        let mac = hmac_chain(first, [day, self.region, service, end, &to_sign]);
        (scope, hex(&mac))
    }
}
