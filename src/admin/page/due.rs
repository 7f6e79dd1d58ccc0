//! What is due next: deadlines of filings, and the ends of certificates.

use jiff::Timestamp;

use super::filings::{certificate_level, seconds_until, urgency_level};
use super::language::Language;
use super::listing::{Level, minute};
use crate::clock::Moment;
use crate::snapshot::Snapshot;

/// Deadlines that are shown.
const SHOWN: usize = 12;

#[derive(Debug)]
pub(crate) struct DueRow {
    pub(crate) subject: String,
    pub(crate) what: &'static str,
    pub(crate) at: String,
    pub(crate) left: String,
    pub(crate) consequence: &'static str,
    pub(crate) level: Level,
}

/// The most urgent first.
pub(crate) fn rows(snapshot: &Snapshot, at: Moment, language: Language) -> Vec<DueRow> {
    let row = |time, level: fn(i64) -> Level, subject: &str, what, consequence| {
        let seconds = seconds_until(time, at);
        let (level, left) = (level(seconds), language.left(seconds));
        (time, DueRow { subject: subject.to_owned(), what, at: minute(time), left, consequence, level })
    };
    let deadlines = snapshot.gate.filings.deadlines().into_iter().take(SHOWN).map(|(filing, deadline)| {
        let (what, consequence) = (language.deadline(deadline.kind), language.consequence(deadline.kind));
        row(deadline.at, urgency_level, filing.domain.as_str(), what, consequence)
    });
    let words = language.words();
    let sites = snapshot.config.sites.iter().zip(&snapshot.certificates);
    let ends = sites.filter_map(|(site, certificate)| Some((site, certificate.as_ref()?.coverage.ends)));
    let mut ends: Vec<_> = ends.collect();
    ends.sort_by_key(|(_, ends)| *ends);
    let certificates = ends.into_iter().take(SHOWN).map(|(site, ends)| {
        row(ends, certificate_level, &site.name, words.certificate_expires, words.certificate_consequence)
    });
    let mut rows: Vec<(Timestamp, DueRow)> = deadlines.chain(certificates).collect();
    rows.sort_by_key(|(time, _)| *time);
    rows.into_iter().take(SHOWN).map(|(_, row)| row).collect()
}
