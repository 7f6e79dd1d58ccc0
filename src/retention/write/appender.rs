//! The appender: rows become blocks, blocks go into segments, and segments are synced.
//!
//! A block leaves memory only after it was synced. When a write or a sync fails, the segment is abandoned at
//! its last synced byte and every later block is written again, byte for byte, into a new segment. No file is
//! synced again after a failed sync, since that may have dropped dirty pages.

mod files;
mod sync;

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fs_err::File;
use jiff::civil::Date;

use crate::retention::format::BlockHead;
use crate::retention::format::block::{Packer, Place};
use crate::retention::format::codec::write_checkpoint;
use crate::retention::format::position::Position;
use crate::retention::format::rows::Rows;
use crate::retention::format::segment::SegmentName;
use crate::retention::write::emergency::Emergency;
use crate::retention::write::notary::Notary;
use crate::retention::write::syncer::Syncer;
use crate::retention::write::{Now, Progress};

/// The age at which a block is signed: 30 s.
const SIGN_AFTER: Duration = Duration::from_secs(30);
/// The age at which a block is signed even if that means waiting for a sync: 45 s.
const SIGN_AT_LAST: Duration = Duration::from_secs(45);

#[derive(Debug)]
struct OpenSegment {
    file: Arc<File>,
    name: SegmentName,
    opened: Instant,
    day: Date,
    synced: u64,
    written: u64,
    emergency: bool,
}

/// A sync that has begun and not ended.
#[derive(Debug)]
struct PendingSync {
    /// How many bytes of the frames are in it.
    frames: usize,
    position: Position,
    written: u64,
    checkpoint: Option<Vec<u8>>,
    /// When the first block after it was sealed.
    since: Option<i64>,
}

#[derive(Debug)]
pub(crate) struct Appender {
    directory: File,
    notary: Notary,
    packer: Packer,
    /// Records that are not in a block yet.
    pub(crate) rows: Rows,
    position: Position,
    /// The position after the last synced block.
    synced: Position,
    frames: Vec<u8>,
    /// When the first block of `frames` was sealed. A new segment is named after that time, so that its name
    /// is part of the proof.
    frames_since: Option<i64>,
    /// Bytes of `frames` that the open segment has; 0 without one.
    written: usize,
    segment: Option<OpenSegment>,
    syncer: Syncer,
    pending_sync: Option<PendingSync>,
    /// When the first frame that is in no sync was written.
    unsynced_since: Option<Instant>,
    /// When the first block that is in no checkpoint was sealed.
    unsigned_since: Option<Instant>,
    /// Whether a previous writer left blocks unsigned; they are signed at once.
    left_unsigned: bool,
    checkpoint: Option<Vec<u8>>,
    emergency: Emergency,
    /// Segments that ended by size or age.
    rolled: u32,
    /// Abandoned segments that could not be cut yet, and their synced length.
    uncut: Vec<(SegmentName, u64)>,
}

impl Appender {
    pub(crate) fn new(
        directory: File,
        notary: Notary,
        node: Arc<str>,
        position: Position,
    ) -> io::Result<Self> {
        Ok(Self {
            directory,
            notary,
            packer: Packer::new()?,
            rows: Rows::new(node),
            synced: position.clone(),
            frames: Vec::new(),
            frames_since: None,
            written: 0,
            segment: None,
            syncer: Syncer::start()?,
            pending_sync: None,
            unsynced_since: None,
            unsigned_since: None,
            left_unsigned: position.signed < position.tree.size(),
            checkpoint: None,
            emergency: Emergency::Used,
            rolled: 0,
            uncut: Vec::new(),
            position,
        })
    }

    pub(crate) fn directory(&self) -> &File {
        &self.directory
    }

    pub(crate) fn blocks(&self) -> u64 {
        self.position.tree.size()
    }

    /// The `seq` after the last block.
    pub(crate) fn next_seq(&self) -> u64 {
        self.position.next_seq
    }

    pub(crate) fn progress(&self) -> Progress {
        let open = self.segment.as_ref().map_or(self.synced.tree.size(), |segment| segment.name.first_block);
        // Abandoned segments still have to be cut.
        let uncut = self.uncut.iter().map(|(name, _)| name.first_block).min();
        Progress {
            synced_before: self.synced.next_seq,
            sealed_before: uncut.map_or(open, |uncut| uncut.min(open)),
        }
    }

    pub(crate) fn unsynced_bytes(&self) -> usize {
        self.frames.len()
    }

    pub(crate) fn unsynced_since(&self) -> Option<Instant> {
        self.unsynced_since
    }

    pub(crate) fn sign_due(&self, now: Instant) -> bool {
        self.unsigned_since.is_some_and(|since| {
            let age = now.saturating_duration_since(since);
            age >= SIGN_AT_LAST || (self.frames.is_empty() && (self.left_unsigned || age >= SIGN_AFTER))
        })
    }

    /// Seals the rows into a block, if there are any.
    pub(crate) fn seal(&mut self, now: Now) -> io::Result<()> {
        if self.rows.count() > 0 { self.seal_block(now) } else { Ok(()) }
    }

    /// Seals an empty block, which marks an orderly end.
    pub(crate) fn seal_end(&mut self, now: Now) -> io::Result<()> {
        self.seal(now)?;
        self.seal_block(now)
    }

    fn seal_block(&mut self, now: Now) -> io::Result<()> {
        let place = Place {
            number: self.position.tree.size(),
            first_seq: self.position.next_seq,
            previous: self.position.previous,
            signed: self.position.signed,
            sealed: now.wall.as_millisecond(),
        };
        let head: BlockHead = self.packer.pack(&mut self.rows, place, &mut self.frames)?;
        self.position.pass(&head);
        let since = self.pending_sync.as_mut().map_or(&mut self.frames_since, |pending| &mut pending.since);
        since.get_or_insert(head.sealed);
        self.unsigned_since.get_or_insert(now.monotonic);
        Ok(())
    }

    /// Signs all blocks. They must be synced: after a power failure, a checkpoint proves that what it covers
    /// was kept. A segment does not begin with a checkpoint; signing waits for the next block.
    pub(crate) fn sign(&mut self) -> io::Result<()> {
        debug_assert!(self.frames.is_empty(), "what is signed is synced");
        if self.segment.is_none() {
            return Ok(());
        }
        let note = self.notary.sign(&self.position.tree)?;
        write_checkpoint(&note, &mut self.frames);
        self.checkpoint = Some(note);
        self.position.signed = self.position.tree.size();
        self.unsigned_since = None;
        self.left_unsigned = false;
        Ok(())
    }

    /// Writes the frames that no segment has yet; returns the number of bytes.
    pub(crate) fn write(&mut self, now: Now) -> io::Result<u64> {
        if self.written == self.frames.len() {
            return Ok(0);
        }
        let mut length = 0;
        if self.segment.is_none() {
            length += self.open_segment(now)?;
        }
        let Some(segment) = &mut self.segment else { return Ok(0) };
        let frames = &self.frames[self.written..];
        segment.file.file().write_all_at(frames, segment.written)?;
        segment.written += frames.len() as u64;
        length += frames.len() as u64;
        self.written = self.frames.len();
        self.unsynced_since.get_or_insert(now.monotonic);
        Ok(length)
    }

    pub(crate) fn prepare_emergency(&mut self) -> io::Result<()> {
        if self.emergency == Emergency::Used {
            self.emergency = Emergency::prepare(&self.directory)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
