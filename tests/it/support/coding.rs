//! Content codings, by the libraries that peers use.

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

/// The body in this coding. `raw` is deflate without the zlib header, which some servers send.
pub(crate) fn encode(coding: &str, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let best = Compression::best();
    match coding {
        "gzip" | "x-gzip" => GzEncoder::new(&mut out, best).write_all(bytes).unwrap(),
        "deflate" => ZlibEncoder::new(&mut out, best).write_all(bytes).unwrap(),
        "raw" => DeflateEncoder::new(&mut out, best).write_all(bytes).unwrap(),
        "br" => brotli::CompressorWriter::new(&mut out, 4096, 5, 22).write_all(bytes).unwrap(),
        "zstd" => zstd::stream::copy_encode(bytes, &mut out, 3).unwrap(),
        _ => panic!("no coding: {coding}"),
    }
    out
}

/// A whole body in this coding, decoded; fails if anything is missing or too much.
#[track_caller]
pub(crate) fn decode(coding: &str, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match coding {
        "gzip" => GzDecoder::new(bytes).read_to_end(&mut out).map(drop),
        "br" => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut out).map(drop),
        "zstd" => zstd::stream::copy_decode(bytes, &mut out),
        _ => panic!("no coding: {coding}"),
    }
    .unwrap_or_else(|error| panic!("{coding}: {error}"));
    out
}

/// As much as can be decoded of a body that goes on.
pub(crate) fn decode_begun(coding: &str, bytes: &[u8]) -> Vec<u8> {
    match coding {
        "gzip" => {
            let mut decoder = flate2::write::GzDecoder::new(Vec::new());
            decoder.write_all(bytes).unwrap();
            decoder.flush().unwrap();
            std::mem::take(decoder.get_mut())
        }
        "br" => {
            let mut out = Vec::new();
            let mut decoder = brotli::DecompressorWriter::new(&mut out, 4096);
            decoder.write_all(bytes).unwrap();
            decoder.flush().unwrap();
            decoder.get_ref().to_vec()
        }
        "zstd" => {
            let mut decoder = zstd::stream::write::Decoder::new(Vec::new()).unwrap();
            decoder.write_all(bytes).unwrap();
            decoder.flush().unwrap();
            decoder.get_ref().clone()
        }
        _ => panic!("no coding: {coding}"),
    }
}
