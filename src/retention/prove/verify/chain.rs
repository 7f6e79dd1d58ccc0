//! The chain of a store: each head, block and checkpoint continues what comes before it.

use jiff::Timestamp;

use crate::retention::format::segment::{Segment, SegmentName};
use crate::retention::format::{BlockHead, SegmentHead};
use crate::retention::prove::Reason;
use crate::retention::prove::verify::{Stop, Verification, broken};

impl Verification<'_> {
    pub(super) fn head(&mut self, segment: &Segment, head: &SegmentHead, is_first: bool) -> Result<(), Stop> {
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

    pub(super) fn block(&mut self, block: &BlockHead, (segment, byte): (&Segment, u64)) -> Result<(), Stop> {
        let found = |reason| Err(broken(segment, Some(byte), Some(block.number), reason));
        let before = self.position.tree.size();
        if block.number != before {
            return found(Reason::Missing { from: before, to: block.number });
        }
        if block.previous != self.position.previous || block.first_seq != self.position.next_seq {
            return found(Reason::Foreign);
        }
        // The first block of a store may name a checkpoint that was deleted with earlier segments.
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

    /// A block of the remains of a failed write, which must be number `number` and be repeated in the next
    /// segment.
    pub(super) fn remains(
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

    /// Compares the tree with the milestones and the anchored root at its size.
    fn milestones(&mut self) -> Result<(), Stop> {
        let tree = &self.position.tree;
        if self.anchored.remove(&tree.size()).is_some_and(|root| root != tree.root().0) {
            return Err(Reason::OtherThanAnchored.into());
        }
        for milestone in self.milestones.extract_if(.., |one| one.checkpoint.size() == tree.size()) {
            if *milestone.checkpoint.hash() != tree.root() {
                return Err(milestone.otherwise.into());
            }
        }
        Ok(())
    }

    pub(super) fn checkpoint(&mut self, note: &[u8], segment: &Segment, byte: u64) -> Result<(), Stop> {
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
