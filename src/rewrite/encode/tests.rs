use std::io::Read;

use proptest::prelude::*;

use super::*;

fn decode(encoding: Encoding, encoded: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match encoding {
        Encoding::Brotli => brotli::Decompressor::new(encoded, 4096).read_to_end(&mut out).map(drop),
        Encoding::Zstd => zstd::stream::copy_decode(encoded, &mut out),
        Encoding::Gzip => flate2::read::GzDecoder::new(encoded).read_to_end(&mut out).map(drop),
    }
    .unwrap_or_else(|error| panic!("{encoding:?}: {error}"));
    out
}

/// What can be decoded of a stream that goes on.
fn decode_begun(encoding: Encoding, encoded: &[u8]) -> Vec<u8> {
    let coding = match encoding {
        Encoding::Brotli => crate::rewrite::Coding::Brotli,
        Encoding::Zstd => crate::rewrite::Coding::Zstd,
        Encoding::Gzip => crate::rewrite::Coding::Gzip,
    };
    let (mut decoder, mut out) = (crate::rewrite::Decoder::new(coding), Vec::new());
    decoder.feed(Bytes::copy_from_slice(encoded));
    while !decoder.is_hungry() {
        out.extend_from_slice(&decoder.step().unwrap());
    }
    out
}

/// The encoded parts of a body, flushed after each one if it is to.
fn encode<'p>(encoding: Encoding, parts: impl IntoIterator<Item = &'p [u8]>, flushes: bool) -> Vec<u8> {
    let (mut encoder, mut out) = (Encoder::new(encoding).unwrap(), Vec::new());
    let mut put = |bytes: Bytes| out.extend_from_slice(&bytes);
    let mut taken = 0;
    for part in parts {
        encoder.push(part, &mut put).unwrap();
        taken += part.len();
        if flushes {
            encoder.flush(&mut put).unwrap();
        }
    }
    encoder.finish(&mut put).unwrap();
    assert_eq!(encoder.bytes(), EncodedBytes { encoding, taken: taken as u64, yielded: out.len() as u64 });
    out
}

/// Lines that differ, so that there is something to compress and something that does not.
fn page(lines: u32) -> Vec<u8> {
    let line = |line: u32| format!("<p>line {line} {:x}</p>\n", line.wrapping_mul(2_654_435_761));
    (0..lines).map(line).collect::<String>().into_bytes()
}

#[test]
fn every_split_of_a_small_body_decodes_to_it() {
    let body = page(30);
    for encoding in Encoding::ALL {
        for flushes in [false, true] {
            for place in 0..=body.len() {
                let (first, second) = body.split_at(place);
                let encoded = encode(encoding, [first, second], flushes);
                assert!(decode(encoding, &encoded) == body, "{encoding:?} cut at {place}, {flushes}");
            }
            for length in [1, 7, 100] {
                let encoded = encode(encoding, body.chunks(length), flushes);
                assert!(decode(encoding, &encoded) == body, "{encoding:?} by {length}, {flushes}");
            }
        }
    }
}

#[test]
fn bodies_of_every_small_length_and_of_some_large_ones() {
    let body = page(20_000);
    let large = [BROTLI_PIECE - 1, BROTLI_PIECE, BROTLI_PIECE + 1, 3 * BROTLI_PIECE + 7, body.len()];
    for encoding in Encoding::ALL {
        for length in (0..300).chain(large) {
            let encoded = encode(encoding, [&body[..length]], false);
            assert!(decode(encoding, &encoded) == body[..length], "{encoding:?}, {length} bytes");
            assert!(
                length < 300 || encoded.len() * 2 < length,
                "{encoding:?}: {} of {length}",
                encoded.len()
            );
        }
    }
}

#[test]
fn a_flush_yields_everything_that_was_pushed() {
    for encoding in Encoding::ALL {
        let (mut encoder, mut out) = (Encoder::new(encoding).unwrap(), Vec::new());
        let mut expected = Vec::new();
        for event in 0..200 {
            let event = format!("data: {event}\n\n");
            expected.extend_from_slice(event.as_bytes());
            assert!(!encoder.is_dirty());
            encoder.push(event.as_bytes(), &mut |bytes| out.extend_from_slice(&bytes)).unwrap();
            assert!(encoder.is_dirty());
            encoder.flush(&mut |bytes| out.extend_from_slice(&bytes)).unwrap();
            assert!(decode_begun(encoding, &out) == expected, "{encoding:?}");
            encoder.flush(&mut |bytes| panic!("a second flush yields {bytes:?}")).unwrap();
        }
    }
}

#[test]
fn output_leaves_in_pieces_of_a_bounded_size() {
    let noise: Vec<u8> = (0..1u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for encoding in Encoding::ALL {
        let (mut encoder, mut out) = (Encoder::new(encoding).unwrap(), Vec::new());
        let mut put = |bytes: Bytes| {
            assert!(!bytes.is_empty() && bytes.len() <= ROOM);
            out.extend_from_slice(&bytes);
        };
        encoder.push(&noise, &mut put).unwrap();
        encoder.finish(&mut put).unwrap();
        assert!(decode(encoding, &out) == noise, "{encoding:?}");
    }
}

/// The window that a decoder has to keep is what a browser accepts, and the context is bounded.
#[test]
fn zstd_keeps_less_than_the_limit() {
    let mut zstd = zstd().unwrap();
    let body = page(50_000);
    let mut room = vec![0; ROOM];
    let mut input = InBuffer::around(&body);
    while input.pos() < body.len() {
        let mut output = OutBuffer::around(&mut room[..]);
        zstd.compress_stream2(&mut output, &mut input, ZSTD_EndDirective::ZSTD_e_continue).unwrap();
    }
    println!("zstd holds {} bytes", zstd.sizeof());
    assert!(zstd.sizeof() + ROOM <= 256 << 10, "{}", zstd.sizeof());
}

fn encodings() -> impl Strategy<Value = Encoding> {
    prop::sample::select(&Encoding::ALL[..])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_pushed_comes_back(
        encoding in encodings(),
        bytes in prop::collection::vec(any::<u8>(), 0..80),
        times in 1usize..1000,
        cut in 1usize..5000,
        flushes in any::<bool>(),
    ) {
        let body = bytes.repeat(times);
        let cut = if flushes { cut.max(body.len() / 200) } else { cut };
        prop_assert!(decode(encoding, &encode(encoding, body.chunks(cut), flushes)) == body);
    }
}
