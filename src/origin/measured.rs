//! What the way to one server does: how long its parts take, how long a round trip is, how much gets lost.
//!
//! Everything is told twice: in all, for whoever adds up, and of the last minute or two.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long a window runs.
const WINDOW: Duration = Duration::from_secs(60);
/// A round trip that was told so long ago is not told any more.
const FRESH: Duration = Duration::from_secs(120);

/// Up to which times a part is counted, in microseconds: from the same rack to across the border.
pub const BOUNDS: [u64; 16] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 200_000, 300_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000,
];

/// What was measured of one server. It outlives the snapshots that name the server.
#[derive(Debug, Default)]
pub struct Measured {
    /// Until TCP is there, the name looked up before.
    pub connect: Part,
    /// The handshake.
    pub tls: Part,
    /// From the request sent to the first byte of its answer.
    pub first_byte: Part,
    /// What the kernel tells of its connections.
    pub path: Path,
}

impl Measured {
    /// Every part, with the word for it in metrics.
    pub fn parts(&self) -> [(&'static str, &Part); 3] {
        [("connect", &self.connect), ("tls", &self.tls), ("first_byte", &self.first_byte)]
    }
}

/// How long one part took.
#[derive(Debug, Default)]
pub struct Part {
    counts: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
    recent: Recent,
}

impl Part {
    /// It took so long.
    pub fn took(&self, time: Duration, now: Duration) {
        let micros = microseconds(time);
        let place = BOUNDS.partition_point(|bound| *bound < micros);
        if let Some(count) = self.counts.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.micros.fetch_add(micros, Ordering::Relaxed);
        self.recent.add(1, micros, now);
    }

    /// How many took no longer than each of [`BOUNDS`], how many there were, and how long all took.
    pub fn in_all(&self) -> ([u64; BOUNDS.len()], u64, Duration) {
        let mut sum = 0;
        let mut upto = |count: &AtomicU64| {
            sum += count.load(Ordering::Relaxed);
            sum
        };
        let counts: [u64; BOUNDS.len() + 1] =
            array::from_fn(|place| self.counts.get(place).map_or(0, &mut upto));
        let within = array::from_fn(|place| counts.get(place).copied().unwrap_or_default());
        (within, sum, Duration::from_micros(self.micros.load(Ordering::Relaxed)))
    }

    /// The mean of the last minute or two; `None` if there was none.
    pub fn mean(&self, now: Duration) -> Option<Duration> {
        let (count, micros) = self.recent.sums(now);
        micros.checked_div(count).map(Duration::from_micros)
    }
}

/// Round trips and losses of a server's connections, sampled.
#[derive(Debug, Default)]
pub struct Path {
    /// In microseconds, smoothed; zero before the first.
    round_trip: AtomicU64,
    /// When it was told, in microseconds.
    told: AtomicU64,
    segments: AtomicU64,
    retransmitted: AtomicU64,
    recent: Recent,
}

impl Path {
    /// The kernel's estimate of a round trip on one connection.
    pub fn round_trip_took(&self, time: Duration, now: Duration) {
        let sample = microseconds(time).clamp(1, u64::MAX / 8);
        let mean = match self.round_trip.load(Ordering::Relaxed) {
            0 => sample,
            before => (before * 3 + sample) / 4,
        };
        self.round_trip.store(mean, Ordering::Relaxed);
        self.told.store(microseconds(now), Ordering::Relaxed);
    }

    /// So many segments with data were sent, and so many of them sent again.
    pub fn sent(&self, segments: u64, retransmitted: u64, now: Duration) {
        self.segments.fetch_add(segments, Ordering::Relaxed);
        self.retransmitted.fetch_add(retransmitted, Ordering::Relaxed);
        self.recent.add(segments, retransmitted, now);
    }

    /// A round trip of late; `None` while nothing is known.
    pub fn round_trip(&self, now: Duration) -> Option<Duration> {
        let age = microseconds(now).saturating_sub(self.told.load(Ordering::Relaxed));
        let known = self.round_trip.load(Ordering::Relaxed);
        (known > 0 && age <= microseconds(FRESH)).then(|| Duration::from_micros(known))
    }

    /// Segments in all, and those sent again.
    pub fn in_all(&self) -> (u64, u64) {
        (self.segments.load(Ordering::Relaxed), self.retransmitted.load(Ordering::Relaxed))
    }

    /// The share of segments that were sent again in the last minute or two; `None` if none was sent.
    pub fn loss(&self, now: Duration) -> Option<f64> {
        let (segments, retransmitted) = self.recent.sums(now);
        (segments > 0).then(|| (retransmitted as f64 / segments as f64).min(1.0))
    }
}

/// Two sums of the window that runs and of the one before it. Two who add while a window turns may lose
/// what one of them adds.
#[derive(Debug, Default)]
struct Recent {
    windows: [[AtomicU64; 2]; 2],
    /// Which window runs, counted from the beginning of time.
    running: AtomicU64,
}

impl Recent {
    fn add(&self, one: u64, other: u64, now: Duration) {
        let [first, second] = self.window(now);
        first.fetch_add(one, Ordering::Relaxed);
        second.fetch_add(other, Ordering::Relaxed);
    }

    fn sums(&self, now: Duration) -> (u64, u64) {
        self.window(now);
        let sum = |[[a, b], [c, d]]: &[[AtomicU64; 2]; 2]| {
            let load = |value: &AtomicU64| value.load(Ordering::Relaxed);
            (load(a) + load(c), load(b) + load(d))
        };
        sum(&self.windows)
    }

    /// The window that runs at `now`; those that are over are emptied.
    fn window(&self, now: Duration) -> &[AtomicU64; 2] {
        let number = now.as_secs() / WINDOW.as_secs();
        let before = self.running.load(Ordering::Relaxed);
        let [even, odd] = &self.windows;
        let (this, other) = if number.is_multiple_of(2) { (even, odd) } else { (odd, even) };
        if before < number
            && self.running.compare_exchange(before, number, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            let empty =
                |window: &[AtomicU64; 2]| window.iter().for_each(|sum| sum.store(0, Ordering::Relaxed));
            empty(this);
            if number - before > 1 {
                empty(other);
            }
        }
        this
    }
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn parts_are_told_in_all_and_of_late() {
        let part = Part::default();
        assert_eq!(part.mean(SECOND), None);
        for (time, second) in [(MS, 10), (3 * MS, 20), (50 * SECOND, 70)] {
            part.took(time, second * SECOND);
        }
        let (within, count, took) = part.in_all();
        assert_eq!((within[0], within[1], within[2], within[3], within[15]), (0, 1, 1, 2, 2));
        assert_eq!((count, took), (3, 50 * SECOND + 4 * MS));
        assert_eq!(part.mean(119 * SECOND).map(|mean| mean.as_secs()), Some(16));
        assert_eq!(part.mean(120 * SECOND), Some(50 * SECOND), "the first window is over");
        assert_eq!(part.mean(900 * SECOND), None);
    }

    #[test]
    fn losses_and_round_trips_fade() {
        let path = Path::default();
        assert_eq!((path.loss(SECOND), path.round_trip(SECOND)), (None, None));
        path.sent(90, 3, SECOND);
        path.sent(10, 2, 2 * SECOND);
        path.round_trip_took(200 * MS, 2 * SECOND);
        path.round_trip_took(240 * MS, 3 * SECOND);
        assert_eq!((path.loss(3 * SECOND), path.in_all()), (Some(0.05), (100, 5)));
        assert_eq!(path.round_trip(3 * SECOND), Some(210 * MS));
        assert_eq!((path.loss(500 * SECOND), path.round_trip(500 * SECOND)), (None, None));
        path.sent(1, 7, 500 * SECOND);
        assert_eq!(path.loss(500 * SECOND), Some(1.0), "more than once again");
    }
}
