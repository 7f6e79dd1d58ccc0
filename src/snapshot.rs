//! The snapshot: one immutable value that holds all a connection and a request are judged and served by.
//!
//! A snapshot is built whole or not at all, and published at once through [`Snapshots`]; whoever has
//! loaded one keeps seeing the same generation.

mod build;
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
use crate::origin::timing::Timing;
use crate::origin::{Links, Origin, OriginId};
use crate::rewrite::Footers;
use crate::route::ClientRegions;
use crate::tls::Certificate;
use crate::tls::roots::Fingerprint;

use sources::Sources;

pub use build::{Built, build};
pub use stamps::Stamps;

/// All that a request needs.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts what was published; the first is 1.
    pub generation: u64,
    /// What the operator configured.
    pub config: Arc<Config>,
    /// What the gate judges by.
    pub gate: Gate,
    /// By [`SiteId`]; `None` while a site has no usable pair.
    pub certificates: Vec<Option<Arc<Certificate>>>,
    /// By [`OriginId`].
    pub origins: Vec<Arc<OriginState>>,
    /// What of a query is not kept.
    pub redaction: QueryRedaction,
    /// Where clients are, where a file tells.
    pub regions: Option<Regions>,
    /// By [`SiteId`] and filing.
    pub footers: Footers,
    /// What it was read from, for the next one.
    sources: Arc<Sources>,
    /// Sorted, each once.
    dates: Vec<Timestamp>,
}

/// Where clients are, and what the file was that tells.
#[derive(Clone, Debug)]
pub struct Regions {
    /// What it says.
    pub table: Arc<ClientRegions>,
    stamp: Stamps,
}

/// An origin, ready to be spoken to.
#[derive(Debug)]
pub struct OriginState {
    /// As configured.
    pub origin: Origin,
    /// How TLS is spoken to it; `None` in clear text.
    pub tls: Option<OriginTls>,
    /// Its servers, in the order of the configuration.
    pub servers: Vec<Arc<ServerState>>,
    /// What is left for retries.
    pub budget: Arc<Budget>,
    /// The ways to its servers.
    pub links: Links,
    turn: AtomicUsize,
}

/// What TLS to an origin needs.
#[derive(Clone, Debug)]
pub struct OriginTls {
    /// Roots and protocols.
    pub config: Arc<ClientConfig>,
    /// The same for HTTP/1.1 alone.
    pub http1: Arc<ClientConfig>,
    /// The name that is sent and verified.
    pub server_name: ServerName<'static>,
    /// Of the roots.
    pub(crate) roots: Fingerprint,
}

impl OriginTls {
    /// Whether a connection made under `other` is as good as one made under this.
    fn verifies_as(&self, other: &Self) -> bool {
        self.server_name == other.server_name && self.roots == other.roots
    }
}

/// One server of an origin. It is the same value for as long as snapshots name the same server, so
/// that what was learnt about it and the connections kept to it outlive a reload.
#[derive(Debug)]
pub struct ServerState {
    /// As configured, in metrics and on the status page.
    pub label: String,
    /// Whether it can be reached.
    pub health: ServerHealth,
    /// How busy it is.
    pub load: Load,
    /// Times of TCP connects, without the lookup of the name.
    pub connect_time: Timing,
    /// Times of TLS handshakes.
    pub tls_time: Timing,
    /// Round trips and losses.
    pub path: Path,
    /// How many connections to it are kept for the next requests.
    pub kept: AtomicUsize,
}

/// One in so many requests goes over a link that is not preferred now, to see how it does.
const LOOK: usize = 20;

impl OriginState {
    /// The server at `place` began its answer after `time`.
    pub fn answered(&self, place: usize, time: Duration, now: Duration) {
        if let Some(server) = self.servers.get(place) {
            server.load.answered(time, now);
        }
        self.links.answered(place, time, now);
    }

    /// The server at `place` had not answered after `time`, when its answer was given up.
    pub fn abandoned(&self, place: usize, time: Duration, now: Duration) {
        if let Some(server) = self.servers.get(place) {
            server.load.answered(time, now);
        }
        self.links.abandoned(place, time, now);
    }

    /// The place of the server that is asked next at `now`, of those that are not `tried`.
    pub fn pick(&self, tried: impl Fn(usize) -> bool, now: Duration) -> Option<usize> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let look = turn.is_multiple_of(LOOK);
        let known = |place: usize| {
            let (server, state) = (self.origin.servers.get(place)?, self.servers.get(place)?);
            let known = || {
                let tier = self.links.tier(server, place, look);
                Known { server, health: &state.health, load: &state.load, tier }
            };
            (!tried(place)).then(known)
        };
        let max_in_flight = self.origin.max_in_flight;
        balance::pick(
            self.servers.len(),
            known,
            Draw { max_in_flight, turn, random: fastrand::usize(..), now },
        )
    }
}

impl Snapshot {
    /// The listener of that name: its place moves when others are added or removed.
    pub fn listener(&self, name: &str) -> Option<ListenerId> {
        self.config.listeners.iter().position(|listener| &*listener.name == name).map(ListenerId)
    }

    /// What is configured for a listener of this snapshot.
    pub fn listener_config(&self, listener: ListenerId) -> Option<&Arc<Listener>> {
        self.config.listeners.get(listener.0)
    }

    /// What is configured for a site of this snapshot.
    pub fn site(&self, site: SiteId) -> Option<&Site> {
        self.config.sites.get(site.0)
    }

    /// The pair that a site of this snapshot is served with.
    pub fn certificate(&self, site: SiteId) -> Option<&Arc<Certificate>> {
        self.certificates.get(site.0)?.as_ref()
    }

    /// An origin of this snapshot.
    pub fn origin(&self, origin: OriginId) -> Option<&Arc<OriginState>> {
        self.origins.get(origin.0)
    }

    /// The gate's answer for the listener of that name; `no_site` once it is gone.
    pub fn decide(&self, listener: &str, host: &Hostname, at: Moment) -> Result<Permit, Refusal> {
        let listener = self.listener(listener).ok_or(Refusal::NoSite)?;
        gate::decide(&self.gate, listener, host, at)
    }

    /// The same with an empty allowlist: nothing is permitted.
    pub fn without_filings(&self) -> Self {
        Self {
            generation: self.generation + 1,
            config: Arc::clone(&self.config),
            gate: Gate { filings: Filings::default(), ..self.gate.clone() },
            certificates: self.certificates.clone(),
            origins: self.origins.clone(),
            redaction: self.redaction.clone(),
            regions: self.regions.clone(),
            footers: Footers::new(self.config.sites.len()),
            sources: Arc::clone(&self.sources),
            dates: self.dates.clone(),
        }
    }

    /// The first instant after `time` at which an answer of the gate may change by itself.
    pub fn next_date(&self, time: Timestamp) -> Option<Timestamp> {
        self.dates.get(self.dates.partition_point(|date| *date <= time)).copied()
    }
}

/// The snapshot in use, and the notice of its change.
#[derive(Debug)]
pub struct Snapshots {
    current: ArcSwap<Snapshot>,
    changed: watch::Sender<u64>,
}

impl Snapshots {
    /// Begins with `first`.
    pub fn new(first: Snapshot) -> Self {
        Self { current: ArcSwap::from_pointee(first), changed: watch::Sender::new(0) }
    }

    /// The snapshot in use.
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// The snapshot in use, to keep.
    pub fn load_full(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Puts `next` in use, and says so. What was in use comes back, to be freed where that may take its time.
    pub fn publish(&self, next: Snapshot) -> Arc<Snapshot> {
        let before = self.current.swap(Arc::new(next));
        self.announce();
        before
    }

    /// Says that answers of the gate may have changed: the snapshot, or the day.
    pub fn announce(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Sees every announcement from now on.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
