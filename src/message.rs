//! HTTP/1.1 messages: heads, how bodies are framed, and bodies (RFC 9112).
//!
//! Bytes in, values out: nothing here knows a socket. What two readers could take for different
//! messages is none: a message is read in one way, or refused.

pub mod body;
pub mod encode;
pub mod fields;
pub mod hop_by_hop;
pub mod interim;
mod repair;
pub mod request;
pub mod response;
pub mod trailers;
pub mod websocket;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};

/// The most fields that a request may have, over either protocol; each part of a split cookie is one.
pub const REQUEST_FIELDS: usize = 128;
/// The most fields that a response may have, over either protocol.
pub const RESPONSE_FIELDS: usize = 256;

/// The head of a request, whatever protocol it came over.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// Path and query as they were sent, or `*`; never empty.
    pub target: Bytes,
    /// The authority of a target in absolute form, or of HTTP/2; that of HTTP/1 is in `host` otherwise.
    pub authority: Option<Bytes>,
    /// What the client speaks.
    pub version: Version,
    /// The fields.
    pub headers: HeaderMap,
}

impl RequestHead {
    /// The target without its query.
    pub fn path(&self) -> &[u8] {
        self.target.split(|byte| *byte == b'?').next().unwrap_or_default()
    }

    /// The authority as the client sent it: that of the target, or else of the first `host` field.
    pub fn authority(&self) -> Option<&[u8]> {
        match &self.authority {
            Some(authority) => Some(authority),
            None => self.headers.get(HOST).map(HeaderValue::as_bytes),
        }
    }

    /// Whether it lacks the `host` field, which HTTP/1.1 demands (RFC 9112, 3.2).
    pub fn lacks_host(&self) -> bool {
        self.version == Version::HTTP_11 && !self.headers.contains_key(HOST)
    }
}

/// The head of a response.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// The status.
    pub status: StatusCode,
    /// What the server speaks.
    pub version: Version,
    /// The fields.
    pub headers: HeaderMap,
}

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Framing {
    /// There is no body.
    None,
    /// It has so many bytes.
    Length(u64),
    /// It comes in chunks, the last of which is empty.
    Chunked,
    /// It ends with the connection.
    UntilClose,
}

/// What the sides have agreed on for the connection after a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Persistence {
    /// It goes on.
    Kept,
    /// It ends with the message.
    Closed,
}

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
pub enum BadMessage {
    /// Start line or fields do not have their form.
    #[error("it is no head of HTTP/1.1")]
    Syntax,
    /// There are more fields than are read.
    #[error("it has too many fields")]
    TooManyFields,
    /// A length that is no number, or more than one.
    #[error("its content-length is no one number")]
    Length,
    /// A coding other than chunked alone, or one beside a length.
    #[error("its transfer-encoding is not chunked alone")]
    Coding,
    /// More than one host, or one that is not the target's.
    #[error("it names more than one host")]
    Host,
    /// A target of no known form (RFC 9112, 3.2).
    #[error("its target has no known form")]
    Target,
    /// Chunks that do not have their form.
    #[error("its chunks have no known form")]
    Chunk,
    /// 101 for a request that asked for no other protocol.
    #[error("it switches protocols, which the request did not ask for")]
    Upgrade,
}
