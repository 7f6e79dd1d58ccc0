//! Passive health: a server that fails is left alone for a while.
//!
//! A connection that cannot be made ejects it at once; answers that do not come, or are errors, when
//! there are many in a row. The pause grows with every ejection, from one second to thirty; then one
//! request may try, and a good answer ends it; the server's share of the requests grows from then on.
//! What was begun before the last ejection changes nothing. Time is a [`Duration`] since an instant that
//! the caller keeps.

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
/// All of a server's share of the requests.
pub(super) const WHOLE: u32 = 16;
/// How long it takes a server that has come back to get its whole share.
const SLOW_START: Duration = Duration::from_secs(10);
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
    /// When the last of them was, in microseconds like the others.
    ejected_at: AtomicU64,
    paused_until: AtomicU64,
    last_resort_from: AtomicU64,
    /// When its share of the requests is whole again.
    grown_at: AtomicU64,
}

impl ServerHealth {
    /// Whether it has failed and not answered well since.
    pub fn is_ejected(&self) -> bool {
        self.ejections.load(Ordering::Relaxed) > 0
    }

    /// When the server may be tried again; zero for one that has not failed.
    pub fn paused_until(&self) -> Duration {
        Duration::from_micros(self.paused_until.load(Ordering::Relaxed))
    }

    /// Whether nothing speaks against trying it at `now`.
    pub fn may_be_tried(&self, now: Duration) -> bool {
        self.paused_until() <= now
    }

    /// What it may have at `now` of its share of the requests, which is [`WHOLE`] for one that has not
    /// been away.
    pub(super) fn share(&self, now: Duration) -> u32 {
        let left = self.grown_at.load(Ordering::Relaxed).saturating_sub(microseconds(now));
        let wanting = left.saturating_mul(WHOLE.into()).div_ceil(microseconds(SLOW_START));
        WHOLE - u32::try_from(wanting).unwrap_or(WHOLE).min(WHOLE - 1)
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

    /// What was begun at `since` was answered well at `now`. Whether that is news.
    pub fn succeeded(&self, since: Duration, now: Duration) -> bool {
        if !self.is_ejected() {
            self.faults.store(0, Ordering::Relaxed);
            return false;
        }
        if self.knows_better(since) || self.ejections.swap(0, Ordering::Relaxed) == 0 {
            return false;
        }
        self.faults.store(0, Ordering::Relaxed);
        self.paused_until.store(0, Ordering::Relaxed);
        self.grown_at.store(microseconds(now + SLOW_START), Ordering::Relaxed);
        true
    }

    /// A connection that was begun at `since` could not be made until `now`. Whether that is news.
    pub fn failed(&self, since: Duration, now: Duration) -> bool {
        if self.is_ejected() && self.knows_better(since) {
            return false;
        }
        self.faults.store(0, Ordering::Relaxed);
        self.ejected_at.fetch_max(microseconds(now), Ordering::Relaxed);
        let before = self.ejections.fetch_add(1, Ordering::Relaxed);
        let pause = SHORTEST.saturating_mul(1 << before.min(5)).min(LONGEST);
        self.paused_until.fetch_max(microseconds(now + pause), Ordering::Relaxed);
        self.last_resort_from.fetch_max(microseconds(now + LAST_RESORT), Ordering::Relaxed);
        before == 0
    }

    /// A check failed at `now`; unless one passes, the next pause is no shorter than `hold`. Whether that
    /// is news.
    pub fn failed_check(&self, now: Duration, hold: Duration) -> bool {
        self.paused_until.fetch_max(microseconds(now + hold), Ordering::Relaxed);
        self.ejected_at.fetch_max(microseconds(now), Ordering::Relaxed);
        self.ejections.fetch_max(1, Ordering::Relaxed) == 0
    }

    /// A request that was sent at `since` went wrong at `now`; `others` tells whether another server
    /// could serve instead. Whether the server is ejected for it, and was not before.
    pub fn fault(&self, fault: Fault, since: Duration, now: Duration, others: bool) -> bool {
        let points = self.faults.fetch_add(fault.points(), Ordering::Relaxed).saturating_add(fault.points());
        // A bad answer is better than none.
        others && (points >= LIMIT || self.is_ejected()) && self.failed(since, now)
    }

    /// Whether what was begun at `since` is older than the last ejection, and tells nothing new: when a
    /// server goes down, all that it had fails at once.
    fn knows_better(&self, since: Duration) -> bool {
        microseconds(since) < self.ejected_at.load(Ordering::Relaxed)
    }
}

/// Moves `from` beyond `now`, unless it is there already or somebody else does it first.
fn take_turn(from: &AtomicU64, now: Duration, next: Duration) -> bool {
    let at = from.load(Ordering::Relaxed);
    at <= microseconds(now)
        && from.compare_exchange(at, microseconds(now + next), Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
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
            assert_eq!(health.failed(now, now), expected == 1);
            assert_eq!(health.paused_until() - now, Duration::from_secs(expected));
            now = health.paused_until();
            assert!(health.may_be_tried(now));
            assert!(!health.may_be_tried(now - Duration::from_millis(1)));
        }
        health.failed(now, now);
        assert!(health.succeeded(now, now));
        assert!(!health.succeeded(now, now));
        assert!(health.may_be_tried(now));
    }

    #[test]
    fn after_a_pause_one_request_at_a_time_tries() {
        let health = ServerHealth::default();
        let now = Duration::from_secs(10);
        assert!(health.claim(now) && health.claim(now), "one that is well is there for all");
        health.failed(now, now);
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
            health.failed(now, now);
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
                assert!(!health.fault(fault, now, now, true));
            }
            health.succeeded(now, now);
            for _ in 1..count {
                assert!(!health.fault(fault, now, now, true), "a good answer between them");
            }
            for _ in 0..100 {
                assert!(!health.fault(fault, now, now, false), "there is no other");
            }
            assert!(health.fault(fault, now, now, true));
            assert!(health.is_ejected() && !health.may_be_tried(now));
            let over = health.paused_until();
            assert!(health.claim(over));
            assert!(!health.fault(fault, over, over, true), "it is no news");
            assert_eq!(health.paused_until() - over, Duration::from_secs(2));
        }
    }

    #[test]
    fn what_was_begun_before_an_ejection_changes_nothing() {
        let health = ServerHealth::default();
        let (before, down) = (Duration::from_secs(9), Duration::from_secs(10));
        assert!(health.failed(before, down));
        for _ in 0..100 {
            assert!(!health.failed(before, down), "all that it had fails at once");
        }
        assert_eq!(health.paused_until() - down, SHORTEST);
        assert!(!health.succeeded(before, down + SHORTEST), "an answer from before it went down");
        assert!(health.is_ejected());
        assert!(!health.failed(down, down) && health.paused_until() - down > SHORTEST);
        assert!(health.succeeded(down, down + SHORTEST));
    }

    #[test]
    fn the_share_of_a_server_that_has_come_back_grows() {
        let health = ServerHealth::default();
        let now = Duration::from_secs(10);
        assert_eq!(health.share(now), WHOLE);
        health.succeeded(now, now);
        assert_eq!(health.share(now), WHOLE, "it was never away");
        health.failed(now, now);
        let back = now + SHORTEST;
        health.succeeded(back, back);
        let shares: Vec<u32> =
            (0..=10).map(|seconds| health.share(back + Duration::from_secs(seconds))).collect();
        assert_eq!(shares, [1, 1, 3, 4, 6, 8, 9, 11, 12, 14, 16]);
    }
}
