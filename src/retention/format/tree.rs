//! The Merkle tree over the blocks of a store (RFC 6962, C2SP tlog-tiles), one leaf per block.
//!
//! Only the right edge is kept: the roots of the largest complete subtrees. That is enough to add leaves and
//! to compute the root, and small enough for the head of every segment, so that a store stays provable after
//! its beginning is deleted.

use tlog_tiles::{Hash, node_hash};

pub(crate) const HASH: usize = 32;

/// A tree, represented by its right edge.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    size: u64,
    /// One root for each bit set in `size`, the largest subtree first.
    edge: Vec<Hash>,
}

impl Tree {
    /// A tree of `size` leaves with the right edge `edge`; `None` if the two do not match.
    pub(crate) fn from_edge(size: u64, edge: Vec<Hash>) -> Option<Self> {
        (edge.len() == size.count_ones() as usize).then_some(Self { size, edge })
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The right edge: the roots of the largest complete subtrees, the largest first.
    pub(crate) fn edge(&self) -> &[Hash] {
        &self.edge
    }

    pub(crate) fn push(&mut self, leaf: Hash) {
        self.push_subtree(0, leaf);
    }

    /// Adds `count` leaves of zeros, in logarithmic time.
    pub(crate) fn push_zeros(&mut self, count: u64) {
        let mut subtree = Hash([0; HASH]);
        let mut subtrees = vec![subtree];
        for _ in 1..u64::BITS - count.leading_zeros() {
            subtree = node_hash(subtree, subtree);
            subtrees.push(subtree);
        }
        let end = self.size + count;
        while self.size < end {
            // The largest subtree that fits at this position and within the rest.
            let level = self.size.trailing_zeros().min((end - self.size).ilog2());
            let Some(subtree) = subtrees.get(level as usize) else { break };
            self.push_subtree(level, *subtree);
        }
    }

    /// Adds a complete subtree of 2^`level` leaves; the size must be a multiple of that.
    fn push_subtree(&mut self, level: u32, root: Hash) {
        let mut subtree = root;
        for _ in 0..(self.size >> level).trailing_ones() {
            let Some(left) = self.edge.pop() else { break };
            subtree = node_hash(left, subtree);
        }
        self.edge.push(subtree);
        self.size += 1 << level;
    }

    pub(crate) fn root(&self) -> Hash {
        let mut subtrees = self.edge.iter().rev().copied();
        let Some(smallest) = subtrees.next() else { return tlog_tiles::EMPTY_HASH };
        subtrees.fold(smallest, |right, left| node_hash(left, right))
    }
}

#[cfg(test)]
mod tests {
    use tlog_tiles::{record_hash, tree_hash};

    use super::*;

    /// The hashes that the reference implementation stores.
    #[derive(Default)]
    struct Stored(Vec<Hash>);

    impl tlog_tiles::HashReader for Stored {
        fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
            Ok(indexes.iter().map(|&index| self.0[index as usize]).collect())
        }
    }

    #[test]
    fn zeros_are_added_as_if_one_by_one() {
        for size in 0..40 {
            for count in 0..40 {
                let (mut at_once, mut singly) = (Tree::default(), Tree::default());
                for leaf in 0..size {
                    at_once.push(record_hash(&[leaf]));
                    singly.push(record_hash(&[leaf]));
                }
                at_once.push_zeros(count);
                (0..count).for_each(|_| singly.push(Hash([0; HASH])));
                assert_eq!((at_once.size(), at_once.root()), (singly.size(), singly.root()));
            }
        }
        let mut far = Tree::default();
        far.push_zeros(u64::MAX / 2);
        assert_eq!(far.size(), u64::MAX / 2);
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
