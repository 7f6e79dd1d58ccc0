//! Tracks an HTTP/2 client's frames: whether it has started a frame or header block without finishing it.
//!
//! Only frame headers are parsed (RFC 9113, 4.1), so that the cost is independent of the payload. DATA frames
//! do not count: a body has its own deadline.

/// The connection preface, before the first frame (RFC 9113, 3.4).
const PREFACE_BYTES: usize = 24;
const FRAME_HEADER_BYTES: usize = 9;
pub(super) const DATA: u8 = 0x0;
pub(super) const HEADERS: u8 = 0x1;
pub(super) const RST_STREAM: u8 = 0x3;
pub(super) const SETTINGS: u8 = 0x4;
pub(super) const CONTINUATION: u8 = 0x9;
pub(super) const END_HEADERS: u8 = 0x4;

/// The parts of a frame header that are used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct FrameHeader {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    /// Bytes of the payload.
    pub(super) length: u32,
}

/// A part of what is observed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Seen<'b> {
    Header(FrameHeader),
    /// Bytes of the preface or of the last frame.
    Payload(&'b [u8]),
}

/// Finds frame headers, however the bytes are split.
#[derive(Debug)]
pub(super) struct FrameHeaders {
    /// Bytes to skip: the preface or a payload.
    passing: usize,
    header: [u8; FRAME_HEADER_BYTES],
    header_bytes: usize,
}

impl FrameHeaders {
    /// For what a client sends.
    pub(super) fn of_client() -> Self {
        Self { passing: PREFACE_BYTES, ..Self::of_server() }
    }

    /// For what a server sends.
    pub(super) fn of_server() -> Self {
        Self { passing: 0, header: [0; FRAME_HEADER_BYTES], header_bytes: 0 }
    }

    /// Takes the next bytes and calls `each` with every complete header.
    pub(super) fn observe(&mut self, bytes: &[u8], mut each: impl FnMut(FrameHeader)) {
        self.observe_all(bytes, |seen| {
            if let Seen::Header(header) = seen {
                each(header);
            }
        });
    }

    /// Takes the next bytes and calls `each` with every complete header, and with the bytes of payloads as they come.
    pub(super) fn observe_all<'b>(&mut self, mut bytes: &'b [u8], mut each: impl FnMut(Seen<'b>)) {
        while !bytes.is_empty() {
            if self.passing > 0 {
                let (passed, rest) = bytes.split_at(self.passing.min(bytes.len()));
                self.passing -= passed.len();
                bytes = rest;
                each(Seen::Payload(passed));
                continue;
            }
            let taken = (FRAME_HEADER_BYTES - self.header_bytes).min(bytes.len());
            self.header[self.header_bytes..self.header_bytes + taken].copy_from_slice(&bytes[..taken]);
            self.header_bytes += taken;
            bytes = &bytes[taken..];
            if self.header_bytes == FRAME_HEADER_BYTES {
                let [high, middle, low, kind, flags, stream @ ..] = self.header;
                let length = u32::from_be_bytes([0, high, middle, low]);
                self.passing = length as usize;
                self.header_bytes = 0;
                // The first bit is reserved (RFC 9113, 4.1).
                let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
                each(Seen::Header(FrameHeader { kind, flags, stream, length }));
            }
        }
    }
}

/// Follows the header blocks of a client.
#[derive(Debug)]
pub struct HeaderBlocks {
    frames: FrameHeaders,
    kind: u8,
    /// A HEADERS frame has come, and its END_HEADERS has not.
    block_open: bool,
}

impl Default for HeaderBlocks {
    fn default() -> Self {
        Self { frames: FrameHeaders::of_client(), kind: DATA, block_open: false }
    }
}

impl HeaderBlocks {
    /// Takes the next bytes of the client.
    pub fn observe(&mut self, bytes: &[u8]) {
        let Self { frames, kind, block_open } = self;
        frames.observe(bytes, |header| {
            *kind = header.kind;
            if matches!(header.kind, HEADERS | CONTINUATION) {
                *block_open = header.flags & END_HEADERS == 0;
            }
        });
    }

    /// Whether a frame or header block is unfinished.
    pub fn is_open(&self) -> bool {
        let frames = &self.frames;
        self.block_open || frames.header_bytes > 0 || (frames.passing > 0 && self.kind != DATA)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).expect("a short payload");
        [&[0, 0, length, kind, flags, 0, 0, 0, 1], payload].concat()
    }

    #[test]
    fn an_unfinished_block_is_seen_however_the_bytes_are_split() {
        let preface = vec![b'.'; PREFACE_BYTES];
        let whole = [
            preface,
            frame(0x4, 0, b"settin"),
            frame(HEADERS, 0, b"abc"),
            frame(CONTINUATION, 0, b""),
            frame(CONTINUATION, END_HEADERS, b"defg"),
            frame(DATA, 0, b"body"),
        ];
        let bytes = whole.concat();
        // The open prefixes end inside a frame, or between HEADERS and END_HEADERS.
        let data_begins = bytes.len() - 4;
        let settings_ends = PREFACE_BYTES + 15;
        let block_ends = bytes.len() - 13;
        for end in 0..=bytes.len() {
            let mut split = HeaderBlocks::default();
            bytes[..end].iter().for_each(|byte| split.observe(&[*byte]));
            let mut at_once = HeaderBlocks::default();
            at_once.observe(&bytes[..end]);
            assert_eq!(split.is_open(), at_once.is_open(), "{end}");
            let expected =
                !(end <= PREFACE_BYTES || end == settings_ends || end == block_ends || end >= data_begins);
            assert_eq!(at_once.is_open(), expected, "{end}");
        }
    }
}
