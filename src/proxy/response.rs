//! The answer as it goes to the client: the origin's, or one of ours.
//!
//! A head of ours always ends with a short body that shows the request id.

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, Method, StatusCode, Version};
use pingora_http::ResponseHeader;

use super::context::RequestContext;
use super::downstream::{ClientFailure, Downstream};
use super::request::{self, X_REQUEST_ID};

/// Answers without an origin, and notes it in the context.
pub(super) async fn answer(
    down: &mut Downstream<'_>,
    context: &mut RequestContext,
    status: StatusCode,
) -> Result<(), ClientFailure> {
    let reason = status.canonical_reason().unwrap_or_default();
    let body = format!("{} {reason}\nrequest id: {}\n", status.as_str(), context.request_id);
    let is_head = down.head().method == Method::HEAD;
    let mut head = ResponseHeader::build_no_case(status, Some(6)).map_err(|_| ClientFailure::Gone)?;
    let fields: [(HeaderName, &str); 4] = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CONTENT_LENGTH, &body.len().to_string()),
        (header::CACHE_CONTROL, "no-store"),
        (X_REQUEST_ID, &context.request_id),
    ];
    for (name, value) in fields {
        head.insert_header(name, value).map_err(|_| ClientFailure::Gone)?;
    }
    down.write_head(Box::new(head), is_head).await?;
    context.facts.status = Some(status.as_u16());
    if !is_head {
        context.facts.bytes_out = body.len() as u64;
        down.write_body(Bytes::from(body)).await?;
    }
    down.finish().await
}

/// Takes out of an origin's head what concerns one hop alone, or promises what is not passed on.
pub(super) fn strip(headers: &mut HeaderMap) {
    for name in request::nominated(headers) {
        headers.remove(name);
    }
    let hop: Vec<HeaderName> = headers.keys().filter(|name| request::is_hop_by_hop(name)).cloned().collect();
    for name in hop {
        headers.remove(name);
    }
}

/// Frames an answer with a body for the protocol of the client: by length where there is one, else
/// in chunks, else (HTTP/1.0) by the end of the connection.
pub(super) fn frame(headers: &mut HeaderMap, down: &Downstream<'_>) {
    if down.is_http1()
        && down.head().version == Version::HTTP_11
        && !headers.contains_key(header::CONTENT_LENGTH)
    {
        headers.insert(header::TRANSFER_ENCODING, http::HeaderValue::from_static("chunked"));
    }
}
