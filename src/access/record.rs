//! The access record: one value per request or refused connection.
//!
//! A record owns or shares everything it names, except the texts of its request, which travel beside it
//! (`texts`). Query parameters are redacted before a record is made.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use http::Version;
use jiff::Timestamp;

use crate::access::request_id::{RequestId, RequestIds};
use crate::access::trace_id::TraceId;
use crate::gate::Refusal;
use crate::message::BadMessage;
use crate::origin::Region;
use crate::rewrite::FooterResult;

/// The kind of event that a record is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event {
    /// A request, whatever its outcome.
    Request,
    /// A connection that was refused before a byte was sent.
    Refused,
}

/// Why a connection, a request or a server's answer was refused.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Reason {
    /// The connection or the request.
    Refused(Refusal),
    /// The request came back to the edge that had sent it on.
    Loop,
    /// The client or the site had more requests than its limit.
    RateLimit,
    /// The body is larger than the site takes.
    MaxBody,
    /// The framing of HTTP/2 refused it before it was a request.
    Framing,
    /// The server's answer cannot be passed on.
    Answer(BadMessage),
}

impl Reason {
    /// The word for it in records.
    pub fn label(self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.label(),
            Self::Loop => "loop",
            Self::RateLimit => "rate_limit",
            Self::MaxBody => "max_body",
            Self::Framing => "http2_framing",
            Self::Answer(BadMessage::TooManyFields) => "answer_fields",
            Self::Answer(BadMessage::Length) => "answer_length",
            Self::Answer(BadMessage::Coding) => "answer_coding",
            Self::Answer(BadMessage::Chunk) => "answer_chunk",
            Self::Answer(BadMessage::Upgrade) => "answer_upgrade",
            Self::Answer(BadMessage::Syntax | BadMessage::Host | BadMessage::Target) => "answer_syntax",
        }
    }
}

impl From<Refusal> for Reason {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// One line of the access log. The store adds `seq`, `node` and the state of the clock.
#[derive(Clone, Debug)]
pub struct AccessRecord {
    /// When the exchange began, or the connection was refused.
    pub time: Timestamp,
    /// Request or refused connection.
    pub event: Event,
    /// Why it was refused.
    pub reason: Option<Reason>,
    /// How many events the record stands for: 1, except for refusals in a flood.
    pub count: u64,
    /// The connection.
    pub connection: Arc<ConnectionFacts>,
    /// The generation of the snapshot that decided.
    pub generation: u64,
    /// The request id.
    pub request_id: Option<RequestId>,
    /// The client address: the peer, or what a trusted proxy reported.
    pub client: SocketAddr,
    /// The host of the request.
    pub host: Option<Arc<str>>,
    /// The HTTP version; `None` if no HTTP was spoken.
    pub protocol: Option<Version>,
    /// The HTTP exchange; `None` for a refused connection.
    pub request: Option<RequestFacts>,
    /// The upstream, if the request had one.
    pub upstream: Option<UpstreamFacts>,
}

/// A gap: records are missing. It is recorded in its place among the others, so that the gap is signed like
/// them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Gap {
    /// When the gap ended.
    pub time: Timestamp,
    /// The earliest time that it may have begun.
    pub since: Timestamp,
    /// Why records are missing.
    pub reason: GapReason,
    /// How many exchanges and refusals have no record, if known.
    pub count: Option<u64>,
}

/// Records were deleted by their writer, past their retention or freed after they were confirmed elsewhere.
/// It is recorded, so that nobody else can delete records unnoticed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Expired {
    /// When they were deleted.
    pub time: Timestamp,
    /// The number of the first record that is left.
    pub before_seq: u64,
}

/// Why records are missing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GapReason {
    /// Exchanges were served while no record could be kept (`when_full: drop`).
    Dropped,
    /// Requests got 503 while no record could be kept (`when_full: refuse`).
    Refused,
    /// The program was killed or the power failed; the last records before that may be missing.
    UncleanStop,
    /// As [`GapReason::UncleanStop`], and an unfinished end of the store was cut off.
    TornTail,
    /// The store is shorter than its own checkpoint: somebody cut it.
    Shortened,
}

impl GapReason {
    /// The label in records.
    pub fn label(self) -> &'static str {
        match self {
            Self::Dropped => "dropped",
            Self::Refused => "refused",
            Self::UncleanStop => "unclean_stop",
            Self::TornTail => "torn_tail",
            Self::Shortened => "shortened",
        }
    }
}

/// The facts that all records of a client connection share.
#[derive(Debug)]
pub struct ConnectionFacts {
    /// Unique within the process.
    pub id: u64,
    /// The peer address.
    pub peer: SocketAddr,
    /// The local address.
    pub local: SocketAddr,
    /// The listener's name.
    pub listener: Arc<str>,
    /// The TLS server name, as far as it could be read.
    pub server_name: Option<Arc<str>>,
    /// `TLSv1.2` or `TLSv1.3`.
    pub tls_version: Option<&'static str>,
    /// The cipher suite's IANA name.
    pub tls_cipher: Option<&'static str>,
    /// Makes the ids of its requests.
    pub ids: RequestIds,
    /// The index of the connection in the block that the store writes.
    pub place: BlockPlace,
}

/// The index of a connection among those of a block. It is a hint that saves a search, and is verified before
/// use.
#[derive(Debug, Default)]
pub struct BlockPlace(pub(crate) AtomicU32);

/// The facts of an HTTP exchange that did not come from the client.
#[derive(Clone, Debug, Default)]
pub struct RequestFacts {
    /// The response status; `None` if the exchange ended before a response.
    pub status: Option<u16>,
    /// Request body bytes read.
    pub bytes_in: u64,
    /// Response body bytes written.
    pub bytes_out: u64,
    /// From the request head to the end of the exchange.
    pub duration: Duration,
    /// The site that served it.
    pub site: Option<Arc<str>>,
    /// The number of the filing.
    pub icp_number: Option<Arc<str>>,
    /// The result for the footer, if the page was chosen for one.
    pub footer: Option<FooterResult>,
    /// What the edge cache did; `None` on a site without it.
    pub cache: Option<CacheResult>,
    /// The trace that the client says it belongs to.
    pub trace_id: Option<TraceId>,
}

/// What the edge cache did for a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CacheResult {
    /// Answered from the cache, without the origin.
    Hit,
    /// Answered from the cache, though stale.
    Stale,
    /// Answered from the cache, after the origin confirmed it.
    Revalidated,
    /// Looked up, and answered by the origin.
    Miss,
    /// Not looked up: by its method, its route or its credentials.
    Bypass,
}

impl CacheResult {
    /// Every result.
    pub const ALL: [Self; 5] = [Self::Hit, Self::Stale, Self::Revalidated, Self::Miss, Self::Bypass];

    /// The word in metrics and records.
    pub fn label(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Revalidated => "revalidated",
            Self::Miss => "miss",
            Self::Bypass => "bypass",
        }
    }

    /// Whether the body came from the cache.
    pub fn is_from_cache(self) -> bool {
        matches!(self, Self::Hit | Self::Stale | Self::Revalidated)
    }
}

/// The upstream that a request went to, or would have gone to.
#[derive(Clone, Debug)]
pub struct UpstreamFacts {
    /// The server and the connection to it.
    pub server: Arc<ServerFacts>,
    /// The status that the server sent.
    pub status: Option<u16>,
    /// From the first byte sent to the first byte received.
    pub first_byte: Option<Duration>,
}

/// The facts that all requests over one upstream connection share.
#[derive(Clone, Debug)]
pub struct ServerFacts {
    /// The origin's name.
    pub origin: Arc<str>,
    /// The region of the origin.
    pub region: Region,
    /// The label of the link.
    pub link: Arc<str>,
    /// The server address, or [`UNKNOWN_ADDRESS`].
    pub address: SocketAddr,
    /// The local address of the connection, if there was one.
    pub local: Option<SocketAddr>,
}

/// The address recorded for a server whose name could not be resolved or connected to.
pub const UNKNOWN_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// The label of an HTTP version in records, as in ALPN.
pub fn protocol_label(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "http/1.0",
        Version::HTTP_2 => "h2",
        _ => "http/1.1",
    }
}
