//! How busy a server is: the requests that it has now, and how fast it has answered lately.
//!
//! What was learnt fades, so that a server that was slow once is asked again.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// After this long, a slow answer counts half.
const FADES_WITHIN: Duration = Duration::from_secs(2);
/// Nobody is chosen for being faster than this, in microseconds: below it is noise, beside what a
/// border takes.
const FAST_ENOUGH: u64 = 20_000;

/// The load of one server, as this edge sees it.
#[derive(Debug, Default)]
pub struct Load {
    in_flight: AtomicUsize,
    /// Of first bytes, in microseconds: each answer counts for a quarter. Zero before the first.
    latency: AtomicU64,
    /// When it was told last, in milliseconds.
    told: AtomicU64,
}

/// A request that a server has.
#[derive(Debug)]
pub struct InFlight<'l>(&'l Load);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Load {
    /// One more request, until the value is dropped; `None` if there are `most` already.
    pub fn begin(&self, most: u32) -> Option<InFlight<'_>> {
        let more = InFlight(self);
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        (before < most as usize).then_some(more)
    }

    /// The requests that it has now.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether there are less than `most` requests.
    pub fn has_room(&self, most: u32) -> bool {
        self.in_flight.load(Ordering::Relaxed) < most as usize
    }

    /// An answer began to come after `latency`.
    pub fn answered(&self, latency: Duration, now: Duration) {
        let sample = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).clamp(1, u64::MAX / 8);
        let mean = match self.latency(now) {
            0 => sample,
            before => (before * 3 + sample) / 4,
        };
        // Two that are told at once: either will do.
        self.latency.store(mean.max(1), Ordering::Relaxed);
        self.told.store(milliseconds(now), Ordering::Relaxed);
    }

    /// What one more request costs there: its latency, for each request that it has for its weight.
    /// `None` while nothing is known of it.
    pub(super) fn cost(&self, weight: u32, now: Duration) -> Option<u64> {
        let latency = self.latency(now);
        let in_flight = u64::try_from(self.in_flight.load(Ordering::Relaxed)).unwrap_or(u64::MAX);
        let queue = in_flight.min(1 << 20) * 16 / u64::from(weight.max(1));
        (latency > 0).then(|| latency.clamp(FAST_ENOUGH, 1 << 32).saturating_mul(16 + queue))
    }

    fn latency(&self, now: Duration) -> u64 {
        let age = milliseconds(now).saturating_sub(self.told.load(Ordering::Relaxed));
        let halvings = age / milliseconds(FADES_WITHIN);
        let latency = self.latency.load(Ordering::Relaxed);
        if latency == 0 {
            0
        } else {
            latency.checked_shr(u32::try_from(halvings).unwrap_or(64)).unwrap_or(0).max(1)
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
