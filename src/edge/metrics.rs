//! Families of the snapshot in use and of the record store. Their values are read on a scrape.

use std::sync::Arc;

use jiff::Timestamp;

use super::Edge;
use crate::clock::Moment;
use crate::gate::{Filing, FilingStatus};
use crate::metrics::{Error, Family, Registry, Samples};
use crate::retention::{StoreFull, StoreStats};
use crate::snapshot::Snapshot;

const GENERATION: Family =
    Family::gauge("icpgate_snapshot_generation", "The generation of the snapshot in use.", &[]);
const FILINGS: Family = Family::gauge("icpgate_filings", "Filings of the allowlist by status.", &["status"]);
const DEADLINE: Family = Family::gauge(
    "icpgate_filing_deadline_seconds",
    "Seconds until the nearest deadline of a domain's filings; negative when it has passed.",
    &["domain", "deadline"],
);
const CERTIFICATE_EXPIRY: Family = Family::gauge(
    "icpgate_certificate_expiry_seconds",
    "Seconds until the site's certificate expires; 0 without a usable certificate.",
    &["site"],
);
static OF_SNAPSHOT: [Family; 4] = [GENERATION, FILINGS, DEADLINE, CERTIFICATE_EXPIRY];

const RECORDS: Family = Family::counter("icpgate_access_records_total", "Access records kept.", &[]);
const LOST: Family =
    Family::counter("icpgate_access_records_lost_total", "Access records that could not be kept.", &[]);
const TURNED_AWAY: Family = Family::counter(
    "icpgate_access_requests_refused_total",
    "Requests that got 503 because no record could be kept.",
    &[],
);
const FAILURES: Family = Family::counter(
    "icpgate_access_store_failures_total",
    "Writes and syncs of access records that failed.",
    &[],
);
const TRUNCATED: Family = Family::counter(
    "icpgate_access_records_truncated_total",
    "Access records with shortened texts: their client was beyond access_log.client_budget.",
    &[],
);
const BYTES: Family =
    Family::gauge("icpgate_access_store_bytes", "Bytes in the store of access records.", &[]);
const FULL: Family = Family::gauge(
    "icpgate_access_store_full",
    "1 while no record can be kept, for this reason.",
    &["reason"],
);
const DAYS: Family = Family::gauge(
    "icpgate_access_store_days",
    "Days of records that fit on the disk at the rate of those in the store.",
    &[],
);
const CLOCK: Family = Family::gauge(
    "icpgate_clock_synchronized",
    "1 while the system's clock is synchronized with a time server.",
    &[],
);
static OF_STORE: [Family; 9] = [RECORDS, LOST, TURNED_AWAY, FAILURES, TRUNCATED, BYTES, FULL, DAYS, CLOCK];

/// Registers the families.
pub fn register(registry: &Registry, edge: &Arc<Edge>) -> Result<(), Error> {
    let of_snapshot = Arc::clone(edge);
    registry.on_scrape(&OF_SNAPSHOT, move |samples| {
        let (snapshot, at) = (of_snapshot.snapshots.load(), of_snapshot.moment());
        samples.value(&GENERATION, &[], snapshot.generation as f64);
        read_filings(samples, &snapshot, at);
        read_certificates(samples, &snapshot, at);
    })?;
    let of_store = Arc::clone(edge);
    registry.on_scrape(&OF_STORE, move |samples| {
        let stats = of_store.recorder.stats();
        let reserve = of_store.snapshots.load().config.access_log.reserve;
        read_store(samples, stats, stats.days_held(reserve, of_store.moment().now));
    })
}

fn read_filings(samples: &mut Samples, snapshot: &Snapshot, at: Moment) {
    let filings = &snapshot.gate.filings;
    for status in FilingStatus::ALL {
        let count = filings.iter().filter(|filing| filing.status == *status).count();
        samples.value(&FILINGS, &[status.label()], count as f64);
    }
    for (domain, filings) in filings.by_domain() {
        let nearest = |due: fn(&Filing) -> Option<Timestamp>| filings.iter().filter_map(|one| due(one)).min();
        for (deadline, due) in [
            ("sms_verification", nearest(|filing| filing.sms_verification_due)),
            ("public_security", nearest(|filing| filing.public_security_due)),
            ("valid_until", nearest(|filing| filing.ends)),
        ] {
            if let Some(due) = due {
                let left = due.duration_since(at.latest).as_secs();
                samples.value(&DEADLINE, &[domain.as_str(), deadline], left as f64);
            }
        }
    }
}

/// Sites in clear text alone need no certificate and have no series.
fn read_certificates(samples: &mut Samples, snapshot: &Snapshot, at: Moment) {
    let sites = snapshot.config.sites.iter().zip(&snapshot.certificates);
    for (site, certificate) in sites.filter(|(site, _)| site.certificate.is_some()) {
        let ends = certificate.as_ref().map(|certificate| certificate.coverage.ends);
        let left = ends.map_or(0, |ends| ends.duration_since(at.latest).as_secs());
        samples.value(&CERTIFICATE_EXPIRY, &[&*site.name], left as f64);
    }
}

fn read_store(samples: &mut Samples, stats: &StoreStats, days_held: Option<f64>) {
    for (family, value) in [
        (&RECORDS, stats.records()),
        (&LOST, stats.lost()),
        (&TURNED_AWAY, stats.turned_away()),
        (&FAILURES, stats.failures()),
        (&TRUNCATED, stats.truncated()),
        (&BYTES, stats.bytes()),
        (&CLOCK, stats.clock_synchronized().into()),
    ] {
        samples.value(family, &[], value as f64);
    }
    for reason in StoreFull::ALL {
        samples.value(&FULL, &[reason.label()], (stats.full() == Some(reason)).into());
    }
    if let Some(days) = days_held {
        samples.value(&DAYS, &[], days);
    }
}
