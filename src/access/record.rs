//! The access record: one value per request or refused connection.
//!
//! A record owns or shares everything that it names, but for the texts of its request: those go with it,
//! and query parameters are redacted before.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use http::Version;
use jiff::Timestamp;

use crate::access::request_id::{RequestId, RequestIds};
use crate::gate::Refusal;
use crate::origin::Region;
use crate::rewrite::FooterResult;

/// What the record is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event {
    /// An HTTP exchange, whatever its outcome.
    Request,
    /// A connection that was refused before any byte was answered.
    Refused,
}

/// One line of the access log. `seq` and `clock_synchronized` are added by the store.
#[derive(Clone, Debug)]
pub struct AccessRecord {
    /// When the exchange began, or the connection was refused.
    pub time: Timestamp,
    /// A request, or a refused connection.
    pub event: Event,
    /// Why it was refused, if it was.
    pub reason: Option<Refusal>,
    /// How many alike it stands for: one, but for refusals in a flood.
    pub count: u64,
    /// Facts of the connection.
    pub connection: Arc<ConnectionFacts>,
    /// The generation of the snapshot that judged it.
    pub generation: u64,
    /// The id given to the exchange.
    pub request_id: Option<RequestId>,
    /// Who the client is: the peer, or what a trusted proxy said.
    pub client: SocketAddr,
    /// The host of the request.
    pub host: Option<Arc<str>>,
    /// The HTTP spoken; absent where none was.
    pub protocol: Option<Version>,
    /// Facts of the HTTP exchange; absent for a refused connection.
    pub request: Option<RequestFacts>,
    /// Where the request was sent, if it was.
    pub upstream: Option<UpstreamFacts>,
}

/// Records that are missing: kept among the others, in their order, so that it can be proved.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Gap {
    /// When it was over.
    pub time: Timestamp,
    /// When it may have begun.
    pub since: Timestamp,
    /// Why there are none.
    pub reason: GapReason,
    /// How many exchanges and refusals have none, where that is known.
    pub count: Option<u64>,
}

/// Records that were deleted because they were past their retention: kept too, so that nobody can
/// delete others and say the same.
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
    /// Exchanges were served while nothing could be kept, as `when_full: drop` asks.
    Dropped,
    /// Requests got 503 while nothing could be kept, as `when_full: refuse` asks.
    Refused,
    /// The program was killed or the power failed; what had ended just before may be missing.
    UncleanStop,
    /// The same, and an unfinished end of the store was cut off.
    TornTail,
    /// The store is shorter than a checkpoint of its own says: somebody cut it.
    Shortened,
}

impl GapReason {
    /// The word for it in records.
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

/// What is the same for every record of a connection.
#[derive(Debug)]
pub struct ConnectionFacts {
    /// Unique within the process.
    pub id: u64,
    /// The other end of the socket.
    pub peer: SocketAddr,
    /// This end of the socket.
    pub local: SocketAddr,
    /// The listener's name.
    pub listener: Arc<str>,
    /// The TLS server name, or what could be read of it.
    pub server_name: Option<Arc<str>>,
    /// `TLSv1.2` or `TLSv1.3`.
    pub tls_version: Option<&'static str>,
    /// The cipher suite's IANA name.
    pub tls_cipher: Option<&'static str>,
    /// The ids of its exchanges.
    pub ids: RequestIds,
    /// Where the store has it in the block that it writes.
    pub place: BlockPlace,
}

/// Where a connection stands among those of a block: a guess, which spares a search.
#[derive(Debug, Default)]
pub struct BlockPlace(pub(crate) AtomicU32);

/// What is known of an HTTP exchange, besides what the client sent.
#[derive(Clone, Debug, Default)]
pub struct RequestFacts {
    /// The status answered; absent when the exchange was cut before an answer.
    pub status: Option<u16>,
    /// Request body bytes read.
    pub bytes_in: u64,
    /// Response body bytes written.
    pub bytes_out: u64,
    /// From the request's head to the end of the exchange.
    pub duration: Duration,
    /// The site that served it.
    pub site: Option<Arc<str>>,
    /// The filing's number.
    pub icp_number: Option<Arc<str>>,
    /// What became of the footer, if it is a page that was chosen for it.
    pub footer: Option<FooterResult>,
}

/// Where a request went, or was to go.
#[derive(Clone, Debug)]
pub struct UpstreamFacts {
    /// The server, and the connection to it, if one came about.
    pub server: Arc<ServerFacts>,
    /// The status that it answered.
    pub status: Option<u16>,
    /// From the first byte sent to the first byte of its answer.
    pub first_byte: Option<Duration>,
}

/// What is the same for every request over a connection to a server.
#[derive(Clone, Debug)]
pub struct ServerFacts {
    /// The origin's name.
    pub origin: Arc<str>,
    /// Where the origin is.
    pub region: Region,
    /// The link's label.
    pub link: Arc<str>,
    /// The server's address, or [`UNKNOWN_ADDRESS`].
    pub address: SocketAddr,
    /// This end of the connection.
    pub local: Option<SocketAddr>,
}

/// What stands for the address of a server that has a name and could not be connected to.
pub const UNKNOWN_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// The word for an HTTP version in records: that of ALPN.
pub fn protocol_label(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "http/1.0",
        Version::HTTP_2 => "h2",
        _ => "http/1.1",
    }
}
