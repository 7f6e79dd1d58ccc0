//! The end of a head is found alike in growing bytes, and no head makes the parser panic.

#![no_main]

use icpgate::listen::head::parse;
use icpgate::message::fields::EndOfHead;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let end = EndOfHead::default().find(bytes);
    let mut growing = EndOfHead::default();
    assert_eq!(end, (0..=bytes.len()).find_map(|length| growing.find(&bytes[..length])));
    let _ = parse(&bytes[..end.unwrap_or(bytes.len())]);
});
