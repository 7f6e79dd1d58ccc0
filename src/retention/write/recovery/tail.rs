//! The end of a segment: what of it stays, and what is cut off.

use std::io;

use fs_err::OpenOptions;

use crate::retention::format::Frame;
use crate::retention::format::frames::{Frames, Step};
use crate::retention::format::segment::Segment;

/// 64 KiB. A segment up to this size without a readable block is one whose first block was never completed;
/// a larger one is damaged.
const TORN_HEAD: u64 = 64 * 1024;

/// The state of a segment's end.
#[derive(Default)]
pub(super) struct Tail {
    /// Readable blocks before the first damage that is not signed.
    blocks: u64,
    /// Whether a checkpoint covers what may be damaged now.
    signed: bool,
    /// The end of what stays: of the last whole frame, or, where a damaged frame follows the last checkpoint,
    /// of the frame before that. A power failure may keep what was written later and lose what was written
    /// earlier; a block that was neither synced nor signed is not part of the store.
    pub(super) whole: u64,
    /// Whether a readable block comes after `whole`.
    readable: bool,
    pub(super) length: u64,
}

impl Tail {
    pub(super) fn of(segment: &Segment) -> io::Result<Self> {
        let mut frames = Frames::open(&segment.path)?;
        let mut tail = Self { length: fs_err::metadata(&segment.path)?.len(), ..Self::default() };
        let mut damaged = false;
        loop {
            match frames.next_step()? {
                Step::Frame(Frame::Block(head), at) => {
                    let whole = crc32c::crc32c(frames.payload(at, &head)?) == head.crc;
                    tail.readable |= whole && damaged;
                    damaged |= !whole;
                    if !damaged {
                        tail.blocks += 1;
                        tail.whole = frames.at();
                    }
                }
                Step::Frame(frame, _) => {
                    if matches!(frame, Frame::Checkpoint(_)) {
                        (damaged, tail.readable, tail.signed) = (false, false, true);
                    }
                    if !damaged {
                        tail.whole = frames.at();
                    }
                }
                Step::Damage { .. } => damaged = true,
                Step::End { .. } => break,
            }
        }
        if frames.lost_until() > tail.whole {
            let message = format!(
                "{}: the disk cannot read the bytes before byte {}, which are not signed yet; repair the disk, or \
                 move the segment elsewhere and read it with `icpgate logs export FILE`",
                segment.path.display(),
                frames.lost_until()
            );
            return Err(io::Error::other(message));
        }
        Ok(tail)
    }

    /// Whether the segment holds anything that must be kept in its place.
    pub(super) fn stays(&self) -> bool {
        self.blocks > 0 || self.signed
    }

    /// Cuts off what does not stay; a copy is kept if any of it can be read.
    pub(super) fn cut(&self, segment: &Segment) -> io::Result<()> {
        if self.whole == self.length {
            return Ok(());
        }
        let (path, bytes) = (segment.path.display(), self.length - self.whole);
        tracing::warn!(segment = %path, bytes, "Cutting off an unfinished end of the access records");
        if self.readable {
            let aside = segment.path.with_extension("seg.cut");
            tracing::error!(aside = %aside.display(), "Records after a torn block are set aside");
            fs_err::copy(&segment.path, aside)?;
        }
        cut(segment, self.whole)
    }

    /// Removes a segment of which nothing stays, or renames it if it may hold anything.
    pub(super) fn set_aside(&self, segment: &Segment) -> io::Result<()> {
        let (path, bytes) = (segment.path.display(), self.length);
        let extension = if self.readable { "seg.cut" } else { "seg.unreadable" };
        if !self.readable && bytes <= TORN_HEAD {
            tracing::warn!(segment = %path, bytes, "Removing a segment that was begun and holds no records");
            return fs_err::remove_file(&segment.path);
        }
        let aside = segment.path.with_extension(extension);
        tracing::error!(
            segment = %path, bytes, aside = %aside.display(),
            "The first block of a segment cannot be read and nothing of it is signed; it is set aside"
        );
        fs_err::rename(&segment.path, aside)
    }
}

/// Cuts a segment at `length` bytes, and syncs it.
pub(super) fn cut(segment: &Segment, length: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(&segment.path)?;
    file.set_len(length)?;
    file.sync_all()
}
