//! The fields of a stored record, borrowed from the bytes that hold them.

use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;

use jiff::Timestamp;

use crate::access::trace_id::TraceId;

/// A record as it is exported. A text that does not apply is empty.
#[derive(Clone, Debug)]
pub struct Fields<'r> {
    /// Its number within the store, from 1.
    pub seq: u64,
    /// When the exchange began or the connection was refused; for a gap, when it ended.
    pub time: Timestamp,
    /// The name of the edge.
    pub node: &'r str,
    /// How accurate its time is.
    pub clock: ClockState,
    /// What the record is about.
    pub detail: Detail<'r>,
}

/// What the kernel says about the clock.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ClockState {
    /// Whether the clock follows a time source.
    pub synchronized: bool,
    /// The known offset from that source, in microseconds.
    pub offset_us: i64,
}

impl ClockState {
    /// Whether the difference shows in a record: their times are in milliseconds.
    pub fn differs(self, other: Self) -> bool {
        self.synchronized != other.synchronized || self.offset_us.abs_diff(other.offset_us) >= 1_000
    }
}

/// What a record is about.
#[derive(Clone, Debug)]
pub enum Detail<'r> {
    /// A request or a refused connection.
    Exchange(Box<Exchange<'r>>),
    /// Records are missing.
    Gap {
        /// The label of the reason.
        reason: &'r str,
        /// The earliest time that the gap may have begun.
        since: Timestamp,
        /// How many are missing, if known.
        count: Option<u64>,
    },
    /// Records were deleted.
    Expired {
        /// The number of the first record that is left.
        before_seq: u64,
    },
}

/// A request or a refused connection.
#[derive(Clone, Debug, Default)]
pub struct Exchange<'r> {
    /// Whether this is a refused connection.
    pub refused: bool,
    /// The label of the refusal.
    pub reason: &'r str,
    /// The generation of the snapshot that decided.
    pub generation: u64,
    /// The client; `None` if the record stands for many clients.
    pub client: Option<Client>,
    /// The local address.
    pub local: Option<SocketAddr>,
    /// The listener.
    pub listener: &'r str,
    /// The protocol spoken.
    pub protocol: &'r str,
    /// The TLS version.
    pub tls_version: &'r str,
    /// The cipher suite.
    pub tls_cipher: &'r str,
    /// The TLS server name.
    pub server_name: &'r str,
    /// The host requested.
    pub host: &'r str,
    /// The request id.
    pub request_id: IdText<'r>,
    /// The HTTP request; `None` for a refused connection.
    pub request: Option<Request<'r>>,
    /// The upstream, if there was one.
    pub upstream: Option<Upstream<'r>>,
    /// How many refusals the record stands for.
    pub count: Option<u64>,
    /// Whether texts are shortened because the client was beyond its budget of record bytes.
    pub truncated: bool,
}

/// The client of an exchange.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// The connection id, unique within a process.
    pub connection: u64,
    /// The peer address.
    pub peer: SocketAddr,
    /// The client address: the peer, or what a trusted proxy reported.
    pub client: SocketAddr,
}

/// A request id as text.
#[derive(Clone, Copy, Debug, Default)]
pub enum IdText<'r> {
    /// No id.
    #[default]
    None,
    /// One that this edge made.
    Own([u8; 32]),
    /// One that a trusted proxy sent.
    Given(&'r str),
}

/// An HTTP request and its response.
#[derive(Clone, Debug, Default)]
pub struct Request<'r> {
    /// The method.
    pub method: &'r str,
    /// The path.
    pub path: &'r str,
    /// The query, redacted.
    pub query: &'r str,
    /// The response status.
    pub status: Option<u16>,
    /// Request body bytes.
    pub bytes_in: u64,
    /// Response body bytes.
    pub bytes_out: u64,
    /// The duration in microseconds.
    pub duration_us: u64,
    /// The `referer` header.
    pub referer: &'r str,
    /// The `user-agent` header.
    pub user_agent: &'r str,
    /// The site.
    pub site: &'r str,
    /// The filing's number.
    pub icp_number: &'r str,
    /// The result for the footer.
    pub footer: &'r str,
    /// What the edge cache did.
    pub cache: &'r str,
    /// The trace that it belongs to.
    pub trace_id: Option<TraceId>,
}

/// The upstream that a request went to, or would have gone to.
#[derive(Clone, Debug)]
pub struct Upstream<'r> {
    /// The origin.
    pub origin: &'r str,
    /// Its region.
    pub region: &'r str,
    /// The label of the link.
    pub link: &'r str,
    /// The server address, if known.
    pub address: Option<SocketAddr>,
    /// The local address of the connection to the server.
    pub local: Option<SocketAddr>,
    /// The status that the server sent.
    pub status: Option<u16>,
    /// The time to the first byte, in microseconds.
    pub first_byte_us: Option<u64>,
}

impl Deref for IdText<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::None => "",
            Self::Own(id) => std::str::from_utf8(id).unwrap_or_default(),
            Self::Given(id) => id,
        }
    }
}

impl<'r> Fields<'r> {
    /// The host of the request, or else the TLS server name.
    pub fn name(&self) -> &'r str {
        match &self.detail {
            Detail::Exchange(exchange) if exchange.host.is_empty() => exchange.server_name,
            Detail::Exchange(exchange) => exchange.host,
            Detail::Gap { .. } | Detail::Expired { .. } => "",
        }
    }

    /// The client IP address; a mapped IPv4 address is given as IPv4.
    pub fn client_ip(&self) -> Option<IpAddr> {
        let Detail::Exchange(exchange) = &self.detail else { return None };
        exchange.client.map(|client| client.client.ip().to_canonical())
    }
}
