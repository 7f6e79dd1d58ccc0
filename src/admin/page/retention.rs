//! The record store: span kept, days of disk left; and the sinks.

use super::language::Language;
use super::listing::{Level, minute};
use crate::clock::Moment;
use crate::config::AccessLog;
use crate::retention::StoreStats;
use crate::ship::sink::Promise;
use crate::ship::status::{SinkBoard, SinkLook};

const DAY_SECONDS: f64 = 86_400.0;

#[derive(Debug)]
pub(crate) struct Retention {
    pub(crate) records: u64,
    pub(crate) lost: u64,
    pub(crate) span: String,
    pub(crate) required: String,
    /// Days until the disk is full; `None` before the store spans an hour.
    pub(crate) disk_left: Option<String>,
    /// Whether the disk holds less than is required.
    pub(crate) is_short: bool,
    /// Why no record can be kept now.
    pub(crate) full: Option<&'static str>,
    pub(crate) clock_synchronized: bool,
    pub(crate) sinks: Vec<SinkRow>,
}

impl Retention {
    /// Whether records are in danger.
    pub(crate) fn needs_attention(&self) -> bool {
        self.full.is_some() || self.is_short || self.sinks.iter().any(|sink| sink.level < Level::Good)
    }
}

#[derive(Debug)]
pub(crate) struct SinkRow {
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    pub(crate) is_required: bool,
    pub(crate) level: Level,
    pub(crate) state: &'static str,
    /// Why the promise is not kept.
    pub(crate) unkept: Option<String>,
    pub(crate) promise: Option<String>,
    pub(crate) lag: String,
    /// When, and what.
    pub(crate) error: Option<(String, String)>,
}

/// The state of the store and of every sink.
pub(crate) fn retention(
    stats: &StoreStats,
    log: &AccessLog,
    sinks: &SinkBoard,
    at: Moment,
    language: Language,
) -> Retention {
    let days = |seconds: f64| seconds / DAY_SECONDS;
    let span =
        stats.oldest().map_or(0.0, |oldest| days(at.now.duration_since(oldest).as_secs_f64().max(0.0)));
    let required = days(log.retention.as_secs_f64());
    let held = stats.days_held(log.reserve, at.now);
    Retention {
        records: stats.records(),
        lost: stats.lost(),
        span: language.days(span),
        required: language.days(required),
        disk_left: held.map(|held| language.days((held - span).max(0.0))),
        is_short: held.is_some_and(|held| held < required),
        full: stats.full().map(|full| full.label()),
        clock_synchronized: stats.clock_synchronized(),
        sinks: sinks.look().into_iter().map(|look| sink(look, at, language)).collect(),
    }
}

fn sink(look: SinkLook, at: Moment, language: Language) -> SinkRow {
    let words = language.words();
    let (state, level) = match (&look.promise, &look.unkept) {
        (_, Some(_)) if look.require => (words.not_kept, Level::Bad),
        (_, Some(_)) => (words.not_kept, Level::Warn),
        (Some(Promise::Nothing { .. }), None) => (words.no_promise, Level::Quiet),
        (_, None) => (words.kept, Level::Good),
    };
    let promise = look.promise.as_ref().map(|promise| match promise {
        Promise::Nothing { why } => why.clone(),
        Promise::Keeps { .. } | Promise::Broken { .. } => promise.to_string(),
    });
    SinkRow {
        name: look.name.to_string(),
        kind: look.kind,
        is_required: look.require,
        state,
        level: if look.last_error.is_some() { level.min(Level::Warn) } else { level },
        promise,
        lag: format!("{:.0} s", look.lag_seconds(at.now)),
        error: look.last_error.map(|(when, failure)| (minute(when), failure.to_string())),
        unkept: look.unkept,
    }
}
