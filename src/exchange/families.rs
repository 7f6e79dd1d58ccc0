//! What exchanges count: the families, and the counters of each site.

use std::time::Duration;

use crate::access::record::CacheResult;
use crate::metrics::{Error, Histogram, IntCounter, IntCounterVec, counters, histogram};
use crate::origin::Region;
use crate::rewrite::{EncodedBytes, Encoding, FooterResult, MapResult, SkipReason, foreign_domains};
use crate::snapshot::Snapshot;

/// Request durations, in seconds: from a small page to a report that takes a minute.
const BOUNDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

const STATUS_CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];

/// The class of a status; `none` for an exchange without an answer.
pub(super) fn status_class(status: Option<u16>) -> &'static str {
    match status.map(|status| status / 100) {
        Some(1) => "1xx",
        Some(2) => "2xx",
        Some(3) => "3xx",
        Some(4) => "4xx",
        Some(_) => "5xx",
        None => "none",
    }
}

/// What one exchange adds to the families.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tally<'c> {
    /// One of [`STATUS_CLASSES`].
    pub(super) class: &'static str,
    /// The region that answered, and the bytes of the body; `None` without an answer of a server.
    pub(super) egress: Option<(Region, u64)>,
    /// The result for the footer, for a page that was chosen for one.
    pub(super) footer: Option<FooterResult>,
    /// What the cache did, on a site with one.
    pub(super) cache: Option<CacheResult>,
    /// What the encoder did, if the response was encoded here.
    pub(super) encoded: Option<EncodedBytes>,
    /// From the request head to the end of the exchange.
    pub(super) duration: Duration,
    /// Whether the request was beyond a rate limit.
    pub(super) limited: bool,
    pub(super) site: &'c str,
}

#[derive(Clone, Debug)]
pub(super) struct Families {
    /// By site and class of status.
    pub(super) requests: IntCounterVec,
    pub(super) duration: Histogram,
    /// By site and result.
    pub(super) footer: IntCounterVec,
    /// By site and reason. Added to directly: pages are skipped seldom.
    pub(super) footer_skipped: IntCounterVec,
    /// By site and domain. Added to directly, of sites that count them.
    pub(super) foreign_assets: IntCounterVec,
    /// By site and result. Added to directly, of sites with copied assets.
    pub(super) mapped: IntCounterVec,
    /// By site and region.
    pub(super) egress: IntCounterVec,
    /// By site.
    pub(super) limited: IntCounterVec,
    /// By site and result.
    pub(super) cache: IntCounterVec,
    /// By encoding. Added to directly, as is `encoder_out`: encoding costs far more.
    pub(super) encoder_in: IntCounterVec,
    /// By encoding.
    pub(super) encoder_out: IntCounterVec,
}

/// What the exchanges of one site add to.
#[derive(Debug, Default)]
pub(super) struct SiteCounters<C> {
    requests: [C; STATUS_CLASSES.len()],
    egress: [C; Region::ALL.len()],
    footer: [C; FooterResult::ALL_LABELS.len()],
    limited: C,
    cache: [C; CacheResult::ALL.len()],
}

/// The counters of a snapshot's sites, by [`crate::gate::SiteId`]: looking each up by its labels would cost
/// a request more than all of its counting.
#[derive(Debug, Default)]
pub(super) struct SiteTable {
    pub(super) generation: u64,
    pub(super) sites: Vec<SiteCounters<IntCounter>>,
}

impl Families {
    pub(super) fn new() -> Result<Self, Error> {
        let families = Self {
            requests: counters(
                "icpgate_requests_total",
                "Requests by class of status.",
                &["site", "status"],
            )?,
            duration: histogram(
                "icpgate_request_duration_seconds",
                "From a request's head to the end of its exchange.",
                BOUNDS,
            )?,
            footer: counters(
                "icpgate_footer_total",
                "HTML pages by what became of the footer.",
                &["site", "result"],
            )?,
            footer_skipped: counters(
                "icpgate_footer_skipped_total",
                "HTML pages that passed unchanged, by reason.",
                &["site", "reason"],
            )?,
            foreign_assets: counters(
                "icpgate_foreign_assets_total",
                "References of pages to hosts that are blocked or slow in the mainland, or were taken over.",
                &["site", "host"],
            )?,
            mapped: counters(
                "icpgate_asset_pages_total",
                "Pages and style sheets whose references to copied assets were looked for, by result.",
                &["site", "result"],
            )?,
            egress: counters(
                "icpgate_egress_bytes_total",
                "Response body bytes sent to clients, by the region they came from.",
                &["site", "region"],
            )?,
            limited: counters(
                "icpgate_rate_limited_total",
                "Requests beyond the site's rate limit.",
                &["site"],
            )?,
            cache: counters(
                "icpgate_cache_total",
                "Requests to sites with a cache, by what the cache did.",
                &["site", "result"],
            )?,
            encoder_in: counters(
                "icpgate_encoder_in_bytes_total",
                "Response body bytes before they were compressed here.",
                &["encoding"],
            )?,
            encoder_out: counters(
                "icpgate_encoder_out_bytes_total",
                "Response body bytes after they were compressed here.",
                &["encoding"],
            )?,
        };
        for encoding in Encoding::ALL {
            families.add_encoded(EncodedBytes { encoding, taken: 0, yielded: 0 });
        }
        Ok(families)
    }

    /// All but the histogram.
    pub(super) fn counters(&self) -> [&IntCounterVec; 10] {
        let Self {
            requests,
            duration: _,
            footer,
            footer_skipped,
            foreign_assets,
            mapped,
            egress,
            limited,
            encoder_in,
            encoder_out,
            cache,
        } = self;
        [
            requests,
            footer,
            footer_skipped,
            foreign_assets,
            mapped,
            egress,
            limited,
            encoder_in,
            encoder_out,
            cache,
        ]
    }

    pub(super) fn add_encoded(&self, bytes: EncodedBytes) {
        let encoding = [bytes.encoding.name()];
        self.encoder_in.with_label_values(&encoding).inc_by(bytes.taken);
        self.encoder_out.with_label_values(&encoding).inc_by(bytes.yielded);
    }

    /// The counters of every site of `snapshot`; series that are new begin at zero.
    pub(super) fn table(&self, snapshot: &Snapshot) -> SiteTable {
        for site in &snapshot.config.sites {
            for reason in SkipReason::ALL {
                self.footer_skipped.with_label_values(&[&*site.name, reason.label()]);
            }
        }
        for site in snapshot.config.sites.iter().filter(|site| site.reports_assets) {
            for domain in foreign_domains() {
                self.foreign_assets.with_label_values(&[&*site.name, domain]);
            }
        }
        for site in snapshot.config.sites.iter().filter(|site| !site.asset_folders.is_empty()) {
            for result in MapResult::ALL_LABELS {
                self.mapped.with_label_values(&[&*site.name, result]);
            }
        }
        let sites = snapshot.config.sites.iter().map(|site| self.site(&site.name)).collect();
        SiteTable { generation: snapshot.generation, sites }
    }

    pub(super) fn site(&self, site: &str) -> SiteCounters<IntCounter> {
        SiteCounters {
            requests: STATUS_CLASSES.map(|class| self.requests.with_label_values(&[site, class])),
            egress: Region::ALL.map(|region| self.egress.with_label_values(&[site, region.label()])),
            footer: FooterResult::ALL_LABELS.map(|result| self.footer.with_label_values(&[site, result])),
            limited: self.limited.with_label_values(&[site]),
            cache: CacheResult::ALL.map(|result| self.cache.with_label_values(&[site, result.label()])),
        }
    }
}

impl<C> SiteCounters<C> {
    fn all(&self) -> impl Iterator<Item = &C> {
        let limited = [&self.limited];
        self.requests.iter().chain(&self.egress).chain(&self.footer).chain(limited).chain(&self.cache)
    }
}

impl SiteCounters<u64> {
    pub(super) fn add(&mut self, tally: Tally<'_>) {
        if let Some(index) = STATUS_CLASSES.iter().position(|class| *class == tally.class) {
            self.requests[index] += 1;
        }
        if let Some((region, bytes)) = tally.egress
            && let Some(index) = Region::ALL.iter().position(|known| *known == region)
        {
            self.egress[index] += bytes;
        }
        self.limited += u64::from(tally.limited);
        let label = tally.footer.map(FooterResult::label);
        if let Some(index) = FooterResult::ALL_LABELS.iter().position(|known| Some(*known) == label) {
            self.footer[index] += 1;
        }
        if let Some(cache) = tally.cache
            && let Some(index) = CacheResult::ALL.iter().position(|known| *known == cache)
        {
            self.cache[index] += 1;
        }
    }

    pub(super) fn add_to(&self, counters: &SiteCounters<IntCounter>) {
        for (counter, count) in counters.all().zip(self.all()).filter(|(_, count)| **count > 0) {
            counter.inc_by(*count);
        }
    }
}
