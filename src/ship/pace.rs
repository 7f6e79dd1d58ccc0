//! When a failed attempt is repeated: exponential back-off with jitter, the sink's own wish, or a probe a minute.

use std::time::Duration;

use crate::remote::failure::RemoteFailure;

/// The first pause; each is twice the one before it.
const FIRST: Duration = Duration::from_millis(500);
/// The longest, and the interval at which a parked lane probes its sink.
const LONGEST: Duration = Duration::from_secs(60);
/// The longest pause that a sink may ask for.
const LONGEST_WISH: Duration = Duration::from_secs(600);

/// Failures in a row.
#[derive(Debug, Default)]
pub(super) struct Pace {
    failures: u32,
}

impl Pace {
    /// Forgets the failures.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// How long to pause after `failure`.
    pub(super) fn pause_after(&mut self, failure: &RemoteFailure) -> Duration {
        let exponential = FIRST.saturating_mul(1 << self.failures.min(7)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let pause = if failure.kind.is_permanent() { LONGEST } else { jittered(exponential) };
        failure.retry_after.map_or(pause, |wish| wish.clamp(pause.min(LONGEST), LONGEST_WISH))
    }
}

/// From half the pause to all of it, so that the lanes of many edges do not come back together.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::failure::FailureKind;

    #[test]
    fn pauses_grow_to_a_minute_and_a_sink_s_wish_is_honoured() {
        let mut pace = Pace::default();
        let failure = RemoteFailure::new(FailureKind::Unavailable, "503");
        let pauses: Vec<_> = (0..12).map(|_| pace.pause_after(&failure)).collect();
        assert!(pauses[0] >= FIRST / 2 && pauses[0] <= FIRST, "{pauses:?}");
        assert!(pauses[11] >= LONGEST / 2 && pauses[11] <= LONGEST, "{pauses:?}");
        pace.succeeded();
        assert!(pace.pause_after(&failure) <= FIRST);
        let wish = RemoteFailure { retry_after: Some(Duration::from_secs(90)), ..failure.clone() };
        assert_eq!(pace.pause_after(&wish), Duration::from_secs(90));
        let absurd = RemoteFailure { retry_after: Some(Duration::MAX), ..failure };
        assert_eq!(pace.pause_after(&absurd), LONGEST_WISH);
        let permanent = RemoteFailure::new(FailureKind::Unauthorized, "403");
        assert_eq!(pace.pause_after(&permanent), LONGEST);
    }
}
