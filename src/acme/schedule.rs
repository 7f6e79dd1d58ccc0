//! When a certificate is renewed, and when a failed order is tried again.
//!
//! Pure: the time and the place within a range are arguments.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The first pause after a failure; each is twice the one before it. Let's Encrypt allows five failed proofs of a name
/// an hour.
const FIRST: Duration = Duration::from_secs(120);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(6 * 60 * 60);
/// A renewal without the authority's advice begins up to this part of the lifetime after two thirds of it, so that
/// certificates issued together are not renewed together.
const SPREAD: f64 = 0.05;

/// When a certificate that was just issued is looked at again. An authority that advises to renew whatever it issues, or
/// that leaves out a host, is not asked for one certificate after the other.
pub fn after_issue(now: Timestamp) -> Timestamp {
    now.saturating_add(SignedDuration::from_hours(1)).unwrap_or(Timestamp::MAX)
}

/// When a certificate is renewed without the authority's advice: at two thirds of its lifetime, and `place` (0 to 1) of
/// the spread later.
pub fn at_two_thirds(begins: Timestamp, ends: Timestamp, place: f64) -> Timestamp {
    let lifetime = ends.duration_since(begins).max(SignedDuration::ZERO).as_secs();
    let spread = lifetime as f64 * SPREAD * place.clamp(0.0, 1.0);
    begins.saturating_add(SignedDuration::from_secs(lifetime / 3 * 2 + spread as i64)).unwrap_or(ends)
}

/// When a certificate is renewed that the authority suggests to renew from `start` to `end` (RFC 9773, 4.2): at
/// `place` (0 to 1) of this window.
pub fn within_window(start: Timestamp, end: Timestamp, place: f64) -> Timestamp {
    let window = end.duration_since(start).max(SignedDuration::ZERO).as_secs() as f64;
    start.saturating_add(SignedDuration::from_secs((window * place.clamp(0.0, 1.0)) as i64)).unwrap_or(start)
}

/// The pause after `failures` in a row: from half of the back-off to all of it, by `place` (0 to 1).
pub fn pause(failures: u32, place: f64) -> Duration {
    let doubled = FIRST.saturating_mul(1_u32 << failures.saturating_sub(1).min(16)).min(LONGEST);
    doubled.mul_f64(0.5 + place.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn a_renewal_comes_between_two_thirds_of_the_lifetime_and_a_twentieth_later() {
        let (begins, ends) = (time("2026-01-01T00:00:00Z"), time("2026-04-01T00:00:00Z"));
        assert_eq!(at_two_thirds(begins, ends, 0.0), time("2026-03-02T00:00:00Z"));
        assert_eq!(at_two_thirds(begins, ends, 1.0), time("2026-03-06T12:00:00Z"));
        assert_eq!(at_two_thirds(ends, begins, 1.0), ends, "dates in the wrong order");
    }

    #[test]
    fn the_authority_s_window_decides_where_it_offers_one() {
        let (start, end) = (time("2026-03-01T00:00:00Z"), time("2026-03-03T00:00:00Z"));
        assert_eq!(within_window(start, end, 0.5), time("2026-03-02T00:00:00Z"));
        assert_eq!(within_window(end, start, 0.5), end);
    }

    #[test]
    fn pauses_double_up_to_six_hours() {
        assert_eq!(pause(1, 1.0), FIRST);
        assert_eq!(pause(1, 0.0), FIRST / 2);
        assert_eq!(pause(3, 1.0), FIRST * 4);
        assert_eq!(pause(u32::MAX, 1.0), LONGEST);
    }
}
