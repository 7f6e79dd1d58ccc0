//! The Merkle tree over a store's blocks, as far as a writer or a verifier needs it.
//!
//! It is the tree of RFC 6962 and C2SP tlog-tiles with one leaf per block. Only its right edge is
//! kept, the roots of the largest complete subtrees: enough to add leaves and to know the root,
//! and small enough to stand at the head of every segment, so that what is left of a store stays
//! provable when its beginning is deleted.

use tlog_tiles::{Hash, node_hash};

/// Bytes of a hash.
pub(super) const HASH: usize = 32;

/// A tree's right edge.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    size: u64,
    /// One for each bit set in `size`, the largest subtree first.
    edge: Vec<Hash>,
}

impl Tree {
    /// A tree of `size` leaves with the right edge `edge`; `None` when they do not fit together.
    pub(super) fn from_edge(size: u64, edge: Vec<Hash>) -> Option<Self> {
        (edge.len() == size.count_ones() as usize).then_some(Self { size, edge })
    }

    /// How many leaves it has.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The roots of its largest complete subtrees, the largest first.
    pub(super) fn edge(&self) -> &[Hash] {
        &self.edge
    }

    /// Adds a leaf.
    pub(super) fn push(&mut self, leaf: Hash) {
        let mut subtree = leaf;
        for _ in 0..self.size.trailing_ones() {
            let Some(left) = self.edge.pop() else { break };
            subtree = node_hash(left, subtree);
        }
        self.edge.push(subtree);
        self.size += 1;
    }

    /// The hash of the whole tree.
    pub(super) fn root(&self) -> Hash {
        let mut subtrees = self.edge.iter().rev().copied();
        let Some(smallest) = subtrees.next() else { return tlog_tiles::EMPTY_HASH };
        subtrees.fold(smallest, |right, left| node_hash(left, right))
    }
}

#[cfg(test)]
mod tests {
    use tlog_tiles::{record_hash, tree_hash};

    use super::*;

    /// What the reference implementation stores.
    #[derive(Default)]
    struct Stored(Vec<Hash>);

    impl tlog_tiles::HashReader for Stored {
        fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
            Ok(indexes.iter().map(|&index| self.0[index as usize]).collect())
        }
    }

    #[test]
    fn the_root_is_the_reference_implementation_s_at_every_size() {
        let (mut tree, mut stored) = (Tree::default(), Stored::default());
        for number in 0..300_u64 {
            assert_eq!(tree.root(), tree_hash(number, &stored).expect("a root"));
            let data = number.to_le_bytes();
            let hashes = tlog_tiles::stored_hashes(number, &data, &stored).expect("hashes");
            stored.0.extend(hashes);
            tree.push(record_hash(&data));
            tree = Tree::from_edge(tree.size(), tree.edge().to_vec()).expect("the same tree");
        }
    }
}
