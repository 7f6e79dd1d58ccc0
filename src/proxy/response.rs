//! The answer as it goes to the client: the origin's, or one of ours.
//!
//! A head of ours always ends with a short body that shows the request id.

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode, Version};
use pingora_http::ResponseHeader;

use super::context::RequestContext;
use super::downstream::{ClientFailure, Downstream};
use super::request::{self, X_REQUEST_ID};
use crate::hostname::Hostname;

/// The body of an answer of ours.
pub(super) fn body(status: StatusCode, request_id: &str) -> String {
    format!("{status}\nrequest id: {request_id}\n")
}

/// Answers without an origin, and notes it in the context.
pub(super) async fn answer(
    down: &mut Downstream<'_>,
    context: &mut RequestContext,
    status: StatusCode,
) -> Result<(), ClientFailure> {
    send(down, context, status, None).await
}

/// Sends the client to the same URL over TLS.
pub(super) async fn redirect(
    down: &mut Downstream<'_>,
    context: &mut RequestContext,
    host: &Hostname,
) -> Result<(), ClientFailure> {
    let target = request::raw_target(down.head());
    let target = if target.starts_with(b"/") { &*target } else { b"/" };
    let location = [b"https://", host.as_str().as_bytes(), target].concat();
    // What the engine takes for a target may be in a header.
    let location = HeaderValue::from_bytes(&location).map_err(|_| ClientFailure::Gone)?;
    send(down, context, StatusCode::PERMANENT_REDIRECT, Some(location)).await
}

async fn send(
    down: &mut Downstream<'_>,
    context: &mut RequestContext,
    status: StatusCode,
    location: Option<HeaderValue>,
) -> Result<(), ClientFailure> {
    let body = body(status, &context.request_id);
    let is_head = down.head().method == Method::HEAD;
    let mut head = ResponseHeader::build_no_case(status, Some(8)).map_err(|_| ClientFailure::Gone)?;
    let fields: [(HeaderName, &str); 4] = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CONTENT_LENGTH, &body.len().to_string()),
        (header::CACHE_CONTROL, "no-store"),
        (X_REQUEST_ID, &context.request_id),
    ];
    for (name, value) in fields {
        head.insert_header(name, value).map_err(|_| ClientFailure::Gone)?;
    }
    if let Some(location) = location {
        head.insert_header(header::LOCATION, location).map_err(|_| ClientFailure::Gone)?;
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
    if let Some(length) = request::content_length(headers) {
        headers.insert(header::CONTENT_LENGTH, length);
    }
}

/// Frames an answer with a body for the protocol of the client: by length where there is one, else
/// in chunks, else (HTTP/1.0) by the end of the connection.
pub(super) fn frame(headers: &mut HeaderMap, down: &Downstream<'_>) {
    if down.is_http1()
        && down.head().version == Version::HTTP_11
        && !headers.contains_key(header::CONTENT_LENGTH)
    {
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}
