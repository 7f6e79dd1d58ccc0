//! The configuration as the program uses it: typed, valid, with every default filled in.
//!
//! `load` turns a file into a [`Config`], or into every problem of the file. A `Config` needs no further checks.
//! The files that it names (allowlist, certificates) are read when a snapshot is built.

pub mod acme;
mod convert;
pub mod credentials;
mod file;
pub mod filings;
pub mod filings_source;
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
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::gate::ListenerId;
use crate::hostname::{HostPattern, Hostname};
use crate::origin::Origin;
use crate::rate::RateLimit;
use crate::rewrite::{CompressMode, CompressSettings, FooterSettings};
use crate::route::Routes;

pub use file::Unreadable;
pub use filings_source::FilingsSource;
pub use load::{load, parse};
pub use named_files::NamedFiles;
pub use problem::LoadResult;
pub(crate) use schema::has_key;

/// The configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it was read from.
    pub file: PathBuf,
    /// This edge's name in records.
    pub node: Arc<str>,
    /// Where the allowlist comes from.
    pub filings: FilingsSource,
    /// By [`ListenerId`].
    pub listeners: Vec<Arc<Listener>>,
    /// By [`crate::gate::SiteId`].
    pub sites: Vec<Site>,
    /// By [`crate::origin::OriginId`].
    pub origins: Vec<Origin>,
    /// The file of client regions: networks of the mainland, or a country database.
    pub client_regions: Option<PathBuf>,
    /// Name servers for the names of upstream servers; empty for the system's.
    pub name_servers: Vec<SocketAddr>,
    /// How responses are compressed, on the sites that compress.
    pub compress: CompressSettings,
    /// The local store of access records.
    pub access_log: AccessLog,
    /// Sinks to which records are shipped.
    pub sinks: Vec<Arc<sinks::Sink>>,
    /// Whether segments may be freed early that a sink keeps immutable for the whole retention.
    pub free_shipped: bool,
    /// The admin pages.
    pub admin: Admin,
    /// The program's own log.
    pub log: Log,
    /// Limits on bytes, times and counts.
    pub limits: Limits,
    /// The edge cache, if there is one.
    pub cache: Option<CacheSettings>,
    /// Who issues the certificates that are ordered, if there is such an authority.
    pub acme: Option<Arc<acme::AcmeSettings>>,
}

/// The edge cache.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CacheSettings {
    /// Bytes of memory for stored responses.
    pub memory: u64,
    /// The largest body that is stored, in bytes.
    pub max_object: u64,
    /// Where responses are stored beside memory.
    pub disk: Option<DiskCache>,
}

/// The edge cache on disk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DiskCache {
    /// Its folder.
    pub directory: PathBuf,
    /// Bytes of all files.
    pub size: u64,
}

/// One named set of addresses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listener {
    /// The name in metrics and records.
    pub name: Arc<str>,
    /// Bound while at least one host is permitted; never empty.
    pub addresses: Vec<SocketAddr>,
    /// The protocol spoken on them.
    pub protocol: Protocol,
    /// The public addresses in front of them, for `access` of a filing.
    pub public_addresses: Vec<IpAddr>,
    /// Where the client address comes from.
    pub client_address: ClientAddressSource,
    /// Peers whose `x-forwarded-for` and `x-request-id` are believed.
    pub trusted_proxies: Vec<IpNet>,
}

/// Where the client address of a connection comes from.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum ClientAddressSource {
    /// The peer address.
    #[default]
    Peer,
    /// The PROXY header, which these peers must send. No other peer may connect.
    ProxyHeader(Vec<IpNet>),
}

/// The protocol of a listener.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// TLS.
    Https {
        /// The answer to a refused connection.
        refusal: RefusalMode,
    },
    /// Clear text.
    Http {
        /// The answer to a permitted request.
        redirect: Redirect,
        /// The load balancer's probe, answered whatever host it names.
        health_check: Option<HealthCheck>,
    },
}

/// The answer to a refused TLS connection.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum RefusalMode {
    /// RST, without one byte.
    #[default]
    Reset,
    /// The TLS alert `unrecognized_name`.
    Alert,
    /// FIN, without one byte.
    Silent,
}

/// The answer to a permitted request in clear text.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Redirect {
    /// 308 to the same URL over TLS.
    #[default]
    Https,
    /// The site's own answer.
    None,
}

/// A load balancer's HTTP probe.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HealthCheck {
    /// Its path.
    pub path: String,
    /// The networks it may come from.
    pub from: Vec<IpNet>,
}

impl HealthCheck {
    /// Whether a request of `client` for `path` is the probe.
    pub fn is_asked(&self, path: &[u8], client: IpAddr) -> bool {
        let client = client.to_canonical();
        path == self.path.as_bytes() && self.from.iter().any(|net| net.contains(&client))
    }
}

/// Hosts that share a certificate and routes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Site {
    /// The name in metrics and records.
    pub name: Arc<str>,
    /// Never empty. No other site on the same listener has any of them.
    pub hosts: Vec<HostPattern>,
    /// The listeners it is served on; never empty.
    pub listeners: Vec<ListenerId>,
    /// The certificate and key, for https listeners.
    pub certificate: Option<CertificateFiles>,
    /// How its certificate is ordered, if icpgate orders it.
    pub acme: Option<Arc<acme::DnsProvider>>,
    /// Which pages get the footer, and what it shows.
    pub footer: FooterSettings,
    /// Whether the foreign assets of pages are counted.
    pub reports_assets: bool,
    /// The hosts whose assets are served from local copies.
    pub asset_folders: Vec<AssetFolder>,
    /// Which responses are compressed.
    pub compress: CompressMode,
    /// The limit on requests.
    pub rate_limit: Option<RateLimit>,
    /// The most bytes of a request's body.
    pub max_body: Option<u64>,
    /// Tried in order; the first match wins.
    pub routes: Routes,
}

/// Where the copied assets of a host are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AssetFolder {
    /// The host that they were copied from.
    pub host: Hostname,
    /// The folder.
    pub folder: PathBuf,
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
    /// The directory of the store.
    pub directory: PathBuf,
    /// How long records are kept; at least 180 days.
    pub retention: Duration,
    /// Bytes of disk that the store leaves free.
    pub reserve: u64,
    /// The behaviour while no record can be kept.
    pub when_full: WhenFull,
    /// Query parameters whose values are redacted.
    pub redact_query: Vec<String>,
    /// Bytes of records that one client may cause in a second; beyond it their texts are shortened.
    pub client_budget: u32,
}

/// The behaviour while no record can be kept.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum WhenFull {
    /// Answers requests with 503, so that nothing goes unrecorded.
    #[default]
    Refuse,
    /// Serves on, and counts the lost records.
    Drop,
}

/// The admin pages.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Admin {
    /// Their address.
    pub address: SocketAddr,
    /// Names that they may be asked by, besides loopback names and addresses.
    pub hosts: Vec<Hostname>,
}

/// The program's own log, on stderr.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Log {
    /// Text or JSON.
    pub format: LogFormat,
    /// The lowest level shown.
    pub level: tracing::Level,
}

/// The format of the program's own log.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The least pace of a body: the client may be waited for as long as its bytes take at this rate, and for a grace besides.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BodyPace {
    /// Bytes per second.
    pub rate: NonZeroU64,
    /// The time that the client may be behind.
    pub grace: Duration,
}

impl BodyPace {
    /// No pace for a rate of 0.
    pub fn new(rate: u64, grace: Duration) -> Option<Self> {
        NonZeroU64::new(rate).map(|rate| Self { rate, grace })
    }

    /// The time that so many bytes take at this pace.
    pub fn time(&self, bytes: usize) -> Duration {
        Duration::from_micros((bytes as u64).saturating_mul(1_000_000) / self.rate)
    }
}

/// How much memory: an amount, or a share of what the machine or the cgroup has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MemoryLimit {
    /// In bytes.
    Bytes(u64),
    /// In percent, up to 100.
    Share(u32),
}

impl MemoryLimit {
    /// In bytes, of those that are `available`.
    pub fn bytes(self, available: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Share(percent) => available / 100 * u64::from(percent),
        }
    }
}

/// Limits on what clients can make the program hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Open connections in all.
    pub connections: usize,
    /// Open connections of one client address.
    pub connections_per_client: usize,
    /// What all clients may make the program hold.
    pub memory: MemoryLimit,
    /// What one client may make it hold.
    pub memory_per_client: MemoryLimit,
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
    /// The least pace of a body, in either direction; `None` for any.
    pub body_pace: Option<BodyPace>,
    /// A connection without a request.
    pub idle_timeout: Duration,
    /// From the signal to stop until what is left is cut.
    pub drain_timeout: Duration,
    /// How long the new process of an upgrade may take for each of its two steps: to load everything, and to open the
    /// record store.
    pub upgrade_timeout: Duration,
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
            memory: MemoryLimit::Share(50),
            memory_per_client: MemoryLimit::Share(25),
            client_hello_timeout: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(10),
            request_head_timeout: Duration::from_secs(10),
            request_head_bytes: 64 * 1024,
            body_idle_timeout: Duration::from_secs(60),
            body_pace: BodyPace::new(64, Duration::from_secs(60)),
            idle_timeout: Duration::from_secs(75),
            drain_timeout: Duration::from_secs(30),
            upgrade_timeout: Duration::from_secs(60),
            revocation_grace: Duration::from_secs(5),
            filings_stale_after: Duration::from_secs(24 * 60 * 60),
        }
    }
}
