//! The families of every room.

use std::sync::Arc;

use crate::acme::{self, status::OrderBoard};
use crate::edge::{self, Edge};
use crate::exchange::thread_counters::ThreadCounters;
use crate::fleet;
use crate::listen::metrics::ListenMetrics;
use crate::metrics::{Error, IntCounterVec, Registry};
use crate::ship::{self, status::SinkBoard};
use crate::snapshot::Snapshot;
use crate::upstream::connect::Upstreams;
use crate::upstream::metrics::UpstreamMetrics;
use crate::upstream::server_metrics;

/// The families that events add to. Clones are the same families.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    pub(super) registry: Registry,
    pub(super) listen: ListenMetrics,
    pub(super) upstream: UpstreamMetrics,
    pub(super) exchanges: ThreadCounters,
    /// By result: `applied`, `rejected`.
    pub(super) reloads: IntCounterVec,
    /// By result: `succeeded` (this process replaced another), `failed`.
    pub(super) upgrades: IntCounterVec,
}

impl Metrics {
    /// Registers the families, and creates every series of `first` at zero.
    pub(super) fn register(first: &Snapshot) -> Result<Self, Error> {
        let registry = Registry::default();
        let metrics = Self {
            listen: ListenMetrics::register(&registry)?,
            upstream: UpstreamMetrics::register(&registry)?,
            exchanges: ThreadCounters::register(&registry)?,
            reloads: registry.counters("icpgate_reloads_total", "Reloads.", &["result"])?,
            upgrades: registry.counters(
                "icpgate_upgrades_total",
                "Upgrades: that this process came from, and that it tried in vain.",
                &["result"],
            )?,
            registry,
        };
        for result in ["succeeded", "failed"] {
            metrics.upgrades.with_label_values(&[result]);
        }
        for result in ["applied", "rejected"] {
            metrics.reloads.with_label_values(&[result]);
        }
        metrics.prepare(first);
        Ok(metrics)
    }

    /// Registers the families whose values are read on a scrape.
    pub(super) fn register_on_scrape(
        &self,
        edge: &Arc<Edge>,
        upstreams: &Arc<Upstreams>,
        sinks: SinkBoard,
        orders: OrderBoard,
    ) -> Result<(), Error> {
        acme::metrics::register(&self.registry, edge, orders)?;
        edge::metrics::register(&self.registry, edge)?;
        edge::evict::register(&self.registry, edge)?;
        fleet::metrics::register(&self.registry, edge.filings_source.clone())?;
        ship::metrics::register(&self.registry, sinks, edge.clock.clone())?;
        server_metrics::register(&self.registry, Arc::clone(edge), Arc::clone(upstreams))
    }

    /// Creates every series of `snapshot` at zero, before it is published.
    pub(super) fn prepare(&self, snapshot: &Snapshot) {
        self.listen.prepare(snapshot);
        self.upstream.prepare(snapshot);
        self.exchanges.prepare(snapshot);
    }
}
