//! Audit paths of selected leaves, while the tree grows.

use std::collections::BTreeMap;

use tlog_tiles::{EMPTY_HASH, Hash, node_hash};

use crate::retention::format::tree::Tree;

/// A growing tree and the audit paths of selected leaves.
#[derive(Default)]
pub(super) struct Paths {
    pub(super) size: u64,
    /// The right edge, the largest subtree first, each with its selected leaves.
    edge: Vec<(Hash, Vec<u64>)>,
    paths: BTreeMap<u64, Vec<Hash>>,
}

impl Paths {
    /// Continues from `tree`. A selected leaf keeps its path if it is in a subtree that both trees have.
    pub(super) fn go_on(&mut self, tree: &Tree) {
        let mut before = std::mem::take(&mut self.edge);
        let mut known = |hash: &Hash| before.extract_if(.., |(known, _)| known == hash).next();
        let node = |hash: &Hash| known(hash).unwrap_or((*hash, Vec::new()));
        self.edge = tree.edge().iter().map(node).collect();
        for leaf in before.into_iter().flat_map(|(_, leaves)| leaves) {
            self.paths.remove(&leaf);
        }
        self.size = tree.size();
    }

    pub(super) fn push(&mut self, leaf: Hash, wanted: bool) {
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

    /// The root, and the path of every selected leaf to it.
    pub(super) fn finish(mut self) -> (Hash, BTreeMap<u64, Vec<Hash>>) {
        let edge = std::mem::take(&mut self.edge);
        let root = edge.into_iter().rev().reduce(|right, left| self.join(left, right));
        (root.map_or(EMPTY_HASH, |(root, _)| root), self.paths)
    }
}
