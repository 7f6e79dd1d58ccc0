//! What the signatures of cloud services have in common: digests, canonical fields and queries, header values.
//!
//! Signatures and tokens are marked sensitive, so that no `Debug` of the headers shows them.

use aws_lc_rs::{digest, hmac};
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

/// What is signed besides the headers.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// In upper case.
    pub method: &'a str,
    /// As it is sent, without a query.
    pub path: &'a str,
    /// Names and values, not encoded.
    pub query: &'a [(&'a str, &'a str)],
    /// As it is sent.
    pub body: &'a [u8],
}

/// Part of a header cannot be sent: a key, a token or a host with control characters.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0} holds characters that no HTTP field may have")]
pub struct NotAField(pub(crate) &'static str);

/// Sets a field. `what` names the value in the error.
pub(crate) fn insert(
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

/// Sets `authorization`, which holds the access key id and the signature.
pub(crate) fn authorize(headers: &mut HeaderMap, text: String) -> Result<(), NotAField> {
    let mut value = HeaderValue::try_from(text).map_err(|_| NotAField("the access key id"))?;
    value.set_sensitive(true);
    headers.insert(AUTHORIZATION, value);
    Ok(())
}

/// The fields that are signed, a line each, and their names.
pub(crate) fn canonical_fields(
    headers: &HeaderMap,
    is_signed: impl Fn(&HeaderName) -> bool,
) -> (String, String) {
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

/// A query in canonical order. `after_a_bare_name` follows a name without a value.
pub(crate) fn canonical_query(query: &[(&str, &str)], after_a_bare_name: &str) -> String {
    let mut parts: Vec<(String, String)> =
        query.iter().map(|(name, value)| (percent_encoded(name), percent_encoded(value))).collect();
    parts.sort_unstable();
    let part = |(name, value): &(String, String)| match value.as_str() {
        "" => format!("{name}{after_a_bare_name}"),
        value => format!("{name}={value}"),
    };
    parts.iter().map(part).collect::<Vec<_>>().join("&")
}

/// RFC 3986: everything but the unreserved characters is encoded.
pub(crate) fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
        encoded
    })
}

/// The SHA-256 of `bytes` in hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// HMAC-SHA-256 over each of `steps`; each result is the key of the next. Returns the last.
pub(crate) fn hmac_chain<'a>(key: Vec<u8>, steps: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    steps.into_iter().fold(key, |key, step| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), step.as_bytes()).as_ref().to_vec()
    })
}

/// Hexadecimal digits in lower case.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
