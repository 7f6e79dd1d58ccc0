//! Where an earlier writer left off, told by the segments alone.
//!
//! The newest segment's head holds the tree of all before it, so that only the newest segment is
//! read, however large the store. What was unfinished at its end is cut off. What was signed stays, and
//! what can be read is never deleted: it is kept aside.

use std::io;
use std::path::Path;

use fs_err::OpenOptions;
use jiff::Timestamp;

use crate::retention::format::frames::{Frames, Step};
use crate::retention::format::position::Position;
use crate::retention::format::segment::{self, Segment};
use crate::retention::format::{BlockHead, Frame, SegmentHead};

/// A segment without a block that can be read is the beginning of one that was never written up to this
/// size, and a damaged one above.
const TORN_HEAD: u64 = 64 * 1024;

/// No store has as many blocks: a number beyond is damage.
const MOST_BLOCKS: u64 = 1 << 60;

/// How an earlier writer ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ended {
    /// There was none.
    Never,
    /// It was told to, and wrote everything.
    InOrder {
        /// When it sealed its last block.
        after: Timestamp,
    },
    /// It was killed, or the power failed.
    Killed {
        /// When it last sealed a block.
        after: Timestamp,
        /// Bytes of an unfinished tail, which are cut off.
        cut: u64,
    },
}

/// What an earlier writer left.
#[derive(Debug)]
pub(crate) struct Left {
    /// Where it stood.
    pub(crate) position: Position,
    /// How it ended.
    pub(crate) ended: Ended,
    /// The time of the newest record.
    pub(crate) newest: Option<Timestamp>,
    /// Bytes of all segments.
    pub(crate) bytes: u64,
}

/// Makes the newest segment whole, and finds where to go on.
pub(crate) fn resume(directory: &Path) -> io::Result<Left> {
    let mut segments = segment::list(directory)?;
    let mut cut = 0;
    // When a segment was begun that came to nothing.
    let mut begun = None;
    while let Some(newest) = segments.last() {
        let tail = Tail::of(newest)?;
        if tail.stays() {
            cut += tail.length - tail.whole;
            tail.cut(newest)?;
            break;
        }
        cut += tail.length;
        begun = Some(newest.name.opened_at().unwrap_or_default());
        set_aside(newest, &tail)?;
        segments.pop();
    }
    let mut left = Left { position: Position::default(), ended: Ended::Never, newest: None, bytes: 0 };
    let mut last = None;
    for (place, read) in readable(&segments)? {
        if let Some(head) = read {
            let (previous, next_seq) = (head.previous, head.first_seq);
            left.position = Position { tree: head.tree, previous, next_seq, signed: 0 };
        }
        let end = segments.get(place + 1).map(|next| next.name.first_block);
        for frame in frames(&segments[place])? {
            let Frame::Block(block) = frame else {
                left.position.signed = left.position.tree.size();
                continue;
            };
            let is_next = block.number >= left.position.tree.size() && block.number < MOST_BLOCKS;
            if is_next && end.is_none_or(|end| block.number < end) {
                left.position.pass_damage(&block);
                left.newest = left.newest.max(block.latest_time());
                last = Some(block);
            }
        }
    }
    let was_killed = cut > 0 || begun.is_some() || !last.is_some_and(BlockHead::is_end);
    let sealed = last.map(|last| Timestamp::from_millisecond(last.sealed).unwrap_or_default());
    left.ended = match sealed.or(begun) {
        Some(after) if was_killed => Ended::Killed { after, cut },
        Some(after) => Ended::InOrder { after },
        None => Ended::Never,
    };
    if let Ended::Killed { .. } = left.ended {
        cut_remains(&segments)?;
    }
    for segment in &segments {
        left.bytes += fs_err::metadata(&segment.path)?.len();
    }
    Ok(left)
}

/// The newest segment whose head can be read, with its head, and those after it.
fn readable(segments: &[Segment]) -> io::Result<Vec<(usize, Option<SegmentHead>)>> {
    let mut wanted = Vec::new();
    for (place, segment) in segments.iter().enumerate().rev() {
        let first = Frames::open_for_heads(&segment.path)?.next_step()?;
        let head = if let Step::Frame(Frame::Head(head), 0) = first { Some(head) } else { None };
        let found = head.is_some();
        wanted.push((place, head));
        if found {
            break;
        }
        tracing::error!(segment = %segment.path.display(), "the head of a segment is damaged");
    }
    wanted.reverse();
    Ok(wanted)
}

/// The blocks and checkpoints of a segment.
fn frames(segment: &Segment) -> io::Result<Vec<Frame>> {
    let mut frames = Frames::open_for_heads(&segment.path)?;
    let mut found = Vec::new();
    loop {
        match frames.next_step()? {
            Step::Frame(frame @ (Frame::Block(_) | Frame::Checkpoint(_)), _) => found.push(frame),
            Step::Frame(..) | Step::Damage { .. } => {}
            Step::End { .. } => return Ok(found),
        }
    }
}

/// What the end of a segment looks like.
#[derive(Default)]
struct Tail {
    /// Blocks that can be read, up to there.
    blocks: u64,
    /// Whether a checkpoint covers what may be damaged now.
    signed: bool,
    /// The end of what stays: of the last whole frame, or of the last before damage that no
    /// checkpoint follows. A power failure may keep what was written later and lose what was earlier;
    /// what was neither synced nor signed is no part of the store.
    whole: u64,
    /// Whether a block that can be read is after that.
    readable: bool,
    length: u64,
}

impl Tail {
    fn of(segment: &Segment) -> io::Result<Self> {
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
            let path = segment.path.display();
            let message = format!(
                "{path}: the disk cannot give what stands before byte {}, and it is not signed yet: mend the disk, or \
                 move the segment elsewhere and read it with `icpgate logs export FILE`",
                frames.lost_until()
            );
            return Err(io::Error::other(message));
        }
        Ok(tail)
    }

    /// Whether it is a segment, or the beginning of one.
    fn stays(&self) -> bool {
        self.blocks > 0 || self.signed
    }

    fn cut(&self, segment: &Segment) -> io::Result<()> {
        if self.whole == self.length {
            return Ok(());
        }
        let bytes = self.length - self.whole;
        tracing::warn!(segment = %segment.path.display(), bytes, "an unfinished end of the access records is cut off");
        if self.readable {
            let aside = segment.path.with_extension("seg.cut");
            tracing::error!(aside = %aside.display(), "records after a torn block are kept aside");
            fs_err::copy(&segment.path, aside)?;
        }
        cut(segment, self.whole)
    }
}

fn cut(segment: &Segment, length: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(&segment.path)?;
    file.set_len(length)?;
    file.sync_all()
}

/// Removes the beginning of a segment, or renames it if something may be in it.
fn set_aside(segment: &Segment, tail: &Tail) -> io::Result<()> {
    let (path, bytes) = (segment.path.display(), tail.length);
    let extension = if tail.readable { "seg.cut" } else { "seg.unreadable" };
    if !tail.readable && bytes <= TORN_HEAD {
        tracing::warn!(segment = %path, bytes, "a segment that was begun and holds no records is removed");
        return fs_err::remove_file(&segment.path);
    }
    let aside = segment.path.with_extension(extension);
    tracing::error!(
        segment = %path, bytes, aside = %aside.display(),
        "the first block of a segment cannot be read, and none of it is signed; it is kept aside"
    );
    fs_err::rename(&segment.path, aside)
}

/// Cuts off what a failed write left at the end of a segment before the newest, where the writer of then could
/// not: those blocks stand in the next segment. What a checkpoint follows is no such thing, and stays.
fn cut_remains(segments: &[Segment]) -> io::Result<()> {
    for pair in segments.windows(2).rev() {
        let [segment, next] = pair else { continue };
        let mut frames = Frames::open_for_heads(&segment.path)?;
        // Where the last block ends that it answers for, if that is the last before the next segment.
        let mut own = None;
        let (end, length) = loop {
            match frames.next_step()? {
                Step::Frame(Frame::Block(block), _) if block.number >= next.name.first_block => {}
                Step::Frame(Frame::Block(block), _) => {
                    own = (block.number + 1 == next.name.first_block).then(|| frames.at());
                }
                Step::Frame(..) => own = own.map(|_| frames.at()),
                Step::Damage { .. } => own = None,
                Step::End { length, .. } => break (own, length),
            }
        };
        let Some(end) = end.filter(|end| *end < length) else { return Ok(()) };
        let bytes = length - end;
        tracing::warn!(segment = %segment.path.display(), bytes, "what a failed write left is cut off");
        cut(segment, end)?;
    }
    Ok(())
}
