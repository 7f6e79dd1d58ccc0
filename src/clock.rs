//! Time as a parameter: policy is asked about a [`Moment`]; only `app` owns a [`Clock`].
//!
//! The clock remembers the latest time it has shown, so that setting the wall clock back does not revive an
//! approval that has ended.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::civil::Date;
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};

/// The time of a decision.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Moment {
    /// The wall clock. Nothing begins before it.
    pub now: Timestamp,
    /// The latest time that the wall clock has shown. What ended by then stays ended.
    pub latest: Timestamp,
}

impl Moment {
    /// A moment given by a user or a test rather than read from a clock.
    pub fn at(time: Timestamp) -> Self {
        Self { now: time, latest: time }
    }

    /// Where this moment lies relative to the span `begins..ends` (`None`: open).
    pub fn within(self, begins: Option<Timestamp>, ends: Option<Timestamp>) -> Within {
        if ends.is_some_and(|ends| ends <= self.latest) {
            Within::Ended
        } else if begins.is_some_and(|begins| self.now < begins) {
            Within::NotYet
        } else {
            Within::Yes
        }
    }
}

/// Where a moment lies relative to a span of time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Within {
    /// Before the span.
    NotYet,
    /// Within the span.
    Yes,
    /// At the end of the span or after it.
    Ended,
}

/// The wall clock, which remembers the latest time it has shown. Cheap to clone.
#[derive(Clone)]
pub struct Clock {
    wall: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    latest: Arc<AtomicI64>,
}

impl Clock {
    /// The system's wall clock.
    #[expect(clippy::disallowed_methods, reason = "the one place where the wall clock is read")]
    pub fn system() -> Self {
        Self::from_fn(Timestamp::now)
    }

    /// A clock that reads `wall`, for tests.
    pub fn from_fn(wall: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self { wall: Arc::new(wall), latest: Arc::new(AtomicI64::new(i64::MIN)) }
    }

    /// The current moment.
    pub fn moment(&self) -> Moment {
        let now = (self.wall)();
        let millis = now.as_millisecond();
        let latest = self.latest.load(Ordering::Relaxed);
        // Written every 100 ms at most, so that cores do not contend for the cache line.
        if millis >= latest.saturating_add(100) {
            self.latest.fetch_max(millis, Ordering::Relaxed);
        }
        if millis >= latest {
            return Moment { now, latest: now };
        }
        Moment { now, latest: Timestamp::from_millisecond(latest).unwrap_or(now) }
    }

    /// Another clock has shown `latest`, which counts as shown by this one.
    pub fn remember(&self, latest: Timestamp) {
        self.latest.fetch_max(latest.as_millisecond(), Ordering::Relaxed);
    }

    /// The current wall-clock time.
    pub fn now(&self) -> Timestamp {
        (self.wall)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").finish_non_exhaustive()
    }
}

/// Asia/Shanghai: UTC+8 all year since 1992, so no time zone database is needed.
pub const SHANGHAI: Offset = Offset::constant(8);

/// The first instant of a day in Asia/Shanghai.
pub fn start_of_day(day: Date) -> Option<Timestamp> {
    SHANGHAI.to_timestamp(day.at(0, 0, 0, 0)).ok()
}

/// The first instant after a day in Asia/Shanghai.
pub fn end_of_day(day: Date) -> Option<Timestamp> {
    start_of_day(day.tomorrow().ok()?)
}

/// `time` in RFC 3339 with the offset of Asia/Shanghai.
pub fn shanghai_time(time: Timestamp) -> String {
    time.display_with_offset(SHANGHAI).to_string()
}

/// The day of `time` in Asia/Shanghai.
pub fn day_of(time: Timestamp) -> Date {
    SHANGHAI.to_datetime(time).date()
}

/// The time from `from` to `to`; zero if `to` is not later.
pub fn until(from: Timestamp, to: Timestamp) -> std::time::Duration {
    let span: SignedDuration = to.duration_since(from);
    std::time::Duration::try_from(span).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn days_are_those_of_shanghai() {
        let day = jiff::civil::date(2026, 3, 2);
        assert_eq!(start_of_day(day), Some(time("2026-03-01T16:00:00Z")));
        assert_eq!(end_of_day(day), Some(time("2026-03-02T16:00:00Z")));
        assert_eq!(day_of(time("2026-03-01T16:00:00Z")), day);
        assert_eq!(day_of(time("2026-03-01T15:59:59Z")), jiff::civil::date(2026, 3, 1));
    }

    #[test]
    fn a_clock_set_back_does_not_revive_what_has_ended() {
        let wall = Arc::new(Mutex::new(time("2026-01-01T00:00:00Z")));
        let shown = Arc::clone(&wall);
        let clock = Clock::from_fn(move || *shown.lock().expect("not poisoned"));
        let ends = Some(time("2026-06-01T00:00:00Z"));
        assert_eq!(clock.moment().within(None, ends), Within::Yes);
        *wall.lock().expect("not poisoned") = time("2026-07-01T00:00:00Z");
        assert_eq!(clock.moment().within(None, ends), Within::Ended);
        *wall.lock().expect("not poisoned") = time("2026-01-01T00:00:00Z");
        assert_eq!(clock.moment().within(None, ends), Within::Ended);
        let begins = Some(time("2026-06-01T00:00:00Z"));
        assert_eq!(clock.moment().within(begins, None), Within::NotYet);
    }
}
