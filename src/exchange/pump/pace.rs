//! How long a client may still make the exchange wait: `limits.body_rate` and its grace.
//!
//! Only time in which the client is waited for counts, so that a slow server costs the client nothing.

use std::time::Duration;

use crate::config::BodyPace;

/// Waits shorter than this do not count: at any rate, the bytes make up for them.
const UNNOTICED: Duration = Duration::from_millis(1);

/// One direction of a body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pace: Option<BodyPace>,
    /// How much longer the client may be behind.
    left: Duration,
}

impl Pace {
    pub(super) fn new(pace: Option<BodyPace>) -> Self {
        Self { pace, left: pace.map_or(Duration::MAX, |pace| pace.grace) }
    }

    /// The client was waited for, and moved so many bytes.
    pub(super) fn moved(&mut self, waited: Duration, bytes: usize) {
        if let Some(pace) = self.pace
            && waited > UNNOTICED
        {
            self.left = self.left.saturating_add(pace.time(bytes)).saturating_sub(waited).min(pace.grace);
        }
    }

    /// How long the client may be waited for until it has moved `bytes`, `idle` at most.
    pub(super) fn patience(&self, bytes: usize, idle: Duration) -> Duration {
        self.pace.map_or(idle, |pace| self.left.saturating_add(pace.time(bytes)).min(idle))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const IDLE: Duration = Duration::from_secs(60);

    /// How many times a client may move `bytes` after `waited`, up to 10,000.
    fn steps(bytes: usize, waited: Duration) -> usize {
        let mut pace = Pace::new(BodyPace::new(64, 60 * SECOND));
        let mut step = || {
            let patient = waited <= pace.patience(0, IDLE);
            pace.moved(waited, bytes);
            patient
        };
        (0..10_000).take_while(|_| step()).count()
    }

    #[test]
    fn a_drip_ends_and_a_slow_body_does_not() {
        assert!(steps(1, SECOND) < 62);
        assert!(steps(60, SECOND) < 1000);
        assert_eq!(steps(65, SECOND), 10_000);
        // A mobile link that is gone for 50 s in each minute.
        assert_eq!(steps(64 * 60, 50 * SECOND), 10_000);
    }

    #[test]
    fn without_a_rate_only_the_idle_time_counts() {
        let mut pace = Pace::new(None);
        (0..1000).for_each(|_| pace.moved(IDLE, 1));
        assert_eq!(pace.patience(0, IDLE), IDLE);
    }
}
