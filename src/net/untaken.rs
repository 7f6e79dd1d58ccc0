//! Requests over HTTP/2 that the framing refuses before anybody sees them.
//!
//! A stream whose HEADERS have come is untaken until it is handed out as a request. One that is reset or answered while it is untaken
//! was refused.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use super::field_count::FieldCount;
use super::frame_budget::{FrameBudget, Peer};
use super::frames::{CONTINUATION, DATA, END_HEADERS, FrameHeader, FrameHeaders, HEADERS, RST_STREAM, Seen};
use super::held::Held;

/// The most streams that are followed: more than one read of a connection holds.
const STREAMS: usize = 4096;
/// Bytes that are read in one turn of a connection, before others have theirs.
const TURN_BYTES: usize = 256 * 1024;
/// Heads that are read in one turn: they are decoded, and held until they are taken.
const TURN_HEADS: usize = 8;
/// A head of one frame of this size is small whatever its fields are: it is not counted before it is decoded.
const SMALL_HEAD: u32 = 512;
/// The most fields of a head, and of trailers: twice what a request may have. Up to there it is answered 431.
const FIELDS: usize = 256;
const TRAILER_FIELDS: usize = 128;
/// What the map of trailers takes beside their bytes.
const TRAILERS: usize = 8 * 1024;

/// How a request was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refused {
    /// Its stream was reset.
    Reset,
    /// Its head is larger than the limit: it was answered 431.
    TooLarge,
    /// The connection ended with it.
    Connection,
    /// The client sent too many frames that move no message, or too many fields; its connection was closed.
    Flood,
}

impl Refused {
    /// Every way.
    pub const ALL: [Self; 4] = [Self::Reset, Self::TooLarge, Self::Connection, Self::Flood];

    /// The word for it in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::TooLarge => "too_large",
            Self::Connection => "connection",
            Self::Flood => "flood",
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
    budget: FrameBudget,
    turn: Turn,
    /// The fields of the head that comes, and how many it may have.
    block: Option<(FieldCount, usize)>,
    held: Held,
}

/// A request of the connection, until it is dropped: what it makes the h2 crate hold.
#[derive(Debug)]
pub struct StreamUse {
    untaken: Untaken,
    stream: u32,
}

/// What was read since the requests before were taken.
#[derive(Debug, Default)]
struct Turn {
    bytes: usize,
    heads: usize,
    /// More was to be read, and waits for the next turn.
    over: bool,
}

/// What a connection has to do when it has no request to take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next {
    /// Wait for the client.
    Wait,
    /// Read on after others had their turn.
    Yield,
    /// Record what was refused.
    Record,
    /// Close: the client floods it.
    Close,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            from_client: FrameHeaders::of_client(),
            to_client: FrameHeaders::of_server(),
            newest: 0,
            untaken: BTreeSet::new(),
            refused: Vec::new(),
            budget: FrameBudget::new(Peer::Client),
            turn: Turn::default(),
            block: None,
            held: Held::default(),
        }
    }
}

impl Untaken {
    /// Follows bytes of the client.
    pub(super) fn came(&self, bytes: &[u8]) {
        self.with(|streams| {
            let mut from_client = std::mem::replace(&mut streams.from_client, FrameHeaders::of_server());
            from_client.observe_all(bytes, |seen| match seen {
                Seen::Header(frame) => streams.frame_came(frame),
                Seen::Payload(payload) => streams.payload_came(payload),
            });
            streams.from_client = from_client;
            streams.turn.bytes += bytes.len();
        });
    }

    /// Follows bytes to the client.
    pub(super) fn went(&self, bytes: &[u8]) {
        self.with(|streams| {
            let Streams { to_client, untaken, refused, budget, held, .. } = streams;
            to_client.observe(bytes, |frame @ FrameHeader { kind, stream, length, .. }| {
                budget.sent(frame);
                match kind {
                    DATA => held.sent(stream, length as usize),
                    HEADERS if untaken.remove(&stream) => refused.push(Refused::TooLarge),
                    RST_STREAM => {
                        if untaken.remove(&stream) {
                            refused.push(Refused::Reset);
                        }
                        held.reset(stream);
                    }
                    _ => {}
                }
            });
        });
    }

    /// The stream was handed out as a request.
    pub fn taken(&self, stream: u32) {
        self.with(|streams| streams.untaken.remove(&stream));
    }

    /// Begins a request with a head of that many bytes; `None` if the heads of others leave no room for it.
    pub fn begin(&self, stream: u32, head: usize) -> Option<StreamUse> {
        self.with(|streams| streams.held.open(stream, head))
            .then(|| StreamUse { untaken: self.clone(), stream })
    }

    /// Bytes that the h2 crate holds for the connection.
    pub fn held(&self) -> usize {
        self.with(|streams| streams.held.bytes())
    }

    /// Whether more may be read in this turn. If not, reading goes on after [`Self::next`].
    pub(super) fn may_read(&self) -> bool {
        self.with(|Streams { turn, budget, .. }| {
            turn.over = turn.bytes >= TURN_BYTES || turn.heads >= TURN_HEADS || budget.is_exhausted();
            !turn.over
        })
    }

    /// Whether the client sent more frames than it may.
    pub(super) fn is_flooded(&self) -> bool {
        self.with(|streams| streams.budget.is_exhausted())
    }

    /// What to do next, once all requests were taken. A turn that is over ends here.
    pub fn next(&self) -> Next {
        self.with(|streams| {
            let turn = std::mem::take(&mut streams.turn);
            if streams.budget.is_exhausted() {
                Next::Close
            } else if !streams.refused.is_empty() {
                Next::Record
            } else if turn.over {
                Next::Yield
            } else {
                Next::Wait
            }
        })
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

impl Streams {
    fn frame_came(&mut self, frame: FrameHeader) {
        let FrameHeader { kind, flags, stream, length } = frame;
        self.budget.received(frame);
        match kind {
            DATA => self.body_came(stream, length as usize),
            HEADERS => self.head_came(stream, flags, length),
            CONTINUATION => {
                // Of trailers: a head is of no open stream.
                self.body_came(stream, length as usize);
                if let Some((block, _)) = &mut self.block {
                    block.go_on(length);
                }
                return;
            }
            // The client has taken it back.
            RST_STREAM => {
                self.untaken.remove(&stream);
                self.held.reset(stream);
            }
            _ => {}
        }
        if kind != HEADERS {
            self.block = None;
        }
    }

    fn head_came(&mut self, stream: u32, flags: u8, length: u32) {
        // Later ones of a stream are trailers.
        let is_request = stream > self.newest;
        self.turn.heads += 1;
        let is_small = is_request && length <= SMALL_HEAD && flags & END_HEADERS != 0;
        let most = if is_request { FIELDS } else { TRAILER_FIELDS };
        self.block = (!is_small).then(|| (FieldCount::begin(flags, length), most));
        if is_request {
            self.newest = stream;
            if self.untaken.len() >= STREAMS {
                self.untaken.pop_first();
            }
            self.untaken.insert(stream);
        } else {
            self.body_came(stream, length as usize + TRAILERS);
        }
    }

    fn body_came(&mut self, stream: u32, bytes: usize) {
        if !self.held.came(stream, bytes) {
            self.budget.exhaust();
        }
    }

    fn payload_came(&mut self, payload: &[u8]) {
        if let Some((block, most)) = &mut self.block {
            block.observe(payload);
            if block.fields() > *most {
                self.budget.exhaust();
            }
        }
    }
}

impl StreamUse {
    /// A frame of the request's body was read, with that many bytes.
    pub(crate) fn read(&self, bytes: usize) {
        self.untaken.with(|streams| streams.held.read(self.stream, bytes));
    }

    /// How many bytes of the answer may be queued now; at least one.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<usize> {
        self.untaken.with(|streams| streams.held.poll_room(self.stream, cx))
    }

    /// Bytes of the answer were queued.
    pub(crate) fn queued(&self, bytes: usize) {
        self.untaken.with(|streams| streams.held.queued(self.stream, bytes));
    }

    /// How much of the answer may be read at once.
    pub(crate) fn piece(&self) -> usize {
        self.untaken.with(|streams| streams.held.piece())
    }
}

impl Drop for StreamUse {
    fn drop(&mut self) {
        self.untaken.with(|streams| streams.held.close(self.stream));
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
