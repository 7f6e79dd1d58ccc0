//! The counters of one generation's sites, found by place.
//!
//! Every request adds to several families; looking each up by its labels would cost more than all of
//! the counting. A request of another generation than the prepared one looks them up.

use prometheus::IntCounter;

use super::{Metrics, STATUS_CLASSES};
use crate::origin::Region;
use crate::rewrite::FooterResult;
use crate::snapshot::Snapshot;

/// Counters by the place of their site.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    pub(super) generation: u64,
    pub(super) sites: Vec<OfSite<IntCounter>>,
}

/// What the requests of a site add to.
#[derive(Debug, Default)]
pub(super) struct OfSite<C> {
    pub(super) requests: [C; STATUS_CLASSES.len()],
    pub(super) egress: [C; Region::ALL.len()],
    pub(super) footer: [C; FooterResult::ALL_LABELS.len()],
}

impl Prepared {
    pub(super) fn of(metrics: &Metrics, snapshot: &Snapshot) -> Self {
        let sites = snapshot.config.sites.iter().map(|site| OfSite::of(metrics, &site.name));
        Self { generation: snapshot.generation, sites: sites.collect() }
    }
}

impl<C> OfSite<C> {
    pub(super) fn all(&self) -> impl Iterator<Item = &C> {
        self.requests.iter().chain(&self.egress).chain(&self.footer)
    }
}

impl OfSite<IntCounter> {
    pub(super) fn of(metrics: &Metrics, site: &str) -> Self {
        let footer = |label| metrics.footer.with_label_values(&[site, label]);
        Self {
            requests: STATUS_CLASSES.map(|class| metrics.requests.with_label_values(&[site, class])),
            egress: Region::ALL.map(|region| metrics.egress_bytes.with_label_values(&[site, region.label()])),
            footer: FooterResult::ALL_LABELS.map(footer),
        }
    }
}
