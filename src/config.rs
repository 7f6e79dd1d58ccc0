//! The configuration as the program uses it: typed, valid, with every default filled in.
//!
//! `load` turns a file into a [`Config`] or into problems, all of them at once. What it returns
//! needs no further checks; what lies in other files (allowlist, certificates) is read when a
//! snapshot is built.

mod convert;
pub mod credentials;
mod file;
pub mod filings;
mod findings;
mod load;
mod lookalike;
mod named_files;
mod node;
mod plain;
pub mod problem;
mod reader;
pub mod regions;
pub mod report;
mod schema;
pub mod sinks;
mod suggest;
#[cfg(test)]
mod tests;
mod units;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::gate::ListenerId;
use crate::hostname::HostPattern;
use crate::origin::Origin;
use crate::rewrite::FooterPages;
use crate::route::Routes;

pub use file::Unreadable;
pub use load::{load, parse};
pub use named_files::NamedFiles;
pub use problem::Loaded;
pub(crate) use schema::has_key;

/// What an operator configured.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file that it came from.
    pub file: PathBuf,
    /// This edge's name in records and metrics.
    pub node: Arc<str>,
    /// The allowlist.
    pub filings: PathBuf,
    /// By [`ListenerId`].
    pub listeners: Vec<Arc<Listener>>,
    /// By [`crate::gate::SiteId`].
    pub sites: Vec<Site>,
    /// By [`crate::origin::OriginId`].
    pub origins: Vec<Origin>,
    /// What tells where clients are: networks of the mainland, or a country database.
    pub client_regions: Option<PathBuf>,
    /// Who is asked for the addresses of servers' names; the system's name servers where this is empty.
    pub name_servers: Vec<SocketAddr>,
    /// The local store of access records.
    pub access_log: AccessLog,
    /// Where records are shipped besides.
    pub sinks: Vec<Arc<sinks::Sink>>,
    /// Whether segments may be freed early that a sink keeps immutable for the whole retention.
    pub free_shipped: bool,
    /// Where the admin pages are.
    pub admin: SocketAddr,
    /// The program's own log.
    pub log: Log,
    /// Of bytes, time and count.
    pub limits: Limits,
}

/// One named set of addresses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listener {
    /// In metrics and records.
    pub name: Arc<str>,
    /// Bound while a filing permits it; never empty.
    pub addresses: Vec<SocketAddr>,
    /// What is spoken on them.
    pub protocol: Protocol,
    /// What is in front of them, as a filing knows it.
    pub public_addresses: Vec<IpAddr>,
    /// How it is known who the client of a connection is.
    pub client_address: ClientAddressSource,
    /// Clients whose `x-forwarded-for` and `x-request-id` are believed.
    pub trusted_proxies: Vec<IpNet>,
}

/// How it is known who the client of a connection is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum ClientAddressSource {
    /// It is the peer.
    #[default]
    OfPeer,
    /// A peer among these says so by the PROXY protocol; nobody else may connect.
    ToldBy(Vec<IpNet>),
}

/// What is spoken on a listener.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// TLS.
    Https {
        /// What a refused connection gets.
        refusal: RefusalMode,
    },
    /// Clear text.
    Http {
        /// What a permitted request gets.
        redirect: Redirect,
        /// A load balancer's probe.
        health_check: Option<HealthCheck>,
    },
}

/// What a refused TLS connection gets.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum RefusalMode {
    /// RST, not one byte.
    #[default]
    Reset,
    /// The TLS alert `unrecognized_name`.
    Alert,
    /// FIN, not one byte.
    Silent,
}

/// What a permitted request in clear text gets.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Redirect {
    /// 308 to the same URL over TLS.
    #[default]
    Https,
    /// The site.
    None,
}

/// A load balancer's HTTP probe.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HealthCheck {
    /// The path asked for.
    pub path: String,
    /// Who may ask.
    pub from: Vec<IpNet>,
}

impl HealthCheck {
    /// Whether it is the probe when `client` asks for `path`.
    pub fn is_asked(&self, path: &[u8], client: IpAddr) -> bool {
        let client = client.to_canonical();
        path == self.path.as_bytes() && self.from.iter().any(|net| net.contains(&client))
    }
}

/// Hosts that are served together.
#[derive(Clone, Debug)]
pub struct Site {
    /// In metrics and records.
    pub name: Arc<str>,
    /// Never empty; claimed by no other site on the same listener.
    pub hosts: Vec<HostPattern>,
    /// Where it is served; never empty.
    pub listeners: Vec<ListenerId>,
    /// The pair it is served with over TLS.
    pub certificate: Option<CertificateFiles>,
    /// Which pages get the footer.
    pub footer: FooterPages,
    /// The first match wins.
    pub routes: Routes,
}

/// A certificate and its key, in PEM.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct CertificateFiles {
    /// The certificate first, then its issuers.
    pub chain: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// The local store of access records.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AccessLog {
    /// The store.
    pub directory: PathBuf,
    /// How long records are kept; at least 180 days.
    pub retention: Duration,
    /// Bytes of disk that the store leaves free.
    pub reserve: u64,
    /// What happens when nothing can be kept.
    pub when_full: WhenFull,
    /// Query parameters whose values are not kept.
    pub redact_query: Vec<String>,
}

/// What happens when nothing can be kept.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum WhenFull {
    /// Requests get 503: nothing goes unrecorded.
    #[default]
    Refuse,
    /// Requests are served on, and what is lost is counted.
    Drop,
}

/// The program's own log, on stderr.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Log {
    /// Text or JSON.
    pub format: LogFormat,
    /// The least level shown.
    pub level: tracing::Level,
}

/// How the program's own log is written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Limits of what a stranger can make the program hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Open connections in all.
    pub connections: usize,
    /// Open connections of one client address.
    pub connections_per_client: usize,
    /// From accept to a whole ClientHello.
    pub client_hello_timeout: Duration,
    /// From the hello to a finished handshake.
    pub handshake_timeout: Duration,
    /// From a request's first byte to the end of its head.
    pub request_head_timeout: Duration,
    /// A request head's size.
    pub request_head_bytes: usize,
    /// Between two reads of a request body, or two writes of a response.
    pub body_idle_timeout: Duration,
    /// A connection without a request.
    pub idle_timeout: Duration,
    /// From the signal to stop until what is left is cut.
    pub drain_timeout: Duration,
    /// From a revocation until its exchanges are cut.
    pub revocation_grace: Duration,
    /// From the last good allowlist until everything closes.
    pub filings_stale_after: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 65_536,
            connections_per_client: 1_024,
            client_hello_timeout: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(10),
            request_head_timeout: Duration::from_secs(10),
            request_head_bytes: 64 * 1024,
            body_idle_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(75),
            drain_timeout: Duration::from_secs(30),
            revocation_grace: Duration::from_secs(5),
            filings_stale_after: Duration::from_secs(24 * 60 * 60),
        }
    }
}
