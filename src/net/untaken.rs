//! Requests over HTTP/2 that the framing refuses before anybody sees them.
//!
//! A stream whose HEADERS have come is untaken until it is handed out as a request. One that is reset or answered while it is untaken
//! was refused.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::frames::{FrameHeader, FrameHeaders, HEADERS, RST_STREAM};

/// The most streams that are followed: more than one read of a connection holds.
const STREAMS: usize = 4096;

/// How a request was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refused {
    /// Its stream was reset.
    Reset,
    /// Its head is larger than the limit: it was answered 431.
    TooLarge,
    /// The connection ended with it.
    Connection,
}

impl Refused {
    /// Every way.
    pub const ALL: [Self; 3] = [Self::Reset, Self::TooLarge, Self::Connection];

    /// The word for it in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::TooLarge => "too_large",
            Self::Connection => "connection",
        }
    }
}

/// The untaken streams of a connection, shared by whoever carries its bytes and whoever takes its requests.
#[derive(Clone, Debug, Default)]
pub struct Untaken(Arc<Mutex<Streams>>);

#[derive(Debug)]
struct Streams {
    from_client: FrameHeaders,
    to_client: FrameHeaders,
    /// The newest stream that a client opened.
    newest: u32,
    untaken: BTreeSet<u32>,
    refused: Vec<Refused>,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            from_client: FrameHeaders::of_client(),
            to_client: FrameHeaders::of_server(),
            newest: 0,
            untaken: BTreeSet::new(),
            refused: Vec::new(),
        }
    }
}

impl Untaken {
    /// Follows bytes of the client.
    pub(super) fn came(&self, bytes: &[u8]) {
        self.with(|streams| {
            let Streams { from_client, newest, untaken, .. } = streams;
            from_client.observe(bytes, |FrameHeader { kind, stream, .. }| match kind {
                // Later ones of a stream are trailers.
                HEADERS if stream > *newest => {
                    *newest = stream;
                    if untaken.len() >= STREAMS {
                        untaken.pop_first();
                    }
                    untaken.insert(stream);
                }
                // The client has taken it back.
                RST_STREAM => {
                    untaken.remove(&stream);
                }
                _ => {}
            });
        });
    }

    /// Follows bytes to the client.
    pub(super) fn went(&self, bytes: &[u8]) {
        self.with(|streams| {
            let Streams { to_client, untaken, refused, .. } = streams;
            to_client.observe(bytes, |FrameHeader { kind, stream, .. }| match kind {
                HEADERS if untaken.remove(&stream) => refused.push(Refused::TooLarge),
                RST_STREAM if untaken.remove(&stream) => refused.push(Refused::Reset),
                _ => {}
            });
        });
    }

    /// The stream was handed out as a request.
    pub fn taken(&self, stream: u32) {
        self.with(|streams| streams.untaken.remove(&stream));
    }

    /// Whether something was refused since [`Self::refused`] was called.
    pub fn has_refused(&self) -> bool {
        self.with(|streams| !streams.refused.is_empty())
    }

    /// What was refused since the last call.
    pub fn refused(&self) -> Vec<Refused> {
        self.with(|streams| std::mem::take(&mut streams.refused))
    }

    /// The connection ends by an error of the client: whatever was not taken never will be.
    pub fn end(&self) {
        self.with(|streams| {
            let left = std::mem::take(&mut streams.untaken);
            streams.refused.extend(left.iter().map(|_| Refused::Connection));
        });
    }

    fn with<T>(&self, what: impl FnOnce(&mut Streams) -> T) -> T {
        what(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).expect("a short payload");
        [&[0, 0, length, kind, 4, 0, 0, 0, stream], payload].concat()
    }

    #[test]
    fn what_nobody_took_is_refused_however_bytes_are_split() {
        let came =
            [vec![b'.'; 24], frame(HEADERS, 1, b"a"), frame(HEADERS, 3, b"b"), frame(HEADERS, 5, b"c")];
        let later = [frame(HEADERS, 7, b""), frame(HEADERS, 9, b""), frame(RST_STREAM, 7, b"0000")];
        let went = [frame(HEADERS, 1, b"x"), frame(RST_STREAM, 3, b"0000"), frame(HEADERS, 5, b"y")];
        for size in 1..30 {
            let untaken = Untaken::default();
            came.concat().chunks(size).for_each(|bytes| untaken.came(bytes));
            untaken.taken(1);
            // Trailers of a request that was taken.
            frame(HEADERS, 1, b"").chunks(size).for_each(|bytes| untaken.came(bytes));
            went.concat().chunks(size).for_each(|bytes| untaken.went(bytes));
            assert_eq!(untaken.refused(), [Refused::Reset, Refused::TooLarge], "{size}");
            later.concat().chunks(size).for_each(|bytes| untaken.came(bytes));
            assert_eq!(untaken.refused(), []);
            untaken.end();
            assert_eq!(untaken.refused(), [Refused::Connection]);
        }
    }
}
