//! Informational heads before a response (RFC 9110, 15.2): how many a server may send, over either protocol.

use super::{BadMessage, ResponseHead};

/// The most heads before a response. Servers send one or two.
const HEADS: u32 = 16;
/// The most bytes of all of them, names and values: each is passed on, and a slow client leaves them in memory.
const BYTES: usize = 64 * 1024;

/// Counts the informational heads of one response.
#[derive(Clone, Copy, Debug, Default)]
pub struct InterimHeads {
    heads: u32,
    bytes: usize,
}

impl InterimHeads {
    /// Counts one more head, unless it exceeds a limit.
    pub fn count(&mut self, head: &ResponseHead) -> Result<(), BadMessage> {
        self.heads += 1;
        self.bytes +=
            head.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>();
        if self.heads > HEADS || self.bytes > BYTES { Err(BadMessage::Syntax) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, StatusCode, Version, header};

    use super::*;

    #[test]
    fn heads_are_limited_by_count_and_by_bytes() {
        let head = |length: usize| {
            let value = HeaderValue::try_from("l".repeat(length)).expect("a value");
            let headers = HeaderMap::from_iter([(header::LINK, value)]);
            ResponseHead { status: StatusCode::EARLY_HINTS, version: Version::HTTP_11, headers }
        };
        let counted = |length: usize| {
            let mut interim = InterimHeads::default();
            (0..100).take_while(|_| interim.count(&head(length)).is_ok()).count()
        };
        assert_eq!(counted(10), 16);
        assert_eq!(counted(BYTES / 4), 3);
    }
}
