//! The state that the admin pages show.

use std::sync::Arc;

use tokio::sync::watch;

use super::process::UpgradeStatus;
use crate::acme::status::OrderBoard;
use crate::cache::Cache;
use crate::edge::Edge;
use crate::edge::journal::ReloadJournal;
use crate::exchange::thread_counters::ThreadCounters;
use crate::listen::metrics::ListenMetrics;
use crate::listen::set::ListenersStatus;
use crate::metrics::Registry;
use crate::ship::status::SinkBoard;
use crate::upstream::connect::Upstreams;

/// The state that the pages show.
#[derive(Clone, Debug)]
pub struct Pages {
    /// The snapshot, the record store, the clock.
    pub edge: Arc<Edge>,
    /// The state of upstream servers.
    pub upstreams: Arc<Upstreams>,
    /// Every metric.
    pub metrics: Registry,
    /// Which addresses are bound.
    pub listeners_status: watch::Receiver<ListenersStatus>,
    /// The state of every sink.
    pub sinks: SinkBoard,
    /// How the last orders of certificates went.
    pub orders: OrderBoard,
    /// The edge cache, if there is one.
    pub cache: Option<Arc<Cache>>,
    /// The names that listeners refused.
    pub listen: ListenMetrics,
    /// What exchanges counted.
    pub exchanges: ThreadCounters,
    /// The last reloads.
    pub journal: ReloadJournal,
    /// The upgrades that were tried.
    pub upgrades: watch::Receiver<UpgradeStatus>,
}
