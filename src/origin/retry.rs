//! How often requests may be sent a second time.
//!
//! Retries are a share of the traffic, so that servers in trouble do not get twice as much of it.

use std::sync::atomic::{AtomicU64, Ordering};

/// What an origin allows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Retries {
    /// How often one request is sent, the first time included.
    pub attempts: u32,
    /// Retries for a hundred requests.
    pub budget: u32,
}

impl Default for Retries {
    fn default() -> Self {
        Self { attempts: 2, budget: 20 }
    }
}

/// What one retry takes from the budget: a request puts its percentage in.
const RETRY: u64 = 100;
/// Retries that may be saved up.
const SAVED: u64 = 10;

/// What is left of an origin's budget. It begins full, so that an origin with little traffic has some.
#[derive(Debug)]
pub struct Budget(AtomicU64);

impl Default for Budget {
    fn default() -> Self {
        Self(AtomicU64::new(SAVED * RETRY))
    }
}

impl Budget {
    /// A request was sent for the first time.
    pub fn earn(&self, retries: Retries) {
        let more = |left: u64| Some(left.saturating_add(u64::from(retries.budget)).min(SAVED * RETRY));
        // The change is always made.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// Takes a retry, if one is left.
    pub fn spend(&self, retries: Retries) -> bool {
        let less = |left: u64| left.checked_sub(RETRY);
        retries.budget > 0 && self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_share_of_the_requests() {
        let (budget, retries) = (Budget::default(), Retries { attempts: 2, budget: 20 });
        assert_eq!((0..100).filter(|_| budget.spend(retries)).count(), 10, "what was saved");
        let mut sent = 0;
        for _ in 0..1000 {
            budget.earn(retries);
            sent += usize::from(budget.spend(retries));
        }
        assert_eq!(sent, 200);
        for _ in 0..1000 {
            budget.earn(retries);
        }
        assert_eq!((0..100).filter(|_| budget.spend(retries)).count(), 10, "no more than that is saved");
        assert!(!Budget::default().spend(Retries { attempts: 2, budget: 0 }));
    }
}
