//! The format of a store on disk: frames and their contents.
//!
//! docs/retention-format.md is the specification. A segment is a head, followed by any number of blocks of
//! records and checkpoints. Integers are little-endian, times are milliseconds since 1970 UTC, and every CRC is
//! CRC-32C:
//!
//! ```text
//! head         0  "icpS"                       checkpoint   0  "icpC"
//!              4  CRC of the other bytes                    4  CRC of the other bytes
//!              8  length of the frame, u32                  8  length of the frame, u32
//!             12  version of the format, u32               12  a signed note (C2SP)
//!             16  number of its first block, u64
//!             24  number of its first record, u64  block    0  "icpB"
//!             32  when it was opened, i64                   4  CRC of bytes 0-3 and 8-135
//!             40  leaf hash of the block before             8  length of the payload, u32
//!             72  right edge of the tree before,           12  CRC of the payload, u32
//!                 32 bytes for each bit set in             16  length of the payload decompressed, u32
//!                 the first block's number                 20  how many records, u32
//!                                                          24  number of the block, u64
//!                                                          32  number of its first record, u64
//!                                                          40  time of its earliest record, i64
//!                                                          48  time of its latest record, i64
//!                                                          56  when it was sealed, i64
//!                                                          64  SHA-256 of the payload
//!                                                          96  leaf hash of the block before
//!                                                         128  size of the newest checkpoint's tree, u64
//!                                                         136  payload: zstd, see `block` and `rows`
//! ```
//!
//! The leaf of a block in the Merkle tree is its bytes 8 to 135. A block without records has no payload and means
//! that the writer stopped here in good order.

pub(crate) mod block;
pub(crate) mod codec;
pub(crate) mod epoch;
pub(crate) mod frames;
pub(crate) mod note;
pub(crate) mod position;
pub(crate) mod rows;
pub(crate) mod segment;
pub(crate) mod tree;

use jiff::Timestamp;
use tlog_tiles::Hash;

use crate::retention::format::tree::Tree;

pub(crate) const VERSION: u32 = 2;
/// Bytes of a block head; the payload follows.
pub(crate) const BLOCK_HEAD: usize = 136;
/// The largest payload, compressed or not: 16 MiB.
pub(crate) const PAYLOAD_LIMIT: u32 = 16 * 1024 * 1024;

/// The file that the writer of a store locks with `flock`.
pub(crate) const LOCK_FILE: &str = ".lock";

#[derive(Clone, Debug)]
pub(crate) struct SegmentHead {
    pub(crate) first_seq: u64,
    /// When the segment was opened: when its first block was sealed.
    pub(crate) opened: i64,
    /// The leaf hash of the block before its first block.
    pub(crate) previous: Hash,
    /// The tree of all blocks before its first block.
    pub(crate) tree: Tree,
}

/// The head of a block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct BlockHead {
    pub(crate) length: u32,
    pub(crate) crc: u32,
    /// Bytes of the payload decompressed.
    pub(crate) raw_length: u32,
    pub(crate) count: u32,
    /// Its number, which is the index of its leaf.
    pub(crate) number: u64,
    pub(crate) first_seq: u64,
    pub(crate) earliest: i64,
    pub(crate) latest: i64,
    /// When the block was sealed.
    pub(crate) sealed: i64,
    pub(crate) digest: Hash,
    pub(crate) previous: Hash,
    /// How many blocks the newest checkpoint before this block covers, so that no checkpoint can be removed
    /// or inserted.
    pub(crate) signed: u64,
}

impl BlockHead {
    /// The `seq` after its last record.
    pub(crate) fn next_seq(self) -> u64 {
        self.first_seq.saturating_add(self.count.into())
    }

    /// Whether the block marks the orderly end of a writer.
    pub(crate) fn is_end(self) -> bool {
        self.count == 0
    }

    /// The time of its latest record, or for an end block the time of that end.
    pub(crate) fn latest_time(self) -> Option<Timestamp> {
        Timestamp::from_millisecond(self.latest).ok()
    }
}

/// One frame. Of a block it is the head; the payload follows in the file.
#[derive(Clone, Debug)]
pub(crate) enum Frame {
    Head(SegmentHead),
    Block(BlockHead),
    Checkpoint(Vec<u8>),
    /// Verifier keys, one per line; only in proofs.
    Key(Vec<u8>),
    /// The audit path of the block before it, leaf to root; only in proofs.
    Path(Vec<Hash>),
}

/// Why bytes could not be read as a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NoFrame {
    /// At least this many bytes are needed.
    Incomplete(usize),
    /// The bytes are not a frame.
    Damaged,
}
