//! Recovery: finds where the previous writer stopped, and repairs the end of the store.
//!
//! Only the newest segment is read, however large the store is: its head holds the tree of everything before
//! it. An unfinished end is cut off. Signed data stays, and data that can still be read is never deleted: it is
//! set aside under another name.

mod tail;

use std::io;
use std::path::Path;

use jiff::Timestamp;

use crate::retention::format::epoch::Epochs;
use crate::retention::format::frames::{Frames, Step};
use crate::retention::format::note::{CHECKPOINT_FILE, read_note, replace, unverified};
use crate::retention::format::position::Position;
use crate::retention::format::segment::{self, Segment};
use crate::retention::format::{BlockHead, Frame, SegmentHead};
use crate::retention::write::recovery::tail::{Tail, cut};

/// No store has this many blocks: a higher number is damage.
const MOST_BLOCKS: u64 = 1 << 60;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ended {
    /// There was no writer before.
    Never,
    /// It was told to stop, and wrote everything.
    InOrder {
        /// When it sealed its last block.
        after: Timestamp,
    },
    /// It was killed, or the power failed.
    Killed {
        /// When it sealed its last block.
        after: Timestamp,
        /// Bytes of the unfinished end, which were cut off.
        cut: u64,
    },
}

/// What the previous writer left, after the repair.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) position: Position,
    pub(crate) ended: Ended,
    pub(crate) newest: Option<Timestamp>,
    pub(crate) bytes: u64,
    /// The store is shorter than its own checkpoint: somebody cut it.
    pub(crate) shortened: bool,
    pub(crate) epochs: Epochs,
}

/// Repairs the end of the store in `directory`, and finds where to continue.
///
/// The epoch is renewed before anything is cut: a crash in between must not leave numbers that are given again
/// in their old epoch.
pub(crate) fn resume(directory: &Path) -> io::Result<Left> {
    let survey = Survey::of(directory)?;
    let End { position, last, newest } = survey.end()?;
    let cut = survey.cut_bytes();
    let begun = survey.discarded.last().map(|(segment, _)| segment.name.opened_at().unwrap_or_default());
    let was_killed = cut > 0 || begun.is_some() || !last.is_some_and(BlockHead::is_end);
    let sealed = last.map(|last| Timestamp::from_millisecond(last.sealed).unwrap_or_default());
    let ended = match sealed.or(begun) {
        Some(after) if was_killed => Ended::Killed { after, cut },
        Some(after) => Ended::InOrder { after },
        None => Ended::Never,
    };
    let longer = longer_checkpoint(directory, position.tree.size());
    let mut epochs = Epochs::open(directory)?;
    if cut > 0 || longer.is_some() || epochs.is_empty() {
        epochs.renew(directory, survey.first_seq()?, position.next_seq)?;
    }
    survey.repair(ended)?;
    if let Some((note, signed)) = &longer {
        keep_aside(directory, note, position.tree.size(), *signed)?;
    }
    let mut bytes = 0;
    for segment in &survey.segments {
        bytes += fs_err::metadata(&segment.path)?.len();
    }
    Ok(Left { position, ended, newest, bytes, shortened: longer.is_some(), epochs })
}

/// A store as the previous writer left it. Nothing is changed while it is surveyed.
struct Survey {
    /// Those that stay, oldest first.
    segments: Vec<Segment>,
    /// The end of the newest segment that stays.
    tail: Option<Tail>,
    /// Newer segments in which nothing can be read or is signed, newest first.
    discarded: Vec<(Segment, Tail)>,
}

/// Where a store ends.
#[derive(Default)]
struct End {
    position: Position,
    last: Option<BlockHead>,
    newest: Option<Timestamp>,
}

impl Survey {
    fn of(directory: &Path) -> io::Result<Self> {
        let mut survey = Self { segments: segment::list(directory)?, tail: None, discarded: Vec::new() };
        while let Some(newest) = survey.segments.last() {
            let tail = Tail::of(newest)?;
            if tail.stays() {
                survey.tail = Some(tail);
                break;
            }
            survey.discarded.extend(survey.segments.pop().map(|segment| (segment, tail)));
        }
        Ok(survey)
    }

    /// Bytes that the repair removes.
    fn cut_bytes(&self) -> u64 {
        let discarded: u64 = self.discarded.iter().map(|(_, tail)| tail.length).sum();
        discarded + self.tail.as_ref().map_or(0, |tail| tail.length - tail.whole)
    }

    /// The number of the first record in the store, as its oldest segment says.
    fn first_seq(&self) -> io::Result<u64> {
        let Some(oldest) = self.segments.first() else { return Ok(1) };
        Ok(head_of(oldest)?.map_or(1, |head| head.first_seq))
    }

    /// Where the store ends once it is repaired.
    fn end(&self) -> io::Result<End> {
        let mut end = End::default();
        for (place, head) in self.since_last_head()? {
            if let Some(head) = head {
                let (previous, next_seq) = (head.previous, head.first_seq);
                end.position = Position { tree: head.tree, previous, next_seq, signed: 0 };
            }
            let next = self.segments.get(place + 1).map(|next| next.name.first_block);
            let is_newest = place + 1 == self.segments.len();
            let whole = self.tail.as_ref().filter(|_| is_newest).map(|tail| tail.whole);
            for frame in frames(&self.segments[place], whole.unwrap_or(u64::MAX))? {
                let Frame::Block(block) = frame else {
                    end.position.signed = end.position.tree.size();
                    continue;
                };
                let is_next = block.number >= end.position.tree.size() && block.number < MOST_BLOCKS;
                if is_next && next.is_none_or(|next| block.number < next) {
                    end.position.pass_damage(&block);
                    end.newest = end.newest.max(block.latest_time());
                    end.last = Some(block);
                }
            }
        }
        Ok(end)
    }

    /// The newest segment whose head can be read, with its head, and the segments after it, by their index.
    fn since_last_head(&self) -> io::Result<Vec<(usize, Option<SegmentHead>)>> {
        let mut wanted = Vec::new();
        for (place, segment) in self.segments.iter().enumerate().rev() {
            let head = head_of(segment)?;
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

    fn repair(&self, ended: Ended) -> io::Result<()> {
        for (segment, tail) in &self.discarded {
            tail.set_aside(segment)?;
        }
        if let (Some(newest), Some(tail)) = (self.segments.last(), &self.tail) {
            tail.cut(newest)?;
        }
        if let Ended::Killed { .. } = ended { cut_remains(&self.segments) } else { Ok(()) }
    }
}

fn head_of(segment: &Segment) -> io::Result<Option<SegmentHead>> {
    let first = Frames::open_for_heads(&segment.path)?.next_step()?;
    Ok(if let Step::Frame(Frame::Head(head), 0) = first { Some(head) } else { None })
}

/// The blocks and checkpoints of a segment that begin before byte `end`.
fn frames(segment: &Segment, end: u64) -> io::Result<Vec<Frame>> {
    let mut frames = Frames::open_for_heads(&segment.path)?;
    let mut found = Vec::new();
    while frames.at() < end {
        match frames.next_step()? {
            Step::Frame(frame @ (Frame::Block(_) | Frame::Checkpoint(_)), at) if at < end => {
                found.push(frame);
            }
            Step::Frame(..) | Step::Damage { .. } => {}
            Step::End { .. } => break,
        }
    }
    Ok(found)
}

/// Cuts off what a failed write left at the end of an older segment, where the writer could not do it: the next
/// segment has those blocks too. Data before a checkpoint is not that, and stays.
fn cut_remains(segments: &[Segment]) -> io::Result<()> {
    for pair in segments.windows(2).rev() {
        let [segment, next] = pair else { continue };
        let mut frames = Frames::open_for_heads(&segment.path)?;
        // The end of the segment's own blocks, if the last of them is the one before the next segment.
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
        tracing::warn!(
            segment = %segment.path.display(), bytes,
            "Cutting off the remains of a failed write of access records"
        );
        cut(segment, end)?;
    }
    Ok(())
}

/// The store's own checkpoint, and how many blocks it covers, if the store has fewer.
fn longer_checkpoint(directory: &Path, blocks: u64) -> Option<(Vec<u8>, u64)> {
    let note = read_note(&directory.join(CHECKPOINT_FILE)).ok()?;
    let signed = unverified(&note)?.size();
    (signed > blocks).then_some((note, signed))
}

/// Keeps a copy of a checkpoint that covers more than the store has: nothing else tells what is missing.
fn keep_aside(directory: &Path, note: &[u8], blocks: u64, signed: u64) -> io::Result<()> {
    let aside = format!("{CHECKPOINT_FILE}.{signed}");
    tracing::error!(
        blocks,
        signed,
        aside,
        "The store of access records is shorter than its checkpoint: it was cut. The checkpoint is kept aside"
    );
    replace(directory, &aside, note, 0o640)
}
