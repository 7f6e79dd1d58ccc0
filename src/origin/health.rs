//! Passive health: a server that cannot be connected to is left alone for a while.
//!
//! The pause grows with every failure in a row, from one second to thirty, and one success ends it.
//! Time is a [`Duration`] since an instant that the caller keeps.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// The first pause.
const SHORTEST: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(30);

/// What has been learnt about one server. It outlives the snapshots that name the server.
#[derive(Debug, Default)]
pub struct ServerHealth {
    failures: AtomicU32,
    paused_until: AtomicU64,
}

impl ServerHealth {
    /// When the server may be tried again; zero for one that has not failed.
    pub fn paused_until(&self) -> Duration {
        Duration::from_millis(self.paused_until.load(Ordering::Relaxed))
    }

    /// Whether nothing speaks against trying it at `now`.
    pub fn may_be_tried(&self, now: Duration) -> bool {
        self.paused_until() <= now
    }

    /// A connection was made, or a request answered. Whether that is news.
    pub fn succeeded(&self) -> bool {
        if self.failures.load(Ordering::Relaxed) == 0 {
            return false;
        }
        self.paused_until.store(0, Ordering::Relaxed);
        self.failures.swap(0, Ordering::Relaxed) > 0
    }

    /// A connection could not be made at `now`. Whether that is news.
    pub fn failed(&self, now: Duration) -> bool {
        let before = self.failures.fetch_add(1, Ordering::Relaxed);
        let pause = SHORTEST.saturating_mul(1 << before.min(5)).min(LONGEST);
        let until = u64::try_from((now + pause).as_millis()).unwrap_or(u64::MAX);
        self.paused_until.fetch_max(until, Ordering::Relaxed);
        before == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_one_success_ends_them() {
        let health = ServerHealth::default();
        let mut now = Duration::ZERO;
        assert!(health.may_be_tried(now));
        for expected in [1, 2, 4, 8, 16, 30, 30] {
            assert_eq!(health.failed(now), expected == 1);
            assert_eq!(health.paused_until() - now, Duration::from_secs(expected));
            now = health.paused_until();
            assert!(health.may_be_tried(now));
            assert!(!health.may_be_tried(now - Duration::from_millis(1)));
        }
        health.failed(now);
        assert!(health.succeeded());
        assert!(!health.succeeded());
        assert!(health.may_be_tried(now));
    }
}
