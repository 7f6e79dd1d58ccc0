//! A block: rows, compressed together.
//!
//! A block is compressed on its own (zstd), so that a damaged one costs no other. What records often
//! say, such as the names of browsers, is in a dictionary that belongs to the format: small blocks,
//! which a quiet edge writes, would not compress without it.

use std::io;

use sha2::{Digest, Sha256};
use tlog_tiles::Hash;
use zstd::bulk;

use crate::retention::format::rows::Rows;
use crate::retention::format::{BlockHead, PAYLOAD_LIMIT};

/// The dictionary of version 2 of the format, as raw content; never to be changed.
const DICTIONARY: &[u8] = include_bytes!("dictionary.txt");
/// How hard zstd tries on a block that is not large, which leans on the dictionary.
const LEVEL: i32 = 1;
/// How hard it tries on a large one, of a busy edge: rows leave out most of what repeats, so that
/// trying harder costs more than it saves.
const LARGE_LEVEL: i32 = -3;
/// Bytes of rows that make a block large. It finds in itself what the dictionary has.
const LARGE: usize = 4 * 1024;

/// Where a block stands in its store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Its number.
    pub(crate) number: u64,
    /// The number of its first record.
    pub(crate) first_seq: u64,
    /// The leaf hash of the block before.
    pub(crate) previous: Hash,
    /// How many blocks the checkpoint before it covers.
    pub(crate) signed: u64,
    /// The time now.
    pub(crate) sealed: i64,
}

/// Makes blocks of rows.
pub(crate) struct Packer {
    small: bulk::Compressor<'static>,
    large: bulk::Compressor<'static>,
    /// Room for a payload, used again and again.
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

    /// Appends `rows` to `out` as a block, and forgets them.
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

/// Makes rows of blocks.
pub(crate) struct Unpacker(bulk::Decompressor<'static>);

impl Unpacker {
    pub(crate) fn new() -> io::Result<Self> {
        bulk::Decompressor::with_dictionary(DICTIONARY).map(Self)
    }

    /// Puts the rows of a block into `rows`; whether they are what its head says.
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

/// The SHA-256 of a payload.
pub(crate) fn digest(payload: &[u8]) -> Hash {
    Hash(Sha256::digest(payload).into())
}

fn length(bytes: &[u8]) -> io::Result<u32> {
    u32::try_from(bytes.len())
        .ok()
        .filter(|&length| length <= PAYLOAD_LIMIT)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a block of access records is too long"))
}
