//! Decoding a content coding gives the same result however the input is cut, in bounded steps, and never panics.
//!
//! An overlong br block is only noticed if a cut makes the decoder look.

#![no_main]

use bytes::Bytes;
use icpgate::rewrite::{BadCoding, Coding, Decoder, PIECE};
use libfuzzer_sys::fuzz_target;

/// The checked length of a page: a short input may decode to gigabytes.
const MOST: usize = 4 << 20;

/// The decoded page of input in parts of `length`, if it is complete.
fn decode(coding: Coding, bytes: &[u8], length: usize) -> Result<Option<Vec<u8>>, BadCoding> {
    let (mut decoder, mut out) = (Decoder::new(coding), Vec::new());
    for part in bytes.chunks(length.max(1)) {
        decoder.feed(Bytes::copy_from_slice(part));
        while !decoder.is_hungry() {
            let piece = decoder.step()?;
            assert!(piece.len() <= PIECE);
            out.extend_from_slice(&piece);
            if out.len() >= MOST {
                return Ok(None);
            }
        }
    }
    Ok(decoder.is_whole().then_some(out))
}

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (kind, length, bytes) = input;
    let coding = match kind % 4 {
        0 => Coding::Gzip,
        1 => Coding::Deflate,
        2 => Coding::Brotli,
        _ => Coding::Zstd,
    };
    let whole = decode(coding, bytes, bytes.len()).ok().flatten();
    let cut = decode(coding, bytes, usize::from(length)).ok().flatten();
    assert!(whole == cut || (coding == Coding::Brotli && (whole.is_none() || cut.is_none())));
});
