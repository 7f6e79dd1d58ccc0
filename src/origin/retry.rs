//! How often requests may be sent a second time.
//!
//! Retries are a share of the traffic of late, so that servers in trouble do not get twice as much of
//! it, and so that all that a server had when it went down may go to another at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What an origin allows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Retries {
    /// How often one request is sent, the first time included.
    pub attempts: u32,
    /// Retries for a hundred requests.
    pub budget: u32,
    /// How long one server has to begin its answer while the request may still be sent to another.
    pub per_try: Option<Duration>,
}

impl Default for Retries {
    fn default() -> Self {
        Self { attempts: 2, budget: 20, per_try: None }
    }
}

/// What one retry takes from the budget: a request puts its percentage in.
const RETRY: u64 = 100;
/// Retries that may be saved up however little traffic there is.
const SAVED: u64 = 10;
/// After this long, half is left of what is saved beyond that.
const FADES_WITHIN: Duration = Duration::from_secs(10);

/// What is left of an origin's budget. It begins with what may always be saved.
#[derive(Debug)]
pub struct Budget {
    left: AtomicU64,
    /// When it was halved last, in milliseconds.
    halved: AtomicU64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { left: AtomicU64::new(SAVED * RETRY), halved: AtomicU64::new(0) }
    }
}

impl Budget {
    /// A request was sent for the first time, at `now`.
    pub fn earn(&self, retries: Retries, now: Duration) {
        if retries.budget == 0 {
            return;
        }
        self.fade(now);
        // Far from overflowing: half of it goes every ten seconds.
        self.left.fetch_add(retries.budget.into(), Ordering::Relaxed);
    }

    /// Takes a retry, if one is left.
    pub fn spend(&self, retries: Retries, now: Duration) -> bool {
        self.fade(now);
        let less = |left: u64| left.checked_sub(RETRY);
        retries.budget > 0 && self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    /// Whether a retry is left.
    pub fn has_one(&self, retries: Retries) -> bool {
        retries.budget > 0 && self.left.load(Ordering::Relaxed) >= RETRY
    }

    fn fade(&self, now: Duration) {
        let period = milliseconds(FADES_WITHIN);
        let (now, halved) = (milliseconds(now), self.halved.load(Ordering::Relaxed));
        let periods = now.saturating_sub(halved) / period;
        if periods == 0 {
            return;
        }
        let next = halved + periods * period;
        if self.halved.compare_exchange(halved, next, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let faded = |left: u64| {
                let kept = left.checked_shr(u32::try_from(periods).unwrap_or(64)).unwrap_or(0);
                Some(kept.max(left.min(SAVED * RETRY)))
            };
            // The change is always made.
            let _ = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, faded);
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRIES: Retries = Retries { attempts: 2, budget: 20, per_try: None };

    fn spent(budget: &Budget, now: Duration) -> usize {
        (0..100_000).filter(|_| budget.spend(RETRIES, now)).count()
    }

    #[test]
    fn retries_are_a_share_of_the_requests() {
        let (budget, now) = (Budget::default(), Duration::from_secs(100));
        assert_eq!(spent(&budget, now), 10, "what was saved");
        let mut sent = 0;
        for _ in 0..1000 {
            budget.earn(RETRIES, now);
            sent += usize::from(budget.spend(RETRIES, now));
        }
        assert_eq!(sent, 200);
        assert!(!Budget::default().spend(Retries { budget: 0, ..RETRIES }, now));
    }

    #[test]
    fn what_is_saved_is_that_of_the_traffic_of_late() {
        let budget = Budget::default();
        // A thousand requests a second, for a minute.
        for request in 0..60_000 {
            budget.earn(RETRIES, Duration::from_millis(request));
        }
        let now = Duration::from_secs(60);
        let saved = spent(&budget, now);
        assert!((1_900..=4_200).contains(&saved), "{saved}: what comes in between ten and twenty seconds");
        for request in 60_000..70_000 {
            budget.earn(RETRIES, Duration::from_millis(request));
        }
        assert_eq!(spent(&budget, Duration::from_secs(600)), 10, "the rest is forgotten");
        // One request a second.
        for request in 601..700 {
            budget.earn(RETRIES, Duration::from_secs(request));
        }
        let saved = spent(&budget, Duration::from_secs(700));
        assert!((1..=12).contains(&saved), "{saved}");
    }
}
