//! Whether the disk holds the access records of the whole retention, at the rate of those in the store.

use super::finding::{Check, Finding};
use crate::config::Config;
use crate::retention::{Capacity, ClientCost, Summary, summarize};

/// Fewer records, or a shorter span, say nothing about the rate.
const RECORDS: u64 = 1_000;
const SPAN: f64 = 3_600.0;
/// The rate to show while none is known, in records per second.
const EXAMPLE: f64 = 10.0;

pub(super) fn check(config: &Config) -> Finding {
    let log = &config.access_log;
    let subject = log.directory.display();
    let store = if log.directory.is_dir() {
        summarize(&log.directory)
    } else {
        Err(std::io::ErrorKind::NotFound.into())
    };
    let rate = store.ok().and_then(|store| rate(&store));
    let (capacity, room) = match (Capacity::at_rate(log, rate.unwrap_or(EXAMPLE)), ClientCost::on_disk(log)) {
        (Ok(capacity), Ok(cost)) => (capacity, cost.room),
        (Err(error), _) | (_, Err(error)) => {
            let hint = "correct access_log.directory, or the rights on it";
            return Finding::fail(Check::Disk, subject, format!("the disk cannot be asked: {error}"), hint);
        }
    };
    if room == 0 {
        return Finding::fail(
            Check::Disk,
            subject,
            "less is free than access_log.reserve: no record can be kept",
            "free disk space, or give the store a disk of its own",
        );
    }
    let (days, wanted) = (capacity.days, log.retention.as_secs() / 86_400);
    let Some(rate) = rate else {
        let message = format!(
            "the store has too few records to know their rate; at {EXAMPLE} a second the disk holds {days:.0} days \
             (`icpgate check --rate N` shows other rates)"
        );
        return Finding::ok(Check::Disk, subject, message);
    };
    let message =
        format!("at {rate:.1} records a second, as in the store, the disk holds {days:.0} days of {wanted}");
    let hint =
        "give the store a larger disk, or ship segments to a sink that locks them and set free_shipped";
    if days >= wanted as f64 {
        Finding::ok(Check::Disk, subject, message)
    } else if config.free_shipped {
        Finding::warn(
            Check::Disk,
            subject,
            format!("{message}; segments that are shipped may be freed before"),
            hint,
        )
    } else {
        Finding::fail(Check::Disk, subject, message, hint)
    }
}

/// Records per second.
fn rate(store: &Summary) -> Option<f64> {
    let span = store.to?.duration_since(store.from?).as_secs_f64();
    (store.records >= RECORDS && span >= SPAN).then(|| store.records as f64 / span)
}
