//! Signature V4 of the Log Service (`SLS4-HMAC-SHA256`), as Alibaba's SDKs compute it.
//!
//! The date signed is the caller's: the service refuses one that is more than 15 minutes off its own clock.

use http::HeaderMap;
use http::header::{CONTENT_TYPE, HOST, HeaderName};
use jiff::Timestamp;

pub use crate::remote::signing::Signed;
use crate::remote::signing::{
    NotAField, authorize, canonical_fields, hex, hmac_chain, insert, percent_encoded, sha256,
};

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

impl Signer<'_> {
    /// Adds date, payload digest, token and `Authorization` to `headers`, which already hold everything else to be sent.
    pub fn sign(
        &self,
        request: Signed<'_>,
        headers: &mut HeaderMap,
        now: Timestamp,
    ) -> Result<(), NotAField> {
        let date = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let payload = sha256(request.body);
        insert(headers, "x-log-date", &date, "the date")?;
        insert(headers, "x-log-content-sha256", &payload, "the payload digest")?;
        if let Some(token) = self.security_token {
            insert(headers, "x-acs-security-token", token, "the security token")?;
        }

        let canonical = canonical_request(request, headers, &payload);
        let day = date.get(..8).unwrap_or_default();
        let scope = format!("{day}/{}/sls/aliyun_v4_request", self.region);
        let hashed = sha256(canonical.as_bytes());
        let to_sign = format!("SLS4-HMAC-SHA256\n{date}\n{scope}\n{hashed}");
        let signature = hex(&self.mac(day, &to_sign));
        let authorization =
            format!("SLS4-HMAC-SHA256 Credential={}/{scope},Signature={signature}", self.access_key_id);
        authorize(headers, authorization)
    }

    fn mac(&self, day: &str, text: &str) -> Vec<u8> {
        let first = format!("aliyun_v4{}", self.access_key_secret).into_bytes();
        hmac_chain(first, [day, self.region, "sls", "aliyun_v4_request", text])
    }
}

impl std::fmt::Debug for Signer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("region", &self.region).finish_non_exhaustive()
    }
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

    let (fields, names) = canonical_fields(headers, is_signed);
    let Signed { method, path, .. } = request;
    format!("{method}\n{path}\n{}\n{fields}\n{}\n{payload}", query.join("&"), names)
}

fn is_signed(name: &HeaderName) -> bool {
    let prefixed = name.as_str().starts_with("x-log-") || name.as_str().starts_with("x-acs-");
    prefixed || name == CONTENT_TYPE || name == HOST
}
