//! Encodes a request head for HTTP/2 (RFC 9113, 8.3).

use std::fmt::Write as _;

use h2::ext::Protocol;
use http::header::{self, HeaderMap, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Uri, Version};

use crate::upstream::request::{BodyFraming, UpstreamRequest};

/// The head of `request`; `None` if HTTP/2 cannot carry it.
pub(crate) fn encode(request: &UpstreamRequest<'_>, scheme: Scheme) -> Option<Request<()>> {
    let mut headers = HeaderMap::with_capacity(request.expected_fields());
    let mut authority = None;
    let mut is_valid = true;
    request.fields(|name, value| match HeaderValue::from_bytes(value) {
        Ok(value) if *name == header::HOST => authority = Some(value),
        Ok(_) if request.framing() == BodyFraming::Tunnel && *name == header::SEC_WEBSOCKET_KEY => {}
        Ok(value) => {
            headers.append(name, value);
        }
        Err(_) => is_valid = false,
    });
    if request.takes_trailers() {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if let BodyFraming::Length(length) = request.framing() {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    let authority = Authority::try_from(authority?.as_bytes()).ok().filter(|_| is_valid)?;
    let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(path(request.target())?);
    let mut head = Request::new(());
    *head.version_mut() = Version::HTTP_2;
    *head.uri_mut() = uri.build().ok()?;
    *head.headers_mut() = headers;
    if request.framing() == BodyFraming::Tunnel {
        *head.method_mut() = Method::CONNECT;
        head.extensions_mut().insert(Protocol::from_static("websocket"));
    } else {
        head.method_mut().clone_from(request.method());
    }
    Some(head)
}

/// The target. Bytes that a URI must not contain are percent-encoded, which means the same (RFC 3986, 2.4).
fn path(target: &[u8]) -> Option<PathAndQuery> {
    let is_escaped = |byte: &u8| b"<>`#".contains(byte) || !byte.is_ascii_graphic();
    if !target.iter().any(is_escaped) {
        return PathAndQuery::try_from(target).ok();
    }
    let mut escaped = String::with_capacity(target.len() * 2);
    for byte in target {
        match is_escaped(byte) {
            true => write!(escaped, "%{byte:02X}").ok()?,
            false => escaped.push(char::from(*byte)),
        }
    }
    PathAndQuery::try_from(escaped).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_carried_or_escaped() {
        for (target, expected) in [
            ("/a/b?c=d&e", "/a/b?c=d&e"),
            ("*", "*"),
            ("//a//b/../c", "//a//b/../c"),
            ("/a%2fb?x=[1]", "/a%2fb?x=[1]"),
            ("/<a>?`b`|\\#", "/%3Ca%3E?%60b%60|\\%23"),
            ("/ä", "/%C3%A4"),
        ] {
            let path = path(target.as_bytes());
            assert_eq!(path.as_ref().map(PathAndQuery::as_str), Some(expected), "{target}");
        }
    }
}
