//! Time in tests: waiting for conditions, lower bounds, and upper bounds that hold on a busy machine.
//!
//! Tests outside this folder never sleep. A promised upper bound is measured as the best of several attempts. Where
//! something must happen before a configured timeout, the test sets that timeout beyond [`PATIENCE`].

use std::panic::Location;
use std::time::{Duration, Instant};

/// Longer than anything takes on a busy machine. What has not happened by then does not happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks at a condition.
const BETWEEN: Duration = Duration::from_millis(2);

/// Waits until `condition` gives a value; fails after `limit` and says what it waited for.
#[track_caller]
pub(crate) fn eventually<T, F>(what: &str, limit: Duration, mut condition: F) -> impl Future<Output = T>
where
    F: AsyncFnMut() -> Option<T>,
{
    let caller = Location::caller();
    async move {
        let started = Instant::now();
        loop {
            if let Some(found) = condition().await {
                return found;
            }
            assert!(started.elapsed() < limit, "{caller}: not within {limit:?}: {what}");
            tokio::time::sleep(BETWEEN).await;
        }
    }
}

/// The outcome of `wait`; fails after [`PATIENCE`].
#[track_caller]
pub(crate) fn within<F: Future>(what: &'static str, wait: F) -> impl Future<Output = F::Output> {
    let caller = Location::caller();
    async move {
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(outcome) => outcome,
            Err(_) => panic!("{what} did not come ({caller})"),
        }
    }
}

/// The outcome of `wait`; fails if it takes less than `least`. `wait` includes the last bytes sent to the edge, so that
/// the edge's timer starts after this one.
#[track_caller]
pub(crate) fn not_before<T>(least: Duration, wait: impl Future<Output = T>) -> impl Future<Output = T> {
    let caller = Location::caller();
    async move {
        let began = Instant::now();
        let outcome = tokio::time::timeout(least + PATIENCE, wait).await;
        let took = began.elapsed();
        // Timers have a resolution of one millisecond.
        assert!(took + Duration::from_millis(2) >= least, "{caller}: after {took:?}, before {least:?}");
        outcome.unwrap_or_else(|_| panic!("{caller}: not within {PATIENCE:?} after {least:?}"))
    }
}

/// The pause of a slow peer between two steps.
pub(crate) async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Fails unless the condition holds for all of `time`.
#[track_caller]
pub(crate) fn holds<F>(what: &str, time: Duration, mut condition: F) -> impl Future<Output = ()>
where
    F: FnMut() -> bool,
{
    let caller = Location::caller();
    async move {
        let started = Instant::now();
        while started.elapsed() < time {
            assert!(condition(), "{caller}: no longer after {:?}: {what}", started.elapsed());
            tokio::time::sleep(BETWEEN).await;
        }
    }
}

/// The value of `measure` once it has not changed for a while.
pub(crate) async fn settled<T: PartialEq + Copy>(what: &str, mut measure: impl FnMut() -> T) -> T {
    const A_WHILE: Duration = Duration::from_millis(300);
    let mut last = measure();
    eventually(what, PATIENCE, async || {
        tokio::time::sleep(A_WHILE).await;
        let now = measure();
        (std::mem::replace(&mut last, now) == now).then_some(now)
    })
    .await
}

/// Measures up to `attempts` times until one is within `bound`: other work on the machine can delay
/// some attempts, hardly all.
#[track_caller]
pub(crate) fn best_within<F>(bound: Duration, attempts: usize, mut measure: F) -> impl Future<Output = ()>
where
    F: AsyncFnMut(usize) -> Duration,
{
    let caller = Location::caller();
    async move {
        let mut took = Vec::new();
        for attempt in 0..attempts {
            took.push(measure(attempt).await);
            if took[attempt] <= bound {
                return;
            }
        }
        panic!("{caller}: none of {took:?} is within {bound:?}");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn no_test_outside_support_sleeps() {
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it")];
        let support = folders[0].join("support");
        while let Some(folder) = folders.pop() {
            for entry in fs_err::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|end| end == "rs") && !path.starts_with(&support) {
                    let text = fs_err::read_to_string(&path).expect("UTF-8");
                    assert!(!text.contains("sleep("), "{} sleeps; wait for a condition", path.display());
                }
            }
        }
    }
}
