//! Responses to clients: a server's head, cleaned; or this edge's own.
//!
//! The edge's own responses have a short body that contains the request id.

use std::time::Duration;

use bytes::Bytes;
use http::header::{self, Entry, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode, Version};

use super::context::RequestContext;
use super::grpc;
use crate::downstream::ClientFailure;
use crate::downstream::session::{ClientSession, Downstream};
use crate::hostname::Hostname;
use crate::message::hop_by_hop::{Nominated, is_hop_by_hop};
use crate::message::{RequestHead, ResponseHead, fields};
use crate::route::{FixedAnswer, PathRewrite};
use crate::upstream::request::X_REQUEST_ID;

/// What 405 names: the methods that are passed on, of those that RFC 9110 and RFC 5789 define.
const ALLOWED: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// A slow client gets this many bytes of a body within the write limit.
const PIECE: usize = 64 << 10;

pub(crate) fn body(status: StatusCode, request_id: &str) -> String {
    format!("{status}\nrequest id: {request_id}\n")
}

/// Answers without a server and notes the status in the context.
pub(crate) async fn answer(
    down: &mut Downstream<'_>,
    context: &mut RequestContext<'_>,
    status: StatusCode,
) -> Result<(), ClientFailure> {
    // The edits of a route are for answers, not for failures of this edge.
    down.keep_response();
    match grpc::answer(down.head, status, &context.request_id()) {
        Some(head) => send_head(down, context, status, head),
        None => send(down, context, status, None).await,
    }
}

/// Answers a gRPC call with a head alone and notes the HTTP status that it stands for.
fn send_head(
    down: &mut Downstream<'_>,
    context: &mut RequestContext<'_>,
    status: StatusCode,
    mut head: ResponseHead,
) -> Result<(), ClientFailure> {
    let id = HeaderValue::from_str(&context.request_id()).map_err(|_| ClientFailure::Gone)?;
    head.headers.insert(X_REQUEST_ID, id);
    if let ClientSession::Http1(_) = down.session {
        head.headers.insert(header::CONTENT_LENGTH, 0.into());
    }
    context.facts.status = Some(status.as_u16());
    down.write_head(head, true)
}

/// Answers 429, and says after how many seconds a request passes again.
pub(crate) async fn too_many(
    down: &mut Downstream<'_>,
    context: &mut RequestContext<'_>,
    wait: Duration,
) -> Result<(), ClientFailure> {
    let seconds = wait.as_millis().div_ceil(1000).max(1) as u64;
    let status = StatusCode::TOO_MANY_REQUESTS;
    let retry_after = (header::RETRY_AFTER, HeaderValue::from(seconds));
    match grpc::answer(down.head, status, &context.request_id()) {
        Some(mut head) => {
            head.headers.extend([retry_after]);
            send_head(down, context, status, head)
        }
        None => send(down, context, status, Some(retry_after)).await,
    }
}

/// Redirects to the same URL over TLS.
pub(crate) async fn redirect_to_tls(
    down: &mut Downstream<'_>,
    context: &mut RequestContext<'_>,
    host: &Hostname,
) -> Result<(), ClientFailure> {
    let target = &*down.head.target;
    let target = if target.starts_with(b"/") { target } else { b"/" };
    let location = [b"https://", host.as_str().as_bytes(), target].concat();
    // Every byte that the parser accepts in a target is valid in a header.
    let location = HeaderValue::from_bytes(&location).map_err(|_| ClientFailure::Gone)?;
    send(down, context, StatusCode::PERMANENT_REDIRECT, Some((header::LOCATION, location))).await
}

/// Redirects as a route says.
pub(crate) async fn redirect(
    down: &mut Downstream<'_>,
    context: &mut RequestContext<'_>,
    status: StatusCode,
    location: &str,
) -> Result<(), ClientFailure> {
    let location = HeaderValue::from_str(location).map_err(|_| ClientFailure::Gone)?;
    let headers = HeaderMap::from_iter([(header::LOCATION, location)]);
    let text = format!("{status}\n");
    send_text(down, context, ResponseHead { status, version: Version::HTTP_11, headers }, text.into()).await
}

/// Answers as a route says.
pub(crate) async fn fixed(
    down: &mut Downstream<'_>,
    context: &mut RequestContext<'_>,
    answer: &FixedAnswer,
) -> Result<(), ClientFailure> {
    let FixedAnswer { status, body } = answer;
    let head = ResponseHead { status: *status, version: Version::HTTP_11, headers: HeaderMap::new() };
    send_text(down, context, head, body.clone()).await
}

async fn send(
    down: &mut Downstream<'_>,
    context: &mut RequestContext<'_>,
    status: StatusCode,
    more: Option<(HeaderName, HeaderValue)>,
) -> Result<(), ClientFailure> {
    let body = body(status, &context.request_id());
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static(ALLOWED));
    }
    headers.extend(more);
    let head = ResponseHead { status, version: Version::HTTP_11, headers };
    send_text(down, context, head, body.into()).await
}

/// Sends a response of this edge with a body, which may be empty and is plain text unless the head says otherwise.
pub(super) async fn send_text(
    down: &mut Downstream<'_>,
    context: &mut RequestContext<'_>,
    mut head: ResponseHead,
    body: Bytes,
) -> Result<(), ClientFailure> {
    let status = head.status;
    let id = HeaderValue::from_str(&context.request_id()).map_err(|_| ClientFailure::Gone)?;
    head.headers.insert(X_REQUEST_ID, id);
    if !body.is_empty() {
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        head.headers.entry(header::CONTENT_TYPE).or_insert(plain);
    }
    // Neither has a body, nor the length of one (RFC 9110, 8.6).
    if !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    let ends = down.head.method == Method::HEAD || body.is_empty();
    down.write_head(head, ends)?;
    context.facts.status = Some(status.as_u16());
    if !ends {
        send_body(body, down, context).await?;
    }
    down.finish(None)
}

/// Sends a whole body. A slow client gets each piece of it within the write limit.
pub(super) async fn send_body(
    mut body: Bytes,
    down: &mut Downstream<'_>,
    context: &mut RequestContext<'_>,
) -> Result<(), ClientFailure> {
    while !body.is_empty() {
        let piece = body.split_to(body.len().min(PIECE));
        context.facts.bytes_out += piece.len() as u64;
        down.put_body(piece)?;
        down.taken().await?;
    }
    Ok(())
}

/// Changes paths in a server's head to those that clients know.
pub(crate) fn lead_back(headers: &mut HeaderMap, rewrite: &PathRewrite, asked: &RequestHead) {
    let authority = asked.authority().unwrap_or_default();
    let host = authority.split(|byte| *byte == b':').next().unwrap_or_default();
    let host = std::str::from_utf8(host).unwrap_or_default();
    let change = |value: &mut HeaderValue, change: &dyn Fn(&str) -> Option<String>| {
        let changed = std::str::from_utf8(value.as_bytes()).ok().and_then(change);
        if let Some(changed) = changed.and_then(|text| HeaderValue::try_from(text).ok()) {
            *value = changed;
        }
    };
    if let Entry::Occupied(mut locations) = headers.entry(header::LOCATION) {
        for location in locations.iter_mut() {
            change(location, &|text| rewrite.location_back(text, host));
        }
    }
    if let Entry::Occupied(mut cookies) = headers.entry(header::SET_COOKIE) {
        for cookie in cookies.iter_mut() {
            change(cookie, &|text| rewrite.cookie_back(text));
        }
    }
}

/// Removes hop-by-hop fields from a server's head, and states its length once, as a plain number.
/// Returns the lists by which it declares fields hop-by-hop.
pub(crate) fn strip(headers: &mut HeaderMap) -> Nominated {
    let nominated = Nominated::of(headers);
    for name in nominated.among(headers) {
        headers.remove(name);
    }
    // One pass over the fields is cheaper than a lookup per name; usually one of them is present.
    while let Some(name) = headers.keys().find(|name| is_hop_by_hop(name)).cloned() {
        headers.remove(name);
    }
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let said = lengths.next().map(HeaderValue::as_bytes);
    let is_plain = |said: &[u8]| said.iter().all(u8::is_ascii_digit) && !said.starts_with(b"0");
    if !said.is_none_or(is_plain) || lengths.next().is_some() {
        let length = fields::content_length(headers).ok().flatten();
        headers.remove(header::CONTENT_LENGTH);
        if let Some(length) = length {
            headers.insert(header::CONTENT_LENGTH, length.into());
        }
    }
    nominated
}
