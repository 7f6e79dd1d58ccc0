//! Signatures of the clouds' DNS services, as the vendors' own SDKs compute them.
//!
//! The date signed is the caller's: the services refuse one that is more than 5 to 15 minutes off their own clock.

use http::HeaderMap;
use http::header::{CONTENT_TYPE, HOST};
use jiff::Timestamp;

use crate::remote::credentials::Credentials;
pub use crate::remote::signing::Signed;
use crate::remote::signing::{
    NotAField, authorize, canonical_fields, canonical_query, hex, hmac_chain, insert, sha256,
};

/// Alibaba Cloud's `ACS3-HMAC-SHA256`: adds date, nonce, payload digest, token and `authorization` to `headers`. No
/// nonce counts twice.
pub fn acs3(
    keys: &Credentials,
    request: Signed<'_>,
    headers: &mut HeaderMap,
    (now, nonce): (Timestamp, &str),
) -> Result<(), NotAField> {
    let payload = sha256(request.body);
    insert(headers, "x-acs-date", &now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(), "the date")?;
    insert(headers, "x-acs-signature-nonce", nonce, "the nonce")?;
    insert(headers, "x-acs-content-sha256", &payload, "the payload digest")?;
    if let Some(token) = &keys.security_token {
        insert(headers, "x-acs-security-token", token, "the security token")?;
    }
    let (fields, names) = canonical_fields(headers, |name| {
        name == HOST || name == CONTENT_TYPE || name.as_str().starts_with("x-acs-")
    });
    let Signed { method, path, query, .. } = request;
    let query = canonical_query(query, "=");
    let canonical = format!("{method}\n{path}\n{query}\n{fields}\n{names}\n{payload}");
    let to_sign = format!("ACS3-HMAC-SHA256\n{}", sha256(canonical.as_bytes()));
    let signature = hex(&hmac_chain(keys.access_key_secret.clone().into_bytes(), [to_sign.as_str()]));
    let id = &keys.access_key_id;
    authorize(
        headers,
        format!("ACS3-HMAC-SHA256 Credential={id},SignedHeaders={names},Signature={signature}"),
    )
}

/// Tencent Cloud's `TC3-HMAC-SHA256`: adds time, token and `authorization` to `headers`, which already hold host and
/// content type, the two fields that are signed.
pub fn tc3(
    keys: &Credentials,
    service: &str,
    request: Signed<'_>,
    headers: &mut HeaderMap,
    now: Timestamp,
) -> Result<(), NotAField> {
    let (seconds, day) = (now.as_second().to_string(), now.strftime("%Y-%m-%d").to_string());
    insert(headers, "x-tc-timestamp", &seconds, "the date")?;
    if let Some(token) = &keys.security_token {
        insert(headers, "x-tc-token", token, "the security token")?;
    }
    let (fields, names) = canonical_fields(headers, |name| name == HOST || name == CONTENT_TYPE);
    let Signed { method, path, query, body } = request;
    let query = canonical_query(query, "=");
    let canonical = format!("{method}\n{path}\n{query}\n{fields}\n{names}\n{}", sha256(body));
    let scope = format!("{day}/{service}/tc3_request");
    let to_sign = format!("TC3-HMAC-SHA256\n{seconds}\n{scope}\n{}", sha256(canonical.as_bytes()));
    let first = format!("TC3{}", keys.access_key_secret).into_bytes();
    let signature = hex(&hmac_chain(first, [&*day, service, "tc3_request", &to_sign]));
    let id = &keys.access_key_id;
    authorize(
        headers,
        format!("TC3-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}"),
    )
}

/// Huawei Cloud's `SDK-HMAC-SHA256`: adds date, token and `authorization` to `headers`, all of which are signed.
pub fn sdk(
    keys: &Credentials,
    request: Signed<'_>,
    headers: &mut HeaderMap,
    now: Timestamp,
) -> Result<(), NotAField> {
    let date = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    insert(headers, "x-sdk-date", &date, "the date")?;
    if let Some(token) = &keys.security_token {
        insert(headers, "x-security-token", token, "the security token")?;
    }
    let (fields, names) = canonical_fields(headers, |_| true);
    let Signed { method, path, query, body } = request;
    let query = canonical_query(query, "=");
    // A path is signed with a slash at its end, with which it is not sent.
    let path = format!("{}/", path.strip_suffix('/').unwrap_or(path));
    let canonical = format!("{method}\n{path}\n{query}\n{fields}\n{names}\n{}", sha256(body));
    let to_sign = format!("SDK-HMAC-SHA256\n{date}\n{}", sha256(canonical.as_bytes()));
    let signature = hex(&hmac_chain(keys.access_key_secret.clone().into_bytes(), [to_sign.as_str()]));
    let id = &keys.access_key_id;
    authorize(headers, format!("SDK-HMAC-SHA256 Access={id}, SignedHeaders={names}, Signature={signature}"))
}
