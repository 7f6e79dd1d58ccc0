//! The request as it goes upstream.
//!
//! Framing is made anew, and nothing that concerns one hop alone is passed on (RFC 9110, 7.6.1); what
//! a client says about itself in forwarded headers is replaced unless a trusted proxy said it.

use std::net::IpAddr;

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method};

use crate::access::fields::IdText;
use crate::message::fields::{content_length, has_token};
use crate::message::{RequestHead, websocket};
use crate::origin::UpstreamHost;
use crate::rewrite::Ask;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Whether a field concerns one hop alone (RFC 9110, 7.6.1).
pub(crate) fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// The names that a `connection` field nominates to concern one hop alone.
pub(crate) fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .filter(|name| *name != "close" && *name != "keep-alive" && *name != "upgrade")
        .collect()
}

/// The authority as it was sent: of the target, or of the `host` field. The two do not differ.
pub(crate) fn authority(head: &RequestHead) -> Option<&str> {
    match &head.authority {
        Some(authority) => std::str::from_utf8(authority).ok(),
        None => head.headers.get(header::HOST)?.to_str().ok(),
    }
}

/// Whether an origin that takes `_` for `-`, as CGI has it, would take the field for one of ours, or for the
/// framing.
fn is_taken_for_ours(name: &HeaderName) -> bool {
    let taken_for = |ours: HeaderName| ours == *name.as_str().replace('_', "-");
    name.as_str().contains('_')
        && [
            X_FORWARDED_FOR,
            X_FORWARDED_PROTO,
            X_FORWARDED_HOST,
            X_REQUEST_ID,
            header::CONTENT_LENGTH,
            header::TRANSFER_ENCODING,
            header::HOST,
        ]
        .into_iter()
        .any(taken_for)
}

/// How the body goes upstream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Framing {
    /// There is none.
    None,
    /// By its length. A length of zero is said as it came: some origins ask for it on POST.
    Length(u64),
    /// In chunks, or however the protocol ends what has no length.
    Chunked,
    /// From here on bytes are passed both ways.
    Tunnel,
}

impl Framing {
    /// How the body of a request goes on; `done` when nothing of it is to come.
    pub(crate) fn of(head: &RequestHead, done: bool) -> Self {
        let length = content_length(&head.headers).ok().flatten();
        match (done, length) {
            _ if websocket::is_asked_for(head) => Self::Tunnel,
            (true, None) => Self::None,
            (true, Some(_)) => Self::Length(0),
            (false, Some(length)) => Self::Length(length),
            (false, None) => Self::Chunked,
        }
    }

    /// Whether there are bytes of a body to come.
    pub(crate) fn has_body(self) -> bool {
        match self {
            Self::None | Self::Length(0) | Self::Tunnel => false,
            Self::Length(_) | Self::Chunked => true,
        }
    }
}

/// What distinguishes the request that goes upstream from the one that came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Changes<'c> {
    pub(crate) host: &'c UpstreamHost,
    pub(crate) framing: Framing,
    /// What the footer needs of the answer.
    pub(crate) ask: Ask,
    pub(crate) scheme: &'static str,
}

/// The request as it goes upstream: what came, and what is changed about it.
pub(crate) struct UpstreamRequest<'r> {
    pub(crate) head: &'r RequestHead,
    pub(crate) changes: Changes<'r>,
    pub(crate) proxy_is_trusted: bool,
    pub(crate) request_id: IdText<'r>,
    /// Who opened the connection.
    pub(crate) opened_by: IpAddr,
}

impl UpstreamRequest<'_> {
    pub(crate) fn method(&self) -> &Method {
        &self.head.method
    }

    /// The target as it is sent, byte for byte.
    pub(crate) fn target(&self) -> &[u8] {
        &self.head.target
    }

    pub(crate) fn framing(&self) -> Framing {
        self.changes.framing
    }

    /// The key of a WebSocket handshake, where there is one.
    pub(crate) fn websocket_key(&self) -> Option<&HeaderValue> {
        self.head.headers.get(header::SEC_WEBSOCKET_KEY)
    }

    /// Whether the client takes fields behind a body (RFC 9110, 6.5.1).
    pub(crate) fn takes_trailers(&self) -> bool {
        has_token(&self.head.headers, &header::TE, "trailers")
    }

    /// As many fields as there will be about.
    pub(crate) fn expected_fields(&self) -> usize {
        self.head.headers.len() + 6
    }

    /// Every field but those of the framing, one after the other.
    pub(crate) fn fields(&self, mut emit: impl FnMut(&HeaderName, &[u8])) {
        let headers = &self.head.headers;
        let sent = authority(self.head).unwrap_or_default();
        match self.changes.host {
            UpstreamHost::Preserve => emit(&header::HOST, sent.as_bytes()),
            UpstreamHost::Fixed(host) => emit(&header::HOST, host.as_str().as_bytes()),
        }
        let nominated = nominated(headers);
        for (name, value) in headers {
            if !self.is_ours(name)
                && !is_hop_by_hop(name)
                && !is_taken_for_ours(name)
                && !nominated.contains(name)
            {
                emit(name, value.as_bytes());
            }
        }
        self.cookies(&mut emit);
        emit(&X_REQUEST_ID, self.request_id.as_bytes());
        self.forwarded_for(&mut emit);
        if !self.proxy_is_trusted || !headers.contains_key(X_FORWARDED_PROTO) {
            emit(&X_FORWARDED_PROTO, self.changes.scheme.as_bytes());
        }
        if !self.proxy_is_trusted || !headers.contains_key(X_FORWARDED_HOST) {
            emit(&X_FORWARDED_HOST, sent.as_bytes());
        }
        if self.changes.framing == Framing::Tunnel && self.websocket_key().is_none() {
            emit(&header::SEC_WEBSOCKET_KEY, websocket::new_key().as_bytes());
        }
        if self.changes.ask != Ask::AsSent {
            emit(&header::ACCEPT_ENCODING, b"identity");
        }
    }

    /// Whether a field is said in our own words, or not at all.
    fn is_ours(&self, name: &HeaderName) -> bool {
        *name == header::HOST
            || *name == header::COOKIE
            || *name == header::CONTENT_LENGTH
            || *name == header::EXPECT
            || (self.changes.ask != Ask::AsSent && *name == header::ACCEPT_ENCODING)
            || (self.changes.ask == Ask::Whole && (*name == header::RANGE || *name == header::IF_RANGE))
            || *name == X_FORWARDED_FOR
            || *name == X_REQUEST_ID
            || (!self.proxy_is_trusted && (*name == X_FORWARDED_PROTO || *name == X_FORWARDED_HOST))
    }

    /// A trusted proxy's list goes on with the proxy itself; any other begins with whoever opened the
    /// connection.
    fn forwarded_for(&self, emit: &mut impl FnMut(&HeaderName, &[u8])) {
        let text = AddressText::of(self.opened_by);
        if self.proxy_is_trusted {
            let sent: Vec<&[u8]> =
                self.head.headers.get_all(X_FORWARDED_FOR).iter().map(HeaderValue::as_bytes).collect();
            if !sent.is_empty() {
                let all: Vec<&[u8]> = sent.into_iter().chain([text.as_bytes()]).collect();
                return emit(&X_FORWARDED_FOR, &all.join(&b", "[..]));
            }
        }
        emit(&X_FORWARDED_FOR, text.as_bytes());
    }

    /// HTTP/2 may split it, HTTP/1 has one (RFC 9113, 8.2.3).
    fn cookies(&self, emit: &mut impl FnMut(&HeaderName, &[u8])) {
        let mut cookies = self.head.headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes);
        match (cookies.next(), cookies.next()) {
            (None, _) => {}
            (Some(cookie), None) => emit(&header::COOKIE, cookie),
            (Some(first), Some(second)) => {
                let all: Vec<&[u8]> = [first, second].into_iter().chain(cookies).collect();
                emit(&header::COOKIE, &all.join(&b"; "[..]));
            }
        }
    }
}

/// The text of an address, on the stack: every request has one.
struct AddressText {
    /// As long as an IPv6 address can be.
    bytes: [u8; 39],
    length: usize,
}

impl AddressText {
    fn of(address: IpAddr) -> Self {
        let mut text = Self { bytes: [0; 39], length: 0 };
        match address {
            IpAddr::V4(address) => {
                for (place, octet) in address.octets().into_iter().enumerate() {
                    if place > 0 {
                        text.append(b".");
                    }
                    let digits = [octet / 100, octet / 10 % 10, octet % 10].map(|digit| digit + b'0');
                    let leading = usize::from(octet < 100) + usize::from(octet < 10);
                    text.append(&digits[leading..]);
                }
            }
            IpAddr::V6(address) => text.append(address.to_string().as_bytes()),
        }
        text
    }

    fn append(&mut self, text: &[u8]) {
        if let Some(room) = self.bytes.get_mut(self.length..self.length + text.len()) {
            room.copy_from_slice(text);
            self.length += text.len();
        }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_everywhere() {
        for text in
            ["0.0.0.0", "9.10.99.100", "255.255.255.255", "::", "2001:db8:1111:2222:3333:4444:5555:6666"]
        {
            let written = AddressText::of(text.parse().expect("an address"));
            assert_eq!(written.as_bytes(), text.as_bytes());
        }
    }

    #[test]
    fn nominated_fields_concern_one_hop() {
        let mut headers = HeaderMap::new();
        for value in ["close, X-Secret", "upgrade"] {
            headers.append(header::CONNECTION, HeaderValue::from_static(value));
        }
        assert_eq!(nominated(&headers), ["x-secret"]);
    }
}
