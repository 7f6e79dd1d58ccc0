//! Families of the allowlist's source. Their values are read on a scrape.

use super::status::SourceBoard;
use crate::metrics::{Error, Family, Registry};

const AGE: Family = Family::gauge(
    "icpgate_filings_source_age_seconds",
    "Time since the allowlist's source last confirmed what is in force; 0 while a file is in force as it is.",
    &[],
);
const FETCHES: Family = Family::counter(
    "icpgate_filings_source_fetches_total",
    "Fetches of the allowlist, by result: changed, unchanged, rejected, or why it failed.",
    &["result"],
);
static FAMILIES: [Family; 2] = [AGE, FETCHES];

/// Registers the families.
pub fn register(registry: &Registry, board: SourceBoard) -> Result<(), Error> {
    registry.on_scrape(&FAMILIES, move |samples| {
        samples.value(&AGE, &[], board.current().look().age.as_secs_f64());
        for (result, count) in board.fetches() {
            samples.value(&FETCHES, &[result], count as f64);
        }
    })
}
