//! Failures of ours as gRPC has them: 200, with the status in fields of its own.
//!
//! What is counted and recorded is the status of HTTP that others would get. The gate's answers stay what
//! they are: whoever is refused is not answered 200.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, Version};

use crate::message::{RequestHead, ResponseHead};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const CONTENT_TYPE: &str = "application/grpc";

/// The head of the answer, which is all of it, where `head` is that of a gRPC call and a code stands for
/// `status`. The message shows the request id.
pub(crate) fn answer(head: &RequestHead, status: StatusCode, request_id: &str) -> Option<ResponseHead> {
    let (code, content_type) = (code(status)?, content_type(head)?);
    // What is not printable, and the percent sign, would have to be escaped.
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'%';
    let shown = if request_id.bytes().all(is_plain) { request_id } else { "-" };
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(GRPC_STATUS, code);
    headers.insert(GRPC_MESSAGE, HeaderValue::from_str(&format!("{status}, request id {shown}")).ok()?);
    Some(ResponseHead { status: StatusCode::OK, version: Version::HTTP_11, headers })
}

/// The code that clients make of such a status, but that a server which was asked and took too long is
/// told from one that was not there.
fn code(status: StatusCode) -> Option<HeaderValue> {
    let code = match status {
        // DEADLINE_EXCEEDED
        StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => 4,
        // UNIMPLEMENTED
        StatusCode::NOT_FOUND => 12,
        // INTERNAL
        StatusCode::BAD_REQUEST => 13,
        // UNAVAILABLE
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => 14,
        _ => return None,
    };
    Some(HeaderValue::from(code))
}

/// The type of a call, `application/grpc` or one of its kinds (`+proto`, `-web`).
fn content_type(head: &RequestHead) -> Option<HeaderValue> {
    let sent = head.headers.get(header::CONTENT_TYPE)?;
    let rest = sent.as_bytes().strip_prefix(CONTENT_TYPE.as_bytes())?;
    matches!(rest.first(), None | Some(b'+' | b'-' | b';')).then(|| sent.clone())
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn of(content_type: &'static str, status: StatusCode) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        let head = RequestHead {
            method: Method::POST,
            target: "/".into(),
            authority: None,
            version: Version::HTTP_2,
            headers,
        };
        let answer = answer(&head, status, "id-1")?;
        assert_eq!(
            (answer.status, &answer.headers[header::CONTENT_TYPE]),
            (StatusCode::OK, &content_type.parse().expect("a value"))
        );
        let [code, message] =
            [GRPC_STATUS, GRPC_MESSAGE].map(|name| answer.headers[name].to_str().expect("text").to_owned());
        Some(format!("{code}: {message}"))
    }

    #[test]
    fn calls_alone_get_a_code_and_refusals_none() {
        let unavailable = Some("14: 502 Bad Gateway, request id id-1".to_owned());
        for call in
            ["application/grpc", "application/grpc+proto", "application/grpc-web", "application/grpc;a=b"]
        {
            assert_eq!(of(call, StatusCode::BAD_GATEWAY), unavailable, "{call}");
            assert_eq!(of(call, StatusCode::MISDIRECTED_REQUEST), None, "{call}");
        }
        for other in ["application/grpcs", "text/plain", "application/json"] {
            assert_eq!(of(other, StatusCode::BAD_GATEWAY), None, "{other}");
        }
    }
}
