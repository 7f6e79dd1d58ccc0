//! Positions in the chain of blocks: what the next block must continue.

use tlog_tiles::Hash;

use crate::retention::format::BlockHead;
use crate::retention::format::tree::{HASH, Tree};

/// A position in the chain of blocks.
#[derive(Clone, Debug)]
pub(crate) struct Position {
    pub(crate) tree: Tree,
    pub(crate) previous: Hash,
    pub(crate) next_seq: u64,
    /// How many blocks the newest checkpoint covers.
    pub(crate) signed: u64,
}

impl Default for Position {
    fn default() -> Self {
        Self { tree: Tree::default(), previous: Hash([0; HASH]), next_seq: 1, signed: 0 }
    }
}

impl Position {
    pub(crate) fn pass(&mut self, head: &BlockHead) {
        self.previous = head.leaf();
        self.tree.push(self.previous);
        self.next_seq = head.next_seq();
    }

    /// Advances over a block that may follow unreadable ones. The block names the leaf hash of its
    /// predecessor; the hashes of any others are unknown, so that the tree is wrong, which verification
    /// finds.
    pub(crate) fn pass_damage(&mut self, head: &BlockHead) {
        if let Some(unknown) = (head.number - self.tree.size()).checked_sub(1) {
            self.tree.push_zeros(unknown);
            self.tree.push(head.previous);
        }
        self.signed = head.signed;
        self.pass(head);
    }
}
