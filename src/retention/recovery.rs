//! Where an earlier writer left off, told by the segments alone.
//!
//! The newest segment's head holds the tree of all before it, so that only the newest segment is
//! read, however large the store. What was unfinished at its end is cut off.

use std::io;
use std::path::Path;

use fs_err::OpenOptions;
use jiff::Timestamp;
use tlog_tiles::Hash;

use crate::retention::format::{BlockHead, Frame, SegmentHead};
use crate::retention::frames::{Frames, Step};
use crate::retention::segment::{self, Segment};
use crate::retention::tree::{HASH, Tree};

/// A segment that cannot be read is the beginning of one that was never written up to this size,
/// and a damaged one above.
const TORN_HEAD: u64 = 64 * 1024;

/// Where a writer stands.
#[derive(Clone, Debug)]
pub(super) struct Position {
    /// All blocks.
    pub(super) tree: Tree,
    /// The leaf hash of the last one.
    pub(super) previous: Hash,
    /// The number of the next record.
    pub(super) next_seq: u64,
    /// How many blocks the newest checkpoint covers.
    pub(super) signed: u64,
}

impl Default for Position {
    fn default() -> Self {
        Self { tree: Tree::default(), previous: Hash([0; HASH]), next_seq: 1, signed: 0 }
    }
}

impl Position {
    /// Goes past a block.
    pub(super) fn pass(&mut self, head: &BlockHead) {
        self.previous = head.leaf();
        self.tree.push(self.previous);
        self.next_seq = head.next_seq();
    }

    /// Goes past a block that may follow others that cannot be read. The leaf hash of the last of
    /// those stands in it; what cannot be known at all breaks the tree, and is found by `verify`.
    fn pass_damage(&mut self, head: &BlockHead) {
        if let Some(unknown) = (head.number - self.tree.size()).checked_sub(1) {
            self.tree.push_zeros(unknown);
            self.tree.push(head.previous);
        }
        self.signed = head.signed;
        self.pass(head);
    }
}

/// No store has as many blocks: a number beyond is damage.
const MOST_BLOCKS: u64 = 1 << 60;

/// How an earlier writer ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ended {
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
pub(super) struct Left {
    /// Where it stood.
    pub(super) position: Position,
    /// How it ended.
    pub(super) ended: Ended,
    /// The time of the newest record.
    pub(super) newest: Option<Timestamp>,
    /// Bytes of all segments.
    pub(super) bytes: u64,
}

/// Makes the newest segment whole, and finds where to go on.
pub(super) fn resume(directory: &Path) -> io::Result<Left> {
    let mut segments = segment::list(directory)?;
    let mut cut = 0;
    while let Some(newest) = segments.last() {
        let tail = Tail::of(newest)?;
        cut += tail.length - tail.whole;
        if tail.blocks > 0 {
            tail.cut(newest)?;
            break;
        }
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
    if let Some(last) = last {
        let after = Timestamp::from_millisecond(last.sealed).unwrap_or_default();
        left.ended =
            if last.is_end() && cut == 0 { Ended::InOrder { after } } else { Ended::Killed { after, cut } };
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
    blocks: u64,
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
                    damaged |= !whole;
                    tail.readable |= whole && damaged;
                    if !damaged {
                        tail.blocks += 1;
                        tail.whole = frames.at();
                    }
                }
                Step::Frame(frame, _) => {
                    if matches!(frame, Frame::Checkpoint(_)) {
                        (damaged, tail.readable) = (false, false);
                    }
                    if !damaged {
                        tail.whole = frames.at();
                    }
                }
                Step::Damage { .. } => damaged = true,
                Step::End { .. } => return Ok(tail),
            }
        }
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
        let file = OpenOptions::new().write(true).open(&segment.path)?;
        file.set_len(self.whole)?;
        file.sync_all()
    }
}

/// Removes a segment that holds no block, or renames it if something was in it.
fn set_aside(segment: &Segment, tail: &Tail) -> io::Result<()> {
    if tail.whole > 0 || tail.length <= TORN_HEAD {
        return fs_err::remove_file(&segment.path);
    }
    let aside = segment.path.with_extension("seg.unreadable");
    tracing::error!(segment = %segment.path.display(), "no block of a segment can be read; it is renamed");
    fs_err::rename(&segment.path, aside)
}
