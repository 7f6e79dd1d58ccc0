//! Errors in gRPC's form: HTTP 200 with `grpc-status` and `grpc-message`.
//!
//! Metrics and records keep the HTTP status that other clients would get. Refusals by the gate stay 421.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, Version};

use crate::message::{RequestHead, ResponseHead};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const CONTENT_TYPE: &str = "application/grpc";

/// A trailers-only response (a head that is the whole response) to a gRPC call; `None` for other requests and
/// for statuses without a gRPC code. The message contains the request id.
pub(crate) fn answer(head: &RequestHead, status: StatusCode, request_id: &str) -> Option<ResponseHead> {
    let (code, content_type) = (code(status)?, content_type(head)?);
    // Characters outside printable ASCII, and `%`, would have to be escaped.
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'%';
    let shown = if request_id.bytes().all(is_plain) { request_id } else { "-" };
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(GRPC_STATUS, code);
    headers.insert(GRPC_MESSAGE, HeaderValue::from_str(&format!("{status}, request id {shown}")).ok()?);
    Some(ResponseHead { status: StatusCode::OK, version: Version::HTTP_11, headers })
}

/// gRPC's mapping of HTTP statuses, except that 504 and 408 become DEADLINE_EXCEEDED: the server was reached
/// but too slow.
fn code(status: StatusCode) -> Option<HeaderValue> {
    let code = match status {
        // DEADLINE_EXCEEDED
        StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => 4,
        // UNIMPLEMENTED
        StatusCode::NOT_FOUND => 12,
        // INTERNAL
        StatusCode::BAD_REQUEST => 13,
        // UNAVAILABLE
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => 14,
        _ => return None,
    };
    Some(HeaderValue::from(code))
}

/// Whether a request is a gRPC call.
pub(super) fn is_call(head: &RequestHead) -> bool {
    content_type(head).is_some()
}

/// The content type of a call: `application/grpc`, alone or with a suffix (`+proto`, `-web`).
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
