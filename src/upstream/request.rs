//! The request as it is sent to a server.
//!
//! It is framed anew, and hop-by-hop fields are removed (RFC 9110, 7.6.1). Forwarding headers of a client are
//! replaced, unless it is a trusted proxy.

use std::net::IpAddr;

use http::header::{self, HeaderName};
use http::{HeaderValue, Method};

use super::loops::CDN_LOOP;
use crate::access::fields::IdText;
use crate::cache::Validators;
use crate::message::fields::{content_length, has_token};
use crate::message::hop_by_hop::{Nominated, is_hop_by_hop};
use crate::message::{RequestHead, websocket};
use crate::origin::UpstreamHost;
use crate::rewrite::Ask;
use crate::route::ReadyEdits;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Whether a server that maps `_` to `-`, as CGI does, would take the field for one that this edge sets, or
/// for framing.
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

/// A condition of a request, or the range that it is about (RFC 9110, 13.1 and 14.2).
fn is_condition(name: &HeaderName) -> bool {
    const CONDITIONS: [HeaderName; 6] = [
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_UNMODIFIED_SINCE,
        header::IF_RANGE,
        header::RANGE,
    ];
    CONDITIONS.contains(name)
}

/// How the body is framed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum BodyFraming {
    None,
    /// By its length. Zero is sent if the client sent it: some servers require it on POST.
    Length(u64),
    /// Without a known length: in chunks, or by END_STREAM.
    Chunked,
    /// An upgraded connection: bytes pass in both directions.
    Tunnel,
}

impl BodyFraming {
    /// The framing of a request's body; `done` if no byte of it is left.
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

    pub(crate) fn has_body(self) -> bool {
        match self {
            Self::None | Self::Length(0) | Self::Tunnel => false,
            Self::Length(_) | Self::Chunked => true,
        }
    }
}

/// How the request differs from the client's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadEdits<'c> {
    pub(crate) host: &'c UpstreamHost,
    pub(crate) framing: BodyFraming,
    /// What the footer requires of the response.
    pub(crate) ask: Ask,
    /// The `accept-encoding` of a request that does not go as the client sent it.
    pub(crate) codings: &'static str,
    pub(crate) scheme: &'static str,
    /// What this edge adds to `cdn-loop`.
    pub(crate) loop_id: &'c str,
    /// The target in place of the client's.
    pub(crate) target: Option<&'c [u8]>,
    /// The route's edits of fields.
    pub(crate) fields: Option<&'c ReadyEdits>,
    /// What the request revalidates, in place of the client's own conditions and range.
    pub(crate) validators: Option<&'c Validators>,
}

/// The client's request with the edits for a server.
pub(crate) struct UpstreamRequest<'r> {
    pub(crate) head: &'r RequestHead,
    pub(crate) edits: HeadEdits<'r>,
    pub(crate) proxy_is_trusted: bool,
    pub(crate) request_id: IdText<'r>,
    /// The connection's client.
    pub(crate) opened_by: IpAddr,
}

impl UpstreamRequest<'_> {
    pub(crate) fn method(&self) -> &Method {
        &self.head.method
    }

    pub(crate) fn target(&self) -> &[u8] {
        self.edits.target.unwrap_or(&self.head.target)
    }

    pub(crate) fn framing(&self) -> BodyFraming {
        self.edits.framing
    }

    pub(crate) fn websocket_key(&self) -> Option<&HeaderValue> {
        self.head.headers.get(header::SEC_WEBSOCKET_KEY)
    }

    /// Whether the client accepts trailers (RFC 9110, 6.5.1).
    pub(crate) fn takes_trailers(&self) -> bool {
        has_token(&self.head.headers, &header::TE, "trailers")
    }

    pub(crate) fn expected_fields(&self) -> usize {
        self.head.headers.len() + 7
    }

    /// Calls `emit` for every field but those of the framing.
    pub(crate) fn fields(&self, mut emit: impl FnMut(&HeaderName, &[u8])) {
        let headers = &self.head.headers;
        let sent = self.head.authority().unwrap_or_default();
        match self.edits.host {
            UpstreamHost::Preserve => emit(&header::HOST, sent),
            UpstreamHost::Fixed(host) => emit(&header::HOST, host.as_str().as_bytes()),
        }
        let nominated = Nominated::of(headers).among(headers);
        for (name, value) in headers {
            if !self.is_ours(name)
                && !is_hop_by_hop(name)
                && !is_taken_for_ours(name)
                && !nominated.contains(name)
                && !self.is_edited(name)
            {
                emit(name, value.as_bytes());
            }
        }
        if !self.is_edited(&header::COOKIE) {
            self.cookies(&mut emit);
        }
        for (name, value) in self.edits.fields.into_iter().flat_map(ReadyEdits::set) {
            emit(name, value.as_bytes());
        }
        emit(&X_REQUEST_ID, self.request_id.as_bytes());
        self.forwarded_for(&mut emit);
        self.cdn_loop(&mut emit);
        if !self.proxy_is_trusted || !headers.contains_key(X_FORWARDED_PROTO) {
            emit(&X_FORWARDED_PROTO, self.edits.scheme.as_bytes());
        }
        if !self.proxy_is_trusted || !headers.contains_key(X_FORWARDED_HOST) {
            emit(&X_FORWARDED_HOST, sent);
        }
        if self.edits.framing == BodyFraming::Tunnel && self.websocket_key().is_none() {
            emit(&header::SEC_WEBSOCKET_KEY, websocket::new_key().as_bytes());
        }
        if self.edits.ask != Ask::AsSent {
            emit(&header::ACCEPT_ENCODING, self.edits.codings.as_bytes());
        }
        if let Some(validators) = self.edits.validators {
            if let Some(etag) = &validators.etag {
                emit(&header::IF_NONE_MATCH, etag.as_bytes());
            }
            if let Some(changed) = &validators.last_modified {
                emit(&header::IF_MODIFIED_SINCE, changed.as_bytes());
            }
        }
    }

    /// Whether the route sets or removes the field.
    fn is_edited(&self, name: &HeaderName) -> bool {
        self.edits.fields.is_some_and(|edits| edits.replaces(name))
    }

    /// Whether this edge sets or drops the field itself.
    fn is_ours(&self, name: &HeaderName) -> bool {
        *name == header::HOST
            || *name == header::COOKIE
            || *name == header::CONTENT_LENGTH
            || *name == header::EXPECT
            || (self.edits.ask != Ask::AsSent && *name == header::ACCEPT_ENCODING)
            || (self.edits.validators.is_some() && is_condition(name))
            || (self.edits.ask == Ask::Whole && (*name == header::RANGE || *name == header::IF_RANGE))
            || *name == X_FORWARDED_FOR
            || *name == X_REQUEST_ID
            || *name == CDN_LOOP
            || (!self.proxy_is_trusted && (*name == X_FORWARDED_PROTO || *name == X_FORWARDED_HOST))
    }

    /// Appends to a trusted proxy's list; otherwise starts a new list with the connection's client.
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

    /// Appends this edge's id (RFC 8586).
    fn cdn_loop(&self, emit: &mut impl FnMut(&HeaderName, &[u8])) {
        let id = self.edits.loop_id.as_bytes();
        let headers = &self.head.headers;
        if !headers.contains_key(CDN_LOOP) {
            return emit(&CDN_LOOP, id);
        }
        let sent = headers.get_all(CDN_LOOP).iter().map(HeaderValue::as_bytes);
        let all: Vec<&[u8]> = sent.chain([id]).collect();
        emit(&CDN_LOOP, &all.join(&b", "[..]));
    }

    /// HTTP/2 may split cookies over several fields, HTTP/1 has one (RFC 9113, 8.2.3).
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

/// An address as text, on the stack: every request needs one.
struct AddressText {
    /// The longest text of an IPv6 address.
    bytes: [u8; 39],
    length: usize,
}

impl AddressText {
    fn of(address: IpAddr) -> Self {
        let mut text = Self { bytes: [0; 39], length: 0 };
        match address {
            IpAddr::V4(address) => {
                for (index, octet) in address.octets().into_iter().enumerate() {
                    if index > 0 {
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
}
