//! Signature V4 of the Log Service (`SLS4-HMAC-SHA256`), as Alibaba's SDKs compute it.
//!
//! The date signed is the caller's: the service refuses one that is more than 15 minutes off its own clock.

use aws_lc_rs::{digest, hmac};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName};
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;

/// Who signs, and for which region.
#[derive(Clone, Copy)]
pub struct Signer<'a> {
    /// Names the key.
    pub access_key_id: &'a str,
    /// The key.
    pub access_key_secret: &'a str,
    /// Of a temporary key.
    pub security_token: Option<&'a str>,
    /// The service's region.
    pub region: &'a str,
}

/// What is signed besides the headers.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// In upper case.
    pub method: &'a str,
    /// Without a query.
    pub path: &'a str,
    /// Names and values, not encoded.
    pub query: &'a [(&'a str, &'a str)],
    /// As it is sent.
    pub body: &'a [u8],
}

/// Part of a header cannot be sent: a key, a token or a host with control characters.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0} holds characters that no HTTP field may have")]
pub struct NotAField(&'static str);

impl Signer<'_> {
    /// Adds date, payload digest, token and `Authorization` to `headers`, which already hold everything else to be sent.
    pub fn sign(
        &self,
        request: Signed<'_>,
        headers: &mut HeaderMap,
        now: Timestamp,
    ) -> Result<(), NotAField> {
        let date = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let payload = hex(digest::digest(&digest::SHA256, request.body).as_ref());
        insert(headers, "x-log-date", &date, "the date")?;
        insert(headers, "x-log-content-sha256", &payload, "the payload digest")?;
        if let Some(token) = self.security_token {
            insert(headers, "x-acs-security-token", token, "the security token")?;
        }

        let canonical = canonical_request(request, headers, &payload);
        let day = date.get(..8).unwrap_or_default();
        let scope = format!("{day}/{}/sls/aliyun_v4_request", self.region);
        let hashed = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
        let to_sign = format!("SLS4-HMAC-SHA256\n{date}\n{scope}\n{hashed}");
        let signature = hex(&self.mac(day, to_sign.as_bytes()));
        let authorization =
            format!("SLS4-HMAC-SHA256 Credential={}/{scope},Signature={signature}", self.access_key_id);
        let mut value = HeaderValue::try_from(authorization).map_err(|_| NotAField("the access key id"))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
        Ok(())
    }

    fn mac(&self, day: &str, text: &[u8]) -> Vec<u8> {
        let first = format!("aliyun_v4{}", self.access_key_secret).into_bytes();
        let steps = [day.as_bytes(), self.region.as_bytes(), b"sls", b"aliyun_v4_request", text];
        steps.into_iter().fold(first, |key, step| {
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), step).as_ref().to_vec()
        })
    }
}

impl std::fmt::Debug for Signer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("region", &self.region).finish_non_exhaustive()
    }
}

fn insert(
    headers: &mut HeaderMap,
    name: &'static str,
    value: &str,
    what: &'static str,
) -> Result<(), NotAField> {
    let mut value = HeaderValue::from_str(value).map_err(|_| NotAField(what))?;
    value.set_sensitive(name == "x-acs-security-token");
    headers.insert(HeaderName::from_static(name), value);
    Ok(())
}

fn canonical_request(request: Signed<'_>, headers: &HeaderMap, payload: &str) -> String {
    let mut query: Vec<String> = request
        .query
        .iter()
        .map(|(name, value)| match *value {
            "" => (*name).to_owned(),
            value => format!("{name}={}", percent_encoded(value)),
        })
        .collect();
    query.sort_unstable();

    let mut signed: Vec<(&str, &str)> = headers
        .iter()
        .filter(|(name, _)| is_signed(name))
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default().trim()))
        .collect();
    signed.sort_unstable();
    let fields: String = signed.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let names: Vec<&str> = signed.iter().map(|(name, _)| *name).collect();

    let Signed { method, path, .. } = request;
    format!("{method}\n{path}\n{}\n{fields}\n{}\n{payload}", query.join("&"), names.join(";"))
}

fn is_signed(name: &HeaderName) -> bool {
    let prefixed = name.as_str().starts_with("x-log-") || name.as_str().starts_with("x-acs-");
    prefixed || name == CONTENT_TYPE || name == HOST
}

/// RFC 3986: everything but the unreserved characters is encoded.
fn percent_encoded(text: &str) -> String {
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
