//! fsync on its own thread. Frames stay in memory until fsync returns.

use std::io;
use std::sync::Arc;

use crate::retention::format::note::{CHECKPOINT_FILE, replace};
use crate::retention::write::appender::{Appender, PendingSync};

impl Appender {
    /// Begins to sync all frames, which must be written, unless a sync is pending; returns whether it began.
    pub(crate) fn begin_sync(&mut self) -> io::Result<bool> {
        let (Some(segment), Some(_), None) = (&self.segment, self.unsynced_since, &self.pending_sync) else {
            return Ok(false);
        };
        self.syncer.begin(Arc::clone(&segment.file))?;
        self.unsynced_since = None;
        self.pending_sync = Some(PendingSync {
            frames: self.frames.len(),
            position: self.position.clone(),
            written: segment.written,
            checkpoint: self.checkpoint.take(),
            since: None,
        });
        Ok(true)
    }

    /// Finishes a pending sync if it has ended; returns whether it did.
    pub(crate) fn poll_sync(&mut self) -> io::Result<bool> {
        if self.pending_sync.is_none() {
            return Ok(false);
        }
        let Some(ended) = self.syncer.poll() else { return Ok(false) };
        self.finish_sync(ended).map(|()| true)
    }

    /// Syncs all frames, which must be written, and waits.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        loop {
            if self.pending_sync.is_some() {
                let ended = self.syncer.wait();
                self.finish_sync(ended)?;
            }
            if !self.begin_sync()? {
                return Ok(());
            }
        }
    }

    /// Drops the frames that were synced.
    pub(crate) fn finish_sync(&mut self, ended: io::Result<()>) -> io::Result<()> {
        let Some(pending) = self.pending_sync.take() else { return ended };
        if let Err(error) = ended {
            self.checkpoint = self.checkpoint.take().or(pending.checkpoint);
            self.frames_since = self.frames_since.or(pending.since);
            return Err(error);
        }
        if let Some(segment) = &mut self.segment {
            segment.synced = pending.written;
        }
        self.frames.drain(..pending.frames);
        self.written -= pending.frames;
        self.frames_since = pending.since;
        self.synced = pending.position;
        // The segments hold the checkpoint too; this copy is to be kept elsewhere.
        if let Some(note) = pending.checkpoint
            && let Err(error) = replace(self.directory.path(), CHECKPOINT_FILE, &note, 0o640)
        {
            tracing::warn!("Cannot replace the checkpoint file of the access records: {error}");
        }
        Ok(())
    }
}
