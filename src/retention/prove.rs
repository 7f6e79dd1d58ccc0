//! What verification found, in words.

pub(crate) mod keys;
pub mod proof;
pub(crate) mod verify;

use std::path::PathBuf;

use jiff::Timestamp;

use crate::retention::format::BlockHead;

/// What is known of a store after verification.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// Records that were verified, up to the first break.
    pub records: u64,
    /// The time of the earliest of them, in milliseconds.
    pub from: Option<Timestamp>,
    /// The time of the latest of them.
    pub to: Option<Timestamp>,
    /// The newest checkpoint: a signed note.
    pub checkpoint: Option<String>,
    /// The first place that is wrong; none when all is well.
    pub first_break: Option<Break>,
}

impl Verdict {
    /// Whether all is well.
    pub fn is_ok(&self) -> bool {
        self.first_break.is_none()
    }

    /// Counts a block's records.
    pub(crate) fn count(&mut self, block: &BlockHead) {
        let time = |milliseconds| Timestamp::from_millisecond(milliseconds).ok();
        self.records += u64::from(block.count);
        self.from = self.from.into_iter().chain(time(block.earliest)).min();
        self.to = self.to.max(time(block.latest));
    }
}

/// A place that is wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Break {
    /// The segment, where it is in one.
    pub segment: Option<PathBuf>,
    /// The byte in it.
    pub byte: Option<u64>,
    /// The block.
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

/// What can be wrong with a store.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Reason {
    /// Nothing says whose signature counts.
    #[error("there is no verifier.key, and no --key was given")]
    NoKey,
    /// A key cannot be read.
    #[error("{0:?} is no verifier key; one looks like icpgate/edge-1+1a2b3c4d+AQ…")]
    BadKey(String),
    /// Bytes that are no frame.
    #[error("what stands here is not what was written: it was changed, or the disk failed")]
    Damaged,
    /// A block whose payload is another.
    #[error("the records in this block are not those that were written")]
    Changed,
    /// A frame that the file ends within.
    #[error("the segment ends within a block: it was cut, or its writer was killed and not started since")]
    Unfinished,
    /// A segment's name does not fit its head.
    #[error("the segment's name is not the one that it was written under")]
    Renamed,
    /// Blocks that are not there, or not in this place.
    #[error("blocks {from} to {to} do not follow: a segment or its end is missing, or in the wrong place")]
    Missing {
        /// The block that was expected.
        from: u64,
        /// The block that came.
        to: u64,
    },
    /// It does not continue what stands before it.
    #[error(
        "this does not continue what stands before it: it was put here, or what is before it was changed"
    )]
    Foreign,
    /// A checkpoint too many or too few.
    #[error("a checkpoint was taken out or put in")]
    Checkpoints,
    /// A checkpoint that the key did not sign.
    #[error("the checkpoint is not signed with the key")]
    BadSignature,
    /// A checkpoint of another history.
    #[error("the checkpoint is of another history")]
    OtherTree,
    /// The file `checkpoint` is not signed.
    #[error("the file checkpoint is not signed with the key")]
    BadShownCheckpoint,
    /// The file `checkpoint` speaks of another history.
    #[error("the file checkpoint is of another history")]
    OtherThanShown,
    /// The file `checkpoint` speaks of more than there is.
    #[error("the file checkpoint is of more records than there are: the end is missing")]
    ShorterThanShown,
    /// The file `checkpoint` is not there.
    #[error("the file checkpoint is missing")]
    NoCheckpoint,
    /// The checkpoint given is not signed.
    #[error("the checkpoint given with --since is not signed with the key")]
    BadSince,
    /// The checkpoint given speaks of another history.
    #[error("the checkpoint given with --since is of another history: this one was written anew")]
    OtherThanSince,
    /// The checkpoint given speaks of more than there is.
    #[error("the checkpoint given with --since is of more records than there are: the end is missing")]
    ShorterThanSince,
    /// A checkpoint in a sink that the key did not sign.
    #[error("a checkpoint that was anchored there is not signed with the key")]
    BadAnchor,
    /// A checkpoint in a sink of another history.
    #[error("a checkpoint that was anchored there is of another history: this one was written anew")]
    OtherThanAnchored,
    /// A checkpoint is older than the oldest segment.
    #[error("a checkpoint is from before the oldest segment that is left, and cannot be compared")]
    Before,
    /// The oldest segments are not there, and the writer did not delete them.
    #[error("the records before seq {first_seq} are missing, and were not deleted by their writer")]
    Deleted {
        /// The number of the first record that is left.
        first_seq: u64,
    },
    /// A block of a proof is not in the tree.
    #[error("nothing proves that this block is in the tree that was signed")]
    NotIncluded,
    /// A frame that a proof ends within.
    #[error("the proof ends within a frame: it was cut, or something was added to it")]
    CutProof,
    /// A file that proves nothing.
    #[error("the file holds no checkpoint: it is no proof, or it was cut")]
    NoProof,
    /// A segment that was begun, and no more.
    #[error("the segment holds no block: it was put here, or its writer was killed and not started since")]
    Empty,
    /// The store itself has found that its end was gone.
    #[error(
        "the store was shorter than its own checkpoint when it was started, and this record says so; what is \
         missing was before it. A checkpoint from after it, given with --since, says that this is known"
    )]
    Shortened,
    /// Nothing is left of what was signed.
    #[error("there are no records, though some were signed")]
    NoRecords,
    /// Blocks that should have been signed.
    #[error("blocks {from} to {to} are not signed, and older than a minute")]
    Unsigned {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// The store just stops.
    #[error(
        "the end is not one that the writer made: it was cut, or the writer was killed and not started since"
    )]
    NotEnded,
}
