//! Feeds systemd's watchdog as long as the runtime makes progress.
//!
//! A thread beside the runtime looks at it four times in each `WATCHDOG_USEC`. It feeds the watchdog only if the
//! runtime's timers fire, and no worker has spent the whole time since the last look in one task.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::runtime::{Handle, RuntimeMetrics};

use super::systemd;

/// Starts the watchdog, if systemd asks for one.
pub(super) fn start() -> std::io::Result<()> {
    let Some(interval) = sd_notify::watchdog_enabled().filter(|interval| !interval.is_zero()) else {
        return Ok(());
    };
    let look = interval / 4;
    let beats = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&beats);
    tokio::spawn(async move {
        loop {
            beats.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(look / 4).await;
        }
    });
    let workers = Handle::current().metrics();
    let watch = move || {
        let mut progress = Progress::default();
        loop {
            // It may return early; nobody unparks this thread on purpose.
            thread::park_timeout(look);
            match progress.look(counted.load(Ordering::Relaxed), &workers) {
                Ok(()) => systemd::notify(&[NotifyState::Watchdog]),
                Err(stalled) => tracing::error!("the runtime makes no progress: {stalled}"),
            }
        }
    };
    thread::Builder::new().name("watchdog".to_owned()).spawn(watch).map(drop)
}

/// What the last look saw.
#[derive(Debug, Default)]
struct Progress {
    beats: Option<u64>,
    workers: Vec<WorkerState>,
}

/// Equal states at two looks: the worker was in the same task all the time, or parked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct WorkerState {
    busy: Duration,
    /// Odd while it is parked.
    parked_and_unparked: u64,
}

impl WorkerState {
    fn is_stuck_since(self, before: Self) -> bool {
        self == before && self.parked_and_unparked.is_multiple_of(2)
    }
}

/// Why the watchdog is not fed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
enum Stalled {
    #[error("its timers do not fire")]
    Timers,
    #[error("worker {0} is stuck in a task")]
    Worker(usize),
}

impl Progress {
    fn look(&mut self, beats: u64, runtime: &RuntimeMetrics) -> Result<(), Stalled> {
        let workers = (0..runtime.num_workers()).map(|worker| WorkerState {
            busy: runtime.worker_total_busy_duration(worker),
            parked_and_unparked: runtime.worker_park_unpark_count(worker),
        });
        self.compare(beats, workers.collect())
    }

    fn compare(&mut self, beats: u64, workers: Vec<WorkerState>) -> Result<(), Stalled> {
        let before = std::mem::replace(self, Self { beats: Some(beats), workers });
        if before.beats == Some(beats) {
            return Err(Stalled::Timers);
        }
        let mut states = self.workers.iter().zip(&before.workers);
        match states.position(|(now, before)| now.is_stuck_since(*before)) {
            Some(worker) => Err(Stalled::Worker(worker)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_progress_is_a_timer_that_does_not_fire_or_a_worker_in_one_task() {
        let worker = |busy, parked_and_unparked| WorkerState {
            busy: Duration::from_millis(busy),
            parked_and_unparked,
        };
        let mut progress = Progress::default();
        assert_eq!(progress.compare(0, vec![worker(0, 0), worker(0, 1)]), Ok(()));
        // Busy without parking, and parked.
        assert_eq!(progress.compare(1, vec![worker(5, 0), worker(0, 1)]), Ok(()));
        assert_eq!(progress.compare(1, vec![worker(6, 0), worker(0, 1)]), Err(Stalled::Timers));
        assert_eq!(progress.compare(2, vec![worker(7, 1), worker(0, 2)]), Ok(()));
        assert_eq!(progress.compare(3, vec![worker(7, 1), worker(0, 2)]), Err(Stalled::Worker(1)));
        assert_eq!(progress.compare(4, vec![worker(7, 1), worker(0, 3)]), Ok(()));
    }
}
