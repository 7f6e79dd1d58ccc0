//! The end of the store, where it grows: rows become blocks, blocks go into segments and are synced.
//!
//! A block leaves memory only after it was synced. When a write or a sync fails, the segment is
//! abandoned at its last synced byte and every block after it goes, the same to the byte, into a
//! fresh one. Nothing is ever synced twice on one file, since a failed sync may have dropped its
//! pages.

mod sync;

use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fs_err::{File, OpenOptions};
use jiff::Timestamp;
use jiff::civil::Date;

use crate::clock::day_of;
use crate::retention::format::block::{Packer, Place};
use crate::retention::format::codec::write_checkpoint;
use crate::retention::format::position::Position;
use crate::retention::format::rows::Rows;
use crate::retention::format::segment::{self, SegmentName};
use crate::retention::format::{BlockHead, SegmentHead};
use crate::retention::write::emergency::{Emergency, is_full};
use crate::retention::write::notary::Notary;
use crate::retention::write::syncer::Syncer;
use crate::retention::write::{Now, Progress};

/// The size at which a segment ends.
const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
/// The age at which a segment ends.
const SEGMENT_AGE: Duration = Duration::from_secs(60 * 60);
/// The same where segments are shipped: a disk that is lost takes no more with it. 190 days of them are 55,000 files.
const AWAITED_AGE: Duration = Duration::from_secs(5 * 60);
/// Of the first segment after a start.
const FIRST_AWAITED_AGE: Duration = Duration::from_secs(30);

/// The age of a block at which it is signed.
const SIGN_AFTER: Duration = Duration::from_secs(30);
/// The age at which it is signed even where that means to wait for a sync.
const SIGN_AT_LAST: Duration = Duration::from_secs(45);

/// The segment that is written to.
#[derive(Debug)]
struct OpenSegment {
    file: Arc<File>,
    name: SegmentName,
    opened: Instant,
    day: Date,
    synced: u64,
    written: u64,
    /// In the room that is kept for when the disk is full.
    emergency: bool,
}

/// A sync that goes on.
#[derive(Debug)]
struct Flight {
    /// So many bytes of the frames are in it.
    frames: usize,
    /// After its last block.
    position: Position,
    /// The length of the segment.
    written: u64,
    checkpoint: Option<Vec<u8>>,
    /// When the first block after it was sealed.
    since: Option<i64>,
}

/// Appends to a store.
#[derive(Debug)]
pub(crate) struct Appender {
    directory: File,
    notary: Notary,
    packer: Packer,
    /// Records that are in no block yet.
    pub(crate) rows: Rows,
    /// After the last block.
    position: Position,
    /// After the last block that is synced.
    synced: Position,
    /// Frames from the first unsynced one on.
    frames: Vec<u8>,
    /// When the first block of them was sealed: that is when a segment for them is said to be opened,
    /// so that its name is in the proof.
    frames_since: Option<i64>,
    /// How much of them the open segment has; none without one.
    written: usize,
    segment: Option<OpenSegment>,
    syncer: Syncer,
    flight: Option<Flight>,
    /// Since when frames are written but in no sync.
    unsynced_since: Option<Instant>,
    /// Since when blocks are in no checkpoint.
    unsigned_since: Option<Instant>,
    /// Whether an earlier writer left blocks unsigned, which must wait no longer.
    left_unsigned: bool,
    /// A checkpoint that is not synced yet.
    checkpoint: Option<Vec<u8>>,
    emergency: Emergency,
    /// Segments that ended by size or age.
    rolled: u32,
    /// Abandoned segments that could not be cut, and where to cut them.
    uncut: Vec<(SegmentName, u64)>,
}

impl Appender {
    /// Appends the records of `node` after `position`.
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
            flight: None,
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

    /// The store.
    pub(crate) fn directory(&self) -> &File {
        &self.directory
    }

    /// How many blocks the store has had.
    pub(crate) fn blocks(&self) -> u64 {
        self.position.tree.size()
    }

    /// How much is safe on the disk.
    pub(crate) fn progress(&self) -> Progress {
        let open = self.segment.as_ref().map_or(self.synced.tree.size(), |segment| segment.name.first_block);
        // An abandoned segment still has to be cut.
        let uncut = self.uncut.iter().map(|(name, _)| name.first_block).min();
        Progress {
            synced_before: self.synced.next_seq,
            sealed_before: uncut.map_or(open, |uncut| uncut.min(open)),
        }
    }

    /// Bytes of frames that are not synced.
    pub(crate) fn unsynced_bytes(&self) -> usize {
        self.frames.len()
    }

    /// Since when frames are written but in no sync.
    pub(crate) fn unsynced_since(&self) -> Option<Instant> {
        self.unsynced_since
    }

    /// Whether blocks are in no checkpoint that should be.
    pub(crate) fn sign_due(&self, now: Instant) -> bool {
        self.unsigned_since.is_some_and(|since| {
            let age = now.saturating_duration_since(since);
            age >= SIGN_AT_LAST || (self.frames.is_empty() && (self.left_unsigned || age >= SIGN_AFTER))
        })
    }

    /// Makes a block of the rows, if there are any.
    pub(crate) fn seal(&mut self, now: Now) -> io::Result<()> {
        if self.rows.count() > 0 { self.seal_block(now) } else { Ok(()) }
    }

    /// Says that the store ends here in good order.
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
        let since = self.flight.as_mut().map_or(&mut self.frames_since, |flight| &mut flight.since);
        since.get_or_insert(head.sealed);
        self.unsigned_since.get_or_insert(now.monotonic);
        Ok(())
    }

    /// Signs all blocks, which must be synced: a checkpoint that is left after a power failure says that
    /// what it covers was kept. A segment does not begin with one: it waits for the next block.
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

    /// Writes the frames that no segment has yet; how many bytes those were.
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

    /// Begins a segment; the length of its head.
    fn open_segment(&mut self, now: Now) -> io::Result<u64> {
        let sealed = self.frames_since.and_then(|sealed| Timestamp::from_millisecond(sealed).ok());
        let opened = sealed.unwrap_or(now.wall);
        let name = SegmentName::new(opened, self.synced.tree.size());
        let head = SegmentHead {
            first_seq: self.synced.next_seq,
            opened: opened.as_millisecond(),
            previous: self.synced.previous,
            tree: self.synced.tree.clone(),
        };
        let mut bytes = Vec::new();
        head.write(&mut bytes);
        let (file, emergency) = match self.create_segment(name, &bytes) {
            Ok(created) => created,
            Err(error) => {
                // What there may be of it goes before another is begun.
                if error.kind() != io::ErrorKind::AlreadyExists {
                    self.cut(name, 0);
                }
                return Err(error);
            }
        };
        let (written, day) = (bytes.len() as u64, day_of(opened));
        let file = Arc::new(file);
        self.segment =
            Some(OpenSegment { file, name, opened: now.monotonic, day, synced: 0, written, emergency });
        Ok(written)
    }

    /// A segment with its head; whether it is in the room that is kept for when the disk is full.
    fn create_segment(&mut self, name: SegmentName, head: &[u8]) -> io::Result<(File, bool)> {
        let begin = |file: File| file.file().write_all_at(head, 0).map(|()| file);
        match segment::create(&self.directory, name).and_then(begin) {
            Err(error) if is_full(&error) && self.emergency == Emergency::Ready => {
                self.emergency = Emergency::Used;
                tracing::warn!("the disk is full: what was accepted goes into the room kept for that");
                let path = segment::path(&self.directory, name);
                Ok((Emergency::take(&self.directory, &path).and_then(begin)?, true))
            }
            created => Ok((created?, false)),
        }
    }

    /// Sees that there is room for when the disk is full.
    pub(crate) fn prepare_emergency(&mut self) -> io::Result<()> {
        if self.emergency == Emergency::Used {
            self.emergency = Emergency::prepare(&self.directory)?;
        }
        Ok(())
    }

    /// Whether the open segment should end.
    ///
    /// Where somebody waits for sealed segments, it ends sooner: the first ones after half a minute, a minute and so
    /// on, so that what is shipped shows soon after a start, and those after them after five.
    pub(crate) fn roll_due(&self, now: Now, awaited: bool) -> bool {
        let growing = FIRST_AWAITED_AGE.saturating_mul(1 << self.rolled.min(8));
        let age = if awaited { growing.min(AWAITED_AGE) } else { SEGMENT_AGE };
        self.segment.as_ref().is_some_and(|segment| {
            segment.written >= SEGMENT_BYTES
                || now.monotonic.saturating_duration_since(segment.opened) >= age
                || segment.day != day_of(now.wall)
                || (segment.emergency && self.emergency != Emergency::Used)
        })
    }

    /// Signs, writes and syncs, and ends the segment; how many bytes that wrote.
    pub(crate) fn roll(&mut self, now: Now) -> io::Result<u64> {
        let mut written = self.write(now)?;
        self.sync()?;
        if self.unsigned_since.is_some() {
            self.sign()?;
            written += self.write(now)?;
            self.sync()?;
        }
        self.end_segment()?;
        self.rolled = self.rolled.saturating_add(1);
        Ok(written)
    }

    /// Ends the open segment, of which everything is synced.
    pub(crate) fn end_segment(&mut self) -> io::Result<()> {
        if let Some(segment) = self.segment.take().filter(|segment| segment.emergency) {
            // What was allocated and not needed.
            segment.file.set_len(segment.written)?;
        }
        Ok(())
    }

    /// Gives the open segment up at its last synced byte; what came after goes into the next. How
    /// many bytes the store is shorter for it.
    pub(crate) fn abandon(&mut self, now: Instant) -> u64 {
        if self.flight.is_some() {
            // What it keeps is kept; a file is given up when nobody works on it.
            let ended = self.syncer.wait();
            let _ = self.land(ended);
        }
        self.written = 0;
        self.unsynced_since = None;
        if self.frames_since.is_none() && !self.frames.is_empty() {
            self.frames.clear();
            self.checkpoint = None;
            self.position.signed = self.synced.signed;
            self.unsigned_since.get_or_insert(now);
        }
        let Some(segment) = self.segment.take() else { return 0 };
        self.cut(segment.name, segment.synced);
        segment.written - segment.synced
    }

    /// Cuts an abandoned segment at its last synced byte, now or as soon as that can be done.
    fn cut(&mut self, name: SegmentName, synced: u64) {
        if let Err(error) = cut(&segment::path(&self.directory, name), synced) {
            tracing::warn!("an abandoned segment keeps records that are written again: {error}");
            self.uncut.push((name, synced));
        }
    }

    /// Cuts abandoned segments where that could not be done before.
    pub(crate) fn cut_abandoned(&mut self) {
        let directory = &self.directory;
        self.uncut.retain(|(name, synced)| cut(&segment::path(directory, *name), *synced).is_err());
    }
}

/// Cuts a segment; one of which nothing is left goes.
fn cut(path: &Path, length: u64) -> io::Result<()> {
    let cut = if length > 0 {
        OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(length))
    } else {
        fs_err::remove_file(path)
    };
    match cut {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        cut => cut,
    }
}

#[cfg(test)]
mod tests;
