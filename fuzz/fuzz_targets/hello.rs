//! A ClientHello is parsed alike as a whole and byte by byte.

#![no_main]

use icpgate::listen::hello::{HelloReader, HelloProgress};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let whole = HelloReader::default().advance(bytes);
    let mut reader = HelloReader::default();
    let split = bytes
        .iter()
        .map(|byte| reader.advance(std::slice::from_ref(byte)))
        .find(|progress| *progress != HelloProgress::Wanting);
    assert_eq!(whole, split.unwrap_or(HelloProgress::Wanting));
});
