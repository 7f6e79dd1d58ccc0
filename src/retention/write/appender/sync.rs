//! Syncing: what is in a sync goes on being held until the disk has said that it is kept.

use std::io;
use std::sync::Arc;

use super::{Appender, Flight};
use crate::retention::format::note::{CHECKPOINT_FILE, replace};

impl Appender {
    /// Begins to sync the frames, all of them written, unless a sync goes on; whether it did.
    pub(crate) fn begin_sync(&mut self) -> io::Result<bool> {
        let (Some(segment), Some(_), None) = (&self.segment, self.unsynced_since, &self.flight) else {
            return Ok(false);
        };
        self.syncer.begin(Arc::clone(&segment.file))?;
        self.unsynced_since = None;
        self.flight = Some(Flight {
            frames: self.frames.len(),
            position: self.position.clone(),
            written: segment.written,
            checkpoint: self.checkpoint.take(),
            since: None,
        });
        Ok(true)
    }

    /// Forgets the frames that a sync has kept which was begun, if it ended; whether it did.
    pub(crate) fn poll_sync(&mut self) -> io::Result<bool> {
        if self.flight.is_none() {
            return Ok(false);
        }
        let Some(ended) = self.syncer.poll() else { return Ok(false) };
        self.land(ended).map(|()| true)
    }

    /// Syncs the frames, all of them written, and waits for that.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        loop {
            if self.flight.is_some() {
                let ended = self.syncer.wait();
                self.land(ended)?;
            }
            if !self.begin_sync()? {
                return Ok(());
            }
        }
    }

    /// Forgets the frames of the sync that ended, if it kept them.
    pub(crate) fn land(&mut self, ended: io::Result<()>) -> io::Result<()> {
        let Some(flight) = self.flight.take() else { return ended };
        if let Err(error) = ended {
            self.checkpoint = self.checkpoint.take().or(flight.checkpoint);
            self.frames_since = self.frames_since.or(flight.since);
            return Err(error);
        }
        if let Some(segment) = &mut self.segment {
            segment.synced = flight.written;
        }
        self.frames.drain(..flight.frames);
        self.written -= flight.frames;
        self.frames_since = flight.since;
        self.synced = flight.position;
        // The segments have it too; this is the copy for whoever keeps it elsewhere.
        if let Some(note) = flight.checkpoint
            && let Err(error) = replace(self.directory.path(), CHECKPOINT_FILE, &note, 0o640)
        {
            tracing::warn!("the newest checkpoint of the access records is not shown: {error}");
        }
        Ok(())
    }
}
