//! The snapshot: one immutable value by which every connection and request is judged and served.
//!
//! It is built whole or not at all, and published atomically through [`Snapshots`]. A reader that has loaded
//! one keeps seeing the same generation.

mod allowlist;
mod assets;
mod build;
pub mod changes;
mod kernel;
mod pairs;
mod sources;
mod stamps;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use jiff::Timestamp;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::sync::watch;

use crate::access::QueryRedaction;
use crate::clock::Moment;
use crate::config::{Config, Listener, Site};
use crate::gate::{self, Filings, Gate, ListenerId, Permit, Refusal, SiteId};
use crate::hostname::Hostname;
use crate::origin::balance::{self, Draw, Known};
use crate::origin::health::ServerHealth;
use crate::origin::load::Load;
use crate::origin::path::Path;
use crate::origin::retry::Budget;
use crate::origin::ring::Ring;
use crate::origin::timing::Timing;
use crate::origin::{Links, Origin, OriginId};
use crate::rate::RateLimiter;
use crate::rewrite::{AssetMap, Footers};
use crate::route::ClientRegions;
use crate::tls::Certificate;
use crate::tls::roots::Fingerprint;

use sources::Sources;

pub use build::{BuildResult, build, problems};
pub use stamps::Stamps;

/// Everything that serving depends on.
#[derive(Debug)]
pub struct Snapshot {
    /// The number of the publication, from 1.
    pub generation: u64,
    /// The configuration.
    pub config: Arc<Config>,
    /// The gate's input.
    pub gate: Gate,
    /// By [`SiteId`]; `None` while a site has no usable certificate.
    pub certificates: Vec<Option<Arc<Certificate>>>,
    /// By [`OriginId`].
    pub origins: Vec<Arc<OriginState>>,
    /// Which query parameters records leave out.
    pub redaction: QueryRedaction,
    /// The regions of client addresses, if `client_regions` is configured.
    pub regions: Option<Regions>,
    /// By [`SiteId`]; `None` for a site without a limit.
    pub rate_limiters: Vec<Option<Arc<RateLimiter>>>,
    /// By [`SiteId`] and filing.
    pub footers: Footers,
    /// By [`SiteId`]; `None` for a site without copied assets.
    pub asset_maps: Vec<Option<Arc<AssetMap>>>,
    /// What was read, for the next build.
    sources: Arc<Sources>,
    /// The dates of [`Snapshot::next_date`], sorted, without repeats.
    dates: Vec<Timestamp>,
}

/// The regions of client addresses, with the stamp of their file.
#[derive(Clone, Debug)]
pub struct Regions {
    /// The table.
    pub table: Arc<ClientRegions>,
    stamp: Stamps,
}

/// An origin with its live state.
#[derive(Debug)]
pub struct OriginState {
    /// As configured.
    pub origin: Origin,
    /// TLS to its servers; `None` in clear text.
    pub tls: Option<OriginTls>,
    /// Its servers, in the order of the configuration.
    pub servers: Vec<Arc<ServerState>>,
    /// The retry budget.
    pub budget: Arc<Budget>,
    /// The links to its servers.
    pub links: Links,
    /// Where a value of the request chooses the server.
    pub ring: Option<Ring>,
    turn: AtomicUsize,
}

/// TLS to an origin.
#[derive(Clone, Debug)]
pub struct OriginTls {
    /// Roots and protocols, HTTP/2 first.
    pub config: Arc<ClientConfig>,
    /// The same for HTTP/1.1 alone.
    pub http1: Arc<ClientConfig>,
    /// The name that is sent as SNI and verified.
    pub server_name: ServerName<'static>,
    /// Identifies the roots.
    pub(crate) roots: Fingerprint,
}

impl OriginTls {
    /// Whether `other` verifies the same name by the same roots.
    fn verifies_as(&self, other: &Self) -> bool {
        self.server_name == other.server_name && self.roots == other.roots
    }
}

/// One server of an origin. Successive snapshots that name the same server share this value: its health, its
/// measurements and its idle connections outlive a reload.
#[derive(Debug)]
pub struct ServerState {
    /// The address as configured: the label in metrics and on the status page.
    pub label: String,
    /// Failures and ejection.
    pub health: ServerHealth,
    /// Requests in flight and recent latency.
    pub load: Load,
    /// Times of TCP connects, without the DNS lookup.
    pub connect_time: Timing,
    /// Times of TLS handshakes.
    pub tls_time: Timing,
    /// Round trips and losses.
    pub path: Path,
    /// The number of idle connections to it.
    pub kept: AtomicUsize,
}

/// One request in this many goes over a link that is not preferred now, to measure it.
const PROBE_EVERY: usize = 20;

impl OriginState {
    /// The server at `index` began its answer after `time`.
    pub fn answered(&self, index: usize, time: Duration, now: Duration) {
        if let Some(server) = self.servers.get(index) {
            server.load.answered(time, now);
        }
        self.links.answered(index, time, now);
    }

    /// The server at `index` had not answered after `time`, when its answer was given up.
    pub fn abandoned(&self, index: usize, time: Duration, now: Duration) {
        if let Some(server) = self.servers.get(index) {
            server.load.answered(time, now);
        }
        self.links.abandoned(index, time, now);
    }

    /// The index of the server to try next; `None` if every server is `tried`, ejected or full. With a `key`, it is the
    /// first one from the key's point on the ring.
    pub fn pick(&self, key: Option<&[u8]>, tried: impl Fn(usize) -> bool, now: Duration) -> Option<usize> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let on_ring = self.ring.as_ref().zip(key);
        // A value stays with its server: it measures no other link.
        let look = turn.is_multiple_of(PROBE_EVERY) && on_ring.is_none();
        let known = |index: usize| {
            let (server, state) = (self.origin.servers.get(index)?, self.servers.get(index)?);
            let known = || {
                let tier = self.links.tier(server, index, look);
                Known { server, health: &state.health, load: &state.load, tier }
            };
            (!tried(index)).then(known)
        };
        let max_in_flight = self.origin.max_in_flight;
        let draw = Draw { max_in_flight, turn, random: fastrand::usize(..), now };
        match on_ring {
            Some((ring, key)) => balance::first_of(ring.from(key), self.servers.len(), known, draw),
            None => balance::pick(self.servers.len(), known, draw),
        }
    }
}

impl Snapshot {
    /// The listener of that name. Ids change from snapshot to snapshot, names do not.
    pub fn listener(&self, name: &str) -> Option<ListenerId> {
        self.config.listeners.iter().position(|listener| &*listener.name == name).map(ListenerId)
    }

    /// The configuration of a listener.
    pub fn listener_config(&self, listener: ListenerId) -> Option<&Arc<Listener>> {
        self.config.listeners.get(listener.0)
    }

    /// The configuration of a site.
    pub fn site(&self, site: SiteId) -> Option<&Site> {
        self.config.sites.get(site.0)
    }

    /// The certificate that a site is served with.
    pub fn certificate(&self, site: SiteId) -> Option<&Arc<Certificate>> {
        self.certificates.get(site.0)?.as_ref()
    }

    /// The limit on the requests of a site.
    pub fn rate_limiter(&self, site: SiteId) -> Option<&RateLimiter> {
        self.rate_limiters.get(site.0)?.as_deref()
    }

    /// The copied assets of a site.
    pub fn asset_map(&self, site: SiteId) -> Option<&Arc<AssetMap>> {
        self.asset_maps.get(site.0)?.as_ref()
    }

    /// An origin.
    pub fn origin(&self, origin: OriginId) -> Option<&Arc<OriginState>> {
        self.origins.get(origin.0)
    }

    /// The gate's answer for the listener of that name; `no_site` if the listener no longer exists.
    pub fn decide(&self, listener: &str, host: &Hostname, at: Moment) -> Result<Permit, Refusal> {
        let listener = self.listener(listener).ok_or(Refusal::NoSite)?;
        gate::decide(&self.gate, listener, host, at)
    }

    /// The next generation with an empty allowlist: nothing is permitted.
    pub fn without_filings(&self) -> Self {
        Self {
            generation: self.generation + 1,
            config: Arc::clone(&self.config),
            gate: Gate { filings: Filings::default(), ..self.gate.clone() },
            certificates: self.certificates.clone(),
            origins: self.origins.clone(),
            redaction: self.redaction.clone(),
            regions: self.regions.clone(),
            rate_limiters: self.rate_limiters.clone(),
            footers: Footers::new(self.config.sites.iter().map(|site| &site.footer)),
            asset_maps: self.asset_maps.clone(),
            sources: Arc::clone(&self.sources),
            dates: self.dates.clone(),
        }
    }

    /// The first instant after `time` at which the gate's answer may change without a reload.
    pub fn next_date(&self, time: Timestamp) -> Option<Timestamp> {
        self.dates.get(self.dates.partition_point(|date| *date <= time)).copied()
    }
}

/// The snapshot in use, and notices of its changes.
#[derive(Debug)]
pub struct Snapshots {
    current: ArcSwap<Snapshot>,
    changed: watch::Sender<u64>,
}

impl Snapshots {
    /// Starts with `first`.
    pub fn new(first: Snapshot) -> Self {
        Self { current: ArcSwap::from_pointee(first), changed: watch::Sender::new(0) }
    }

    /// The snapshot in use.
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// The snapshot in use, to keep for longer.
    pub fn load_full(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Publishes `next` and announces it. Returns the previous snapshot: freeing a large one takes time, and must
    /// not happen on a thread that serves.
    pub fn publish(&self, next: Snapshot) -> Arc<Snapshot> {
        let before = self.current.swap(Arc::new(next));
        self.announce();
        before
    }

    /// Announces that the gate's answers may have changed, by a new snapshot or a date.
    pub fn announce(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Receives every announcement from now on.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
