//! The request as it goes upstream.
//!
//! Framing is made anew, and nothing that concerns one hop alone is passed on (RFC 9110, 7.6.1); what
//! a client says about itself in forwarded headers is replaced unless a trusted proxy said it.

use std::borrow::Cow;

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Version};
use pingora_http::RequestHeader;

use super::context::RequestContext;
use crate::gate::Refusal;
use crate::hostname::{Hostname, split_port};
use crate::origin::UpstreamHost;
use crate::rewrite::Ask;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Whether a field concerns one hop alone.
pub(super) fn is_hop_by_hop(name: &HeaderName) -> bool {
    [
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::TE,
        header::TRAILER,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
    ]
    .contains(name)
}

/// The names that a `connection` field nominates to concern one hop alone.
pub(super) fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .filter(|name| *name != "close" && *name != "keep-alive" && *name != "upgrade")
        .collect()
}

/// The path and the query; an absolute form is cut to them, and bytes that are no UTF-8 are shown as
/// far as they can be.
pub(super) fn target(head: &RequestHeader) -> Cow<'_, str> {
    let target = String::from_utf8_lossy(head.raw_path());
    if target.starts_with('/') || target == "*" {
        return target;
    }
    let after_scheme = target.split_once("://").map_or("", |(_, rest)| rest);
    match after_scheme.find(['/', '?']) {
        Some(place) if after_scheme[place..].starts_with('/') => Cow::Owned(after_scheme[place..].to_owned()),
        Some(place) => Cow::Owned(format!("/{}", &after_scheme[place..])),
        None => Cow::Borrowed("/"),
    }
}

/// The authority as it was sent: of the target, or of the `host` field. The engine has made sure that
/// the two do not differ.
pub(super) fn authority(head: &RequestHeader) -> Option<&str> {
    match head.uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => head.headers.get(header::HOST)?.to_str().ok(),
    }
}

/// The host that a request is for.
pub(super) fn host(head: &RequestHeader) -> Result<Hostname, Refusal> {
    let authority = authority(head).filter(|authority| !authority.is_empty()).ok_or(Refusal::NoServerName)?;
    let (host, _) = split_port(authority)?;
    Ok(Hostname::parse(host)?)
}

/// Whether an origin that takes `_` for `-`, as CGI has it, would take the field for one of ours.
fn is_taken_for_ours(name: &HeaderName) -> bool {
    let taken_for = |ours: HeaderName| ours == *name.as_str().replace('_', "-");
    name.as_str().contains('_')
        && [X_FORWARDED_FOR, X_FORWARDED_PROTO, X_FORWARDED_HOST, X_REQUEST_ID].into_iter().any(taken_for)
}

/// Whether the target has a form that RFC 9112, 3.2 knows for a request to a server. The engine takes
/// any other for a path.
pub(super) fn has_known_target(head: &RequestHeader) -> bool {
    let target = head.raw_path();
    target.starts_with(b"/")
        || (target == b"*" && head.method == Method::OPTIONS)
        || memchr::memmem::find(target, b"://").is_some()
}

/// Whether a body is coded in chunks alone, or not at all. Another coding, or the same one twice, is
/// nothing that could be passed on, and what others on the way read in differing ways.
pub(super) fn is_plainly_coded(head: &RequestHeader) -> bool {
    let mut codings = head.headers.get_all(header::TRANSFER_ENCODING).iter();
    let coding = codings.next();
    coding.is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked")) && codings.next().is_none()
}

/// The length that a head says, once and as a plain number: it may be said more than once, or as a
/// list, as long as all of it agrees (RFC 9110, 8.6), and the engine has made sure of that.
pub(super) fn content_length(headers: &HeaderMap) -> Option<HeaderValue> {
    let said = headers.get(header::CONTENT_LENGTH)?.to_str().ok()?;
    let length: u64 = said.split(',').next()?.trim().parse().ok()?;
    Some(length.into())
}

/// Whether the client asks to speak WebSocket from here on (RFC 6455, 4.1).
pub(super) fn is_websocket(head: &RequestHeader) -> bool {
    let has = |name: HeaderName, token: &str| {
        head.headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|sent| sent.trim().eq_ignore_ascii_case(token))
    };
    head.method == Method::GET
        && head.version == Version::HTTP_11
        && has(header::CONNECTION, "upgrade")
        && has(header::UPGRADE, "websocket")
}

/// Whether the client waits to be told to send its body.
pub(super) fn expects_continue(head: &RequestHeader) -> bool {
    let expect = head.headers.get(header::EXPECT);
    expect.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// How the body goes upstream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Framing {
    /// There is none.
    None,
    /// As the client framed it, by length, or else in chunks.
    AsSent,
    /// From here on bytes are passed both ways.
    Tunnel,
}

/// What distinguishes the request that goes upstream from the one that came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Changes<'c> {
    pub(super) host: &'c UpstreamHost,
    pub(super) framing: Framing,
    /// What the footer needs of the answer.
    pub(super) ask: Ask,
}

/// The head that goes upstream.
pub(super) fn upstream_head(
    head: &RequestHeader,
    context: &RequestContext,
    scheme: &'static str,
    changes: Changes<'_>,
) -> pingora_core::Result<Box<RequestHeader>> {
    let target = raw_target(head);
    let mut upstream =
        RequestHeader::build_no_case(head.method.clone(), &target, Some(head.headers.len() + 6))?;
    let nominated = nominated(&head.headers);
    for (name, value) in &head.headers {
        let ours = *name == header::HOST
            || *name == header::COOKIE
            || *name == header::CONTENT_LENGTH
            || *name == header::EXPECT
            || (changes.ask != Ask::AsSent && *name == header::ACCEPT_ENCODING)
            || (changes.ask == Ask::Whole && (*name == header::RANGE || *name == header::IF_RANGE))
            || (!context.proxy_is_trusted
                && [X_FORWARDED_FOR, X_FORWARDED_PROTO, X_FORWARDED_HOST].contains(name))
            || *name == X_FORWARDED_FOR
            || *name == X_REQUEST_ID;
        if !ours && !is_taken_for_ours(name) && !is_hop_by_hop(name) && !nominated.contains(name) {
            upstream.append_header(name.clone(), value.clone())?;
        }
    }
    // HTTP/2 may split it, HTTP/1 has one (RFC 9113, 8.2.3).
    let cookies: Vec<&[u8]> =
        head.headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if !cookies.is_empty() {
        upstream.insert_header(header::COOKIE, cookies.join(&b"; "[..]))?;
    }
    let sent = authority(head).unwrap_or_default();
    match changes.host {
        UpstreamHost::Preserve => upstream.insert_header(header::HOST, sent)?,
        UpstreamHost::Fixed(host) => upstream.insert_header(header::HOST, host.as_str())?,
    }
    upstream.insert_header(X_REQUEST_ID, &*context.request_id)?;
    upstream.insert_header(X_FORWARDED_FOR, forwarded_for(&head.headers, context))?;
    if !upstream.headers.contains_key(X_FORWARDED_PROTO) {
        upstream.insert_header(X_FORWARDED_PROTO, scheme)?;
    }
    if !upstream.headers.contains_key(X_FORWARDED_HOST) {
        upstream.insert_header(X_FORWARDED_HOST, sent)?;
    }
    if changes.ask != Ask::AsSent {
        upstream.insert_header(header::ACCEPT_ENCODING, "identity")?;
    }
    match (changes.framing, content_length(&head.headers)) {
        (Framing::Tunnel, _) => {
            upstream.insert_header(header::CONNECTION, "upgrade")?;
            upstream.insert_header(header::UPGRADE, "websocket")?;
        }
        (Framing::AsSent, Some(length)) => upstream.insert_header(header::CONTENT_LENGTH, length)?,
        (Framing::AsSent, None) => upstream.insert_header(header::TRANSFER_ENCODING, "chunked")?,
        // A length of zero is said as it came: some origins ask for it on POST.
        (Framing::None, Some(length)) => upstream.insert_header(header::CONTENT_LENGTH, length)?,
        (Framing::None, None) => {}
    }
    Ok(upstream.into())
}

/// The target as it is sent, byte for byte but for an absolute form.
pub(super) fn raw_target(head: &RequestHeader) -> Cow<'_, [u8]> {
    let raw = head.raw_path();
    if raw.starts_with(b"/") || raw == b"*" {
        return Cow::Borrowed(raw);
    }
    Cow::Owned(target(head).into_owned().into_bytes())
}

/// A trusted proxy's list goes on with the proxy itself; any other begins with whoever opened the connection.
fn forwarded_for(headers: &HeaderMap, context: &RequestContext) -> HeaderValue {
    let last = context.opened_by().ip().to_canonical().to_string();
    let sent: Vec<&str> =
        headers.get_all(X_FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok()).collect();
    let list = match context.proxy_is_trusted && !sent.is_empty() {
        true => format!("{}, {last}", sent.join(", ")),
        false => last,
    };
    HeaderValue::from_str(&list).unwrap_or(HeaderValue::from_static("unknown"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(target: &str, fields: &[(&'static str, &str)]) -> RequestHeader {
        let mut head = RequestHeader::build("GET", target.as_bytes(), None).expect("a head");
        head.set_version(Version::HTTP_11);
        for (name, value) in fields {
            head.append_header(*name, *value).expect("a field");
        }
        head
    }

    #[test]
    fn the_target_is_path_and_query() {
        for (sent, expected) in [
            ("/a?b", "/a?b"),
            ("*", "*"),
            ("http://a.cn", "/"),
            ("http://a.cn/x?y", "/x?y"),
            ("http://a.cn?y", "/?y"),
        ] {
            assert_eq!(target(&head(sent, &[])), expected, "{sent}");
        }
    }

    #[test]
    fn the_host_is_that_of_the_authority() {
        let of = |value| host(&head("/", &[("host", value)])).map(|host| host.to_string());
        assert_eq!(of("WWW.example.cn:8443").as_deref(), Ok("www.example.cn"));
        assert_eq!(of("192.0.2.1"), Err(Refusal::IpLiteral));
        assert_eq!(of("a..b"), Err(Refusal::BadServerName));
        assert_eq!(host(&head("/", &[])).map(|host| host.to_string()), Err(Refusal::NoServerName));
    }

    #[test]
    fn only_a_whole_handshake_is_a_websocket() {
        assert!(is_websocket(&head("/", &[("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")])));
        assert!(!is_websocket(&head("/", &[("upgrade", "websocket")])));
        assert!(!is_websocket(&head("/", &[("connection", "upgrade"), ("upgrade", "h2c")])));
    }

    #[test]
    fn nominated_fields_concern_one_hop() {
        let head = head("/", &[("connection", "close, X-Secret"), ("connection", "upgrade")]);
        assert_eq!(nominated(&head.headers), ["x-secret"]);
    }
}
