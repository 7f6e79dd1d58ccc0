//! Verification: what it concludes about a store or a proof.

pub(crate) mod keys;
pub mod proof;
pub(crate) mod verify;

use std::path::PathBuf;

use jiff::Timestamp;

use crate::retention::format::BlockHead;

/// The result of a verification.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// Records verified, up to the first break.
    pub records: u64,
    /// The time of the earliest of them.
    pub from: Option<Timestamp>,
    /// The time of the latest of them.
    pub to: Option<Timestamp>,
    /// The newest checkpoint: a signed note.
    pub checkpoint: Option<String>,
    /// The first fault; `None` if the store is intact.
    pub first_break: Option<Break>,
}

impl Verdict {
    /// Whether no fault was found.
    pub fn is_ok(&self) -> bool {
        self.first_break.is_none()
    }

    pub(crate) fn count(&mut self, block: &BlockHead) {
        let time = |milliseconds| Timestamp::from_millisecond(milliseconds).ok();
        self.records += u64::from(block.count);
        self.from = self.from.into_iter().chain(time(block.earliest)).min();
        self.to = self.to.max(time(block.latest));
    }
}

/// A fault and its place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Break {
    /// The segment, if the fault is in one.
    pub segment: Option<PathBuf>,
    /// The byte offset in the segment.
    pub byte: Option<u64>,
    /// The number of the block.
    pub block: Option<u64>,
    /// What is wrong.
    pub reason: Reason,
}

impl std::fmt::Display for Break {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(segment) = &self.segment {
            write!(f, "{}: ", segment.display())?;
        }
        if let Some(byte) = self.byte {
            write!(f, "byte {byte}: ")?;
        }
        if let Some(block) = self.block {
            write!(f, "block {block}: ")?;
        }
        write!(f, "{}", self.reason)
    }
}

/// A kind of fault.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Reason {
    /// There is no key to check signatures with.
    #[error("there is no verifier.key, and no --key was given")]
    NoKey,
    /// A key cannot be parsed.
    #[error("{0:?} is not a verifier key; a key looks like icpgate/edge-1+1a2b3c4d+AQ…")]
    BadKey(String),
    /// Bytes are not a frame.
    #[error("the bytes here are not what was written: they were changed, or the disk failed")]
    Damaged,
    /// The payload of a block does not match its head.
    #[error("the records in this block are not what was written")]
    Changed,
    /// The file ends within a frame.
    #[error(
        "the segment ends within a block: it was cut, or its writer was killed and has not been started since"
    )]
    Unfinished,
    /// The name of a segment does not match its head.
    #[error("the segment was renamed: its head does not match its name")]
    Renamed,
    /// Blocks are missing or out of order.
    #[error(
        "block {from} is expected here, and this is block {to}: a segment or its end is missing or misplaced"
    )]
    Missing {
        /// The number of the expected block.
        from: u64,
        /// The number of the block found.
        to: u64,
    },
    /// It does not continue the chain before it.
    #[error(
        "this does not continue the blocks before it: it was inserted, or the blocks before it were changed"
    )]
    Foreign,
    /// A checkpoint was removed or inserted.
    #[error("a checkpoint was removed or inserted")]
    Checkpoints,
    /// A checkpoint is not signed with the key.
    #[error("the checkpoint is not signed with the key")]
    BadSignature,
    /// A checkpoint does not match the blocks before it.
    #[error("the checkpoint does not match the blocks before it")]
    OtherTree,
    /// The file `checkpoint` is not signed with the key.
    #[error("the file checkpoint is not signed with the key")]
    BadShownCheckpoint,
    /// The file `checkpoint` does not match the store.
    #[error("the file checkpoint does not match this store")]
    OtherThanShown,
    /// The file `checkpoint` covers more than the store has.
    #[error("the file checkpoint covers more than the store has: the end is missing")]
    ShorterThanShown,
    /// The file `checkpoint` is missing.
    #[error("the file checkpoint is missing")]
    NoCheckpoint,
    /// The checkpoint given is not signed with the key.
    #[error("the checkpoint given with --since is not signed with the key")]
    BadSince,
    /// The checkpoint given does not match the store.
    #[error("the checkpoint given with --since does not match this store: its history was rewritten")]
    OtherThanSince,
    /// The checkpoint given covers more than the store has.
    #[error("the checkpoint given with --since covers more than the store has: the end is missing")]
    ShorterThanSince,
    /// A checkpoint in a sink that the key did not sign.
    #[error("a checkpoint that was anchored there is not signed with the key")]
    BadAnchor,
    /// A checkpoint in a sink of another history.
    #[error("a checkpoint that was anchored there is of another history: this one was written anew")]
    OtherThanAnchored,
    /// A checkpoint is older than the oldest segment.
    #[error("a checkpoint is older than the oldest segment that is left, and cannot be compared")]
    Before,
    /// The oldest segments are missing, and their writer did not delete them.
    #[error("the records before seq {first_seq} are missing, and their writer did not delete them")]
    Deleted {
        /// The number of the first record that is left.
        first_seq: u64,
    },
    /// A block of a proof is not in the signed tree.
    #[error("nothing proves that this block is in the signed tree")]
    NotIncluded,
    /// A proof ends within a frame.
    #[error("the proof ends within a frame: it was cut, or bytes were added to it")]
    CutProof,
    /// A proof has no checkpoint.
    #[error("the file holds no checkpoint: it is not a proof, or it was cut")]
    NoProof,
    /// A segment has a head and no block.
    #[error(
        "the segment holds no block: it was inserted, or its writer was killed and has not been started since"
    )]
    Empty,
    /// The store recorded that its own end was missing.
    #[error(
        "this record says that the store was shorter than its own checkpoint when it was started: records before \
         it are missing. Once you know why, give a newer checkpoint with --since"
    )]
    Shortened,
    /// No record is left, though some were signed.
    #[error("there are no records, though some were signed")]
    NoRecords,
    /// Blocks should have been signed.
    #[error("blocks {from} to {to} are not signed and older than a minute")]
    Unsigned {
        /// The first block.
        from: u64,
        /// The last block.
        to: u64,
    },
    /// The store ends without the mark of an orderly end.
    #[error(
        "the store has no orderly end: it was cut, or its writer was killed and has not been started since"
    )]
    NotEnded,
}
