//! The end of a head does not depend on how its bytes arrive, and no head makes the parser panic.

#![no_main]

use icpgate::listen::requested_host::{host_as_sent, requested_host};
use icpgate::message::fields::EndOfHead;
use icpgate::message::request::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let end = EndOfHead::default().find(bytes);
    let mut growing = EndOfHead::default();
    assert_eq!(end, (0..=bytes.len()).find_map(|length| growing.find(&bytes[..length])));
    let bytes = bytes[..end.unwrap_or(bytes.len())].to_vec().into();
    if let Ok(request) = parse(&bytes) {
        let _ = (requested_host(&request.head, None), host_as_sent(&request.head));
    }
});
