//! What the program counts and measures, in Prometheus' terms.
//!
//! Labels come from closed sets and from configured names alone, so that no stranger can make a
//! family grow; every family is there from the start, at zero for every configured name.

mod family;
mod paths;
mod prepared;
mod render;
mod tallies;

use std::sync::Arc;

use prometheus::{Histogram, IntCounter, IntGauge};
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};

use crate::gate::Refusal;
use crate::origin::Region;
use crate::rewrite::{FooterResult, SkipReason};
use crate::snapshot::Snapshot;
use prepared::Prepared;
use tallies::Tallies;

pub use render::{SinkFigures, StoreFigures};
pub use tallies::Counted;

/// Of requests: from a small page to a report that takes a minute, in seconds.
const REQUEST_BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Of upstream connections and first bytes: from the same rack to across the border, in seconds.
const UPSTREAM_BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Every family that events add to. The name of a field is that of its family, without `icpgate_`.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    /// What is not yet in the families that are not public.
    tallies: Arc<Tallies>,
    /// 1 while all of a listener's addresses are bound.
    pub listener_bound: IntGaugeVec,
    /// By listener and reason.
    pub connections_refused: IntCounterVec,
    /// By listener.
    pub connections_open: IntGaugeVec,
    /// By listener.
    pub connections_empty: IntCounterVec,
    /// By site and class of status.
    requests: IntCounterVec,
    /// From the head to the end of the exchange.
    request_duration: Histogram,
    /// By origin and link, TLS included.
    pub upstream_connect: HistogramVec,
    /// By origin and link: the handshake alone.
    pub upstream_tls: HistogramVec,
    /// By result.
    pub name_lookups: IntCounterVec,
    /// By origin and server, of those that connections are kept ready to.
    pub upstream_ready: IntGaugeVec,
    /// By origin and result.
    pub upstream_preconnects: IntCounterVec,
    /// By origin: requests sent again.
    pub retries: IntCounterVec,
    /// By origin and who answered first.
    pub hedges: IntCounterVec,
    /// 1 while a link that costs more is used in place of the others. By origin and link.
    pub link_in_use: IntGaugeVec,
    /// By origin and link: how often that has changed.
    pub link_switches: IntCounterVec,
    /// By origin: requests that found every server with as many as it may have.
    pub upstream_overflow: IntCounterVec,
    /// By origin and server.
    pub origin_up: IntGaugeVec,
    /// By result.
    pub reloads: IntCounterVec,
    /// Of the snapshot in use.
    pub snapshot_generation: IntGauge,
    /// By site and result.
    footer: IntCounterVec,
    /// By site and reason.
    pub footer_skipped: IntCounterVec,
    /// By site and region.
    egress_bytes: IntCounterVec,
    /// Times that accepting paused for want of descriptors or memory.
    pub accept_pauses: IntCounter,
}

/// The values of one listener, looked up once for all of its connections.
#[derive(Clone, Debug)]
pub struct OfListener {
    /// Open connections.
    pub open: IntGauge,
    /// Connections that ended before they sent a byte.
    pub empty: IntCounter,
    /// By the place of the reason in [`Refusal::ALL`].
    refused: Vec<IntCounter>,
}

impl OfListener {
    /// A connection was refused.
    pub fn refused(&self, refusal: Refusal) {
        if let Some(counter) = self.refused.get(refusal as usize) {
            counter.inc();
        }
    }
}

impl Metrics {
    /// Families without a value.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let register = &registry;
        Ok(Self {
            listener_bound: gauges(
                register,
                "icpgate_listener_bound",
                "1 while the listener is bound.",
                &["listener"],
            )?,
            connections_refused: counters(
                register,
                "icpgate_connections_refused_total",
                "Connections and requests refused.",
                &["listener", "reason"],
            )?,
            connections_open: gauges(
                register,
                "icpgate_connections_open",
                "Open connections.",
                &["listener"],
            )?,
            connections_empty: counters(
                register,
                "icpgate_connections_empty_total",
                "Connections that ended before they sent a byte.",
                &["listener"],
            )?,
            requests: counters(
                register,
                "icpgate_requests_total",
                "Requests by class of status.",
                &["site", "status"],
            )?,
            request_duration: {
                let help = "From a request's head to the end of its exchange.";
                let options = HistogramOpts::new("icpgate_request_duration_seconds", help);
                let histogram = Histogram::with_opts(options.buckets(REQUEST_BUCKETS.to_vec()))?;
                register.register(Box::new(histogram.clone()))?;
                histogram
            },
            upstream_connect: histograms(
                register,
                "icpgate_upstream_connect_seconds",
                "Time to connect to an upstream server, TLS included.",
            )?,
            upstream_tls: histograms(
                register,
                "icpgate_upstream_tls_seconds",
                "Time of the TLS handshake with an upstream server.",
            )?,
            upstream_ready: gauges(
                register,
                "icpgate_upstream_ready",
                "Connections that are kept ready to an upstream server.",
                &["origin", "server"],
            )?,
            upstream_preconnects: counters(
                register,
                "icpgate_upstream_preconnects_total",
                "Connections made to be ready.",
                &["origin", "result"],
            )?,
            name_lookups: counters(
                register,
                "icpgate_name_lookups_total",
                "Questions for the addresses of upstream servers' names.",
                &["result"],
            )?,
            retries: counters(
                register,
                "icpgate_retries_total",
                "Requests that were sent again to another server.",
                &["origin"],
            )?,
            hedges: counters(
                register,
                "icpgate_hedged_requests_total",
                "Requests that were sent to a second server as well, by which of them answered first.",
                &["origin", "winner"],
            )?,
            link_in_use: gauges(
                register,
                "icpgate_link_in_use",
                "1 while a metered link is used in place of the others.",
                &["origin", "link"],
            )?,
            link_switches: counters(
                register,
                "icpgate_link_switches_total",
                "How often a metered link came into use or went out of it.",
                &["origin", "link"],
            )?,
            upstream_overflow: counters(
                register,
                "icpgate_upstream_overflow_total",
                "Requests that got 503 because every server had as many as it may have.",
                &["origin"],
            )?,
            origin_up: gauges(
                register,
                "icpgate_origin_up",
                "0 while an upstream server is left alone after failures.",
                &["origin", "server"],
            )?,
            reloads: counters(register, "icpgate_reloads_total", "Reloads.", &["result"])?,
            snapshot_generation: {
                let gauge = IntGauge::new("icpgate_snapshot_generation", "The generation in use.")?;
                register.register(Box::new(gauge.clone()))?;
                gauge
            },
            footer: counters(
                register,
                "icpgate_footer_total",
                "HTML pages by what became of the footer.",
                &["site", "result"],
            )?,
            footer_skipped: counters(
                register,
                "icpgate_footer_skipped_total",
                "HTML pages that passed unchanged, by reason.",
                &["site", "reason"],
            )?,
            egress_bytes: counters(
                register,
                "icpgate_egress_bytes_total",
                "Response body bytes sent to clients, by the region they came from.",
                &["site", "region"],
            )?,
            accept_pauses: {
                let help = "Times that accepting paused for want of descriptors or memory.";
                let counter = IntCounter::new("icpgate_accept_pauses_total", help)?;
                register.register(Box::new(counter.clone()))?;
                counter
            },
            tallies: Arc::default(),
            registry,
        })
    }

    /// Gives every configured name of `snapshot` its zero.
    pub fn prepare(&self, snapshot: &Snapshot) {
        for result in ["applied", "rejected"] {
            self.reloads.with_label_values(&[result]);
        }
        for result in ["answered", "missing", "failed"] {
            self.name_lookups.with_label_values(&[result]);
        }
        for listener in &snapshot.config.listeners {
            self.listener_bound.with_label_values(&[&*listener.name]);
            self.connections_open.with_label_values(&[&*listener.name]);
            self.connections_empty.with_label_values(&[&*listener.name]);
            for refusal in Refusal::ALL {
                self.connections_refused.with_label_values(&[&*listener.name, refusal.label()]);
            }
        }
        for site in &snapshot.config.sites {
            for class in &STATUS_CLASSES[1..5] {
                self.requests.with_label_values(&[&*site.name, class]);
            }
            for result in FooterResult::ALL_LABELS {
                self.footer.with_label_values(&[&*site.name, result]);
            }
            for reason in SkipReason::ALL {
                self.footer_skipped.with_label_values(&[&*site.name, reason.label()]);
            }
            for region in Region::ALL {
                self.egress_bytes.with_label_values(&[&*site.name, region.label()]);
            }
        }
        for state in &snapshot.origins {
            if state.origin.pool.preconnect > 0 {
                for result in ["made", "failed"] {
                    self.upstream_preconnects.with_label_values(&[&*state.origin.name, result]);
                }
            }
            self.retries.with_label_values(&[&*state.origin.name]);
            self.upstream_overflow.with_label_values(&[&*state.origin.name]);
            for link in state.links.iter().filter(|link| link.metered.is_some()) {
                let labels = [&*state.origin.name, &*link.name];
                self.link_in_use.with_label_values(&labels).set(link.last_look().status.in_use.into());
                self.link_switches.with_label_values(&labels);
            }
            for winner in ["first", "second", "nobody"] {
                self.hedges.with_label_values(&[&*state.origin.name, winner]);
            }
            for server in &state.origin.servers {
                self.upstream_connect.with_label_values(&[&*state.origin.name, &*server.link]);
                if state.tls.is_some() {
                    self.upstream_tls.with_label_values(&[&*state.origin.name, &*server.link]);
                }
            }
            for server in &state.servers {
                let up = !server.health.is_ejected();
                self.origin_up.with_label_values(&[&*state.origin.name, &server.label]).set(i64::from(up));
            }
        }
        self.tallies.replace(Prepared::of(self, snapshot));
    }

    /// The values of the listener of that name.
    pub fn of_listener(&self, listener: &str) -> OfListener {
        let refused =
            |refusal: &Refusal| self.connections_refused.with_label_values(&[listener, refusal.label()]);
        OfListener {
            open: self.connections_open.with_label_values(&[listener]),
            empty: self.connections_empty.with_label_values(&[listener]),
            refused: Refusal::ALL.iter().map(refused).collect(),
        }
    }

    /// A request was refused.
    pub fn refused(&self, listener: &str, refusal: Refusal) {
        self.connections_refused.with_label_values(&[listener, refusal.label()]).inc();
    }
}

/// The class of a status, as the label `status` shows it; `none` for an exchange without an answer.
pub fn status_class(status: Option<u16>) -> &'static str {
    match status.map(|status| status / 100) {
        Some(1) => "1xx",
        Some(2) => "2xx",
        Some(3) => "3xx",
        Some(4) => "4xx",
        Some(_) => "5xx",
        None => "none",
    }
}

/// Every class.
const STATUS_CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];

fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    let family = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}

fn gauges(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntGaugeVec, prometheus::Error> {
    let family = IntGaugeVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}

/// By origin and link, with the buckets of upstream times.
fn histograms(registry: &Registry, name: &str, help: &str) -> Result<HistogramVec, prometheus::Error> {
    let options = HistogramOpts::new(name, help).buckets(UPSTREAM_BUCKETS.to_vec());
    let family = HistogramVec::new(options, &["origin", "link"])?;
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}
