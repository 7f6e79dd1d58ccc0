//! The network path to a server, by what the kernel reports of its connections: round trips and losses.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::recent::Recent;
use super::timing::microseconds;

/// A round trip that was reported longer ago is not given any more.
const FRESH: Duration = Duration::from_secs(120);

/// Round trips and losses of a server's connections, sampled.
#[derive(Debug, Default)]
pub struct Path {
    /// In microseconds, smoothed: each sample counts for a quarter. Zero before the first.
    round_trip: AtomicU64,
    /// When it was reported last, in microseconds.
    reported: AtomicU64,
    segments: AtomicU64,
    retransmits: AtomicU64,
    /// Segments and retransmits.
    recent: Recent<2>,
}

impl Path {
    /// Records the kernel's estimate of a round trip on one connection.
    pub fn add_round_trip(&self, time: Duration, now: Duration) {
        let sample = microseconds(time).clamp(1, u64::MAX / 8);
        let mean = match self.round_trip.load(Ordering::Relaxed) {
            0 => sample,
            before => (before * 3 + sample) / 4,
        };
        self.round_trip.store(mean, Ordering::Relaxed);
        self.reported.store(microseconds(now), Ordering::Relaxed);
    }

    /// Records segments that were sent with data, and how many segments were sent again.
    pub fn add_segments(&self, segments: u64, retransmits: u64, now: Duration) {
        self.segments.fetch_add(segments, Ordering::Relaxed);
        self.retransmits.fetch_add(retransmits, Ordering::Relaxed);
        self.recent.add(0, segments, now);
        self.recent.add(1, retransmits, now);
    }

    /// The smoothed round trip; `None` without a report in the last two minutes.
    pub fn round_trip(&self, now: Duration) -> Option<Duration> {
        let age = microseconds(now).saturating_sub(self.reported.load(Ordering::Relaxed));
        let known = self.round_trip.load(Ordering::Relaxed);
        (known > 0 && age <= microseconds(FRESH)).then(|| Duration::from_micros(known))
    }

    /// Segments since the start.
    pub fn segments(&self) -> u64 {
        self.segments.load(Ordering::Relaxed)
    }

    /// Retransmits since the start.
    pub fn retransmits(&self) -> u64 {
        self.retransmits.load(Ordering::Relaxed)
    }

    /// The share of segments sent again in the last one to two minutes, 1 at most; `None` if none was sent.
    pub fn loss(&self, now: Duration) -> Option<f64> {
        let [segments, retransmits] = self.recent.sums(now);
        (segments > 0).then(|| (retransmits as f64 / segments as f64).min(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn losses_and_round_trips_fade() {
        let path = Path::default();
        assert_eq!((path.loss(SECOND), path.round_trip(SECOND)), (None, None));
        path.add_segments(90, 3, SECOND);
        path.add_segments(10, 2, 2 * SECOND);
        path.add_round_trip(200 * MS, 2 * SECOND);
        path.add_round_trip(240 * MS, 3 * SECOND);
        assert_eq!(path.loss(3 * SECOND), Some(0.05));
        assert_eq!((path.segments(), path.retransmits()), (100, 5));
        assert_eq!(path.round_trip(3 * SECOND), Some(210 * MS));
        assert_eq!((path.loss(500 * SECOND), path.round_trip(500 * SECOND)), (None, None));
        path.add_segments(1, 7, 500 * SECOND);
        assert_eq!(path.loss(500 * SECOND), Some(1.0), "each segment was sent several times");
    }
}
