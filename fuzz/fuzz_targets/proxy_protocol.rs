//! A PROXY header is parsed alike as a whole and from every prefix, and the bytes after it are not
//! read.

#![no_main]

use icpgate::net::proxy_protocol::{HeaderProgress, read, write};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let whole = read(bytes);
    let decided = (0..=bytes.len()).find(|length| read(&bytes[..*length]) != HeaderProgress::Wanting);
    assert_eq!(decided.map_or(HeaderProgress::Wanting, |length| read(&bytes[..length])), whole);
    if let HeaderProgress::Whole(source, length) = whole {
        assert_eq!(decided, Some(length));
        if let icpgate::net::proxy_protocol::ConnectionSource::Client(client) = source {
            let again = write(client, client);
            assert_eq!(read(&again), HeaderProgress::Whole(source, again.len()));
        }
    }
});
