//! WebSocket handshakes, translated between HTTP/1.1 (RFC 6455, 4) and HTTP/2 (RFC 8441).
//!
//! Inside this program a handshake has the HTTP/1.1 form: GET with `upgrade`, answered by 101. HTTP/2 uses
//! CONNECT, answered by 200, without keys.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode, Version};

use crate::message::fields::has_token;
use crate::message::{RequestHead, ResponseHead};

/// Whether the request is a WebSocket handshake.
pub(crate) fn is_asked_for(head: &RequestHead) -> bool {
    head.method == Method::GET
        && head.version >= Version::HTTP_11
        && has_token(&head.headers, &header::CONNECTION, "upgrade")
        && has_token(&head.headers, &header::UPGRADE, "websocket")
}

/// Turns a server's HTTP/2 response into the HTTP/1.1 response to a request with this key.
pub(crate) fn accepted(head: &mut ResponseHead, key: Option<&HeaderValue>) {
    head.status = StatusCode::SWITCHING_PROTOCOLS;
    upgrade(&mut head.headers);
    if let Some(accept) = key.and_then(accept) {
        head.headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
}

/// Turns an HTTP/2 handshake into the HTTP/1.1 form.
pub(crate) fn from_http2(head: &mut RequestHead) {
    head.method = Method::GET;
    upgrade(&mut head.headers);
}

/// Turns an HTTP/1.1 response into the HTTP/2 form.
pub(crate) fn into_http2(head: &mut ResponseHead) {
    head.status = StatusCode::OK;
    for name in [header::CONNECTION, header::UPGRADE, header::SEC_WEBSOCKET_ACCEPT] {
        head.headers.remove(name);
    }
}

/// A random key: HTTP/2 handshakes have none, and HTTP/1.1 requires one.
pub(crate) fn new_key() -> String {
    STANDARD.encode(fastrand::u128(..).to_be_bytes())
}

/// The `sec-websocket-accept` value for a key (RFC 6455, 4.2.2).
fn accept(key: &HeaderValue) -> Option<HeaderValue> {
    let text = [key.as_bytes(), b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"].concat();
    HeaderValue::from_str(&STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &text))).ok()
}

fn upgrade(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: &[(&'static str, &'static str)]) -> RequestHead {
        let headers = fields
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), HeaderValue::from_static(value)));
        RequestHead {
            method: Method::GET,
            target: "/".into(),
            authority: None,
            version: Version::HTTP_11,
            headers: headers.collect(),
        }
    }

    #[test]
    fn only_a_whole_handshake_is_a_websocket() {
        let whole = [("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")];
        assert!(is_asked_for(&request(&whole)));
        assert!(!is_asked_for(&request(&whole[1..])));
        assert!(!is_asked_for(&request(&[("connection", "upgrade"), ("upgrade", "h2c")])));
        let mut other = request(&[]);
        from_http2(&mut other);
        assert!(is_asked_for(&other));
    }

    #[test]
    fn a_key_is_answered_as_the_specification_has_it() {
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept(&key).expect("an answer"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(STANDARD.decode(new_key()).map(|key| key.len()), Ok(16));
    }
}
