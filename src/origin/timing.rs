//! How long one step of the way to a server takes: a histogram since the start, and a recent mean.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::recent::Recent;

/// Upper bounds of the buckets, in microseconds: from a server in the same rack to one across the border.
pub const BOUNDS: [u64; 16] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 200_000, 300_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000,
];

/// The times of one step. Recording takes no lock.
#[derive(Debug, Default)]
pub struct Timing {
    counts: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
    /// The count and the sum in microseconds.
    recent: Recent<2>,
}

/// What a [`Timing`] has counted since the start, in the form of Prometheus' histograms.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Histogram {
    /// How many took at most each of [`BOUNDS`].
    pub cumulative: [u64; BOUNDS.len()],
    /// How many there were.
    pub count: u64,
    /// How long all of them took together.
    pub sum: Duration,
}

impl Timing {
    /// Records one time.
    pub fn add(&self, time: Duration, now: Duration) {
        let micros = microseconds(time);
        if let Some(count) = self.counts.get(BOUNDS.partition_point(|bound| *bound < micros)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.micros.fetch_add(micros, Ordering::Relaxed);
        self.recent.add(0, 1, now);
        self.recent.add(1, micros, now);
    }

    /// Everything since the start.
    pub fn histogram(&self) -> Histogram {
        let counts = self.counts.each_ref().map(|count| count.load(Ordering::Relaxed));
        let mut upto = 0;
        let cumulative = array::from_fn(|place| {
            upto += counts.get(place).copied().unwrap_or_default();
            upto
        });
        let sum = Duration::from_micros(self.micros.load(Ordering::Relaxed));
        Histogram { cumulative, count: counts.iter().sum(), sum }
    }

    /// The mean of the last one to two minutes; `None` without any time.
    pub fn mean(&self, now: Duration) -> Option<Duration> {
        let [count, micros] = self.recent.sums(now);
        micros.checked_div(count).map(Duration::from_micros)
    }

    /// Adds what `other` has counted.
    pub(super) fn absorb(&self, other: &Self) {
        for (count, more) in self.counts.iter().zip(&other.counts) {
            count.fetch_add(more.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.micros.fetch_add(other.micros.load(Ordering::Relaxed), Ordering::Relaxed);
        self.recent.absorb(&other.recent);
    }
}

impl Histogram {
    /// Adds `other`, bucket by bucket.
    pub(super) fn add(&mut self, other: &Self) {
        for (count, more) in self.cumulative.iter_mut().zip(other.cumulative) {
            *count += more;
        }
        self.count += other.count;
        self.sum += other.sum;
    }
}

/// Saturating.
pub(super) fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn times_are_in_the_histogram_for_good_and_in_the_mean_for_a_while() {
        let timing = Timing::default();
        assert_eq!(timing.mean(SECOND), None);
        for (time, second) in [(MS, 10), (3 * MS, 20), (50 * SECOND, 70)] {
            timing.add(time, second * SECOND);
        }
        let Histogram { cumulative, count, sum } = timing.histogram();
        assert_eq!(cumulative[..4], [0, 1, 1, 2]);
        assert_eq!((cumulative[15], count, sum), (2, 3, 50 * SECOND + 4 * MS));
        assert_eq!(timing.mean(119 * SECOND).map(|mean| mean.as_secs()), Some(16));
        assert_eq!(timing.mean(120 * SECOND), Some(50 * SECOND), "the first window has ended");
        assert_eq!(timing.mean(900 * SECOND), None);
    }
}
