//! What is counted and timed on the way to upstream servers.

use crate::metrics::{Error, HistogramVec, IntCounterVec, Registry};
use crate::origin::timing::BOUNDS;
use crate::snapshot::Snapshot;

/// The families of upstream servers.
#[derive(Clone, Debug)]
pub struct UpstreamMetrics {
    /// By origin and link: times of connecting, TLS and failures included.
    pub connect: HistogramVec,
    /// By origin and link: times of TLS handshakes.
    pub tls: HistogramVec,
    /// By result: `answered`, `missing`, `failed`.
    pub name_lookups: IntCounterVec,
    /// By origin and result: `made`, `failed`.
    pub preconnects: IntCounterVec,
    /// By origin: requests sent again.
    pub retries: IntCounterVec,
    /// By origin and winner: `first`, `second`, `nobody`.
    pub hedges: IntCounterVec,
    /// By origin and link, for metered links.
    pub link_switches: IntCounterVec,
    /// By origin: requests that found every server with `max_in_flight` requests.
    pub overflow: IntCounterVec,
    /// By origin: malformed fields of responses.
    pub fields_dropped: IntCounterVec,
}

impl UpstreamMetrics {
    /// Registers the families.
    pub fn register(registry: &Registry) -> Result<Self, Error> {
        let bounds = BOUNDS.map(|micros| micros as f64 / 1e6);
        Ok(Self {
            connect: registry.histograms(
                "icpgate_upstream_connect_seconds",
                "Time to connect to an upstream server, TLS included.",
                &bounds,
                &["origin", "link"],
            )?,
            tls: registry.histograms(
                "icpgate_upstream_tls_seconds",
                "Time of the TLS handshake with an upstream server.",
                &bounds,
                &["origin", "link"],
            )?,
            name_lookups: registry.counters(
                "icpgate_name_lookups_total",
                "DNS lookups of upstream servers' names.",
                &["result"],
            )?,
            preconnects: registry.counters(
                "icpgate_upstream_preconnects_total",
                "Connections made ahead of requests.",
                &["origin", "result"],
            )?,
            retries: registry.counters(
                "icpgate_retries_total",
                "Requests that were sent again to another server.",
                &["origin"],
            )?,
            hedges: registry.counters(
                "icpgate_hedged_requests_total",
                "Requests that were sent to a second server as well, by which of them answered first.",
                &["origin", "winner"],
            )?,
            link_switches: registry.counters(
                "icpgate_link_switches_total",
                "How often a metered link came into use or went out of it.",
                &["origin", "link"],
            )?,
            overflow: registry.counters(
                "icpgate_upstream_overflow_total",
                "Requests that got 503 because every server had max_in_flight requests.",
                &["origin"],
            )?,
            fields_dropped: registry.counters(
                "icpgate_upstream_fields_dropped_total",
                "Malformed fields of responses, which were dropped.",
                &["origin"],
            )?,
        })
    }

    /// Creates every series of `snapshot` at zero.
    pub fn prepare(&self, snapshot: &Snapshot) {
        for result in ["answered", "missing", "failed"] {
            self.name_lookups.with_label_values(&[result]);
        }
        for state in &snapshot.origins {
            let origin = &*state.origin.name;
            if state.origin.pool.preconnect > 0 {
                for result in ["made", "failed"] {
                    self.preconnects.with_label_values(&[origin, result]);
                }
            }
            self.retries.with_label_values(&[origin]);
            self.overflow.with_label_values(&[origin]);
            self.fields_dropped.with_label_values(&[origin]);
            for winner in ["first", "second", "nobody"] {
                self.hedges.with_label_values(&[origin, winner]);
            }
            for link in state.links.iter() {
                let labels = [origin, &*link.name];
                self.connect.with_label_values(&labels);
                if state.tls.is_some() {
                    self.tls.with_label_values(&labels);
                }
                if link.metered.is_some() {
                    self.link_switches.with_label_values(&labels);
                }
            }
        }
    }
}
