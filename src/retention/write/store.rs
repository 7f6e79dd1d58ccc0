//! The store: a directory, its lock and its writer thread.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::config::AccessLog;
use crate::retention::write::feed::StoreFeed;
use crate::retention::write::intake::Intake;
use crate::retention::write::lock::StoreLock;
use crate::retention::write::predecessor::Predecessor;
use crate::retention::write::premises::Premises;
use crate::retention::write::recorder::{HandOver, Recorder, Role, Shared};
use crate::retention::write::spool::Spool;
use crate::retention::write::unrecorded::is_unrecorded;
use crate::retention::write::{CloseError, OpenError, writer};

/// What a process needs to write the store of another.
#[derive(Debug)]
pub struct HandedStore {
    /// The store.
    pub directory: PathBuf,
    /// The open file that holds its lock.
    pub lock: OwnedFd,
    /// A Unix socket over which the other process sends the records of its last exchanges.
    pub records: OwnedFd,
}

/// An open store and its writer thread.
#[must_use = "records are kept while the store is open"]
pub struct Store {
    recorder: Recorder,
    node: Arc<str>,
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
        let lock = lock(log)?;
        Self::begin(Premises { log: log.clone(), node, clock, lock }, None)
    }

    /// As [`Store::open`], for a process that replaces the one which wrote the store so far: takes its lock, and
    /// writes the records of its last exchanges among its own.
    pub fn take_over(
        log: &AccessLog,
        node: Arc<str>,
        clock: Clock,
        handed: HandedStore,
    ) -> Result<Self, OpenError> {
        let HandedStore { directory, lock: inherited, records } = handed;
        let is_same = directory == log.directory;
        // The lock of another store is of no use. That store stays closed, and the last records come here.
        let lock = if is_same { StoreLock::inherited(inherited) } else { lock(log)? };
        Self::begin(Premises { log: log.clone(), node, clock, lock }, Some(records.into()))
    }

    fn begin(premises: Premises, predecessor: Option<UnixStream>) -> Result<Self, OpenError> {
        let (log, node) = (premises.log.clone(), Arc::clone(&premises.node));
        let unusable = |cause| unusable(&log, cause);
        let (recorder, shared) = Recorder::new(&log);
        let now = premises.clock.now();
        let predecessor = predecessor.map(|link| Predecessor::start(link, &shared, now)).transpose();
        let intake = Intake::new(Arc::clone(&shared));
        let spool = Spool::open(&shared, intake, premises, predecessor.map_err(unusable)?);
        let spool = spool.map_err(|(error, _)| unusable(error))?;
        let thread = std::thread::Builder::new().name("access-records".to_owned());
        let shared_by_writer = Arc::clone(&shared);
        let writer = thread.spawn(move || writer::run(spool, &shared_by_writer)).map_err(unusable)?;
        shared.writer(writer.thread().clone());
        Ok(Self { recorder, node, shared, directory: log.directory, writer: Some(writer) })
    }

    /// A handle for handing over records.
    pub fn recorder(&self) -> Recorder {
        self.recorder.clone()
    }

    /// A view of the store for shipping its records elsewhere.
    pub fn feed(&self) -> StoreFeed {
        StoreFeed::new(&self.directory, Arc::clone(&self.node), Arc::clone(&self.shared))
    }

    /// Closes the store's files as at a stop, for another process to write on. Records that are handed over from
    /// then on, by this process and its predecessor, go to that process.
    ///
    /// If that process ends before it has taken them all, this one writes the store again. It does so at once if
    /// the result is dropped.
    pub async fn hand_over(&self) -> io::Result<HandedStore> {
        let (link, records) = UnixStream::pair()?;
        link.set_nonblocking(true)?;
        let (taken, lock) = oneshot::channel();
        self.shared.hand_over(HandOver { link, taken });
        let lock = lock.await.map_err(|_| io::Error::other("the writer has ended"))??;
        Ok(HandedStore { directory: self.directory.clone(), lock, records: records.into() })
    }

    /// Waits until this process writes the store again, or cannot.
    pub async fn taken_back(&self) {
        // The sender lives as long as this store.
        let _ = self.shared.role.subscribe().wait_for(|role| *role != Role::Forwards).await.map(|_| ());
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

fn unusable(log: &AccessLog, cause: io::Error) -> OpenError {
    OpenError::Unusable { directory: log.directory.clone(), cause }
}

/// Locks the store, and creates its directory if there is none.
fn lock(log: &AccessLog) -> Result<StoreLock, OpenError> {
    create_directory(&log.directory).map_err(|cause| unusable(log, cause))?;
    let lock = StoreLock::acquire(&log.directory).map_err(|cause| unusable(log, cause))?;
    lock.ok_or_else(|| OpenError::InUse(log.directory.clone()))
}

fn create_directory(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o750).create(directory)
}
