//! The store: a directory, its lock, and its writer.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fs_err::os::unix::fs::OpenOptionsExt;
use fs_err::{File, OpenOptions};
use rustix::fs::{FlockOperation, OFlags, flock};

use crate::clock::Clock;
use crate::config::AccessLog;
use crate::retention::format::LOCK_FILE;
use crate::retention::write::appender::Appender;
use crate::retention::write::expiry::StoreTime;
use crate::retention::write::feed::StoreFeed;
use crate::retention::write::notary::Notary;
use crate::retention::write::recorder::{Recorder, Shared};
use crate::retention::write::recovery::resume;
use crate::retention::write::spool::{Setting, Spool};
use crate::retention::write::unrecorded::is_unrecorded;
use crate::retention::write::{CloseError, OpenError, gaps};

const LOCK_ATTEMPTS: u32 = 5;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// An open store and its writer.
#[must_use = "records are kept while the store is open"]
pub struct Store {
    recorder: Recorder,
    feed: StoreFeed,
    shared: Arc<Shared>,
    directory: PathBuf,
    writer: Option<JoinHandle<Result<(), CloseError>>>,
}

impl Store {
    /// Opens the store that `log` describes, creating its directory (mode 0750) if need be, and
    /// starts its writer. `node` stands in every record.
    ///
    /// A block that was never finished is cut off; numbering goes on after the last record. The node's
    /// key is made when there is none.
    pub fn open(log: &AccessLog, node: Arc<str>, clock: Clock) -> Result<Self, OpenError> {
        if is_unrecorded() {
            tracing::error!(
                "THIS PROGRAM KEEPS NO ACCESS RECORDS: it was built with the feature `unrecorded`, which is \
                 for load tests alone, and ICPGATE_UNRECORDED is 1; do not serve anybody with it"
            );
        }
        let unusable = |cause| OpenError::Unusable { directory: log.directory.clone(), cause };
        create_directory(&log.directory).map_err(unusable)?;
        let lock = lock(&log.directory).map_err(unusable)?;
        let lock = lock.ok_or_else(|| OpenError::InUse(log.directory.clone()))?;
        let directory = File::open(&log.directory).map_err(unusable)?;
        let notary = Notary::open(&log.directory, &node).map_err(unusable)?;
        tracing::info!(verifier_key = notary.verifier_key(), "access records are signed");
        let left = resume(&log.directory).map_err(unusable)?;
        let setting = Setting {
            log: log.clone(),
            lock,
            gap: gaps::left(left.ended, left.shortened, clock.now()),
            time: StoreTime::start(clock.moment(), left.newest, Instant::now()),
            clock,
        };
        let (recorder, shared) = Recorder::new(log);
        shared.stats.bytes.store(left.bytes, Ordering::Relaxed);
        let feed = StoreFeed::new(&log.directory, Arc::clone(&node), left.epochs, Arc::clone(&shared));
        let appender = Appender::new(directory, notary, node, left.position).map_err(unusable)?;
        shared.stats.publish_progress(appender.progress());
        let spool = Spool::new(Arc::clone(&shared), setting, appender);
        let thread = std::thread::Builder::new().name("access-records".to_owned());
        let writer = thread.spawn(move || spool.run()).map_err(unusable)?;
        shared.writer(writer.thread().clone());
        Ok(Self { recorder, feed, shared, directory: log.directory.clone(), writer: Some(writer) })
    }

    /// A handle for whoever makes records.
    pub fn recorder(&self) -> Recorder {
        self.recorder.clone()
    }

    /// A view for those who ship records elsewhere.
    pub fn feed(&self) -> StoreFeed {
        self.feed.clone()
    }

    /// Writes and syncs everything handed over so far, then ends the writer.
    ///
    /// Records handed over afterwards are lost, and counted as such.
    pub fn close(mut self) -> Result<(), CloseError> {
        self.shared.close();
        match self.writer.take().map(JoinHandle::join) {
            Some(Ok(ended)) => ended,
            Some(Err(_)) => Err(CloseError {
                directory: self.directory.clone(),
                lost: self.recorder.stats().slots_in_use() as u64,
                cause: io::Error::other("the writer panicked"),
            }),
            None => Ok(()),
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.shared.close();
        if let Some(Ok(Err(error))) = self.writer.take().map(JoinHandle::join) {
            tracing::error!("{error}");
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("recorder", &self.recorder).finish_non_exhaustive()
    }
}

fn create_directory(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o750).create(directory)
}

/// The lock on the directory; `None` when another has it.
fn lock(directory: &Path) -> io::Result<Option<File>> {
    let path = directory.join(LOCK_FILE);
    let mut options = OpenOptions::new();
    // Opening a pipe would wait for its reader.
    options.write(true).create(true).truncate(false).mode(0o640).custom_flags(OFlags::NONBLOCK.bits() as i32);
    let file = options.open(path)?;
    for _ in 0..LOCK_ATTEMPTS {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(file)),
            // `logs verify` holds it for a moment, to see whether somebody writes.
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::park_timeout(LOCK_PAUSE),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}
