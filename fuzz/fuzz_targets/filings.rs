//! No allowlist makes the parser panic, and one without problems has a value.

#![no_main]

use std::path::Path;

use icpgate::config::filings::parse;
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let loaded = parse(Path::new("filings.yaml"), bytes, Timestamp::UNIX_EPOCH);
    assert_eq!(loaded.value.is_some(), loaded.problems.is_empty());
});
