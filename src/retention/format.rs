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

use jiff::Timestamp;
use tlog_tiles::{Hash, record_hash};

use crate::retention::tree::{HASH, Tree};

/// The version of the format.
pub(super) const VERSION: u32 = 2;
/// Bytes of a block before its payload.
pub(super) const BLOCK_HEAD: usize = 136;
/// The longest payload, compressed or not.
pub(super) const PAYLOAD_LIMIT: u32 = 16 * 1024 * 1024;

const HEAD: &[u8; 4] = b"icpS";
const BLOCK: &[u8; 4] = b"icpB";
const CHECKPOINT: &[u8; 4] = b"icpC";
/// Only in proofs.
const KEY: &[u8; 4] = b"icpV";
/// Only in proofs.
const PATH: &[u8; 4] = b"icpI";
/// What every frame begins with.
pub(super) const MAGIC: &[u8] = b"icp";
/// The longest head and the longest checkpoint.
const FRAME_LIMIT: usize = 64 * 1024;

/// What a segment begins with.
#[derive(Clone, Debug)]
pub(super) struct SegmentHead {
    /// The number of its first record.
    pub(super) first_seq: u64,
    /// When it was opened: when its first block was sealed.
    pub(super) opened: i64,
    /// The leaf hash of the block before its first.
    pub(super) previous: Hash,
    /// The tree of all blocks before its first.
    pub(super) tree: Tree,
}

impl SegmentHead {
    /// Appends it to `out`.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let edge = self.tree.edge();
        out.extend_from_slice(HEAD);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&((72 + edge.len() * HASH) as u32).to_le_bytes());
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.tree.size().to_le_bytes());
        out.extend_from_slice(&self.first_seq.to_le_bytes());
        out.extend_from_slice(&self.opened.to_le_bytes());
        out.extend_from_slice(&self.previous.0);
        for hash in edge {
            out.extend_from_slice(&hash.0);
        }
        seal(&mut out[start..]);
    }

    fn parse(frame: &[u8]) -> Option<Self> {
        if u32_at(frame, 12)? != VERSION {
            return None;
        }
        let edge =
            frame.get(72..)?.chunks(HASH).enumerate().map(|(place, _)| hash_at(frame, 72 + place * HASH));
        Some(Self {
            first_seq: u64_at(frame, 24)?,
            opened: i64_at(frame, 32)?,
            previous: hash_at(frame, 40)?,
            tree: Tree::from_edge(u64_at(frame, 16)?, edge.collect::<Option<_>>()?)?,
        })
    }
}

/// What stands before a block's payload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct BlockHead {
    /// Length of the payload.
    pub(super) length: u32,
    /// CRC of the payload.
    pub(super) crc: u32,
    /// Length of the payload decompressed.
    pub(super) raw_length: u32,
    /// How many records.
    pub(super) count: u32,
    /// Its number, which is its leaf's.
    pub(super) number: u64,
    /// The number of its first record.
    pub(super) first_seq: u64,
    /// The time of its earliest record.
    pub(super) earliest: i64,
    /// The time of its latest record.
    pub(super) latest: i64,
    /// When it was sealed.
    pub(super) sealed: i64,
    /// SHA-256 of the payload.
    pub(super) digest: Hash,
    /// The leaf hash of the block before.
    pub(super) previous: Hash,
    /// How many blocks the checkpoint before it covers, so that none can be taken out or put in.
    pub(super) signed: u64,
}

impl BlockHead {
    /// Its bytes; the payload follows them.
    pub(super) fn to_bytes(self) -> [u8; BLOCK_HEAD] {
        let mut bytes = [0; BLOCK_HEAD];
        bytes[..4].copy_from_slice(BLOCK);
        for (at, number) in [(8, self.length), (12, self.crc), (16, self.raw_length), (20, self.count)] {
            bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
        }
        for (at, number) in [(24, self.number), (32, self.first_seq)] {
            bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        for (at, time) in [(40, self.earliest), (48, self.latest), (56, self.sealed)] {
            bytes[at..at + 8].copy_from_slice(&time.to_le_bytes());
        }
        bytes[64..96].copy_from_slice(&self.digest.0);
        bytes[96..128].copy_from_slice(&self.previous.0);
        bytes[128..].copy_from_slice(&self.signed.to_le_bytes());
        seal(&mut bytes);
        bytes
    }

    /// The hash of its leaf.
    pub(super) fn leaf(self) -> Hash {
        record_hash(&self.to_bytes()[8..])
    }

    /// The number of the record after its last.
    pub(super) fn next_seq(self) -> u64 {
        self.first_seq.saturating_add(self.count.into())
    }

    /// Whether it says that the writer ended in good order.
    pub(super) fn is_end(self) -> bool {
        self.count == 0
    }

    /// The time of its latest record, or for an end when that was.
    pub(super) fn latest_time(self) -> Option<Timestamp> {
        Timestamp::from_millisecond(self.latest).ok()
    }

    fn parse(frame: &[u8]) -> Option<Self> {
        let head = Self {
            length: u32_at(frame, 8)?,
            crc: u32_at(frame, 12)?,
            raw_length: u32_at(frame, 16)?,
            count: u32_at(frame, 20)?,
            number: u64_at(frame, 24)?,
            first_seq: u64_at(frame, 32)?,
            earliest: i64_at(frame, 40)?,
            latest: i64_at(frame, 48)?,
            sealed: i64_at(frame, 56)?,
            digest: hash_at(frame, 64)?,
            previous: hash_at(frame, 96)?,
            signed: u64_at(frame, 128)?,
        };
        (head.length <= PAYLOAD_LIMIT && head.raw_length <= PAYLOAD_LIMIT).then_some(head)
    }
}

/// One frame. A block is its head alone: its payload follows.
#[derive(Clone, Debug)]
pub(super) enum Frame {
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

/// The version of the segment that begins with `bytes`, whichever it is; `None` for what is no whole head.
pub(super) fn version(bytes: &[u8]) -> Option<u32> {
    let frame = bytes.starts_with(HEAD).then(|| bytes.get(..u32_at(bytes, 8)? as usize)).flatten()?;
    (frame.len() >= 16 && u32_at(frame, 4) == Some(crc(frame))).then(|| u32_at(frame, 12)).flatten()
}

/// Why there is no frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NoFrame {
    /// So many bytes would tell.
    Incomplete(usize),
    /// The bytes are not those of a frame.
    Damaged,
}

/// Reads the frame that `bytes` begin with, and its length (without a block's payload).
pub(super) fn parse(bytes: &[u8]) -> Result<(Frame, usize), NoFrame> {
    let Some(start) = bytes.first_chunk::<12>() else { return Err(NoFrame::Incomplete(12)) };
    let magic = &start[..4];
    let length = match magic {
        _ if magic == BLOCK => BLOCK_HEAD,
        _ if [HEAD, CHECKPOINT, KEY, PATH].iter().any(|known| magic == *known) => {
            u32_at(start, 8).map_or(0, |length| length as usize)
        }
        _ => return Err(NoFrame::Damaged),
    };
    if !(12..=FRAME_LIMIT).contains(&length) {
        return Err(NoFrame::Damaged);
    }
    let frame = bytes.get(..length).ok_or(NoFrame::Incomplete(length))?;
    if u32_at(frame, 4) != Some(crc(frame)) {
        return Err(NoFrame::Damaged);
    }
    let parsed = if magic == BLOCK {
        BlockHead::parse(frame).map(Frame::Block)
    } else if magic == HEAD {
        SegmentHead::parse(frame).map(Frame::Head)
    } else if magic == CHECKPOINT {
        Some(Frame::Checkpoint(frame[12..].to_vec()))
    } else if magic == KEY {
        Some(Frame::Key(frame[12..].to_vec()))
    } else {
        let hashes = (12..length).step_by(HASH).map(|at| hash_at(frame, at));
        hashes.collect::<Option<_>>().map(Frame::Path)
    };
    parsed.map(|parsed| (parsed, length)).ok_or(NoFrame::Damaged)
}

/// Appends a checkpoint to `out`.
pub(super) fn write_checkpoint(note: &[u8], out: &mut Vec<u8>) {
    write_frame(CHECKPOINT, note, out);
}

/// Appends verifier keys to `out`.
pub(super) fn write_key(keys: &[u8], out: &mut Vec<u8>) {
    write_frame(KEY, keys, out);
}

/// Appends a block's path to `out`.
pub(super) fn write_path(path: &[Hash], out: &mut Vec<u8>) {
    write_frame(PATH, path.iter().map(|hash| hash.0).collect::<Vec<_>>().as_flattened(), out);
}

fn write_frame(magic: &[u8; 4], content: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(magic);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&((12 + content.len()) as u32).to_le_bytes());
    out.extend_from_slice(content);
    seal(&mut out[start..]);
}

/// Puts the CRC into a frame.
fn seal(frame: &mut [u8]) {
    let crc = crc(frame);
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// The CRC of all of a frame but the CRC's own bytes.
fn crc(frame: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&frame[..4]), &frame[8..])
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array_at(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array_at(bytes, at).map(u64::from_le_bytes)
}

fn i64_at(bytes: &[u8], at: usize) -> Option<i64> {
    array_at(bytes, at).map(i64::from_le_bytes)
}

fn hash_at(bytes: &[u8], at: usize) -> Option<Hash> {
    array_at(bytes, at).map(Hash)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head() -> BlockHead {
        BlockHead {
            length: 5,
            crc: 6,
            raw_length: 7,
            count: 8,
            number: 9,
            first_seq: 10,
            earliest: -11,
            latest: 12,
            sealed: 13,
            digest: Hash([14; HASH]),
            previous: Hash([15; HASH]),
            signed: 16,
        }
    }

    fn frames() -> [Vec<u8>; 3] {
        let mut tree = Tree::default();
        (0..5).for_each(|leaf| tree.push(Hash([leaf; HASH])));
        let (mut segment, mut checkpoint) = (Vec::new(), Vec::new());
        SegmentHead { first_seq: 1, opened: 2, previous: Hash([3; HASH]), tree }.write(&mut segment);
        write_checkpoint("a\n1\n\n— n AAAA\n".as_bytes(), &mut checkpoint);
        [segment, checkpoint, head().to_bytes().to_vec()]
    }

    #[test]
    fn a_frame_reads_as_it_was_written() {
        let [segment, checkpoint, block] = frames();
        let Ok((Frame::Head(read), length)) = parse(&segment) else { panic!("a head") };
        assert_eq!((read.first_seq, read.opened, read.tree.size(), length), (1, 2, 5, 72 + 2 * HASH));
        assert!(matches!(parse(&checkpoint), Ok((Frame::Checkpoint(note), _)) if note.starts_with(b"a\n1")));
        assert!(matches!(parse(&block), Ok((Frame::Block(read), BLOCK_HEAD)) if read == head()));
    }

    #[test]
    fn every_cut_is_incomplete_and_every_flipped_bit_is_damage() {
        for frame in frames() {
            for cut in 0..frame.len() {
                assert!(matches!(parse(&frame[..cut]), Err(NoFrame::Incomplete(needed)) if needed > cut));
            }
            for bit in 0..frame.len() * 8 {
                let mut frame = frame.clone();
                frame[bit / 8] ^= 1 << (bit % 8);
                assert!(parse(&frame).is_err(), "bit {bit}");
            }
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), magic in 0..4_usize) {
            if let (Some(magic), Some(start)) = ([HEAD, BLOCK, CHECKPOINT].get(magic), bytes.first_chunk_mut()) {
                *start = **magic;
                if bytes.len() >= 12 {
                    let length = bytes.len() as u32;
                    bytes[8..12].copy_from_slice(&length.to_le_bytes());
                    seal(&mut bytes);
                }
            }
            let _ = parse(&bytes);
        }
    }
}
