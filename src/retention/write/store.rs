//! The store: a directory, its lock and its writer thread.

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

/// An open store and its writer thread.
#[must_use = "records are kept while the store is open"]
pub struct Store {
    recorder: Recorder,
    feed: StoreFeed,
    shared: Arc<Shared>,
    directory: PathBuf,
    writer: Option<JoinHandle<Result<(), CloseError>>>,
}

impl Store {
    /// Opens the store described by `log` and starts its writer. Creates the directory (mode 0750) and the
    /// signing key if they do not exist. `node` is in every record.
    ///
    /// An unfinished block at the end is cut off; numbering continues after the last record.
    pub fn open(log: &AccessLog, node: Arc<str>, clock: Clock) -> Result<Self, OpenError> {
        if is_unrecorded() {
            tracing::error!(
                "THIS PROGRAM KEEPS NO ACCESS RECORDS: it was built with the feature `unrecorded`, which is \
                 only for load tests, and ICPGATE_UNRECORDED is 1; never serve clients with it"
            );
        }
        let unusable = |cause| OpenError::Unusable { directory: log.directory.clone(), cause };
        create_directory(&log.directory).map_err(unusable)?;
        let lock = lock(&log.directory).map_err(unusable)?;
        let lock = lock.ok_or_else(|| OpenError::InUse(log.directory.clone()))?;
        let directory = File::open(&log.directory).map_err(unusable)?;
        let notary = Notary::open(&log.directory, &node).map_err(unusable)?;
        tracing::info!(verifier_key = notary.verifier_key(), "Access records are signed with this key");
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

    /// A handle for handing over records.
    pub fn recorder(&self) -> Recorder {
        self.recorder.clone()
    }

    /// A view of the store for shipping its records elsewhere.
    pub fn feed(&self) -> StoreFeed {
        self.feed.clone()
    }

    /// Writes and syncs all records handed over so far, then ends the writer.
    ///
    /// Records handed over later are lost, and counted as lost.
    pub fn close(mut self) -> Result<(), CloseError> {
        self.shared.close();
        match self.writer.take().map(JoinHandle::join) {
            Some(Ok(ended)) => ended,
            Some(Err(_)) => Err(CloseError {
                directory: self.directory.clone(),
                lost: self.recorder.stats().slots_in_use() as u64,
                cause: io::Error::other("the writer thread panicked"),
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

/// Locks the directory; `None` if another process holds the lock.
fn lock(directory: &Path) -> io::Result<Option<File>> {
    let path = directory.join(LOCK_FILE);
    let mut options = OpenOptions::new();
    // Without it, opening a pipe waits for its reader.
    options.write(true).create(true).truncate(false).mode(0o640).custom_flags(OFlags::NONBLOCK.bits() as i32);
    let file = options.open(path)?;
    for _ in 0..LOCK_ATTEMPTS {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(file)),
            // `logs verify` takes the lock for a moment, to see whether a writer holds it.
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::park_timeout(LOCK_PAUSE),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}
