//! The lock of a store: one process writes to it at a time.
//!
//! The lock belongs to an open file. A process hands its store over by passing that file on, so that no third
//! process can take the lock in between.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use fs_err::os::unix::fs::OpenOptionsExt;
use fs_err::{File, OpenOptions};
use rustix::fs::{FlockOperation, OFlags, flock};

use crate::retention::format::LOCK_FILE;

const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) struct StoreLock {
    file: OwnedFd,
    /// Another process holds the same open file and writes to the store.
    handed_over: bool,
}

impl StoreLock {
    /// Locks the store in `directory`; `None` if another process holds the lock.
    pub(super) fn acquire(directory: &Path) -> io::Result<Option<Self>> {
        let path = directory.join(LOCK_FILE);
        let mut options = OpenOptions::new();
        // Without it, opening a pipe waits for its reader.
        options
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o640)
            .custom_flags(OFlags::NONBLOCK.bits() as i32);
        let file: File = options.open(path)?;
        let mut lock = Self::inherited(file.into_parts().0.into());
        Ok(lock.take()?.then_some(lock))
    }

    /// The lock that the previous process has handed over.
    pub(super) fn inherited(file: OwnedFd) -> Self {
        Self { file, handed_over: false }
    }

    /// A copy for the process that writes from now on.
    pub(super) fn hand_over(&mut self) -> io::Result<OwnedFd> {
        let copy = self.file.try_clone()?;
        self.handed_over = true;
        Ok(copy)
    }

    /// Takes the lock, or takes it back; `false` if another process holds it.
    pub(super) fn take(&mut self) -> io::Result<bool> {
        for _ in 0..ATTEMPTS {
            match flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    self.handed_over = false;
                    return Ok(true);
                }
                // `logs verify` takes the lock for a moment, to see whether a writer holds it.
                Err(rustix::io::Errno::WOULDBLOCK) => std::thread::park_timeout(PAUSE),
                Err(error) => return Err(error.into()),
            }
        }
        // Held by a process that this one did not hand it to.
        self.handed_over = true;
        Ok(false)
    }
}

impl Drop for StoreLock {
    fn drop(&mut self) {
        if !self.handed_over {
            let _ = flock(&self.file, FlockOperation::Unlock);
        }
    }
}
