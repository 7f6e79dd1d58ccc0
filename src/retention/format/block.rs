//! Blocks: rows, compressed together.
//!
//! Each block is compressed by itself (zstd), so that a damaged block costs no other. A dictionary of common
//! texts, such as browser names, is part of the format: without it, the small blocks of a quiet edge would
//! not compress.

use std::io;

use sha2::{Digest, Sha256};
use tlog_tiles::Hash;
use zstd::bulk;

use crate::retention::format::rows::Rows;
use crate::retention::format::{BlockHead, PAYLOAD_LIMIT};

/// The raw dictionary of format version 2. It must never change.
const DICTIONARY: &[u8] = include_bytes!("dictionary.txt");
/// The zstd level of small blocks, which use the dictionary.
const LEVEL: i32 = 1;
/// The zstd level of large blocks. Rows already leave out most repetition, so higher levels cost more than
/// they save.
const LARGE_LEVEL: i32 = -3;
/// Bytes of rows from which a block is large: it repeats enough within itself to need no dictionary.
const LARGE: usize = 4 * 1024;

/// The position of a new block in its store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) number: u64,
    pub(crate) first_seq: u64,
    pub(crate) previous: Hash,
    /// How many blocks the newest checkpoint covers.
    pub(crate) signed: u64,
    /// The time of sealing, in milliseconds since 1970.
    pub(crate) sealed: i64,
}

pub(crate) struct Packer {
    small: bulk::Compressor<'static>,
    large: bulk::Compressor<'static>,
    /// A buffer for the payload, reused.
    payload: Vec<u8>,
}

impl Packer {
    pub(crate) fn new() -> io::Result<Self> {
        let small = bulk::Compressor::with_dictionary(LEVEL, DICTIONARY)?;
        Ok(Self { small, large: bulk::Compressor::new(LARGE_LEVEL)?, payload: Vec::new() })
    }

    fn compress(&mut self, raw: &[u8]) -> io::Result<&[u8]> {
        self.payload.clear();
        if !raw.is_empty() {
            self.payload.reserve(zstd::zstd_safe::compress_bound(raw.len()));
            let compressor = if raw.len() < LARGE { &mut self.small } else { &mut self.large };
            compressor.compress_to_buffer(raw, &mut self.payload)?;
        }
        Ok(&self.payload)
    }

    /// Appends `rows` to `out` as a block, and clears them.
    pub(crate) fn pack(&mut self, rows: &mut Rows, place: Place, out: &mut Vec<u8>) -> io::Result<BlockHead> {
        let raw = rows.bytes();
        let payload = self.compress(raw)?;
        let (earliest, latest) = rows.span().unwrap_or((place.sealed, place.sealed));
        let head = BlockHead {
            length: length(payload)?,
            crc: crc32c::crc32c(payload),
            raw_length: length(raw)?,
            count: rows.count(),
            number: place.number,
            first_seq: place.first_seq,
            earliest,
            latest,
            sealed: place.sealed,
            digest: digest(payload),
            previous: place.previous,
            signed: place.signed,
        };
        out.extend_from_slice(&head.to_bytes());
        out.extend_from_slice(payload);
        rows.clear();
        Ok(head)
    }
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packer").finish_non_exhaustive()
    }
}

pub(crate) struct Unpacker(bulk::Decompressor<'static>);

impl Unpacker {
    pub(crate) fn new() -> io::Result<Self> {
        bulk::Decompressor::with_dictionary(DICTIONARY).map(Self)
    }

    /// Decompresses a block into `rows`; `false` if the payload does not match the head.
    pub(crate) fn unpack(&mut self, head: BlockHead, payload: &[u8], rows: &mut Vec<u8>) -> bool {
        rows.clear();
        if head.is_end() {
            return payload.is_empty();
        }
        if crc32c::crc32c(payload) != head.crc || head.raw_length > PAYLOAD_LIMIT {
            return false;
        }
        rows.reserve(head.raw_length as usize);
        let length = self.0.decompress_to_buffer(payload, rows);
        length.is_ok_and(|length| length == head.raw_length as usize)
    }
}

impl std::fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unpacker").finish_non_exhaustive()
    }
}

pub(crate) fn digest(payload: &[u8]) -> Hash {
    Hash(Sha256::digest(payload).into())
}

fn length(bytes: &[u8]) -> io::Result<u32> {
    u32::try_from(bytes.len())
        .ok()
        .filter(|&length| length <= PAYLOAD_LIMIT)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a block of access records is too long"))
}
