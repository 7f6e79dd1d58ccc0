//! The filings: state, next deadline, time left. Those that need attention come first.

use jiff::Timestamp;

use super::language::Language;
use super::listing::{Level, Listing, Search, minute};
use crate::admin::filing_state::FilingState;
use crate::clock::Moment;
use crate::fleet::status::SourceLook;
use crate::gate::{Filing, FilingStatus, Filings};

/// Filings that are shown.
const SHOWN: usize = 200;
/// A deadline of a filing is near when it is in less than 30 days: reviews take weeks.
const NEAR_SECONDS: i64 = 30 * DAY_SECONDS;
/// The end of a certificate is near in less than 14 days: renewals begin at 30 days at the latest.
const CERTIFICATE_NEAR_SECONDS: i64 = 14 * DAY_SECONDS;
const DAY_SECONDS: i64 = 24 * 60 * 60;

#[derive(Debug)]
pub(crate) struct FilingRow {
    pub(crate) domain: String,
    pub(crate) number: Option<String>,
    pub(crate) state: &'static str,
    pub(crate) level: Level,
    pub(crate) deadline: Option<DeadlineCell>,
}

/// Where the filings come from.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) age_seconds: u64,
    pub(crate) serial: Option<u64>,
    pub(crate) failure: Option<String>,
}

impl Source {
    pub(crate) fn of(look: &SourceLook) -> Self {
        let SourceLook { name, age, serial, failure } = look.clone();
        Self { name, age_seconds: age.as_secs(), serial, failure }
    }
}

#[derive(Debug)]
pub(crate) struct DeadlineCell {
    pub(crate) what: &'static str,
    pub(crate) at: String,
    pub(crate) left: String,
    pub(crate) level: Level,
}

/// The filings that match, the most urgent first.
pub(crate) fn listing(
    filings: &Filings,
    at: Moment,
    search: &Search,
    language: Language,
) -> Listing<FilingRow> {
    Listing::first(
        SHOWN,
        filings.iter(),
        |filing| {
            search.is_in([filing.domain.as_str()])
                || filing.number.as_ref().is_some_and(|number| search.is_in([number.as_str()]))
        },
        |filing| urgency(filing, at),
        |filing| row(filing, at, language),
    )
}

/// The lowest first: a near deadline, what is on its way or stopped, what is approved, what is gone.
fn urgency(filing: &Filing, at: Moment) -> (u8, Option<Timestamp>) {
    let next = filing.deadlines().map(|deadline| deadline.at).min();
    let is_near = next.is_some_and(|next| seconds_until(next, at) < NEAR_SECONDS);
    let rank = match FilingState::of(filing, at) {
        FilingState::Status(FilingStatus::Cancelled) => 3,
        _ if is_near => 0,
        FilingState::Status(FilingStatus::Approved) => 2,
        FilingState::Status(_) | FilingState::NotYetValid | FilingState::Expired => 1,
    };
    (rank, next)
}

fn row(filing: &Filing, at: Moment, language: Language) -> FilingRow {
    let state = FilingState::of(filing, at);
    let (state, level) = match state {
        FilingState::NotYetValid => (language.refusal(crate::gate::Refusal::NotYetValid), Level::Warn),
        FilingState::Expired => (language.refusal(crate::gate::Refusal::Expired), Level::Bad),
        FilingState::Status(status) => (language.status(status), level_of(status)),
    };
    let next = filing.deadlines().min_by_key(|deadline| deadline.at);
    FilingRow {
        domain: filing.domain.as_str().to_owned(),
        number: filing.number.as_ref().map(|number| number.as_str().to_owned()),
        state,
        level,
        deadline: next.map(|next| {
            let seconds = seconds_until(next.at, at);
            DeadlineCell {
                what: language.deadline(next.kind),
                at: minute(next.at),
                left: language.left(seconds),
                level: urgency_level(seconds),
            }
        }),
    }
}

fn level_of(status: FilingStatus) -> Level {
    match status {
        FilingStatus::Approved => Level::Good,
        FilingStatus::Suspended => Level::Bad,
        FilingStatus::Cancelled => Level::Quiet,
        FilingStatus::Preparing
        | FilingStatus::ProviderReview
        | FilingStatus::SmsVerification
        | FilingStatus::BureauReview => Level::Warn,
    }
}

/// How urgent a deadline of a filing is that is in so many seconds.
pub(crate) fn urgency_level(seconds: i64) -> Level {
    level_within(seconds, NEAR_SECONDS)
}

/// How urgent a certificate is that ends in so many seconds.
pub(crate) fn certificate_level(seconds: i64) -> Level {
    level_within(seconds, CERTIFICATE_NEAR_SECONDS)
}

fn level_within(seconds: i64, near: i64) -> Level {
    match seconds {
        ..=0 => Level::Bad,
        soon if soon < near => Level::Warn,
        _ => Level::Quiet,
    }
}

/// Seconds until `time`; not above zero once it is over.
pub(crate) fn seconds_until(time: Timestamp, at: Moment) -> i64 {
    time.duration_since(at.latest).as_secs()
}
