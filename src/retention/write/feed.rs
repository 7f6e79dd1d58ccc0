//! The feed of an open store: everything needed to ship its records elsewhere.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::watch;

use crate::retention::format::epoch::Epochs;
use crate::retention::format::note::{CHECKPOINT_FILE, read_note_if_there};
use crate::retention::format::segment::{self, Segment};
use crate::retention::read::follow::Follower;
use crate::retention::write::Progress;
use crate::retention::write::recorder::Shared;

/// A view of an open store for shipping its records elsewhere. Cheap to clone; the writer never waits for it.
#[derive(Clone)]
pub struct StoreFeed {
    directory: Arc<Path>,
    node: Arc<str>,
    epochs: Arc<Epochs>,
    shared: Arc<Shared>,
}

impl StoreFeed {
    pub(super) fn new(directory: &Path, node: Arc<str>, shared: Arc<Shared>) -> Self {
        let epochs = shared.epochs.load_full();
        Self { directory: directory.into(), node, epochs, shared }
    }

    /// The directory of the store.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The name of the edge that writes it.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// The epochs of its records. They do not change while the store is open.
    pub fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    /// A subscription to what is safe on the disk. It changes about every 50 ms under load.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.shared.stats.progress.subscribe()
    }

    /// The segments that are complete and never change again, oldest first. Reads the directory.
    pub fn sealed_segments(&self) -> io::Result<Vec<Segment>> {
        // Read before the listing: a segment sealed meanwhile is in the next listing.
        let sealed_before = self.shared.stats.progress.borrow().sealed_before;
        let mut segments = segment::list(&self.directory)?;
        segments.retain(|segment| segment.name.first_block < sealed_before);
        Ok(segments)
    }

    /// The newest checkpoint, a signed note; `None` until the first, within a minute after the first record.
    pub fn checkpoint(&self) -> io::Result<Option<Vec<u8>>> {
        read_note_if_there(&self.directory.join(CHECKPOINT_FILE))
    }

    /// A reader of the records from `seq` on, up to the watermark.
    pub fn follow(&self, seq: u64) -> io::Result<Follower> {
        Follower::new(&self.directory, seq)
    }

    /// Says whether a shipper waits for sealed segments. They are then sealed after five minutes instead of an
    /// hour.
    pub fn await_segments(&self, awaited: bool) {
        self.shared.segments_awaited.store(awaited, Ordering::Relaxed);
    }

    /// Allows segments to be freed before their retention is over, when the disk has less free than
    /// `access_log.reserve`: only those whose blocks are all before `before_block`. 0, the initial value,
    /// allows nothing.
    ///
    /// The caller guarantees that those blocks are kept elsewhere, unchangeable, for as long as the retention
    /// requires.
    pub fn free_confirmed(&self, before_block: u64) {
        self.shared.confirmed_before.store(before_block, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for StoreFeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreFeed").field("directory", &self.directory).finish_non_exhaustive()
    }
}
