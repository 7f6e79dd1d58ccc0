//! Verification: whether a store is exactly what its node signed.
//!
//! Absence fails as mismatch does: an unsigned block that should be signed, an end that nobody wrote, a
//! missing checkpoint. Every byte of every segment is read, in one pass with bounded memory; the first fault
//! ends it. docs/retention-format.md, section 6, is the algorithm.

mod chain;
pub(crate) mod copy;
mod end;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

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
use crate::retention::format::rows::reader::RowReader;
use crate::retention::format::segment::{self, Segment};
use crate::retention::format::{BlockHead, Frame, LOCK_FILE};
use crate::retention::prove::keys::Keys;
use crate::retention::prove::proof::check;
use crate::retention::prove::{Break, Reason, Verdict};

/// 1 KiB: the largest block, decompressed, that holds only a record of deletion.
const DELETION: u32 = 1024;
/// How often verification starts again when the writer deletes a segment meanwhile.
const ATTEMPTS: usize = 3;

/// What a store is compared with.
#[derive(Clone, Debug)]
pub struct Against {
    /// Verifier keys from outside the store; empty: the keys in the store are believed.
    pub keys: Vec<String>,
    /// A checkpoint that was kept elsewhere.
    pub since: Option<Vec<u8>>,
    /// Gives the time by which the end of the store is judged, when verification gets there.
    pub clock: Clock,
}

/// Verifies the store in `directory`, or the proof if it is a file.
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

/// A tree that the store must have had at some size.
struct Milestone {
    checkpoint: Checkpoint,
    /// The fault if the tree differs at that size.
    otherwise: Reason,
    /// The fault if the store ends before that size.
    shorter: Reason,
}

struct Verification<'v> {
    keys: Keys,
    verdict: &'v mut Verdict,
    position: Position,
    milestones: Vec<Milestone>,
    /// The root that the tree must have at a size, by anchored checkpoints.
    anchored: BTreeMap<u64, [u8; 32]>,
    after_checkpoint: bool,
    /// The first block after the last checkpoint.
    unsigned: Option<BlockHead>,
    last: Option<BlockHead>,
    /// When the last block under the first checkpoint was sealed.
    first_signed: Option<i64>,
    unpacker: Unpacker,
    /// The number of the first record left, while no record of deletion has explained what is missing before
    /// it.
    deleted_before: Option<u64>,
    /// Whether a record of deletion was read that no checkpoint covers yet.
    deletion: bool,
    /// Where the store recorded, after the checkpoint given, that its end was missing.
    shortened: Option<Break>,
    /// How many blocks the checkpoint given covers.
    known: u64,
    /// Remains of failed writes, by block number: the next segment must have the same blocks.
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
        // Read before the segments, since a writer may add to both.
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
            anchored: BTreeMap::new(),
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
                // A writer may be at work here.
                Step::End { .. } if next.is_none() && writing => return Ok(()),
                Step::End { at, length } if at < length => return Err(found(at, Reason::Unfinished)),
                Step::End { at, .. } if is_empty => return Err(found(at, Reason::Empty)),
                Step::End { .. } => return Ok(()),
            }
        }
    }

    /// Looks for two records of the writer: that it deleted everything before the oldest segment, and, at the
    /// start of a run, that the end of the store was missing.
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
}

/// The milestones of a store: its own checkpoint file, and `since`.
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
