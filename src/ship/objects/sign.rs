//! Signatures of S3 (`AWS4-HMAC-SHA256`) and of OSS (`OSS4-HMAC-SHA256`).
//!
//! They differ in what is signed and in the names of things; the chain of keys is the same. The date signed is the
//! caller's: the services refuse one that is more than 15 minutes off their own clock.

use aws_lc_rs::{digest, hmac};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName};
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;

use super::super::credentials::Credentials;

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

/// Part of a header cannot be sent: a key or a token with control characters.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0} holds characters that no HTTP field may have")]
pub struct NotAField(&'static str);

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
        let hashed = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
        let to_sign = format!("{algorithm}-HMAC-SHA256\n{date}\n{scope}\n{hashed}");
        let prefix = if algorithm == "AWS4" { "AWS4" } else { "aliyun_v4" };
        let first = format!("{prefix}{}", self.keys.access_key_secret).into_bytes();
        let steps = [day, self.region, service, end, &to_sign];
        let mac = steps.into_iter().fold(first, |key, step| {
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), step.as_bytes()).as_ref().to_vec()
        });
        (scope, hex(&mac))
    }
}

fn authorize(headers: &mut HeaderMap, text: String) -> Result<(), NotAField> {
    let mut value = HeaderValue::try_from(text).map_err(|_| NotAField("the access key id"))?;
    value.set_sensitive(true);
    headers.insert(AUTHORIZATION, value);
    Ok(())
}

fn insert(
    headers: &mut HeaderMap,
    name: &'static str,
    value: &str,
    what: &'static str,
) -> Result<(), NotAField> {
    let mut value = HeaderValue::from_str(value).map_err(|_| NotAField(what))?;
    value.set_sensitive(name.ends_with("token"));
    headers.insert(HeaderName::from_static(name), value);
    Ok(())
}

/// The fields that are signed, a line each, and their names.
fn canonical_fields(headers: &HeaderMap, is_signed: impl Fn(&HeaderName) -> bool) -> (String, String) {
    let mut signed: Vec<(&str, &str)> = headers
        .iter()
        .filter(|(name, _)| is_signed(name))
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default().trim()))
        .collect();
    signed.sort_unstable();
    let fields = signed.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let names: Vec<&str> = signed.iter().map(|(name, _)| *name).collect();
    (fields, names.join(";"))
}

fn canonical_query(query: &[(&str, &str)], after_a_bare_name: &str) -> String {
    let part = |(name, value): &(&str, &str)| match *value {
        "" => format!("{}{after_a_bare_name}", percent_encoded(name)),
        value => format!("{}={}", percent_encoded(name), percent_encoded(value)),
    };
    let mut parts: Vec<String> = query.iter().map(part).collect();
    parts.sort_unstable();
    parts.join("&")
}

/// RFC 3986: everything but the unreserved characters is encoded.
pub(super) fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
        encoded
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
