//! Whether a store is what its node signed: nothing changed, cut, removed, swapped or put in.
//!
//! It fails on absence as on mismatch: what should be signed and is not, an end that nobody wrote, a
//! missing checkpoint. Every byte of every segment is read, in one pass and bounded memory, and the
//! first place that is wrong ends it. docs/retention-format.md, section 6, is the algorithm.

mod copy;
mod end;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use tlog_tiles::{Checkpoint, Hash};

use crate::access::GapReason;
use crate::access::fields::{Detail, Fields};
use crate::clock::Clock;
use crate::regular_file;
use crate::retention::format::block::{Unpacker, digest};
use crate::retention::format::frames::{Frames, Step};
use crate::retention::format::note::{CHECKPOINT_FILE, VERIFIER_FILE, read_note_if_there, unverified};
use crate::retention::format::position::Position;
use crate::retention::format::rows::RowReader;
use crate::retention::format::segment::{self, Segment, SegmentName};
use crate::retention::format::{BlockHead, Frame, LOCK_FILE, SegmentHead};
use crate::retention::prove::keys::Keys;
use crate::retention::prove::proof::check;
use crate::retention::prove::{Break, Reason, Verdict};

/// A block takes no more bytes that holds a record of deletion alone.
const DELETION: u32 = 1024;
/// A segment that the writer deletes meanwhile makes verification begin again, so often.
const ATTEMPTS: usize = 3;

/// What a store is held against.
#[derive(Clone, Debug)]
pub struct Against {
    /// Verifier keys from outside the store; its own, where there are none.
    pub keys: Vec<String>,
    /// A checkpoint of the store that was kept elsewhere.
    pub since: Option<Vec<u8>>,
    /// Tells the time by which the end of the store is judged, once it is reached.
    pub clock: Clock,
}

/// Verifies the store in `directory`, or the proof, if that is a file.
pub fn verify(directory: &Path, against: &Against) -> io::Result<Verdict> {
    if directory.is_file() {
        return check::verify(directory, &against.keys);
    }
    fs_err::read_dir(directory)?;
    let mut attempts = ATTEMPTS;
    loop {
        attempts -= 1;
        let mut verdict = Verdict::default();
        match Verification::run(directory, against, &mut verdict) {
            Ok(()) => return Ok(verdict),
            Err(Stop::Broken(found)) => {
                verdict.first_break = Some(found);
                return Ok(verdict);
            }
            Err(Stop::Io(error)) if error.kind() == io::ErrorKind::NotFound && attempts > 0 => {}
            Err(Stop::Io(error)) => return Err(error),
        }
    }
}

pub use copy::{Anchor, Copy, verify_copy};

/// Why verification ends before the end.
enum Stop {
    Broken(Break),
    Io(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Reason> for Stop {
    fn from(reason: Reason) -> Self {
        Self::Broken(Break { reason, segment: None, byte: None, block: None })
    }
}

/// A tree that must have been passed through.
struct Milestone {
    checkpoint: Checkpoint,
    /// What is wrong when the tree was another at its size.
    otherwise: Reason,
    /// What is wrong when the store ends before it.
    shorter: Reason,
}

struct Verification<'v> {
    keys: Keys,
    verdict: &'v mut Verdict,
    position: Position,
    milestones: Vec<Milestone>,
    /// Whether a checkpoint was the last frame.
    after_checkpoint: bool,
    /// The first block that is in none.
    unsigned: Option<BlockHead>,
    last: Option<BlockHead>,
    /// When the last block was sealed that the first checkpoint covers.
    first_signed: Option<i64>,
    unpacker: Unpacker,
    /// Set while it is open whether what stood before the oldest segment was deleted by the writer:
    /// the number of the first record that is left.
    deleted_before: Option<u64>,
    /// Whether the writer's word of that has come, and no checkpoint after it.
    deletion: bool,
    /// Where the store says of itself that its end was gone, after the checkpoint given.
    shortened: Option<Break>,
    /// So many blocks the checkpoint given is of.
    known: u64,
    /// Remains of failed writes, which must stand in the next segment.
    remains: BTreeMap<u64, Hash>,
}

impl Verification<'_> {
    fn run(directory: &Path, against: &Against, verdict: &mut Verdict) -> Result<(), Stop> {
        let own = read_note_if_there(&directory.join(VERIFIER_FILE))?;
        let own = own.map(|keys| String::from_utf8_lossy(&keys).into_owned()).unwrap_or_default();
        let given = against.keys.iter().map(String::as_str);
        let keys = if against.keys.is_empty() { own.lines().collect() } else { given.collect::<Vec<_>>() };
        if keys.is_empty() {
            return Err(Reason::NoKey.into());
        }
        let keys = Keys::parse(keys).map_err(|key| Reason::BadKey(key.to_owned()))?;
        // Before the segments, since a writer may add to both.
        let shown = read_note_if_there(&directory.join(CHECKPOINT_FILE))?;
        let writing = is_written_to(directory)?;
        let segments = segment::list(directory)?;
        let milestones = milestones(&keys, shown.as_deref(), against.since.as_deref())?;
        let mut verification = Verification::new(keys, milestones, against, verdict)?;
        for (place, segment) in segments.iter().enumerate() {
            verification.segment(segment, place == 0, segments.get(place + 1), writing)?;
        }
        verification.end(against.clock.now(), writing, shown.is_some())
    }
}

impl<'v> Verification<'v> {
    fn new(
        keys: Keys,
        milestones: Vec<Milestone>,
        against: &Against,
        verdict: &'v mut Verdict,
    ) -> io::Result<Self> {
        Ok(Self {
            milestones,
            keys,
            verdict,
            position: Position::default(),
            after_checkpoint: false,
            unsigned: None,
            last: None,
            first_signed: None,
            unpacker: Unpacker::new()?,
            deleted_before: None,
            deletion: false,
            shortened: None,
            known: against.since.as_deref().and_then(unverified).map_or(0, |since| since.size()),
            remains: BTreeMap::new(),
        })
    }

    fn segment(
        &mut self,
        segment: &Segment,
        is_first: bool,
        next: Option<&Segment>,
        writing: bool,
    ) -> Result<(), Stop> {
        let mut frames = Frames::open(&segment.path)?;
        let found = |byte, reason| broken(segment, Some(byte), None, reason);
        let Step::Frame(Frame::Head(head), 0) = frames.next_step()? else {
            return Err(found(0, Reason::Damaged));
        };
        self.head(segment, &head, is_first)?;
        let first = head.tree.size();
        let end = next.map_or(u64::MAX, |next| next.name.first_block);
        let mut remaining = end;
        let mut is_empty = true;
        loop {
            match frames.next_step()? {
                Step::Frame(Frame::Head(_) | Frame::Key(_) | Frame::Path(_), byte) => {
                    return Err(found(byte, Reason::Damaged));
                }
                Step::Frame(Frame::Block(block), byte) => {
                    is_empty = false;
                    let payload = frames.payload(byte, &block)?;
                    if digest(payload) != block.digest || crc32c::crc32c(payload) != block.crc {
                        return Err(broken(segment, Some(byte), Some(block.number), Reason::Changed));
                    }
                    if block.number >= remaining {
                        self.remains(&block, remaining, (segment, byte))?;
                        remaining += 1;
                        continue;
                    }
                    if block.number == first && block.sealed != head.opened {
                        return Err(broken(segment, Some(0), Some(first), Reason::Renamed));
                    }
                    self.notes(&block, payload, (segment, byte));
                    self.block(&block, (segment, byte))?;
                }
                Step::Frame(Frame::Checkpoint(note), byte) if remaining > end => {
                    let checkpoint = self.keys.open(&note).map_err(|_| found(byte, Reason::BadSignature))?;
                    if checkpoint.size() != remaining {
                        return Err(found(byte, Reason::OtherTree));
                    }
                    let (otherwise, shorter) =
                        (Reason::OtherTree, Reason::Missing { from: end, to: remaining });
                    self.milestones.push(Milestone { checkpoint, otherwise, shorter });
                }
                Step::Frame(Frame::Checkpoint(note), byte) => self.checkpoint(&note, segment, byte)?,
                Step::Damage { from, .. } => return Err(found(from, Reason::Damaged)),
                // Whoever writes may be at it.
                Step::End { .. } if next.is_none() && writing => return Ok(()),
                Step::End { at, length } if at < length => return Err(found(at, Reason::Unfinished)),
                Step::End { at, .. } if is_empty => return Err(found(at, Reason::Empty)),
                Step::End { .. } => return Ok(()),
            }
        }
    }

    fn head(&mut self, segment: &Segment, head: &SegmentHead, is_first: bool) -> Result<(), Stop> {
        let found = |reason| Err(broken(segment, Some(0), None, reason));
        let opened = Timestamp::from_millisecond(head.opened).unwrap_or_default();
        if segment.name != SegmentName::new(opened, head.tree.size()) {
            return found(Reason::Renamed);
        }
        if is_first {
            self.position.tree = head.tree.clone();
            (self.position.previous, self.position.next_seq) = (head.previous, head.first_seq);
            self.deleted_before = (head.tree.size() > 0).then_some(head.first_seq);
            self.milestones()?;
            return Ok(());
        }
        let (before, here) = (self.position.tree.size(), head.tree.size());
        if here != before {
            return found(Reason::Missing { from: before, to: here });
        }
        let same = head.tree.edge() == self.position.tree.edge()
            && head.previous == self.position.previous
            && head.first_seq == self.position.next_seq;
        if same { Ok(()) } else { found(Reason::Foreign) }
    }

    fn block(&mut self, block: &BlockHead, (segment, byte): (&Segment, u64)) -> Result<(), Stop> {
        let found = |reason| Err(broken(segment, Some(byte), Some(block.number), reason));
        let before = self.position.tree.size();
        if block.number != before {
            return found(Reason::Missing { from: before, to: block.number });
        }
        if block.previous != self.position.previous || block.first_seq != self.position.next_seq {
            return found(Reason::Foreign);
        }
        // What the first of a store says of a checkpoint that was deleted cannot be compared.
        let is_first = self.last.is_none() && !self.after_checkpoint;
        if block.signed != self.position.signed && !is_first {
            return found(Reason::Checkpoints);
        }
        self.position.signed = block.signed;
        self.after_checkpoint = false;
        if self.remains.remove(&block.number).is_some_and(|leaf| leaf != block.leaf()) {
            return found(Reason::Foreign);
        }
        self.position.pass(block);
        self.unsigned.get_or_insert(*block);
        self.last = Some(*block);
        if !block.is_end() {
            self.verdict.count(block);
        }
        self.milestones()
    }

    /// Remains of a failed write: `block`, where `number` should be, which must stand in the next segment.
    fn remains(
        &mut self,
        block: &BlockHead,
        number: u64,
        (segment, byte): (&Segment, u64),
    ) -> Result<(), Stop> {
        let leaf = block.leaf();
        let is_other = *self.remains.entry(number).or_insert(leaf) != leaf;
        if block.number != number || is_other {
            return Err(broken(segment, Some(byte), Some(block.number), Reason::Foreign));
        }
        Ok(())
    }

    /// Looks for what the writer says of the store: that it deleted what stood before the oldest segment, and, at
    /// the beginning of a run, that the end was gone.
    fn notes(&mut self, block: &BlockHead, payload: &[u8], (segment, byte): (&Segment, u64)) {
        let begins = block.number == segment.name.first_block;
        let may_delete = self.deleted_before.is_some() && block.raw_length <= DELETION;
        let mut rows = Vec::new();
        if !(begins || may_delete) || !self.unpacker.unpack(*block, payload, &mut rows) {
            return;
        }
        let Some(Ok(Fields { detail, .. })) = RowReader::new(block.first_seq).next(&rows) else { return };
        match detail {
            Detail::Expired { before_seq } => {
                self.deletion |= self.deleted_before.is_some_and(|first| before_seq >= first);
            }
            Detail::Gap { reason, .. }
                if reason == GapReason::Shortened.label() && block.number >= self.known =>
            {
                let (segment, block, reason) =
                    (Some(segment.path.clone()), Some(block.number), Reason::Shortened);
                self.shortened.get_or_insert(Break { segment, byte: Some(byte), block, reason });
            }
            _ => {}
        }
    }

    /// Compares the tree with what it must be at its size.
    fn milestones(&mut self) -> Result<(), Stop> {
        let tree = &self.position.tree;
        for milestone in self.milestones.extract_if(.., |one| one.checkpoint.size() == tree.size()) {
            if *milestone.checkpoint.hash() != tree.root() {
                return Err(milestone.otherwise.into());
            }
        }
        Ok(())
    }

    fn checkpoint(&mut self, note: &[u8], segment: &Segment, byte: u64) -> Result<(), Stop> {
        let found = |reason| broken(segment, Some(byte), None, reason);
        let checkpoint = self.keys.open(note).map_err(|_| found(Reason::BadSignature))?;
        let tree = &self.position.tree;
        if checkpoint.size() != tree.size() || *checkpoint.hash() != tree.root() {
            return Err(found(Reason::OtherTree));
        }
        if self.after_checkpoint {
            return Err(found(Reason::Checkpoints));
        }
        self.position.signed = tree.size();
        self.after_checkpoint = true;
        self.unsigned = None;
        if std::mem::take(&mut self.deletion) {
            self.deleted_before = None;
        }
        let sealed = self.last.map_or(0, |last| last.sealed);
        self.first_signed.get_or_insert(sealed);
        self.verdict.checkpoint = Some(String::from_utf8_lossy(note).into_owned());
        Ok(())
    }
}

/// The trees that a store must have passed through: the checkpoint that it shows, and `since`.
fn milestones(keys: &Keys, shown: Option<&[u8]>, since: Option<&[u8]>) -> Result<Vec<Milestone>, Stop> {
    let mut milestones = Vec::new();
    if let Some(note) = shown {
        let checkpoint = keys.open(note).map_err(|_| Reason::BadShownCheckpoint)?;
        let (otherwise, shorter) = (Reason::OtherThanShown, Reason::ShorterThanShown);
        milestones.push(Milestone { checkpoint, otherwise, shorter });
    }
    if let Some(note) = since {
        let checkpoint = keys.open(note).map_err(|_| Reason::BadSince)?;
        let (otherwise, shorter) = (Reason::OtherThanSince, Reason::ShorterThanSince);
        milestones.push(Milestone { checkpoint, otherwise, shorter });
    }
    Ok(milestones)
}

fn broken(segment: &Segment, byte: Option<u64>, block: Option<u64>, reason: Reason) -> Stop {
    Stop::Broken(Break { segment: Some(segment.path.clone()), byte, block, reason })
}

/// Whether a process has the store open for writing.
fn is_written_to(directory: &Path) -> io::Result<bool> {
    let lock = match regular_file::open(&directory.join(LOCK_FILE)) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    match flock(&lock, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
