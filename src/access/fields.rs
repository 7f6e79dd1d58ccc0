//! The fields of a kept record, as they are read back: borrowed from the bytes that hold them.

use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;

use jiff::Timestamp;

/// A record, as it is exported. A text that does not apply is empty.
#[derive(Clone, Debug)]
pub struct Fields<'r> {
    /// Its number within the store.
    pub seq: u64,
    /// When the exchange began, or the connection was refused; of a gap, when it was over.
    pub time: Timestamp,
    /// The edge's name.
    pub node: &'r str,
    /// How well its time is known.
    pub clock: ClockState,
    /// What it is about.
    pub detail: Detail<'r>,
}

/// What the kernel knows of the clock.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ClockState {
    /// Whether it is known to follow a time source.
    pub synchronized: bool,
    /// By how much it is off that source, as far as known, in microseconds.
    pub offset_us: i64,
}

impl ClockState {
    /// Whether a record should tell them apart: its times are in milliseconds.
    pub fn differs(self, other: Self) -> bool {
        self.synchronized != other.synchronized || self.offset_us.abs_diff(other.offset_us) >= 1_000
    }
}

/// What a record is about.
#[derive(Clone, Debug)]
pub enum Detail<'r> {
    /// A request or a refused connection.
    Exchange(Box<Exchange<'r>>),
    /// Records that are missing.
    Gap {
        /// Why.
        reason: &'r str,
        /// When it may have begun.
        since: Timestamp,
        /// How many, where that is known.
        count: Option<u64>,
    },
    /// Records that were deleted.
    Expired {
        /// The number of the first that is left.
        before_seq: u64,
    },
}

/// A request or a refused connection.
#[derive(Clone, Debug, Default)]
pub struct Exchange<'r> {
    /// Whether it is a refused connection.
    pub refused: bool,
    /// The refusal's label.
    pub reason: &'r str,
    /// The generation of the snapshot that judged it.
    pub generation: u64,
    /// Who it was; none where it stands for many.
    pub client: Option<Client>,
    /// This end of the socket.
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
    /// The host.
    pub host: &'r str,
    /// The id given to the exchange.
    pub request_id: IdText<'r>,
    /// What is known of the exchange.
    pub request: Option<Request<'r>>,
    /// Where it was sent.
    pub upstream: Option<Upstream<'r>>,
    /// How many alike it stands for.
    pub count: Option<u64>,
}

/// Whose exchange it was.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// The connection, unique within a process.
    pub connection: u64,
    /// The other end of the socket.
    pub peer: SocketAddr,
    /// Who is behind it.
    pub client: SocketAddr,
}

/// The id of an exchange, as a text.
#[derive(Clone, Copy, Debug, Default)]
pub enum IdText<'r> {
    /// It has none.
    #[default]
    None,
    /// One of our own.
    Own([u8; 32]),
    /// A trusted proxy's.
    Given(&'r str),
}

/// What is known of an HTTP exchange.
#[derive(Clone, Debug, Default)]
pub struct Request<'r> {
    /// The method.
    pub method: &'r str,
    /// The path.
    pub path: &'r str,
    /// The query, redacted.
    pub query: &'r str,
    /// The status answered.
    pub status: Option<u16>,
    /// Request body bytes.
    pub bytes_in: u64,
    /// Response body bytes.
    pub bytes_out: u64,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// The `referer` header.
    pub referer: &'r str,
    /// The `user-agent` header.
    pub user_agent: &'r str,
    /// The site.
    pub site: &'r str,
    /// The filing's number.
    pub icp_number: &'r str,
    /// What became of the footer.
    pub footer: &'r str,
}

/// Where a request went, or was to go.
#[derive(Clone, Debug)]
pub struct Upstream<'r> {
    /// The origin.
    pub origin: &'r str,
    /// Its region.
    pub region: &'r str,
    /// The link's label.
    pub link: &'r str,
    /// The server, where its address is known.
    pub address: Option<SocketAddr>,
    /// This end of the connection to it.
    pub local: Option<SocketAddr>,
    /// The status that it answered.
    pub status: Option<u16>,
    /// How long its first byte took, in microseconds.
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
    /// The host that it is about: the request's, or else the server name.
    pub fn name(&self) -> &'r str {
        match &self.detail {
            Detail::Exchange(exchange) if exchange.host.is_empty() => exchange.server_name,
            Detail::Exchange(exchange) => exchange.host,
            Detail::Gap { .. } | Detail::Expired { .. } => "",
        }
    }

    /// The client's address, IPv4 as such.
    pub fn client_ip(&self) -> Option<IpAddr> {
        let Detail::Exchange(exchange) = &self.detail else { return None };
        exchange.client.map(|client| client.client.ip().to_canonical())
    }
}
