//! The frames that a segment is made of: bytes in, values out, and back.
//!
//! docs/retention-format.md is the specification. A segment is a head, then blocks of records and
//! checkpoints in any number, one after the other. All integers are little-endian, all times
//! milliseconds since 1970 UTC, and every CRC is CRC-32C:
//!
//! ```text
//! head         0  "icpS"                       checkpoint   0  "icpC"
//!              4  CRC of all but itself                     4  CRC of all but itself
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
//! A block's leaf in the Merkle tree is its bytes 8 to 135. A block of no records has no payload and
//! says that the writer ended here in good order.

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

/// The version of the format.
pub(crate) const VERSION: u32 = 2;
/// Bytes of a block before its payload.
pub(crate) const BLOCK_HEAD: usize = 136;
/// The longest payload, compressed or not.
pub(crate) const PAYLOAD_LIMIT: u32 = 16 * 1024 * 1024;

/// The file that the writer of a store locks.
pub(crate) const LOCK_FILE: &str = ".lock";

/// What a segment begins with.
#[derive(Clone, Debug)]
pub(crate) struct SegmentHead {
    /// The number of its first record.
    pub(crate) first_seq: u64,
    /// When it was opened: when its first block was sealed.
    pub(crate) opened: i64,
    /// The leaf hash of the block before its first.
    pub(crate) previous: Hash,
    /// The tree of all blocks before its first.
    pub(crate) tree: Tree,
}

/// What stands before a block's payload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct BlockHead {
    /// Length of the payload.
    pub(crate) length: u32,
    /// CRC of the payload.
    pub(crate) crc: u32,
    /// Length of the payload decompressed.
    pub(crate) raw_length: u32,
    /// How many records.
    pub(crate) count: u32,
    /// Its number, which is its leaf's.
    pub(crate) number: u64,
    /// The number of its first record.
    pub(crate) first_seq: u64,
    /// The time of its earliest record.
    pub(crate) earliest: i64,
    /// The time of its latest record.
    pub(crate) latest: i64,
    /// When it was sealed.
    pub(crate) sealed: i64,
    /// SHA-256 of the payload.
    pub(crate) digest: Hash,
    /// The leaf hash of the block before.
    pub(crate) previous: Hash,
    /// How many blocks the checkpoint before it covers, so that none can be taken out or put in.
    pub(crate) signed: u64,
}

impl BlockHead {
    /// The number of the record after its last.
    pub(crate) fn next_seq(self) -> u64 {
        self.first_seq.saturating_add(self.count.into())
    }

    /// Whether it says that the writer ended in good order.
    pub(crate) fn is_end(self) -> bool {
        self.count == 0
    }

    /// The time of its latest record, or for an end when that was.
    pub(crate) fn latest_time(self) -> Option<Timestamp> {
        Timestamp::from_millisecond(self.latest).ok()
    }
}

/// One frame. A block is its head alone: its payload follows.
#[derive(Clone, Debug)]
pub(crate) enum Frame {
    /// What a segment begins with.
    Head(SegmentHead),
    /// Records.
    Block(BlockHead),
    /// A signed note.
    Checkpoint(Vec<u8>),
    /// Verifier keys, one a line; in a proof.
    Key(Vec<u8>),
    /// The hashes beside the way from the block before to the root, the lowest first; in a proof.
    Path(Vec<Hash>),
}

/// Why there is no frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NoFrame {
    /// So many bytes would tell.
    Incomplete(usize),
    /// The bytes are not those of a frame.
    Damaged,
}
