//! What is inside a block: lines of NDJSON, compressed together.
//!
//! A block is compressed on its own (zstd, level 1), so that a damaged one costs no other. What all
//! records have in common, above all their field names, is in a dictionary that belongs to the
//! format: small blocks, which a quiet edge writes, would not compress without it.

use std::io;

use sha2::{Digest, Sha256};
use tlog_tiles::Hash;
use zstd::bulk;

use crate::retention::format::{BlockHead, PAYLOAD_LIMIT};

/// The dictionary of version 1 of the format, as raw content; never to be changed.
const DICTIONARY: &[u8] = include_bytes!("dictionary.ndjson");
/// How hard zstd tries.
const LEVEL: i32 = 1;

/// Where a block stands in its store.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Its number.
    pub(super) number: u64,
    /// The number of its first record.
    pub(super) first_seq: u64,
    /// The leaf hash of the block before.
    pub(super) previous: Hash,
    /// How many blocks the checkpoint before it covers.
    pub(super) signed: u64,
    /// The time now.
    pub(super) sealed: i64,
}

/// Lines that become a block.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Whole lines.
    pub(super) bytes: Vec<u8>,
    /// How many.
    pub(super) count: u32,
    span: Option<(i64, i64)>,
}

impl Lines {
    /// Counts a line that was added, of a record of `time`.
    pub(super) fn added(&mut self, time: i64) {
        self.count += 1;
        let (earliest, latest) = self.span.unwrap_or((time, time));
        self.span = Some((earliest.min(time), latest.max(time)));
    }
}

/// Makes blocks of lines.
pub(super) struct Packer(bulk::Compressor<'static>);

impl Packer {
    pub(super) fn new() -> io::Result<Self> {
        bulk::Compressor::with_dictionary(LEVEL, DICTIONARY).map(Self)
    }

    /// Appends `lines` to `out` as a block, and forgets them.
    pub(super) fn pack(
        &mut self,
        lines: &mut Lines,
        place: Place,
        out: &mut Vec<u8>,
    ) -> io::Result<BlockHead> {
        let payload = if lines.bytes.is_empty() { Vec::new() } else { self.0.compress(&lines.bytes)? };
        let (earliest, latest) = lines.span.unwrap_or((place.sealed, place.sealed));
        let head = BlockHead {
            length: length(&payload)?,
            crc: crc32c::crc32c(&payload),
            raw_length: length(&lines.bytes)?,
            count: lines.count,
            number: place.number,
            first_seq: place.first_seq,
            earliest,
            latest,
            sealed: place.sealed,
            digest: digest(&payload),
            previous: place.previous,
            signed: place.signed,
        };
        out.extend_from_slice(&head.to_bytes());
        out.extend_from_slice(&payload);
        lines.bytes.clear();
        (lines.count, lines.span) = (0, None);
        Ok(head)
    }
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packer").finish_non_exhaustive()
    }
}

/// Makes lines of blocks.
pub(super) struct Unpacker(bulk::Decompressor<'static>);

impl Unpacker {
    pub(super) fn new() -> io::Result<Self> {
        bulk::Decompressor::with_dictionary(DICTIONARY).map(Self)
    }

    /// Puts the lines of a block into `lines`; whether they are what its head says.
    pub(super) fn unpack(&mut self, head: BlockHead, payload: &[u8], lines: &mut Vec<u8>) -> bool {
        lines.clear();
        if head.is_end() {
            return payload.is_empty();
        }
        if crc32c::crc32c(payload) != head.crc || head.raw_length > PAYLOAD_LIMIT {
            return false;
        }
        lines.reserve(head.raw_length as usize);
        let length = self.0.decompress_to_buffer(payload, lines);
        length.is_ok_and(|length| length == head.raw_length as usize) && lines.last() == Some(&b'\n')
    }
}

impl std::fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unpacker").finish_non_exhaustive()
    }
}

/// The SHA-256 of a payload.
pub(super) fn digest(payload: &[u8]) -> Hash {
    Hash(Sha256::digest(payload).into())
}

fn length(bytes: &[u8]) -> io::Result<u32> {
    u32::try_from(bytes.len())
        .ok()
        .filter(|&length| length <= PAYLOAD_LIMIT)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a block of access records is too long"))
}
