//! The segment files of an appender: begun, ended, and abandoned after a failure.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fs_err::{File, OpenOptions};
use jiff::Timestamp;

use crate::clock::day_of;
use crate::retention::format::SegmentHead;
use crate::retention::format::segment::{self, SegmentName};
use crate::retention::write::Now;
use crate::retention::write::appender::{Appender, OpenSegment};
use crate::retention::write::emergency::{Emergency, is_full};

/// The size at which a segment ends: 64 MiB.
const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
/// The age at which a segment ends: 1 hour.
pub(super) const SEGMENT_AGE: Duration = Duration::from_secs(60 * 60);
/// The age at which a segment ends if it is to be shipped: 5 minutes, so that a lost disk takes no more with it. 190
/// days of such segments are 55,000 files.
const AWAITED_AGE: Duration = Duration::from_secs(5 * 60);
/// The age of the first such segment after a start: 30 s. It doubles with each segment.
const FIRST_AWAITED_AGE: Duration = Duration::from_secs(30);

impl Appender {
    /// Begins a segment; returns the length of its head.
    pub(super) fn open_segment(&mut self, now: Now) -> io::Result<u64> {
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
                // Whatever exists of it is removed before another is begun.
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

    /// Creates a segment with its head; returns whether it is the emergency file.
    fn create_segment(&mut self, name: SegmentName, head: &[u8]) -> io::Result<(File, bool)> {
        let begin = |file: File| file.file().write_all_at(head, 0).map(|()| file);
        match segment::create(&self.directory, name).and_then(begin) {
            Err(error) if is_full(&error) && self.emergency == Emergency::Ready => {
                self.emergency = Emergency::Used;
                tracing::warn!("The disk is full: records of accepted exchanges go into the emergency file");
                let path = segment::path(&self.directory, name);
                Ok((Emergency::take(&self.directory, &path).and_then(begin)?, true))
            }
            created => Ok((created?, false)),
        }
    }

    /// Whether the open segment should end. `awaited`: a shipper waits for sealed segments. They then end sooner, so
    /// that shipping shows results soon after a start.
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

    /// Writes, signs and syncs everything, and ends the segment; returns the number of bytes written.
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
            // Frees what was allocated and not used.
            segment.file.set_len(segment.written)?;
        }
        Ok(())
    }

    /// Abandons the open segment at its last synced byte; later frames go into the next segment. Returns by
    /// how many bytes the store became shorter.
    pub(crate) fn abandon(&mut self, now: Instant) -> u64 {
        if self.pending_sync.is_some() {
            // Waits for a pending sync: what it synced counts, and nobody may use the file afterwards.
            let ended = self.syncer.wait();
            let _ = self.finish_sync(ended);
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

    /// Cuts an abandoned segment at its last synced byte, now or as soon as possible.
    fn cut(&mut self, name: SegmentName, synced: u64) {
        if let Err(error) = cut(&segment::path(&self.directory, name), synced) {
            tracing::warn!(
                "Cannot cut an abandoned segment; its unsynced records are written again elsewhere: {error}"
            );
            self.uncut.push((name, synced));
        }
    }

    pub(crate) fn cut_abandoned(&mut self) {
        let directory = &self.directory;
        self.uncut.retain(|(name, synced)| cut(&segment::path(directory, *name), *synced).is_err());
    }
}

/// Cuts a segment at `length` bytes; removes it if nothing is left.
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
