//! First-byte times of one server: since the start, and as quantiles of the last one to two minutes.

use std::time::Duration;

use super::recent::Recent;
use super::timing::{Histogram, Timing, microseconds};

/// Below this many answers there is no quantile.
pub const ENOUGH: u64 = 20;
/// Buckets per doubling, from 64 microseconds to a minute: a quantile is at most 12.5 % too high.
const STEPS: u32 = 8;
const SHORTEST_BITS: u32 = 6;
const BUCKETS: usize = 8 * 20;
/// The place of the failures, behind the buckets.
const FAILURES: usize = BUCKETS;

/// The first-byte times of one server over one link. Recording takes no lock.
#[derive(Debug, Default)]
pub struct FirstBytes {
    answers: Timing,
    /// By bucket, abandoned requests included; then the failures.
    recent: Recent<{ BUCKETS + 1 }>,
}

/// The answers of one or several servers in the last one to two minutes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Observations {
    /// Requests whose answer began, or was given up as too slow.
    pub answers: u64,
    /// Requests whose answer never began, and connections that could not be made.
    pub failures: u64,
    /// The 95th percentile of first-byte times, at most 12.5 % too high; `None` below [`ENOUGH`] answers.
    pub p95: Option<Duration>,
}

impl Observations {
    /// Of all of these servers together.
    pub fn of<'f>(servers: impl Iterator<Item = &'f FirstBytes>, now: Duration) -> Self {
        let mut counts = [0; BUCKETS + 1];
        for server in servers {
            for (count, more) in counts.iter_mut().zip(server.recent.sums(now)) {
                *count += more;
            }
        }
        let [times @ .., failures] = counts;
        let answers: u64 = times.iter().sum();
        // From the slowest bucket down, until a twentieth of the answers is behind.
        let mut left = answers.div_ceil(20);
        let bucket = times.iter().rposition(|count| {
            let is_here = *count >= left && *count > 0;
            left = left.saturating_sub(*count);
            is_here
        });
        let p95 = bucket.filter(|_| answers >= ENOUGH).map(longest_of);
        Self { answers, failures, p95 }
    }

    /// Failures in percent of all requests, rounded down.
    pub fn failures_percent(&self) -> u32 {
        let percent = self.failures * 100 / (self.answers + self.failures).max(1);
        u32::try_from(percent).unwrap_or(100)
    }
}

impl FirstBytes {
    /// An answer began after `time`.
    pub fn answered(&self, time: Duration, now: Duration) {
        self.answers.add(time, now);
        self.recent.add(bucket_of(time), 1, now);
    }

    /// An answer was given up after `time`. It counts for the quantile alone: the true time is unknown.
    pub(super) fn abandoned(&self, time: Duration, now: Duration) {
        self.recent.add(bucket_of(time), 1, now);
    }

    /// No answer began.
    pub(super) fn failed(&self, now: Duration) {
        self.recent.add(FAILURES, 1, now);
    }

    /// The times of all answers since the start.
    pub fn histogram(&self) -> Histogram {
        self.answers.histogram()
    }

    /// The mean of the last one to two minutes; `None` without an answer.
    pub fn mean(&self, now: Duration) -> Option<Duration> {
        self.answers.mean(now)
    }

    /// Adds what `other` has counted.
    pub(super) fn absorb(&self, other: &Self) {
        self.answers.absorb(&other.answers);
        self.recent.absorb(&other.recent);
    }
}

/// [`STEPS`] buckets per doubling.
fn bucket_of(time: Duration) -> usize {
    let micros = microseconds(time).max(1 << SHORTEST_BITS);
    let octave = micros.ilog2();
    let step = (micros >> (octave - 3)) & u64::from(STEPS - 1);
    let place = u64::from((octave - SHORTEST_BITS) * STEPS) + step;
    usize::try_from(place).unwrap_or(usize::MAX).min(BUCKETS - 1)
}

/// The longest time of a bucket.
fn longest_of(place: usize) -> Duration {
    let place = place as u64 + 1;
    let (octave, step) = (place / u64::from(STEPS) + u64::from(SHORTEST_BITS), place % u64::from(STEPS));
    Duration::from_micros((u64::from(STEPS) + step) << (octave - 3))
}

#[cfg(test)]
mod tests {
    use std::iter;

    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn observed(server: &FirstBytes, now: Duration) -> Observations {
        Observations::of(iter::once(server), now)
    }

    #[test]
    fn there_is_no_quantile_of_few() {
        let server = FirstBytes::default();
        for _ in 1..ENOUGH {
            server.answered(10 * MS, MS);
        }
        assert_eq!(observed(&server, MS).p95, None);
        server.answered(10 * MS, MS);
        assert!(observed(&server, MS).p95.is_some_and(|p95| p95 >= 10 * MS && p95 <= 12 * MS));
    }

    #[test]
    fn observations_are_of_the_last_one_to_two_minutes() {
        let server = FirstBytes::default();
        for second in 0..60 {
            server.answered(500 * MS, Duration::from_secs(second));
            server.failed(Duration::from_secs(second));
        }
        for second in 60..120 {
            server.answered(10 * MS, Duration::from_secs(second));
        }
        let both = observed(&server, Duration::from_secs(119));
        assert_eq!((both.answers, both.failures, both.failures_percent()), (120, 60, 33));
        assert!(both.p95 >= Some(500 * MS));
        let later = observed(&server, Duration::from_secs(120));
        assert_eq!((later.answers, later.failures), (60, 0));
        assert!(later.p95 < Some(12 * MS));
        assert_eq!(observed(&server, Duration::from_secs(400)), Observations::default());
    }

    #[test]
    fn requests_given_up_count_for_the_quantile_alone() {
        let server = FirstBytes::default();
        for _ in 0..ENOUGH {
            server.abandoned(900 * MS, MS);
        }
        assert!(observed(&server, MS).p95 >= Some(900 * MS));
        assert_eq!((server.histogram(), server.mean(MS)), (Histogram::default(), None));
    }

    #[test]
    fn times_beyond_the_scale_are_at_its_ends() {
        for (time, least, most) in [
            (Duration::ZERO, Duration::ZERO, Duration::from_micros(80)),
            (Duration::from_secs(600), Duration::from_secs(30), Duration::from_secs(120)),
            (Duration::MAX, Duration::from_secs(30), Duration::from_secs(120)),
        ] {
            let bound = longest_of(bucket_of(time));
            assert!(bound >= least && bound <= most, "{time:?} {bound:?}");
        }
    }

    proptest! {
        /// The quantile is never too low, and at most 12.5 % too high.
        #[test]
        fn the_quantile_is_near(mut samples in prop::collection::vec(64_u64..30_000_000, 20..400)) {
            let server = FirstBytes::default();
            for sample in &samples {
                server.answered(Duration::from_micros(*sample), MS);
            }
            samples.sort_unstable();
            let exact = samples[samples.len() - samples.len().div_ceil(20)];
            let quantile = microseconds(observed(&server, MS).p95.expect("enough"));
            prop_assert!(quantile >= exact && quantile <= exact + exact / 8 + 1, "{quantile} {exact}");
        }
    }
}
