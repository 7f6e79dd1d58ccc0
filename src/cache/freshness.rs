//! For how long a response is fresh (RFC 9111, 4.2), and how long a stale one may still be served.
//!
//! Time is a parameter: seconds of the wall clock since 1970.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{AGE, DATE, EXPIRES, HeaderName, LAST_MODIFIED};
use http::{HeaderMap, StatusCode};

use super::control::{Control, FOREVER, delta_seconds};

/// The longest heuristic lifetime: a day.
const HEURISTIC: u64 = 24 * 60 * 60;

/// When a request was sent and its response received.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) asked: i64,
    pub(crate) received: i64,
}

/// The age and the lifetime of a stored response.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Freshness {
    /// The age when it was received, in seconds.
    pub(super) initial_age: u64,
    pub(super) received: i64,
    /// In seconds; zero for a response that is always revalidated.
    pub(super) lifetime: u64,
    /// For how many seconds it may be served stale while it is revalidated.
    pub(super) while_revalidate: u64,
    /// For how many seconds it may be served stale when the origin fails.
    pub(super) if_error: u64,
}

/// Where a stored response stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum State {
    Fresh,
    /// It may be served while it is revalidated.
    StaleUsable,
    /// It must be revalidated first.
    Stale,
}

impl Freshness {
    /// Of a response with these fields. `None` if it says nothing and nothing can be guessed.
    pub(super) fn of(status: StatusCode, headers: &HeaderMap, times: Times) -> Option<Self> {
        let control = Control::of(headers);
        let date = date(headers, &DATE).unwrap_or(times.received);
        let lifetime =
            explicit(headers, &control, date).or_else(|| heuristic(status, headers, &control, date));
        // RFC 9111, 5.2.2.2, 5.2.2.8 and 5.2.2.10.
        let is_strict = control.no_cache
            || control.must_revalidate
            || control.proxy_revalidate
            || control.s_maxage.is_some();
        let unless_strict = |seconds: Option<u64>| if is_strict { 0 } else { seconds.unwrap_or(0) };
        Some(Self {
            initial_age: initial_age(headers, date, times),
            received: times.received,
            lifetime: if control.no_cache { 0 } else { lifetime? },
            while_revalidate: unless_strict(control.stale_while_revalidate),
            if_error: unless_strict(control.stale_if_error),
        })
    }

    /// The age at that time, in seconds. A clock that was set back makes nothing younger than it was.
    pub(crate) fn age(&self, now: i64) -> u64 {
        let resident = u64::try_from(now.saturating_sub(self.received)).unwrap_or(0);
        self.initial_age.saturating_add(resident).min(FOREVER)
    }

    pub(crate) fn state(&self, now: i64) -> State {
        match self.stale_for(now) {
            None => State::Fresh,
            Some(stale) if stale < self.while_revalidate => State::StaleUsable,
            Some(_) => State::Stale,
        }
    }

    /// Seconds since it became stale; `None` while it is fresh.
    pub(crate) fn stale_for(&self, now: i64) -> Option<u64> {
        self.age(now).checked_sub(self.lifetime)
    }

    /// Whether it may be served in place of an error.
    pub(crate) fn outlasts_error(&self, now: i64) -> bool {
        self.stale_for(now).is_none_or(|stale| stale < self.if_error)
    }

    /// Whether every use is revalidated, so that waiting for each other's fetch helps nobody.
    pub(crate) fn is_never_fresh(&self) -> bool {
        self.lifetime <= self.initial_age
    }
}

/// The lifetime that a response states: `s-maxage`, `max-age`, `expires` in this order.
pub(super) fn explicit(headers: &HeaderMap, control: &Control, date: i64) -> Option<u64> {
    if let Some(seconds) = control.s_maxage.or(control.max_age) {
        return Some(seconds);
    }
    let mut all = headers.get_all(EXPIRES).iter();
    let first = all.next()?;
    // Contradictions and what is no date, such as 0, mean stale (RFC 9111, 4.2.1 and 5.3).
    let agrees = all.all(|other| other == first);
    let expires = first.to_str().ok().and_then(parse_date).filter(|_| agrees);
    Some(expires.map_or(0, |expires| u64::try_from(expires.saturating_sub(date)).unwrap_or(0)))
}

/// A tenth of the time since its last change (RFC 9111, 4.2.2), for a status that allows it.
fn heuristic(status: StatusCode, headers: &HeaderMap, control: &Control, date: i64) -> Option<u64> {
    let changed = self::date(headers, &LAST_MODIFIED)?;
    let allowed = is_heuristic(status) || control.public;
    allowed
        .then(|| u64::try_from(date.saturating_sub(changed)).map_or(0, |since| (since / 10).min(HEURISTIC)))
}

/// Statuses that may be stored without being told (RFC 9110, 15.1), but 206, which is never stored.
pub(super) fn is_heuristic(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// RFC 9111, 4.2.3.
fn initial_age(headers: &HeaderMap, date: i64, times: Times) -> u64 {
    let apparent = u64::try_from(times.received.saturating_sub(date)).unwrap_or(0);
    let delay = u64::try_from(times.received.saturating_sub(times.asked)).unwrap_or(0);
    let said =
        headers.get(AGE).map(|age| age.as_bytes().split(|byte| *byte == b',').next().unwrap_or_default());
    let said = said.and_then(|said| delta_seconds(said.trim_ascii())).unwrap_or(0);
    apparent.max(said.saturating_add(delay)).min(FOREVER)
}

/// The date in a field, as seconds since 1970.
pub(super) fn date(headers: &HeaderMap, name: &HeaderName) -> Option<i64> {
    parse_date(headers.get(name)?.to_str().ok()?)
}

pub(super) fn parse_date(text: &str) -> Option<i64> {
    let time = httpdate::parse_http_date(text.trim()).ok()?;
    i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()
}

/// A date as fields have it.
#[cfg(test)]
pub(super) fn write_date(seconds: i64) -> String {
    httpdate::fmt_http_date(system_time(seconds))
}

/// That time for pingora, which knows no other.
pub(super) fn system_time(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}
