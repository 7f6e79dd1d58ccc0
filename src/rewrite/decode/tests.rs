use std::io::Write;

use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use flate2::{Compression, GzBuilder};
use proptest::prelude::*;

use super::*;

const CODINGS: [Coding; 4] = [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd];

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn brotli(bytes: &[u8], window: u32) -> Vec<u8> {
    let mut out = Vec::new();
    brotli::CompressorWriter::new(&mut out, 4096, 5, window).write_all(bytes).unwrap();
    out
}

fn zstd(bytes: &[u8], window: u32) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.window_log(window).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn encode(coding: Coding, bytes: &[u8]) -> Vec<u8> {
    match coding {
        Coding::Gzip => gzip(bytes),
        Coding::Deflate => zlib(bytes),
        Coding::Brotli => brotli(bytes, 22),
        Coding::Zstd => zstd(bytes, 20),
    }
}

/// Lines that differ, so that there is something to compress and something that does not.
fn page() -> Vec<u8> {
    let lines =
        (0..400u32).map(|line| format!("<p>line {line} {:x}</p>\n", line.wrapping_mul(2_654_435_761)));
    lines.collect::<String>().into_bytes()
}

/// What came out, and whether that is all of the page; `None` if it cannot be decoded.
fn decode<'a>(coding: Coding, chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, Option<bool>) {
    let (mut decoder, mut out) = (Decoder::new(coding), Vec::new());
    for chunk in chunks {
        decoder.feed(Bytes::copy_from_slice(chunk));
        while !decoder.is_hungry() {
            let Ok(piece) = decoder.step() else {
                assert!(!decoder.is_whole());
                return (out, None);
            };
            assert!(piece.len() <= PIECE);
            out.extend_from_slice(&piece);
        }
        assert_eq!(decoder.step(), Ok(Bytes::new()), "it is hungry");
    }
    (out, Some(decoder.is_whole()))
}

#[track_caller]
fn check(coding: Coding, encoded: &[u8], expected: &[u8]) {
    let (out, is_whole) = decode(coding, [encoded]);
    assert_eq!((out == expected, is_whole), (true, Some(true)), "{coding:?}, at once");
    let (out, is_whole) = decode(coding, encoded.chunks(1));
    assert_eq!((out == expected, is_whole), (true, Some(true)), "{coding:?}, byte by byte");
}

#[test]
fn a_page_does_not_depend_on_how_it_was_cut() {
    let page = page();
    for coding in CODINGS {
        let encoded = encode(coding, &page);
        check(coding, &encoded, &page);
        for place in 0..=encoded.len() {
            let (first, second) = encoded.split_at(place);
            assert!(
                decode(coding, [first, second]) == (page.clone(), Some(true)),
                "{coding:?} cut at {place}"
            );
        }
    }
}

#[test]
fn a_page_that_breaks_off_is_never_whole() {
    let page = page();
    for coding in CODINGS {
        let encoded = encode(coding, &page);
        for length in 1..encoded.len() {
            let (out, is_whole) = decode(coding, [&encoded[..length]]);
            assert!(page.starts_with(&out), "{coding:?}, {length} bytes");
            assert_eq!(is_whole, Some(false), "{coding:?}, {length} bytes");
        }
        assert_eq!(decode(coding, []), (Vec::new(), Some(true)), "{coding:?}, no bytes");
        check(coding, &encode(coding, b""), b"");
    }
}

#[test]
fn what_came_is_decoded_before_more_comes() {
    let page = page();
    let flushed: [(Coding, Vec<u8>); 3] = [
        (Coding::Gzip, {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(&page).unwrap();
            encoder.flush().unwrap();
            encoder.get_ref().clone()
        }),
        (Coding::Brotli, {
            let mut out = Vec::new();
            let mut encoder = brotli::CompressorWriter::new(&mut out, 4096, 5, 22);
            encoder.write_all(&page).unwrap();
            encoder.flush().unwrap();
            encoder.get_ref().to_vec()
        }),
        (Coding::Zstd, {
            let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
            encoder.write_all(&page).unwrap();
            encoder.flush().unwrap();
            encoder.get_ref().clone()
        }),
    ];
    for (coding, begun) in flushed {
        assert!(decode(coding, [&*begun]) == (page.clone(), Some(false)), "{coding:?}");
    }
}

#[test]
fn deflate_may_come_without_its_frame() {
    let page = page();
    check(Coding::Deflate, &zlib(&page), &page);
    check(Coding::Deflate, &deflate(&page), &page);
    check(Coding::Deflate, &deflate(b""), b"");
    // A stored block.
    let mut stored = DeflateEncoder::new(Vec::new(), Compression::none());
    stored.write_all(&page).unwrap();
    check(Coding::Deflate, &stored.finish().unwrap(), &page);
}

#[test]
fn gzip_may_have_a_long_head() {
    let page = page();
    let head = GzBuilder::new().filename("index.html").comment("made by hand").extra(vec![7; 3000]).mtime(1);
    let mut encoder = head.write(Vec::new(), Compression::best());
    encoder.write_all(&page).unwrap();
    check(Coding::Gzip, &encoder.finish().unwrap(), &page);
}

#[test]
fn streams_that_follow_one_another_are_one_page() {
    let page = page();
    let (first, second) = page.split_at(1234);
    for coding in [Coding::Gzip, Coding::Zstd] {
        let encoded = [encode(coding, first), encode(coding, b""), encode(coding, second)].concat();
        check(coding, &encoded, &page);
        let begun = decode(coding, [&encoded[..encoded.len() - 1]]);
        assert_eq!(begun.1, Some(false), "{coding:?}");
    }
    // A skippable frame.
    let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3], &*zstd(&page, 20)].concat();
    check(Coding::Zstd, &skipped, &page);
}

#[test]
fn what_stands_behind_the_end_is_ignored_where_browsers_do() {
    let page = page();
    for coding in [Coding::Gzip, Coding::Deflate, Coding::Brotli] {
        for garbage in [&b"\0"[..], b"\x1f", b"\0\0\0\0", b"garbage"] {
            check(coding, &[&*encode(coding, &page), garbage].concat(), &page);
        }
    }
    // The beginning of a second member, or frame, is none.
    let second = [&*gzip(&page), &GZIP_MAGIC].concat();
    assert_eq!(decode(Coding::Gzip, [&*second]).1, Some(false));
    assert_eq!(decode(Coding::Zstd, [&*zstd(&page, 20), b"garbage"]).1, None);
}

#[test]
fn what_is_not_in_its_coding_is_told() {
    let page = page();
    for coding in [Coding::Gzip, Coding::Zstd] {
        assert_eq!(decode(coding, [&*page]), (Vec::new(), None), "{coding:?}");
    }
    for coding in [Coding::Gzip, Coding::Deflate, Coding::Zstd] {
        // Checked by a sum at the end.
        let mut encoded = encode(coding, &page);
        *encoded.iter_mut().nth_back(if coding == Coding::Gzip { 5 } else { 0 }).unwrap() ^= 1;
        let (out, is_whole) = decode(coding, [&*encoded]);
        assert!(page.starts_with(&out), "{coding:?}");
        assert_eq!(is_whole, None, "{coding:?}");
    }
    let with_dictionary = [0x78, 0xbb, 0, 0, 0, 1];
    assert_eq!(decode(Coding::Deflate, [&with_dictionary[..]]).1, None);
}

/// The formats before zstd 1.0 have decoders of their own, which another crate may switch on.
#[test]
fn only_frames_of_todays_zstd_reach_its_decoder() {
    let before_its_first_version = (0x22..=0x27).map(|first| [first, 0xb5, 0x2f, 0xfd]);
    for magic in before_its_first_version.chain([[0x1e, 0xb5, 0x2f, 0xfd]]) {
        assert!(!is_zstd(&magic), "{magic:x?}");
        assert_eq!(decode(Coding::Zstd, [&magic[..]]), (Vec::new(), None), "{magic:x?}");
        let behind_a_frame = [&*zstd(b"page", 20), &magic].concat();
        assert_eq!(decode(Coding::Zstd, [&*behind_a_frame]), (b"page".to_vec(), None), "{magic:x?}");
    }
    for first in 0x50..=0x5f {
        assert!(is_zstd(&[first, 0x2a, 0x4d, 0x18]), "{first:x}");
    }
    assert!(is_zstd(&zstd(b"", 20)) && !is_zstd(&[0x28, 0xb5, 0x2f]));
}

#[test]
fn a_window_that_is_larger_than_a_page_may_need_is_refused() {
    let page = vec![b'x'; 9 << 20];
    assert!(decode(Coding::Zstd, [&*zstd(&page, ZSTD_WINDOW)]) == (page.clone(), Some(true)));
    assert_eq!(decode(Coding::Zstd, [&*zstd(&page, ZSTD_WINDOW + 1)]), (Vec::new(), None));
    check(Coding::Brotli, &brotli(&page[..5000], 24), &page[..5000]);
    // A large window, of 30 bits.
    let large = [0b0001_0001, 30, 0, 0, 0];
    assert_eq!(decode(Coding::Brotli, [&large[..]]), (Vec::new(), None));
}

#[test]
fn a_page_that_unpacks_to_a_thousand_times_its_size_comes_out_in_pieces() {
    let page = vec![0; 16 << 20];
    for coding in CODINGS {
        let bomb = encode(coding, &page);
        assert!(bomb.len() * 900 < page.len(), "{coding:?}: {}", bomb.len());
        let mut decoder = Decoder::new(coding);
        decoder.feed(bomb.into());
        let (mut length, mut steps) = (0, 0);
        while !decoder.is_hungry() {
            let piece = decoder.step().unwrap();
            assert!(piece.len() <= PIECE && decoder.room.len() <= PIECE);
            length += piece.len();
            steps += 1;
        }
        assert!(decoder.is_whole(), "{coding:?}");
        assert_eq!(length, page.len(), "{coding:?}");
        assert!(steps < 2 * length / PIECE, "{coding:?}: {steps} steps");
    }
}

#[test]
fn little_is_read_at_once() {
    // Of nothing but beginnings and ends of streams, nothing comes out.
    let members = gzip(b"").repeat(10_000);
    let mut decoder = Decoder::new(Coding::Gzip);
    decoder.feed(members.into());
    while !decoder.is_hungry() {
        let before = decoder.input.len();
        assert_eq!(decoder.step(), Ok(Bytes::new()));
        assert!(before - decoder.input.len() <= PIECE);
    }
    assert!(decoder.is_whole());
}

/// The same page, cut in two ways, is whole in both or in none; but a block of br that is longer than it says is noticed
/// only where a cut makes the decoder look.
#[track_caller]
fn check_alike(coding: Coding, one: (Vec<u8>, Option<bool>), other: (Vec<u8>, Option<bool>)) {
    let is_whole = [one.1, other.1].map(|is_whole| is_whole == Some(true));
    assert!(is_whole[0] == is_whole[1] || coding == Coding::Brotli, "{coding:?}: {is_whole:?}");
    assert!(is_whole != [true, true] || one.0 == other.0, "{coding:?}");
}

fn codings() -> impl Strategy<Value = Coding> {
    prop::sample::select(&CODINGS[..])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_it_panic(coding in codings(), bytes in prop::collection::vec(any::<u8>(), 0..2000), cut in 1usize..99) {
        check_alike(coding, decode(coding, [&*bytes]), decode(coding, bytes.chunks(cut)));
    }

    #[test]
    fn a_page_that_was_damaged_does_not_make_it_panic(
        coding in codings(),
        damages in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in 1usize..999,
    ) {
        let mut encoded = encode(coding, &page());
        for (place, byte) in damages {
            *place.get_mut(&mut encoded) = byte;
        }
        check_alike(coding, decode(coding, [&*encoded]), decode(coding, encoded.chunks(cut)));
    }

    #[test]
    fn what_was_encoded_comes_back(
        coding in codings(),
        bytes in prop::collection::vec(any::<u8>(), 0..50),
        times in 1usize..3000,
        cut in 1usize..99,
    ) {
        let page = bytes.repeat(times);
        let encoded = encode(coding, &page);
        prop_assert!(decode(coding, encoded.chunks(cut)) == (page, Some(true)));
    }
}

#[test]
fn the_window_of_a_zstd_frame_is_known_from_its_head() {
    let frame = |rest: &[u8]| [&ZSTD_MAGIC[..], rest].concat();
    const MIB: usize = 1 << 20;
    assert_eq!(zstd_window(&frame(&[0x00, 0x58])), 2 * MIB);
    assert_eq!(zstd_window(&frame(&[0x00, 0x59])), 2 * MIB + 2 * MIB / 8);
    assert_eq!(zstd_window(&frame(&[0x20, 100])), 100, "all of it is one segment");
    assert_eq!(
        zstd_window(&frame(&[0xa1, 7, 0x00, 0x00, 0x10, 0x00])),
        MIB,
        "behind the number of a dictionary"
    );
    for unknown in [&[][..], &[0x00], &[0xe0, 1], &[0x00, 0xff]] {
        assert_eq!(zstd_window(&frame(unknown)), 8 * MIB, "{unknown:?}");
    }
}

#[test]
fn a_decoder_says_what_it_holds() {
    let page = vec![b'x'; 3 << 20];
    for (coding, least) in [
        (Coding::Gzip, 32 << 10),
        (Coding::Deflate, 32 << 10),
        (Coding::Brotli, 1 << 16),
        (Coding::Zstd, 1 << 16),
    ] {
        let mut decoder = Decoder::new(coding);
        assert_eq!(decoder.bytes(), 0, "{coding:?}");
        decoder.feed(encode(coding, &page).into());
        decoder.step().expect("a piece");
        assert!((least..20 << 20).contains(&decoder.bytes()), "{coding:?}: {}", decoder.bytes());
    }
}
