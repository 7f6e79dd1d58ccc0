//! The writer thread: it writes the store, forwards its records after a handover, and takes the store back if
//! the other process ends.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::retention::write::forwarder::{Forwarder, ForwarderEnd, Unacknowledged};
use crate::retention::write::recorder::Shared;
use crate::retention::write::spool::{Spool, SpoolEnd};
use crate::retention::write::{CloseError, StoreFull};

/// The pause between two attempts to take the store back.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Runs until the store is closed in this process.
pub(super) fn run(mut spool: Spool, shared: &Arc<Shared>) -> Result<(), CloseError> {
    loop {
        let forwarder = match spool.run()? {
            SpoolEnd::Closed => return Ok(()),
            SpoolEnd::HandedOver(forwarder) => forwarder,
        };
        spool = match forwarder.run()? {
            ForwarderEnd::Done => return Ok(()),
            ForwarderEnd::Alone(forwarder, unacknowledged) => take_back(*forwarder, unacknowledged, shared)?,
        };
    }
}

/// Opens the store again and writes what the other process did not acknowledge.
fn take_back(
    forwarder: Forwarder,
    unacknowledged: VecDeque<Unacknowledged>,
    shared: &Arc<Shared>,
) -> Result<Spool, CloseError> {
    tracing::warn!(
        blocks = unacknowledged.len(),
        "The process that took the access records over has ended: this one writes them again"
    );
    let (mut intake, mut premises, mut predecessor) = forwarder.into_parts();
    loop {
        let locked = match premises.lock.take() {
            Ok(true) => Ok(()),
            Ok(false) => Err(io::Error::other("another process writes to it")),
            Err(error) => Err(error),
        };
        let error = match locked {
            Ok(()) => match Spool::open(shared, intake, premises, predecessor.take()) {
                Ok(mut spool) => {
                    spool.unacknowledged(unacknowledged);
                    return Ok(spool);
                }
                Err((error, parts)) => {
                    (intake, premises) = *parts;
                    error
                }
            },
            Err(error) => error,
        };
        let directory = premises.log.directory.clone();
        tracing::error!(directory = %directory.display(), "Access records cannot be written: {error}");
        shared.stats.set_trouble(Some(StoreFull::Failing));
        if shared.is_closing() {
            let blocks = unacknowledged.iter().map(|waiting| u64::from(waiting.block.count));
            let lost = blocks.sum::<u64>() + intake.drop_waiting() + shared.refusals().waiting();
            shared.stats.lost.fetch_add(lost, Ordering::Relaxed);
            return Err(CloseError { directory, lost, cause: error });
        }
        std::thread::park_timeout(RETRY_AFTER);
    }
}
