//! Proofs: records in one file, with everything needed to check them away from their store.
//!
//! A proof holds whole blocks, each with its audit path to the root that a checkpoint signed. Paths are
//! computed in one pass over the heads of all blocks; memory grows with the blocks in the proof, not with the
//! store.

pub(crate) mod check;
mod paths;

use std::io::{self, Write};
use std::path::Path;

use tlog_tiles::{Hash, check_record};

use crate::retention::format::block::{Unpacker, digest};
use crate::retention::format::codec::{write_checkpoint, write_key, write_path};
use crate::retention::format::frames::{Frames, Step};
use crate::retention::format::note::{CHECKPOINT_FILE, VERIFIER_FILE, read_note, unverified};
use crate::retention::format::rows::reader::RowReader;
use crate::retention::format::segment::{self, Segment};
use crate::retention::format::{BlockHead, Frame};
use crate::retention::prove::proof::paths::Paths;
use crate::retention::prove::{Break, Reason};
use crate::retention::read::Selection;

/// What a proof contains.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Written {
    /// Blocks in the proof.
    pub blocks: u64,
    /// Matching records in them.
    pub wanted: u64,
    /// All records in them.
    pub records: u64,
    /// Matching records left out, because no checkpoint covers them yet.
    pub unsigned: u64,
    /// Places where matching records may be missing.
    pub damaged: u64,
}

/// Writes a proof of the records that match `selection` to `out`.
///
/// Nothing is written if damage in the store prevents the proof of a matching block.
pub fn write(directory: &Path, selection: &Selection, out: &mut dyn Write) -> io::Result<Written> {
    let note = read_note(&directory.join(CHECKPOINT_FILE))?;
    let key = read_note(&directory.join(VERIFIER_FILE))?;
    let not_signed = || io::Error::new(io::ErrorKind::InvalidData, "the file checkpoint is none");
    let signed = unverified(&note).ok_or_else(not_signed)?;
    let (size, root) = (signed.size(), *signed.hash());
    let mut walk = Walk::new(selection, size)?;
    pass(directory, |segment, frames, step| walk.step(segment, frames, step))?;
    let Walk { search: Search { written, .. }, paths, damage, first_break, .. } = walk;
    let at_end = if paths.size < size { Reason::ShorterThanShown } else { Reason::OtherThanShown };
    let (found, proved) = paths.finish();
    if found != root || proved.len() as u64 != written.blocks {
        let at_end = Break { segment: None, byte: None, block: None, reason: at_end };
        return Err(not_whole(directory, &first_break.or(damage).unwrap_or(at_end)));
    }
    let mut bytes = Vec::new();
    write_key(&key, &mut bytes);
    write_checkpoint(&note, &mut bytes);
    out.write_all(&bytes)?;
    let (mut next, mut blocks) = (0, 0);
    pass(directory, |_, frames, step| {
        let Step::Frame(Frame::Block(head), at) = step else { return Ok(()) };
        let Some(path) = proved.get(&head.number).filter(|_| head.number >= next) else { return Ok(()) };
        if check_record(path, size, root, head.number, head.leaf()).is_err() {
            return Ok(());
        }
        (next, blocks) = (head.number + 1, blocks + 1);
        out.write_all(&head.to_bytes())?;
        out.write_all(frames.payload(at, &head)?)?;
        bytes.clear();
        write_path(path, &mut bytes);
        out.write_all(&bytes)
    })?;
    if blocks != written.blocks {
        return Err(io::Error::other("the store was changed meanwhile: ask again"));
    }
    out.flush()?;
    Ok(written)
}

fn not_whole(directory: &Path, found: &Break) -> io::Error {
    let more = format!("`icpgate logs verify {}` tells more", directory.display());
    io::Error::new(io::ErrorKind::InvalidData, format!("{found}; {more}"))
}

/// Calls `look` for every item of a store, without the remains of failed writes.
fn pass(
    directory: &Path,
    mut look: impl FnMut(&Segment, &mut Frames, Step) -> io::Result<()>,
) -> io::Result<()> {
    let segments = segment::list(directory)?;
    for (place, segment) in segments.iter().enumerate() {
        let end = segments.get(place + 1).map_or(u64::MAX, |next| next.name.first_block);
        let mut frames = Frames::open(&segment.path)?;
        loop {
            match frames.next_step()? {
                Step::Frame(Frame::Block(head), _) if head.number >= end => {}
                Step::End { .. } => break,
                step => look(segment, &mut frames, step)?,
            }
        }
    }
    Ok(())
}

/// Rebuilds the tree as far as possible: the block after an unreadable one holds its leaf hash, and the head
/// of each segment holds the tree before it.
struct Walk<'s> {
    search: Search<'s>,
    paths: Paths,
    /// The number of the next block; `None` before the first head.
    next: Option<u64>,
    /// The damage after the last block.
    damage: Option<Break>,
    /// The first place where a leaf hash is lost.
    first_break: Option<Break>,
}

impl<'s> Walk<'s> {
    fn new(selection: &'s Selection, size: u64) -> io::Result<Self> {
        let (unpacker, written) = (Unpacker::new()?, Written::default());
        let search = Search { selection, size, unpacker, rows: Vec::new(), written };
        Ok(Self { search, paths: Paths::default(), next: None, damage: None, first_break: None })
    }

    fn step(&mut self, segment: &Segment, frames: &mut Frames, step: Step) -> io::Result<()> {
        match step {
            Step::Frame(Frame::Head(head), byte) => {
                let first = head.tree.size();
                if self.next.is_some() {
                    self.fill(segment, byte, first, head.previous);
                }
                self.next = Some(first);
                if first <= self.search.size {
                    self.paths.go_on(&head.tree);
                }
            }
            Step::Frame(Frame::Block(head), byte) if self.next.is_none_or(|next| head.number >= next) => {
                self.fill(segment, byte, head.number, head.previous);
                self.next = Some(head.number + 1);
                let wanted = self.search.wants(&head, frames.payload(byte, &head)?);
                if head.number == self.paths.size && head.number < self.search.size {
                    self.paths.push(head.leaf(), wanted);
                }
            }
            Step::Damage { from, .. } => {
                self.damage.get_or_insert_with(|| broken(segment, from, self.next, Reason::Damaged));
            }
            Step::Frame(..) | Step::End { .. } => {}
        }
        Ok(())
    }

    /// Fills the gap before block `number`, whose predecessor has the leaf hash `previous`.
    fn fill(&mut self, segment: &Segment, byte: u64, number: u64, previous: Hash) {
        let (from, damage) = (self.next.unwrap_or(0), self.damage.take());
        if number <= from {
            return;
        }
        self.search.written.damaged += u64::from(self.search.selection.may_be_in(segment));
        if self.paths.size >= self.search.size {
            return;
        }
        if number - self.paths.size == 1 {
            self.paths.push(previous, false);
            return;
        }
        let missing = || broken(segment, byte, None, Reason::Missing { from, to: number });
        self.first_break.get_or_insert_with(|| damage.unwrap_or_else(missing));
    }
}

fn broken(segment: &Segment, byte: u64, block: Option<u64>, reason: Reason) -> Break {
    Break { segment: Some(segment.path.clone()), byte: Some(byte), block, reason }
}

struct Search<'s> {
    selection: &'s Selection,
    size: u64,
    unpacker: Unpacker,
    rows: Vec<u8>,
    written: Written,
}

impl Search<'_> {
    fn wants(&mut self, head: &BlockHead, payload: &[u8]) -> bool {
        if !self.selection.may_be_in_block(head) {
            return false;
        }
        let Some(wanted) = self.count_wanted(head, payload) else {
            self.written.damaged += 1;
            return false;
        };
        if wanted == 0 {
            return false;
        }
        if head.number >= self.size {
            self.written.unsigned += wanted;
            return false;
        }
        self.written.blocks += 1;
        self.written.wanted += wanted;
        self.written.records += u64::from(head.count);
        true
    }
}

impl Search<'_> {
    /// How many records of a block match; `None` if they cannot be read.
    fn count_wanted(&mut self, head: &BlockHead, payload: &[u8]) -> Option<u64> {
        if digest(payload) != head.digest || !self.unpacker.unpack(*head, payload, &mut self.rows) {
            return None;
        }
        let (mut rows, mut wanted) = (RowReader::of(head), 0);
        while let Some(row) = rows.next(&self.rows) {
            wanted += u64::from(self.selection.wants(&row.ok()?));
        }
        Some(wanted)
    }
}

#[cfg(test)]
mod tests;
