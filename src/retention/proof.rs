//! A proof: records in one file, with what it takes to check them away from their store.
//!
//! It holds whole blocks, since a block is what is proved, each with its path to the root that a
//! checkpoint signed. Paths are found in one pass over the heads of all blocks, in memory that grows
//! with the blocks that are wanted and not with the store.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use tlog_tiles::{Hash, check_record, node_hash};

use crate::retention::block::{Unpacker, digest};
use crate::retention::format::{BlockHead, Frame, write_checkpoint, write_key, write_path};
use crate::retention::frames::{Frames, Step};
use crate::retention::notary::{CHECKPOINT_FILE, Keys, VERIFIER_FILE, unverified};
use crate::retention::reader::Selection;
use crate::retention::rows::RowReader;
use crate::retention::segment;
use crate::retention::verdict::{Break, Reason, Verdict};

/// What was written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Written {
    /// Blocks.
    pub blocks: u64,
    /// Records in them that were wanted.
    pub wanted: u64,
    /// Records in them in all.
    pub records: u64,
    /// Wanted records that are in no checkpoint yet, and left out.
    pub unsigned: u64,
    /// Damaged places that were passed over.
    pub damaged: u64,
}

/// Writes the blocks with the records that `selection` wants to `out`, and their proofs.
pub fn write(directory: &Path, selection: &Selection, out: &mut dyn Write) -> io::Result<Written> {
    let note = fs_err::read(directory.join(CHECKPOINT_FILE))?;
    let key = fs_err::read(directory.join(VERIFIER_FILE))?;
    let not_signed = || io::Error::new(io::ErrorKind::InvalidData, "the file checkpoint is none");
    let size = unverified(&note).ok_or_else(not_signed)?.size();
    let mut search =
        Search { selection, size, unpacker: Unpacker::new()?, rows: Vec::new(), written: Written::default() };
    let mut paths = Paths::default();
    pass(directory, |frames, frame, at| {
        match frame {
            Frame::Head(head) if paths.size == 0 => paths.start(head.tree.size(), head.tree.edge()),
            Frame::Block(head) if head.number == paths.size || head.number >= size => {
                let wanted = search.wants(&head, frames.payload(at, &head)?);
                if head.number < size {
                    paths.push(head.leaf(), wanted);
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    let proved = paths.finish();
    let mut bytes = Vec::new();
    write_key(&key, &mut bytes);
    write_checkpoint(&note, &mut bytes);
    out.write_all(&bytes)?;
    let mut next = 0;
    pass(directory, |frames, frame, at| {
        let Frame::Block(head) = frame else { return Ok(()) };
        let Some(path) = proved.get(&head.number).filter(|_| head.number >= next) else { return Ok(()) };
        next = head.number + 1;
        out.write_all(&head.to_bytes())?;
        out.write_all(frames.payload(at, &head)?)?;
        bytes.clear();
        write_path(path, &mut bytes);
        out.write_all(&bytes)
    })?;
    out.flush()?;
    Ok(search.written)
}

/// Shows every frame of a store to `look`; what is damaged is passed over.
fn pass(directory: &Path, mut look: impl FnMut(&mut Frames, Frame, u64) -> io::Result<()>) -> io::Result<()> {
    for segment in segment::list(directory)? {
        let mut frames = Frames::open(&segment.path)?;
        loop {
            match frames.next_step()? {
                Step::Frame(frame, at) => look(&mut frames, frame, at)?,
                Step::Damage { .. } => {}
                Step::End { .. } => break,
            }
        }
    }
    Ok(())
}

/// Looks for wanted records.
struct Search<'s> {
    selection: &'s Selection,
    size: u64,
    unpacker: Unpacker,
    rows: Vec<u8>,
    written: Written,
}

impl Search<'_> {
    /// Whether a block is to be proved.
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
    /// How many records of a block are wanted; `None` where they cannot be read.
    fn count_wanted(&mut self, head: &BlockHead, payload: &[u8]) -> Option<u64> {
        if !self.unpacker.unpack(*head, payload, &mut self.rows) {
            return None;
        }
        let (mut rows, mut wanted) = (RowReader::new(head.first_seq), 0);
        while let Some(row) = rows.next(&self.rows) {
            wanted += u64::from(self.selection.wants(&row.ok()?));
        }
        Some(wanted)
    }
}

/// A tree that grows, and the paths of some of its leaves.
#[derive(Default)]
struct Paths {
    size: u64,
    /// The right edge, the largest subtree first, each with the leaves in it whose paths are wanted.
    edge: Vec<(Hash, Vec<u64>)>,
    paths: BTreeMap<u64, Vec<Hash>>,
}

impl Paths {
    fn start(&mut self, size: u64, edge: &[Hash]) {
        self.size = size;
        self.edge = edge.iter().map(|hash| (*hash, Vec::new())).collect();
    }

    fn push(&mut self, leaf: Hash, wanted: bool) {
        let mut node = (leaf, Vec::new());
        if wanted {
            node.1.push(self.size);
            self.paths.insert(self.size, Vec::new());
        }
        for _ in 0..self.size.trailing_ones() {
            let Some(left) = self.edge.pop() else { break };
            node = self.join(left, node);
        }
        self.edge.push(node);
        self.size += 1;
    }

    fn join(&mut self, left: (Hash, Vec<u64>), right: (Hash, Vec<u64>)) -> (Hash, Vec<u64>) {
        let sides =
            left.1.iter().map(|leaf| (leaf, right.0)).chain(right.1.iter().map(|leaf| (leaf, left.0)));
        for (leaf, sibling) in sides {
            self.paths.entry(*leaf).or_default().push(sibling);
        }
        let mut leaves = left.1;
        leaves.extend(right.1);
        (node_hash(left.0, right.0), leaves)
    }

    /// The paths to the root of the tree as it is now.
    fn finish(mut self) -> BTreeMap<u64, Vec<Hash>> {
        let edge = std::mem::take(&mut self.edge);
        edge.into_iter().rev().reduce(|right, left| self.join(left, right));
        self.paths
    }
}

/// Verifies the proof in `file` with `keys`, or where there are none with the key in it.
pub(super) fn verify(file: &Path, keys: &[String]) -> io::Result<Verdict> {
    let mut verdict = Verdict::default();
    let mut frames = Frames::open(file)?;
    let mut checked = Checked { keys: keys.to_vec(), ..Checked::default() };
    loop {
        let at = frames.at();
        let found = match frames.next_step()? {
            Step::Frame(Frame::Block(head), at) => {
                let payload = frames.payload(at, &head)?;
                let whole = digest(payload) == head.digest && crc32c::crc32c(payload) == head.crc;
                if whole { checked.block(head) } else { Err(Reason::Changed) }
            }
            Step::Frame(frame, _) => checked.frame(frame, &mut verdict),
            Step::Damage { .. } => Err(Reason::Damaged),
            Step::End { at, length } if at < length => Err(Reason::Unfinished),
            Step::End { .. } => match checked {
                Checked { block: Some(_), .. } => Err(Reason::NotIncluded),
                Checked { root: None, .. } => Err(Reason::NoProof),
                _ => return Ok(verdict),
            },
        };
        if let Err(reason) = found {
            let block = checked.block.map(|block| block.number);
            verdict.first_break =
                Some(Break { segment: Some(file.to_owned()), byte: Some(at), block, reason });
            return Ok(verdict);
        }
    }
}

/// What a proof has said so far.
#[derive(Default)]
struct Checked {
    keys: Vec<String>,
    /// The size and the root that were signed.
    root: Option<(u64, Hash)>,
    /// A block whose path has not come.
    block: Option<BlockHead>,
    /// Blocks come in order.
    next: u64,
}

impl Checked {
    fn block(&mut self, head: BlockHead) -> Result<(), Reason> {
        if self.block.is_some() || head.number < self.next {
            return Err(Reason::NotIncluded);
        }
        self.next = head.number.saturating_add(1);
        self.block = Some(head);
        Ok(())
    }

    fn frame(&mut self, frame: Frame, verdict: &mut Verdict) -> Result<(), Reason> {
        match frame {
            Frame::Key(keys) if self.root.is_none() => {
                if self.keys.is_empty() {
                    self.keys = String::from_utf8_lossy(&keys).lines().map(str::to_owned).collect();
                }
                Ok(())
            }
            Frame::Checkpoint(note) if self.root.is_none() => {
                if self.keys.is_empty() {
                    return Err(Reason::NoKey);
                }
                let keys = Keys::parse(self.keys.iter().map(String::as_str));
                let keys = keys.map_err(|key| Reason::BadKey(key.to_owned()))?;
                let checkpoint = keys.open(&note).map_err(|_| Reason::BadSignature)?;
                self.root = Some((checkpoint.size(), *checkpoint.hash()));
                verdict.checkpoint = Some(String::from_utf8_lossy(&note).into_owned());
                Ok(())
            }
            Frame::Path(path) => {
                let (Some(head), Some((size, root))) = (self.block, self.root) else {
                    return Err(Reason::NotIncluded);
                };
                let inside = head.number < size;
                if !inside || check_record(&path, size, root, head.number, head.leaf()).is_err() {
                    return Err(Reason::NotIncluded);
                }
                self.block = None;
                verdict.count(&head);
                Ok(())
            }
            _ => Err(Reason::Damaged),
        }
    }
}
