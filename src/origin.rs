//! Origins: named groups of upstream servers, each in one region.
//!
//! Which server is tried next is [`balance`]'s answer, by its [`load`]; whether a server may be tried
//! is [`health`]'s. None of them knows a socket.

pub mod balance;
pub mod first_bytes;
pub mod health;
pub mod links;
pub mod load;
pub mod metered;
pub mod path;
mod recent;
pub mod retry;
pub mod ring;
pub mod timing;

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use crate::hostname::Hostname;

pub use links::Links;
pub use metered::Metered;
pub use retry::Retries;

/// An origin's place in the configuration.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct OriginId(pub usize);

/// A named group of upstream servers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Origin {
    /// In metrics and records.
    pub name: Arc<str>,
    /// Which side of the border its servers are on.
    pub region: Region,
    /// How its servers are spoken to.
    pub scheme: Scheme,
    /// In the order of the configuration; never empty.
    pub servers: Vec<Server>,
    /// How long its servers may take.
    pub timeouts: Timeouts,
    /// The `host` that is sent to it.
    pub host: UpstreamHost,
    /// Whether a connection begins with who the client is.
    pub proxy_protocol: ProxyProtocol,
    /// How often requests may be sent again.
    pub retries: Retries,
    /// What its servers are asked all the time, to see whether they are well.
    pub health: Option<HealthCheck>,
    /// When a request that waits for its answer is sent to another server too.
    pub hedge_after: Option<HedgeAfter>,
    /// Those of its links that cost more than the others.
    pub metered: Vec<(Arc<str>, Metered)>,
    /// How a server is chosen among those that are up.
    pub balance: Balance,
    /// The most requests that one of its servers has at once, those that wait for a connection to it
    /// included.
    pub max_in_flight: u32,
    /// How connections to them are kept.
    pub pool: Pool,
    /// How connections to them share the way with others; `None` as the system does.
    pub congestion: Option<Arc<str>>,
}

/// How a server is chosen among those that are up.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Balance {
    /// By turns and load.
    #[default]
    LeastLoaded,
    /// By a value of the request: the same server while it is up.
    Hash(HashKey),
}

/// The value that chooses a server. A request without it goes to the less loaded one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HashKey {
    /// The client's address, as records show it; the /64 of an IPv6 address.
    Client,
    /// The value of a cookie.
    Cookie(String),
    /// The first field of this name.
    Header(HeaderName),
}

/// When a request is sent a second time, because the first answer takes long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HedgeAfter {
    /// When it takes longer than nineteen in twenty did of late.
    P95,
    /// After this long.
    Time(Duration),
}

/// What is done all the time to see whether a server is well.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HealthCheck {
    /// What it has to do.
    pub probe: Probe,
    /// From one check to the next, and the most that one may take.
    pub interval: Duration,
}

/// What a server that is well does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Probe {
    /// It takes a connection, with TLS where its origin speaks that.
    Tcp,
    /// It answers a request.
    Http {
        /// The path asked for.
        path: String,
        /// With a status of one of these.
        expect: Vec<RangeInclusive<u16>>,
    },
}

/// How connections to servers are kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pool {
    /// The most that are kept for the next request, to one server.
    pub max_idle: usize,
    /// So many are made before anybody asks, to one server.
    pub preconnect: usize,
}

impl Default for Pool {
    fn default() -> Self {
        Self { max_idle: 256, preconnect: 0 }
    }
}

/// One upstream server.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Server {
    /// Its name or address.
    pub host: ServerHost,
    /// Its port.
    pub port: u16,
    /// Its share of the requests, beside the other servers' weights.
    pub weight: u32,
    /// Whether it serves only while no other server of its origin can.
    pub backup: bool,
    /// The label of the link that leads there.
    pub link: Arc<str>,
}

/// Where a server is found.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum ServerHost {
    /// At this address.
    Address(std::net::IpAddr),
    /// Wherever this name leads.
    Name(Hostname),
}

impl Server {
    /// Its address, where that is configured.
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.host {
            ServerHost::Address(address) => Some(SocketAddr::new(*address, self.port)),
            ServerHost::Name(_) => None,
        }
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.host {
            ServerHost::Address(address) => std::net::SocketAddr::new(*address, self.port).fmt(f),
            ServerHost::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

/// How servers are spoken to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Scheme {
    /// HTTP/1.1 in clear text.
    Http,
    /// HTTP/2 in clear text, known beforehand.
    H2c,
    /// HTTP/2 or HTTP/1.1 over TLS, as negotiated; always verified.
    Https {
        /// The name sent and verified.
        server_name: Hostname,
        /// PEM roots to trust instead of the system's.
        trust: Option<PathBuf>,
    },
}

impl Scheme {
    /// The word for it in URIs.
    pub fn uri(&self) -> http::uri::Scheme {
        match self {
            Self::Http | Self::H2c => http::uri::Scheme::HTTP,
            Self::Https { .. } => http::uri::Scheme::HTTPS,
        }
    }
}

/// Which side of the border.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Region {
    /// Mainland China, without Hong Kong, Macau and Taiwan.
    Mainland,
    /// Everywhere else.
    Offshore,
}

impl Region {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Mainland, Self::Offshore];

    /// The word for it in configuration, records and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Mainland => "mainland",
            Self::Offshore => "offshore",
        }
    }
}

/// How long a server may take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timeouts {
    /// To accept a connection, TLS included.
    pub connect: Duration,
    /// From the request sent to the first byte of the answer.
    pub first_byte: Duration,
    /// Between two reads of an answer, and of a connection kept for the next request.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            first_byte: Duration::from_secs(30),
            idle: Duration::from_secs(60),
        }
    }
}

/// The `host` that is sent upstream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum UpstreamHost {
    /// What the client sent.
    Preserve,
    /// Always this.
    Fixed(Hostname),
}

/// Whether a connection begins with who the client is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ProxyProtocol {
    /// It does not.
    #[default]
    None,
    /// With a header of the PROXY protocol, version 2.
    V2,
}

/// The label of a server's link where none is given.
pub const DEFAULT_LINK: &str = "default";
