//! Tracks an HTTP/2 client's frames: whether it has started a frame or header block without finishing it.
//!
//! Only frame headers are parsed (RFC 9113, 4.1), so that the cost is independent of the payload. DATA frames
//! do not count: a body has its own deadline.

/// The connection preface, before the first frame (RFC 9113, 3.4).
const PREFACE_BYTES: usize = 24;
const FRAME_HEADER_BYTES: usize = 9;
const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;
const END_HEADERS: u8 = 0x4;

/// Follows a client's frames, however its bytes are split.
#[derive(Debug)]
pub struct HeaderBlocks {
    /// Bytes to skip: the preface or a payload.
    passing: usize,
    header: [u8; FRAME_HEADER_BYTES],
    header_bytes: usize,
    kind: u8,
    /// A HEADERS frame has arrived without END_HEADERS.
    block_open: bool,
}

impl Default for HeaderBlocks {
    fn default() -> Self {
        Self { passing: PREFACE_BYTES, header: [0; 9], header_bytes: 0, kind: DATA, block_open: false }
    }
}

impl HeaderBlocks {
    /// Takes the client's next bytes.
    pub fn observe(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.passing > 0 {
                let passed = self.passing.min(bytes.len());
                self.passing -= passed;
                bytes = &bytes[passed..];
                continue;
            }
            let taken = (FRAME_HEADER_BYTES - self.header_bytes).min(bytes.len());
            self.header[self.header_bytes..self.header_bytes + taken].copy_from_slice(&bytes[..taken]);
            self.header_bytes += taken;
            bytes = &bytes[taken..];
            if self.header_bytes == FRAME_HEADER_BYTES {
                let [high, middle, low, kind, flags, ..] = self.header;
                self.passing = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                self.kind = kind;
                self.header_bytes = 0;
                if matches!(kind, HEADERS | CONTINUATION) {
                    self.block_open = flags & END_HEADERS == 0;
                }
            }
        }
    }

    /// Whether a frame or header block is unfinished.
    pub fn is_open(&self) -> bool {
        self.block_open || self.header_bytes > 0 || (self.passing > 0 && self.kind != DATA)
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
