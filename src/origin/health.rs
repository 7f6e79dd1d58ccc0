//! Passive health: a server that fails is left alone for a while.
//!
//! A connection that cannot be made ejects it at once; answers that do not come, or are errors, when
//! there are many in a row. The pause grows with every ejection, from one second to thirty; then one
//! request may try, and a good answer ends it. Time is a [`Duration`] since an instant that the caller
//! keeps.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// The first pause.
const SHORTEST: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(30);
/// How long one request that tries a server keeps others from it.
const TRIAL: Duration = Duration::from_secs(1);
/// How often a server is tried in its pause when there is no other.
const LAST_RESORT: Duration = Duration::from_millis(500);
/// Until it has been ejected so often in a row, a server that there is no other for is tried all the same.
const GIVEN_UP_AFTER: u32 = 5;
/// So many points of faults in a row eject a server.
const LIMIT: u32 = 10;

/// What a server did wrong with a request that it was sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// It ended the connection, answered what is no HTTP, or did not answer in time: three in a row.
    NoAnswer,
    /// It answered with a 5xx: ten in a row.
    ServerError,
}

impl Fault {
    fn points(self) -> u32 {
        match self {
            Self::NoAnswer => 4,
            Self::ServerError => 1,
        }
    }
}

/// What has been learnt about one server. It outlives the snapshots that name the server.
#[derive(Debug, Default)]
pub struct ServerHealth {
    /// Points of faults since the last good answer, or ejection.
    faults: AtomicU32,
    /// In a row.
    ejections: AtomicU32,
    paused_until: AtomicU64,
    last_resort_from: AtomicU64,
}

impl ServerHealth {
    /// Whether it has failed and not answered well since.
    pub fn is_ejected(&self) -> bool {
        self.ejections.load(Ordering::Relaxed) > 0
    }

    /// When the server may be tried again; zero for one that has not failed.
    pub fn paused_until(&self) -> Duration {
        Duration::from_millis(self.paused_until.load(Ordering::Relaxed))
    }

    /// Whether nothing speaks against trying it at `now`.
    pub fn may_be_tried(&self, now: Duration) -> bool {
        self.paused_until() <= now
    }

    /// Takes the right to send it a request at `now`. Of an ejected server whose pause is over, one
    /// request at a time gets it.
    pub fn claim(&self, now: Duration) -> bool {
        !self.is_ejected() || take_turn(&self.paused_until, now, TRIAL)
    }

    /// The same for a server in its pause, when there is no other to try.
    pub fn claim_as_last_resort(&self, now: Duration) -> bool {
        self.ejections.load(Ordering::Relaxed) < GIVEN_UP_AFTER
            || take_turn(&self.last_resort_from, now, LAST_RESORT)
    }

    /// A request was answered well. Whether that is news.
    pub fn succeeded(&self) -> bool {
        self.faults.store(0, Ordering::Relaxed);
        if !self.is_ejected() {
            return false;
        }
        self.paused_until.store(0, Ordering::Relaxed);
        self.ejections.swap(0, Ordering::Relaxed) > 0
    }

    /// A connection could not be made at `now`. Whether that is news.
    pub fn failed(&self, now: Duration) -> bool {
        self.faults.store(0, Ordering::Relaxed);
        let before = self.ejections.fetch_add(1, Ordering::Relaxed);
        let pause = SHORTEST.saturating_mul(1 << before.min(5)).min(LONGEST);
        self.paused_until.fetch_max(milliseconds(now + pause), Ordering::Relaxed);
        self.last_resort_from.fetch_max(milliseconds(now + LAST_RESORT), Ordering::Relaxed);
        before == 0
    }

    /// A check failed at `now`; unless one passes, the next pause is no shorter than `hold`. Whether that
    /// is news.
    pub fn failed_check(&self, now: Duration, hold: Duration) -> bool {
        self.paused_until.fetch_max(milliseconds(now + hold), Ordering::Relaxed);
        self.ejections.fetch_max(1, Ordering::Relaxed) == 0
    }

    /// A request went wrong at `now`; `others` tells whether another server could serve instead.
    /// Whether the server is ejected for it, and was not before.
    pub fn fault(&self, fault: Fault, now: Duration, others: bool) -> bool {
        let points = self.faults.fetch_add(fault.points(), Ordering::Relaxed).saturating_add(fault.points());
        // A bad answer is better than none.
        others && (points >= LIMIT || self.is_ejected()) && self.failed(now)
    }
}

/// Moves `from` beyond `now`, unless it is there already or somebody else does it first.
fn take_turn(from: &AtomicU64, now: Duration, next: Duration) -> bool {
    let at = from.load(Ordering::Relaxed);
    at <= milliseconds(now)
        && from.compare_exchange(at, milliseconds(now + next), Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
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

    #[test]
    fn after_a_pause_one_request_at_a_time_tries() {
        let health = ServerHealth::default();
        let now = Duration::from_secs(10);
        assert!(health.claim(now) && health.claim(now), "one that is well is there for all");
        health.failed(now);
        assert!(!health.claim(now));
        let over = now + Duration::from_secs(1);
        assert!(health.claim(over));
        assert!(!health.claim(over), "one has it");
        assert!(health.claim(over + TRIAL), "it may have got lost");
    }

    #[test]
    fn the_last_server_is_tried_now_and_then() {
        let health = ServerHealth::default();
        let now = Duration::from_secs(10);
        for _ in 0..GIVEN_UP_AFTER {
            assert!(health.claim_as_last_resort(now));
            health.failed(now);
        }
        assert!(!health.claim_as_last_resort(now));
        assert!(health.claim_as_last_resort(now + LAST_RESORT));
        assert!(!health.claim_as_last_resort(now + LAST_RESORT));
    }

    #[test]
    fn faults_in_a_row_eject_unless_nobody_else_could_serve() {
        for (fault, count) in [(Fault::NoAnswer, 3), (Fault::ServerError, 10)] {
            let health = ServerHealth::default();
            let now = Duration::from_secs(10);
            for _ in 1..count {
                assert!(!health.fault(fault, now, true));
            }
            health.succeeded();
            for _ in 1..count {
                assert!(!health.fault(fault, now, true), "a good answer between them");
            }
            for _ in 0..100 {
                assert!(!health.fault(fault, now, false), "there is no other");
            }
            assert!(health.fault(fault, now, true));
            assert!(health.is_ejected() && !health.may_be_tried(now));
            let over = health.paused_until();
            assert!(health.claim(over));
            assert!(!health.fault(fault, over, true), "it is no news");
            assert_eq!(health.paused_until() - over, Duration::from_secs(2));
        }
    }
}
