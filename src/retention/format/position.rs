//! Where a chain of blocks stands: what the next block must continue.

use tlog_tiles::Hash;

use crate::retention::format::BlockHead;
use crate::retention::format::tree::{HASH, Tree};

/// Where a writer stands.
#[derive(Clone, Debug)]
pub(crate) struct Position {
    /// All blocks.
    pub(crate) tree: Tree,
    /// The leaf hash of the last one.
    pub(crate) previous: Hash,
    /// The number of the next record.
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
    /// Goes past a block.
    pub(crate) fn pass(&mut self, head: &BlockHead) {
        self.previous = head.leaf();
        self.tree.push(self.previous);
        self.next_seq = head.next_seq();
    }

    /// Goes past a block that may follow others that cannot be read. The leaf hash of the last of
    /// those stands in it; what cannot be known at all breaks the tree, and is found by `verify`.
    pub(crate) fn pass_damage(&mut self, head: &BlockHead) {
        if let Some(unknown) = (head.number - self.tree.size()).checked_sub(1) {
            self.tree.push_zeros(unknown);
            self.tree.push(head.previous);
        }
        self.signed = head.signed;
        self.pass(head);
    }
}
