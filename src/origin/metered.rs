//! When a link that costs more is used in place of the others.
//!
//! It is while the others break what is promised of them, and in hours that are set. It comes into use at
//! the first evidence and stays for a while, until the others keep their promise with something to spare,
//! so that nothing swings to and fro.

use std::fmt;
use std::time::Duration;

use super::first_bytes::{ENOUGH, Observations};

/// So many requests must have told of the other links before a link comes into use: that more than one
/// in twenty was slow is chance otherwise.
const EVIDENCE: u64 = 50;
/// How long a link is used at least, and the others after it.
const HOLD: Duration = Duration::from_secs(120);
/// How long a link is used when too few requests tell how the others do.
const UNTOLD: Duration = Duration::from_secs(600);

/// What is configured of a link that costs more.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Metered {
    /// What one in twenty first bytes over the other links may take longer than.
    pub first_byte: Option<Duration>,
    /// How many of a hundred requests over the other links may fail.
    pub failures: u32,
    /// When it is used in any case.
    pub prefer: Vec<Hours>,
}

/// Hours of every day in Asia/Shanghai, in minutes from midnight: from the first to before the second,
/// over midnight where that is earlier.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Hours {
    /// When they begin.
    pub from: u16,
    /// When they are over.
    pub to: u16,
}

impl Hours {
    fn contains(self, minute: u16) -> bool {
        if self.from <= self.to {
            (self.from..self.to).contains(&minute)
        } else {
            minute >= self.from || minute < self.to
        }
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to } = self;
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)
    }
}

/// Why a link is used, or is not any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    /// It has not been needed so far.
    NotNeeded,
    /// Over the other links, one in twenty first bytes took longer than this.
    Slow(Duration),
    /// Over the other links, so many in a hundred requests failed.
    Failing(u32),
    /// It is the time of the day.
    Hours(Hours),
    /// The time of the day is over.
    HoursOver,
    /// The other links keep their promise.
    Kept,
    /// Too few requests tell how the other links do, for a long time.
    Untold,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotNeeded => f.write_str("it has not been needed"),
            Self::Slow(p95) => {
                write!(f, "first bytes over the other links take {} ms (p95)", p95.as_millis())
            }
            Self::Failing(percent) => write!(f, "{percent}% of the requests over the other links fail"),
            Self::Hours(hours) => write!(f, "it is {hours}"),
            Self::HoursOver => f.write_str("its hours are over"),
            Self::Kept => f.write_str("the other links keep their promise"),
            Self::Untold => f.write_str("too few requests tell how the other links do"),
        }
    }
}

/// How a metered link stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Status {
    /// Whether it is used in place of the others.
    pub in_use: bool,
    /// Since when.
    pub since: Option<Duration>,
    /// Why.
    pub reason: Reason,
}

impl Default for Status {
    fn default() -> Self {
        Self { in_use: false, since: None, reason: Reason::NotNeeded }
    }
}

impl Metered {
    /// How the link is to stand at `now`, after `status`; `minute` is that of the day in Shanghai, and
    /// `others` what the other links have shown.
    pub fn judge(&self, status: Status, others: Observations, minute: u16, now: Duration) -> Status {
        let hours =
            self.prefer.iter().find(|hours| hours.contains(minute)).map(|hours| Reason::Hours(*hours));
        let held = status.since.map_or(Duration::MAX, |since| now.saturating_sub(since));
        let next = match (status.in_use, hours.or_else(|| self.broken(others))) {
            (false, Some(why @ Reason::Hours(_))) => Some((true, why)),
            (false, Some(why)) if held >= HOLD => Some((true, why)),
            (false, _) => None,
            (true, Some(_)) if hours.is_some() || !matches!(status.reason, Reason::Hours(_)) => None,
            (true, Some(why)) => Some((true, why)),
            (true, None) if matches!(status.reason, Reason::Hours(_)) => Some((false, Reason::HoursOver)),
            (true, None) if held >= HOLD && self.is_kept(others) => Some((false, Reason::Kept)),
            (true, None) if held >= UNTOLD => Some((false, Reason::Untold)),
            (true, None) => None,
        };
        match next {
            // That it goes on being used for another reason is no change.
            Some((true, reason)) if status.in_use => Status { reason, ..status },
            Some((in_use, reason)) => Status { in_use, since: Some(now), reason },
            None => status,
        }
    }

    fn broken(&self, others: Observations) -> Option<Reason> {
        if others.answers + others.failures < EVIDENCE {
            return None;
        }
        let slow = others.p95.filter(|p95| self.first_byte.is_some_and(|promised| *p95 > promised));
        let percent = others.failures_percent();
        let failing = (percent > self.failures).then_some(Reason::Failing(percent));
        failing.or(slow.map(Reason::Slow))
    }

    /// Whether the others keep their promise with a fifth, and half of the failures, to spare.
    fn is_kept(&self, others: Observations) -> bool {
        let fast = |promised: Duration| others.p95.is_some_and(|p95| p95 <= promised.saturating_mul(4) / 5);
        others.answers >= ENOUGH
            && self.first_byte.is_none_or(fast)
            && others.failures_percent() <= self.failures / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: u16 = 12 * 60;
    const EVENING: Hours = Hours { from: 20 * 60, to: 23 * 60 };

    fn metered() -> Metered {
        Metered { first_byte: Some(Duration::from_millis(300)), failures: 10, prefer: vec![EVENING] }
    }

    fn observed(answers: u64, failures: u64, p95: u64) -> Observations {
        Observations { answers, failures, p95: Some(Duration::from_millis(p95)) }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn it_is_used_once_the_others_break_their_promise() {
        let judge = |others| metered().judge(Status::default(), others, NOON, seconds(1)).reason;
        assert_eq!(judge(observed(100, 0, 299)), Reason::NotNeeded);
        assert_eq!(judge(observed(100, 10, 10)), Reason::NotNeeded);
        assert_eq!(judge(observed(20, 20, 900)), Reason::NotNeeded, "that may be chance");
        assert_eq!(judge(observed(100, 0, 301)), Reason::Slow(Duration::from_millis(301)));
        assert_eq!(judge(observed(80, 20, 10)), Reason::Failing(20));
        assert_eq!(judge(Observations { answers: 0, failures: 60, p95: None }), Reason::Failing(100));
    }

    #[test]
    fn it_stays_in_use_until_they_keep_it_with_something_to_spare() {
        let metered = metered();
        let used = metered.judge(Status::default(), observed(100, 0, 400), NOON, seconds(10));
        assert!(used.in_use);
        let later = |others, at| metered.judge(used, others, NOON, seconds(at));
        assert_eq!(later(observed(100, 0, 100), 60), used, "not yet");
        for others in
            [observed(100, 0, 290), observed(100, 8, 100), observed(19, 0, 100), observed(100, 0, 500)]
        {
            assert_eq!(later(others, 200), used, "{others:?}");
        }
        let back = later(observed(20, 0, 240), 200);
        assert_eq!((back.in_use, back.reason), (false, Reason::Kept));
        // Nor does it come into use again at once.
        let bad = observed(100, 0, 400);
        assert_eq!(metered.judge(back, bad, NOON, seconds(300)), back);
        assert!(metered.judge(back, bad, NOON, seconds(320)).in_use);
        // With nobody to tell, it is given up after a long time.
        let untold = later(Observations::default(), 620);
        assert_eq!((untold.in_use, untold.reason), (false, Reason::Untold));
    }

    #[test]
    fn in_its_hours_it_is_used_in_any_case() {
        let (metered, well) = (metered(), observed(100, 0, 10));
        let evening = metered.judge(Status::default(), well, EVENING.from, seconds(1));
        assert_eq!((evening.in_use, evening.reason), (true, Reason::Hours(EVENING)));
        assert_eq!(metered.judge(evening, well, EVENING.to - 1, seconds(900)), evening);
        let over = metered.judge(evening, well, EVENING.to, seconds(901));
        assert_eq!((over.in_use, over.reason), (false, Reason::HoursOver));
        let goes_on = metered.judge(evening, observed(100, 0, 900), EVENING.to, seconds(901));
        assert_eq!((goes_on.in_use, goes_on.reason), (true, Reason::Slow(Duration::from_millis(900))));
        assert_eq!(goes_on.since, evening.since);
    }

    #[test]
    fn hours_may_span_midnight() {
        let night = Hours { from: 22 * 60 + 30, to: 6 * 60 };
        for (minute, expected) in
            [(22 * 60 + 29, false), (22 * 60 + 30, true), (0, true), (359, true), (360, false)]
        {
            assert_eq!(night.contains(minute), expected, "{minute}");
        }
        assert_eq!(night.to_string(), "22:30-06:00");
    }
}
