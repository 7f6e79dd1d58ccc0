//! Limits how often one place in the code logs, so that no stranger writes the log.
//!
//! Beyond the limit lines are left out. Once a second a line tells how many, and from where.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// Lines in a row that one place may log.
const BURST: u32 = 50;
/// After that, one line each 200 ms.
const INTERVAL: Duration = Duration::from_millis(200);

/// The target of lines that only the operator's own files cause. All of them are written: each names a problem.
pub(super) const OPERATOR: &str = "icpgate::files";
/// The target of the lines that tell what was left out.
const REPORT: &str = "icpgate::log";

/// How often each place has logged. Clones share the counts, so that a reload does not start anew.
#[derive(Clone, Debug, Default)]
pub(super) struct RepeatLimit(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Bounded by the number of places in the code.
    places: Mutex<HashMap<Identifier, Place>>,
    left_out: AtomicU64,
}

#[derive(Debug)]
struct Place {
    metadata: &'static Metadata<'static>,
    bucket: Bucket,
    /// Lines left out since the last report.
    left_out: u64,
}

/// A token bucket.
#[derive(Debug)]
struct Bucket {
    tokens: u32,
    filled: Instant,
}

impl Bucket {
    fn full(now: Instant) -> Self {
        Self { tokens: BURST, filled: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let intervals = now.saturating_duration_since(self.filled).as_nanos() / INTERVAL.as_nanos();
        let intervals = u32::try_from(intervals).unwrap_or(u32::MAX);
        if self.tokens.saturating_add(intervals) >= BURST {
            *self = Self::full(now);
        } else {
            self.tokens += intervals;
            self.filled += INTERVAL * intervals;
        }
        let has_one = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        has_one
    }
}

impl RepeatLimit {
    /// Lines left out in all.
    pub(super) fn left_out(&self) -> u64 {
        self.0.left_out.load(Ordering::Relaxed)
    }

    /// Logs what was left out since the last report.
    pub(super) fn report(&self) {
        let reports: Vec<(&Metadata<'_>, u64)> = {
            let mut places = self.0.places.lock().unwrap_or_else(PoisonError::into_inner);
            let places = places.values_mut().filter(|place| place.left_out > 0);
            places.map(|place| (place.metadata, std::mem::take(&mut place.left_out))).collect()
        };
        for (metadata, lines) in reports {
            let (file, line) = (metadata.file().unwrap_or_default(), metadata.line().unwrap_or_default());
            tracing::warn!(target: REPORT, lines, "lines left out: {file}:{line} logs too often");
        }
    }

    fn admits(&self, metadata: &'static Metadata<'static>, now: Instant) -> bool {
        if [OPERATOR, REPORT].contains(&metadata.target()) {
            return true;
        }
        let mut places = self.0.places.lock().unwrap_or_else(PoisonError::into_inner);
        let place = match places.entry(metadata.callsite()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(Place { metadata, bucket: Bucket::full(now), left_out: 0 }),
        };
        let has_token = place.bucket.take(now);
        if !has_token {
            place.left_out += 1;
            self.0.left_out.fetch_add(1, Ordering::Relaxed);
        }
        has_token
    }
}

impl<S: Subscriber> Layer<S> for RepeatLimit {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        self.admits(event.metadata(), Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_a_few_lines_a_second() {
        let start = Instant::now();
        let mut bucket = Bucket::full(start);
        let mut passed = |at: Instant, asked: u32| (0..asked).filter(|_| bucket.take(at)).count();
        assert_eq!(passed(start, 10 * BURST), BURST as usize);
        assert_eq!(passed(start + INTERVAL / 2, 10), 0);
        assert_eq!(passed(start + INTERVAL, 10), 1);
        assert_eq!(passed(start + INTERVAL * 9 / 2, 10), 3);
        // The half interval is not lost.
        assert_eq!(passed(start + INTERVAL * 5, 10), 1);
        assert_eq!(passed(start + INTERVAL * 1_000, 10 * BURST), BURST as usize);
    }
}
