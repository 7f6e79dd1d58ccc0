//! What those who ship records see of an open store.

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

/// A view of an open store for those who ship its records elsewhere. Cheap to clone; the writer never waits for it.
#[derive(Clone)]
pub struct StoreFeed {
    directory: Arc<Path>,
    node: Arc<str>,
    epochs: Arc<Epochs>,
    shared: Arc<Shared>,
}

impl StoreFeed {
    pub(super) fn new(directory: &Path, node: Arc<str>, epochs: Epochs, shared: Arc<Shared>) -> Self {
        Self { directory: directory.into(), node, epochs: Arc::new(epochs), shared }
    }

    /// The directory of the store.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The name of the edge that writes it.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// The epochs of its records. They never change while the store is open.
    pub fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    /// A subscription to what is safe on the disk; it changes about every 50 ms under load, and not at all when
    /// nothing is recorded.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.shared.stats.progress.subscribe()
    }

    /// The segments that are complete and never change again, oldest first. Reads the directory.
    pub fn sealed_segments(&self) -> io::Result<Vec<Segment>> {
        // Before the listing: a segment that is sealed meanwhile comes with the next one.
        let sealed_before = self.shared.stats.progress.borrow().sealed_before;
        let mut segments = segment::list(&self.directory)?;
        segments.retain(|segment| segment.name.first_block < sealed_before);
        Ok(segments)
    }

    /// The newest checkpoint, a signed note; `None` before the first, which comes within a minute of the first
    /// record.
    pub fn checkpoint(&self) -> io::Result<Option<Vec<u8>>> {
        read_note_if_there(&self.directory.join(CHECKPOINT_FILE))
    }

    /// A reader of records from `seq` on that waits at the watermark.
    pub fn follow(&self, seq: u64) -> io::Result<Follower> {
        Follower::new(&self.directory, seq)
    }

    /// Says whether somebody waits for sealed segments: they are sealed after five minutes then, rather than an hour.
    pub fn await_segments(&self, awaited: bool) {
        self.shared.segments_awaited.store(awaited, Ordering::Relaxed);
    }

    /// Allows that segments are freed before their retention is over when less than `access_log.reserve` is free:
    /// those whose blocks are all before `before_block`. Zero, as at the start, allows nothing.
    ///
    /// Whoever calls answers for it that those blocks are kept elsewhere, where they cannot be changed, for as
    /// long as the retention asks.
    pub fn free_confirmed(&self, before_block: u64) {
        self.shared.confirmed_before.store(before_block, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for StoreFeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreFeed").field("directory", &self.directory).finish_non_exhaustive()
    }
}
