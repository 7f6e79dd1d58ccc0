//! How long first bytes took of late, and how many never came.
//!
//! Two windows of a minute each, the one that runs and the one before it, so that what is told is of at
//! least one minute and at most two. Writing takes no lock; two who write while a window turns may lose
//! a sample each.

use std::array;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// How long a window runs.
const WINDOW: Duration = Duration::from_secs(60);
/// How long a quantile is used before it is worked out again.
const FRESH: Duration = Duration::from_millis(250);
/// With fewer answers nothing is said.
pub const ENOUGH: u32 = 20;
/// Times are told apart by an eighth, from 64 microseconds to a minute.
const STEPS: u32 = 8;
const SHORTEST_BITS: u32 = 6;
const BUCKETS: usize = 8 * 20;

/// What was measured.
#[derive(Debug)]
pub struct FirstBytes {
    windows: [Window; 2],
    /// Which window runs, counted from the beginning of time.
    running: AtomicU64,
    /// The last answer of [`FirstBytes::p95`], in microseconds, zero for none, and when it was worked out.
    p95: AtomicU64,
    p95_at: AtomicU64,
}

#[derive(Debug)]
struct Window {
    buckets: [AtomicU32; BUCKETS],
    failures: AtomicU32,
}

/// What was measured, at one moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Observed {
    /// Answers that have begun.
    pub answers: u32,
    /// Requests whose answer never began, and connections that could not be made.
    pub failures: u32,
    /// What one in twenty answers took longer than; `None` where there are too few.
    pub p95: Option<Duration>,
}

impl Observed {
    /// What was measured by all of them until `now`.
    pub(super) fn of<'f>(measured: impl Iterator<Item = &'f FirstBytes>, now: Duration) -> Self {
        let (mut counts, mut failures) = ([0_u32; BUCKETS], 0);
        for one in measured {
            one.window(now);
            for window in &one.windows {
                failures += window.failures.load(Ordering::Relaxed);
                for (count, bucket) in counts.iter_mut().zip(&window.buckets) {
                    *count += bucket.load(Ordering::Relaxed);
                }
            }
        }
        let answers: u32 = counts.iter().sum();
        let mut left = answers.div_ceil(20);
        // From the slowest down, until a twentieth is behind.
        let place = counts.iter().rposition(|count| {
            let there = *count >= left && *count > 0;
            left = left.saturating_sub(*count);
            there
        });
        let p95 = place.filter(|_| answers >= ENOUGH).map(longest_of);
        Self { answers, failures, p95 }
    }

    /// Failures among a hundred.
    pub fn failures_percent(&self) -> u32 {
        let all = u64::from(self.answers) + u64::from(self.failures);
        let percent = u64::from(self.failures) * 100 / all.max(1);
        u32::try_from(percent).unwrap_or(100)
    }
}

impl Default for FirstBytes {
    fn default() -> Self {
        let window =
            || Window { buckets: array::from_fn(|_| AtomicU32::new(0)), failures: AtomicU32::new(0) };
        Self {
            windows: [window(), window()],
            running: AtomicU64::new(0),
            p95: AtomicU64::new(0),
            p95_at: AtomicU64::new(0),
        }
    }
}

impl FirstBytes {
    /// An answer began after `latency`.
    pub fn answered(&self, latency: Duration, now: Duration) {
        if let Some(bucket) = self.window(now).buckets.get(bucket_of(latency)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// No answer began.
    pub fn failed(&self, now: Duration) {
        self.window(now).failures.fetch_add(1, Ordering::Relaxed);
    }

    /// What was measured until `now`.
    pub fn observed(&self, now: Duration) -> Observed {
        Observed::of([self].into_iter(), now)
    }

    /// What one in twenty answers took longer than, about.
    pub fn p95(&self, now: Duration) -> Option<Duration> {
        let known = self.p95.load(Ordering::Relaxed);
        let age = microseconds(now).saturating_sub(self.p95_at.load(Ordering::Relaxed));
        if known > 0 && age <= microseconds(FRESH) {
            return Some(Duration::from_micros(known));
        }
        let p95 = self.observed(now).p95;
        self.p95.store(p95.map_or(0, microseconds), Ordering::Relaxed);
        self.p95_at.store(microseconds(now), Ordering::Relaxed);
        p95
    }

    /// The window that runs at `now`; those that are over are emptied.
    fn window(&self, now: Duration) -> &Window {
        let number = now.as_secs() / WINDOW.as_secs();
        let before = self.running.load(Ordering::Relaxed);
        let [even, odd] = &self.windows;
        let (this, other) = if number.is_multiple_of(2) { (even, odd) } else { (odd, even) };
        if before < number
            && self.running.compare_exchange(before, number, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            this.empty();
            if number - before > 1 {
                other.empty();
            }
        }
        this
    }
}

impl Window {
    fn empty(&self) {
        for bucket in &self.buckets {
            bucket.store(0, Ordering::Relaxed);
        }
        self.failures.store(0, Ordering::Relaxed);
    }
}

/// Eight buckets to every doubling.
fn bucket_of(latency: Duration) -> usize {
    let micros = microseconds(latency).max(1 << SHORTEST_BITS);
    let octave = micros.ilog2();
    let step = (micros >> (octave - 3)) & u64::from(STEPS - 1);
    let place = u64::from((octave - SHORTEST_BITS) * STEPS) + step;
    usize::try_from(place).unwrap_or(usize::MAX).min(BUCKETS - 1)
}

/// The longest time that belongs into a bucket.
fn longest_of(place: usize) -> Duration {
    let place = place as u64 + 1;
    let (octave, step) = (place / u64::from(STEPS) + u64::from(SHORTEST_BITS), place % u64::from(STEPS));
    Duration::from_micros((u64::from(STEPS) + step) << (octave - 3))
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn nothing_is_said_of_few() {
        let measured = FirstBytes::default();
        for _ in 1..ENOUGH {
            measured.answered(10 * MS, MS);
        }
        assert_eq!(measured.observed(MS).p95, None);
        assert_eq!(measured.p95(MS), None);
        measured.answered(10 * MS, MS);
        assert!(measured.observed(MS).p95.is_some_and(|p95| p95 >= 10 * MS && p95 <= 12 * MS));
        let first = measured.p95(MS);
        assert_eq!(first, measured.observed(MS).p95);
        for _ in 0..ENOUGH {
            measured.answered(900 * MS, MS);
        }
        assert_eq!(measured.p95(MS + FRESH), first, "it is fresh enough");
        assert!(measured.p95(MS + FRESH + MS) >= Some(900 * MS));
    }

    #[test]
    fn it_is_of_the_last_minute_or_two() {
        let measured = FirstBytes::default();
        for second in 0..60 {
            measured.answered(500 * MS, Duration::from_secs(second));
            measured.failed(Duration::from_secs(second));
        }
        for second in 60..120 {
            measured.answered(10 * MS, Duration::from_secs(second));
        }
        let both = measured.observed(Duration::from_secs(119));
        assert_eq!((both.answers, both.failures, both.failures_percent()), (120, 60, 33));
        assert!(both.p95 >= Some(500 * MS));
        let later = measured.observed(Duration::from_secs(120));
        assert_eq!((later.answers, later.failures), (60, 0));
        assert!(later.p95 < Some(12 * MS));
        assert_eq!(measured.observed(Duration::from_secs(400)), Observed::default());
    }

    #[test]
    fn times_beyond_the_scale_are_at_its_ends() {
        for (latency, least, most) in [
            (Duration::ZERO, Duration::ZERO, Duration::from_micros(80)),
            (Duration::from_secs(600), Duration::from_secs(30), Duration::from_secs(120)),
            (Duration::MAX, Duration::from_secs(30), Duration::from_secs(120)),
        ] {
            let told = longest_of(bucket_of(latency));
            assert!(told >= least && told <= most, "{latency:?} {told:?}");
        }
    }

    proptest! {
        /// What is told is no less than the true quantile, and no more than an eighth above it.
        #[test]
        fn the_quantile_is_near(mut samples in prop::collection::vec(64_u64..30_000_000, 20..400)) {
            let measured = FirstBytes::default();
            for sample in &samples {
                measured.answered(Duration::from_micros(*sample), MS);
            }
            samples.sort_unstable();
            let exact = samples[samples.len() - samples.len().div_ceil(20)];
            let told = microseconds(measured.observed(MS).p95.expect("enough"));
            prop_assert!(told >= exact && told <= exact + exact / 8 + 1, "{told} {exact}");
        }
    }
}
