//! The metrics as a page: what was counted, and what the snapshot and the store show at that moment.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use prometheus::TextEncoder;
use prometheus::proto::{LabelPair, Metric};

use super::family::Family;
use super::{Metrics, paths};
use crate::clock::Moment;
use crate::gate::{Filing, FilingStatus};
use crate::retention::StoreFull;
use crate::snapshot::{OriginState, Snapshot};

/// What the store of access records shows of itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct StoreFigures {
    /// Records kept.
    pub records: u64,
    /// Records that could not be kept.
    pub lost: u64,
    /// Requests that got 503 because no record could be kept.
    pub turned_away: u64,
    /// Writes and syncs that failed.
    pub failures: u64,
    /// Why no record can be kept now, if so.
    pub full: Option<StoreFull>,
    /// For how many days the disk holds records at their present rate.
    pub days_held: Option<f64>,
    /// Bytes in the store.
    pub bytes: u64,
    /// Whether the system's clock is kept by a time server.
    pub clock_synchronized: bool,
}

/// What a sink of access records shows of itself.
#[derive(Clone, Debug)]
pub struct SinkFigures {
    /// Its configured name.
    pub name: Arc<str>,
    /// Age of the oldest record that it has not acknowledged, in seconds.
    pub lag_seconds: f64,
    /// Bytes of the store that it has not acknowledged.
    pub lag_bytes: u64,
    /// Number of the last record that it acknowledged.
    pub acknowledged_seq: u64,
    /// Whether its promise was read and is enough.
    pub retention_ok: bool,
    /// Records that it does not take and that were passed over.
    pub set_aside: u64,
    /// Failures by class; every class is there.
    pub errors: Vec<(&'static str, u64)>,
}

impl Metrics {
    /// Everything in Prometheus' text format, with what `snapshot`, the store and its sinks show at `at`.
    /// `uptime` is the time that servers are measured in.
    pub fn render(
        &self,
        snapshot: &Snapshot,
        (store, sinks): (StoreFigures, &[SinkFigures]),
        at: Moment,
        uptime: Duration,
    ) -> String {
        let mut text = String::new();
        self.snapshot_generation.set(i64::try_from(snapshot.generation).unwrap_or(i64::MAX));
        self.tallies.flush();
        let mut families = self.registry.gather();
        let named = Named::of(snapshot);
        for family in &mut families {
            family.mut_metric().retain(|series| named.contain(series));
        }
        families.retain(|family| !family.get_metric().is_empty());
        if let Err(error) = TextEncoder::new().encode_utf8(&families, &mut text) {
            tracing::error!(%error, "the metrics cannot be written");
        }
        render_filings(&mut text, snapshot, at);
        paths::render(&mut Family { text: &mut text }, snapshot, uptime);
        let mut family = Family { text: &mut text };
        family.start(
            "icpgate_certificate_expiry_seconds",
            "gauge",
            "Until the site's certificate ends; 0 without one.",
        );
        let sites = snapshot.config.sites.iter().zip(&snapshot.certificates);
        // A site in clear text alone needs none, and nothing of it is about to end.
        for (site, certificate) in sites.filter(|(site, _)| site.certificate.is_some()) {
            let ends = certificate.as_ref().map(|certificate| certificate.coverage.ends);
            let left = ends.map_or(0, |ends| ends.duration_since(at.latest).as_secs());
            family.value("icpgate_certificate_expiry_seconds", &[("site", &site.name)], left);
        }
        let one = [
            ("icpgate_access_records_total", "counter", "Access records kept.", store.records),
            (
                "icpgate_access_records_lost_total",
                "counter",
                "Access records that could not be kept.",
                store.lost,
            ),
            (
                "icpgate_access_requests_refused_total",
                "counter",
                "Requests that got 503 because no record could be kept.",
                store.turned_away,
            ),
            (
                "icpgate_access_store_failures_total",
                "counter",
                "Writes and syncs of access records that failed.",
                store.failures,
            ),
            ("icpgate_access_store_bytes", "gauge", "Bytes in the store of access records.", store.bytes),
            (
                "icpgate_clock_synchronized",
                "gauge",
                "1 while the system's clock is kept by a time server.",
                u64::from(store.clock_synchronized),
            ),
        ];
        for (name, kind, help, value) in one {
            family.start(name, kind, help);
            family.value(name, &[], value);
        }
        family.start("icpgate_access_store_full", "gauge", "1 while no record can be kept, for this reason.");
        for reason in StoreFull::ALL {
            let value = u8::from(store.full == Some(reason));
            family.value("icpgate_access_store_full", &[("reason", reason.label())], value);
        }
        family.start(
            "icpgate_access_store_days",
            "gauge",
            "Days of records that the disk holds at the rate of those in the store.",
        );
        if let Some(days) = store.days_held {
            family.value("icpgate_access_store_days", &[], days);
        }
        render_sinks(&mut family, sinks);
        text
    }
}

fn render_sinks(family: &mut Family<'_>, sinks: &[SinkFigures]) {
    type Column = (&'static str, &'static str, &'static str, fn(&SinkFigures) -> f64);
    let columns: [Column; 5] = [
        (
            "icpgate_sink_lag_seconds",
            "gauge",
            "Age of the oldest record that a sink has not acknowledged.",
            |sink| sink.lag_seconds,
        ),
        (
            "icpgate_sink_lag_bytes",
            "gauge",
            "Bytes of the record store that a sink has not acknowledged.",
            |sink| sink.lag_bytes as f64,
        ),
        (
            "icpgate_sink_acknowledged_seq",
            "gauge",
            "Number of the last record that a sink has acknowledged.",
            |sink| sink.acknowledged_seq as f64,
        ),
        (
            "icpgate_sink_retention_ok",
            "gauge",
            "1 while a sink's promise is known and is at least access_log.retention.",
            |sink| f64::from(u8::from(sink.retention_ok)),
        ),
        (
            "icpgate_sink_set_aside_total",
            "counter",
            "Records that a sink does not take and that were passed over.",
            |sink| sink.set_aside as f64,
        ),
    ];
    for (name, kind, help, value) in columns {
        family.start(name, kind, help);
        for sink in sinks {
            family.value(name, &[("sink", &sink.name)], value(sink));
        }
    }
    family.start("icpgate_sink_errors_total", "counter", "Failures of a sink, by class.");
    for sink in sinks {
        for (class, count) in &sink.errors {
            family.value("icpgate_sink_errors_total", &[("sink", &sink.name), ("class", class)], count);
        }
    }
}

/// What a snapshot names. A series of something else is left out: it counted what a snapshot before named, and
/// goes on where it was should that name come back.
struct Named<'s> {
    listeners: HashSet<&'s str>,
    sites: HashSet<&'s str>,
    origins: HashMap<&'s str, &'s OriginState>,
}

impl<'s> Named<'s> {
    fn of(snapshot: &'s Snapshot) -> Self {
        let config = &snapshot.config;
        Self {
            listeners: config.listeners.iter().map(|listener| &*listener.name).collect(),
            sites: config.sites.iter().map(|site| &*site.name).collect(),
            origins: snapshot.origins.iter().map(|state| (&*state.origin.name, &**state)).collect(),
        }
    }

    fn contain(&self, series: &Metric) -> bool {
        let label = |name| series.get_label().iter().find(|label| label.name() == name).map(LabelPair::value);
        let is_of = |state: &OriginState| {
            label("server").is_none_or(|server| state.servers.iter().any(|known| known.label == server))
                && label("link").is_none_or(|link| state.links.iter().any(|known| *known.name == *link))
        };
        label("listener").is_none_or(|listener| self.listeners.contains(listener))
            && label("site").is_none_or(|site| self.sites.contains(site))
            && label("origin").is_none_or(|origin| self.origins.get(origin).is_some_and(|state| is_of(state)))
    }
}

fn render_filings(text: &mut String, snapshot: &Snapshot, at: Moment) {
    let mut family = Family { text };
    family.start("icpgate_filings", "gauge", "Filings of the allowlist by status.");
    for status in FilingStatus::ALL {
        let count = snapshot.gate.filings.iter().filter(|filing| filing.status == *status).count();
        family.value("icpgate_filings", &[("status", status.label())], count);
    }
    family.start(
        "icpgate_filing_deadline_seconds",
        "gauge",
        "Until something is due for a filing of the domain; negative when overdue.",
    );
    for (domain, filings) in snapshot.gate.filings.by_domain() {
        let nearest = |due: fn(&Filing) -> Option<Timestamp>| filings.iter().filter_map(|one| due(one)).min();
        let dues = [
            ("sms_verification", nearest(|filing| filing.sms_verification_due)),
            ("public_security", nearest(|filing| filing.public_security_due)),
            ("valid_until", nearest(|filing| filing.ends)),
        ];
        for (deadline, due) in dues {
            if let Some(due) = due {
                let labels = [("domain", domain.as_str()), ("deadline", deadline)];
                let left = due.duration_since(at.latest).as_secs();
                family.value("icpgate_filing_deadline_seconds", &labels, left);
            }
        }
    }
}
