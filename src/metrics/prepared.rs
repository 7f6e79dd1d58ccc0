//! The counters of one generation's sites and servers, found by place.
//!
//! Every request adds to several families; looking each up by its labels would cost more than all of
//! the counting. A request of another generation than the prepared one looks them up.

use std::time::Duration;

use prometheus::{Histogram, IntCounter};

use super::{Metrics, STATUS_CLASSES};
use crate::gate::SiteId;
use crate::origin::{OriginId, Region};
use crate::rewrite::FooterResult;
use crate::snapshot::Snapshot;

/// Counters by the place of their site.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    generation: u64,
    sites: Vec<SiteCounters>,
    /// Of each origin, for each of its servers.
    first_bytes: Vec<Vec<Histogram>>,
}

/// What the requests of a site add to.
#[derive(Clone, Debug)]
pub(super) struct SiteCounters {
    requests: [IntCounter; STATUS_CLASSES.len()],
    egress: [IntCounter; Region::ALL.len()],
    footer: [IntCounter; FooterResult::ALL_LABELS.len()],
}

/// What one exchange adds to the counters of its site.
#[derive(Clone, Copy, Debug)]
pub struct Counted<'c> {
    /// The class of its status.
    pub class: &'static str,
    /// Where its answer came from, and the bytes of the body, if it came from anywhere.
    pub egress: Option<(Region, u64)>,
    /// What became of the footer, if it is a page that is chosen for one.
    pub footer: Option<FooterResult>,
    /// The name of the site.
    pub site: &'c str,
}

impl Prepared {
    pub(super) fn of(metrics: &Metrics, snapshot: &Snapshot) -> Self {
        let sites = snapshot.config.sites.iter().map(|site| SiteCounters::of(metrics, &site.name));
        let origins = snapshot.origins.iter().map(|state| {
            let servers = state.origin.servers.iter();
            let labels = servers.map(|server| [&*state.origin.name, &*server.link]);
            labels.map(|labels| metrics.upstream_first_byte.with_label_values(&labels)).collect()
        });
        Self { generation: snapshot.generation, sites: sites.collect(), first_bytes: origins.collect() }
    }
}

impl SiteCounters {
    fn of(metrics: &Metrics, site: &str) -> Self {
        let footer = |label| metrics.footer.with_label_values(&[site, label]);
        Self {
            requests: STATUS_CLASSES.map(|class| metrics.requests.with_label_values(&[site, class])),
            egress: Region::ALL.map(|region| metrics.egress_bytes.with_label_values(&[site, region.label()])),
            footer: FooterResult::ALL_LABELS.map(footer),
        }
    }

    fn add(&self, counted: Counted<'_>) {
        if let Some(place) = STATUS_CLASSES.iter().position(|class| *class == counted.class) {
            self.requests[place].inc();
        }
        if let Some((region, bytes)) = counted.egress
            && let Some(place) = Region::ALL.iter().position(|known| *known == region)
        {
            self.egress[place].inc_by(bytes);
        }
        let label = counted.footer.map(FooterResult::label);
        if let Some(place) = FooterResult::ALL_LABELS.iter().position(|known| Some(*known) == label) {
            self.footer[place].inc();
        }
    }
}

impl Metrics {
    /// An exchange of a site of that generation is over.
    pub fn exchanged(&self, generation: u64, site: SiteId, counted: Counted<'_>) {
        let prepared = self.prepared.load();
        match prepared.sites.get(site.0).filter(|_| prepared.generation == generation) {
            Some(counters) => counters.add(counted),
            None => SiteCounters::of(self, counted.site).add(counted),
        }
        if let Some(FooterResult::Skipped(reason)) = counted.footer {
            self.footer_skipped.with_label_values(&[counted.site, reason.label()]).inc();
        }
    }

    /// The server at that place of an origin of that generation began its answer.
    pub fn answered(
        &self,
        generation: u64,
        (origin, place): (OriginId, usize),
        labels: [&str; 2],
        first_byte: Duration,
    ) {
        let prepared = self.prepared.load();
        let known = prepared.first_bytes.get(origin.0).and_then(|servers| servers.get(place));
        match known.filter(|_| prepared.generation == generation) {
            Some(histogram) => histogram.observe(first_byte.as_secs_f64()),
            None => {
                self.upstream_first_byte.with_label_values(&labels).observe(first_byte.as_secs_f64());
            }
        }
    }
}
