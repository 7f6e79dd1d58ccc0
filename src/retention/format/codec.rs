//! Encoding and decoding of frames.
//!
//! Every length is checked before it is used, and every frame carries its own CRC.

use tlog_tiles::{Hash, record_hash};

use crate::retention::format::tree::{HASH, Tree};
use crate::retention::format::{BLOCK_HEAD, BlockHead, Frame, NoFrame, PAYLOAD_LIMIT, SegmentHead, VERSION};

const HEAD: &[u8; 4] = b"icpS";
const BLOCK: &[u8; 4] = b"icpB";
const CHECKPOINT: &[u8; 4] = b"icpC";
/// Only in proofs.
const KEY: &[u8; 4] = b"icpV";
/// Only in proofs.
const PATH: &[u8; 4] = b"icpI";
/// The first bytes of every frame.
pub(crate) const MAGIC: &[u8] = b"icp";
/// The longest frame that is not a block, in bytes.
const FRAME_LIMIT: usize = 64 * 1024;

impl SegmentHead {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
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

impl BlockHead {
    pub(crate) fn to_bytes(self) -> [u8; BLOCK_HEAD] {
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

    pub(crate) fn leaf(self) -> Hash {
        record_hash(&self.to_bytes()[8..])
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

/// The format version of the segment that begins with `bytes`; `None` if they are not a whole head of any
/// version.
pub(crate) fn version(bytes: &[u8]) -> Option<u32> {
    let frame = bytes.starts_with(HEAD).then(|| bytes.get(..u32_at(bytes, 8)? as usize)).flatten()?;
    (frame.len() >= 16 && u32_at(frame, 4) == Some(crc(frame))).then(|| u32_at(frame, 12)).flatten()
}

/// Decodes the frame at the start of `bytes`; returns it with its length, without the payload of a block.
pub(crate) fn parse(bytes: &[u8]) -> Result<(Frame, usize), NoFrame> {
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

pub(crate) fn write_checkpoint(note: &[u8], out: &mut Vec<u8>) {
    write_frame(CHECKPOINT, note, out);
}

pub(crate) fn write_key(keys: &[u8], out: &mut Vec<u8>) {
    write_frame(KEY, keys, out);
}

pub(crate) fn write_path(path: &[Hash], out: &mut Vec<u8>) {
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

/// Writes the CRC of a frame into it.
fn seal(frame: &mut [u8]) {
    let crc = crc(frame);
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// The CRC of a frame, without the four bytes of the CRC.
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
