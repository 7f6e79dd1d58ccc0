//! Decodes a page's content coding as the page streams.
//!
//! Output is made on demand, a piece at a time, so a decompression bomb takes no more memory than any page: one window
//! and one piece. The output does not depend on how the input is cut into chunks.

use std::fmt;

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use bytes::{Buf, Bytes, BytesMut};
use zlib_rs::{Inflate, InflateFlush, Status};
use zstd::stream::raw::{DParameter, Decoder as Zstd, Operation};

#[cfg(test)]
mod tests;

/// The most bytes that one step reads, and that it yields: 16 KiB.
pub const PIECE: usize = 16 << 10;
/// A buffer with less room is replaced; at most this much of it is wasted.
const LEAST_ROOM: usize = PIECE / 4;
/// The largest window of gzip and deflate, 32 KiB, as a power of two.
const DEFLATE_WINDOW: u8 = 15;
/// Added to the window, this makes zlib read gzip's header and check its sums, and take no other header.
const GZIP_FRAME: u8 = 16;
/// The largest window of zstd, 8 MiB, as a power of two (RFC 9659).
const ZSTD_WINDOW: u32 = 23;
/// What decoders take beside their windows, in bytes: tables, and the window of deflate.
const INFLATE: usize = 48 << 10;
const BROTLI: usize = 64 << 10;
const ZSTD: usize = 288 << 10;
/// The first bytes of a gzip member.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// The length of zlib's header.
const ZLIB_HEADER: usize = 2;
/// The first bytes of a zstd frame (RFC 8878, 3.1.1).
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Those of a frame to skip (RFC 8878, 3.1.2). The low half of the first byte is free.
const ZSTD_SKIPPED: [u8; 4] = [0x50, 0x2a, 0x4d, 0x18];

/// A content coding that can be decoded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Coding {
    /// `gzip` or `x-gzip`: one or more members.
    Gzip,
    /// `deflate`: zlib's format, or bare deflate, which some servers send and every browser takes.
    Deflate,
    /// `br`, with a window of at most 16 MiB.
    Brotli,
    /// `zstd`: one or more frames.
    Zstd,
}

impl Coding {
    /// By its name in `content-encoding`.
    pub fn named(name: &str) -> Option<Self> {
        let named = [
            ("gzip", Self::Gzip),
            ("x-gzip", Self::Gzip),
            ("deflate", Self::Deflate),
            ("br", Self::Brotli),
            ("zstd", Self::Zstd),
        ];
        named.into_iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|(_, coding)| coding)
    }
}

/// The input is not in the coding that its head names.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("it is not in its content coding")]
pub struct BadCoding;

/// Decodes one page: [`feed`](Self::feed) takes input, [`step`](Self::step) yields output until the decoder
/// [is hungry](Self::is_hungry).
pub struct Decoder {
    coding: Coding,
    state: State,
    /// Input that is not decoded yet.
    input: Bytes,
    /// The buffer for the next piece.
    room: BytesMut,
    /// The codec may hold more output: the last piece filled its buffer.
    has_more: bool,
}

/// The place in the page.
enum State {
    /// Before the first byte.
    Start,
    Inside(Codec),
    /// Behind a frame of zstd. The codec goes on with the next one.
    BetweenFrames(Codec),
    /// Behind a member of gzip.
    BetweenMembers,
    /// Behind the end. Further input is ignored, as browsers do.
    End,
    Bad,
}

enum Codec {
    Inflate(Inflate),
    Brotli(Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>),
    /// With the window of its first frame, in bytes.
    Zstd(Zstd<'static>, usize),
}

/// The outcome of one call of a codec.
struct Step {
    read: usize,
    written: usize,
    then: Then,
}

enum Then {
    GoesOn,
    /// The stream has ended.
    Ends,
    Fails,
}

impl Decoder {
    /// For a page in that coding.
    pub fn new(coding: Coding) -> Self {
        let (input, room) = (Bytes::new(), BytesMut::new());
        Self { coding, state: State::Start, input, room, has_more: false }
    }

    /// Takes the next bytes of the page.
    pub fn feed(&mut self, bytes: Bytes) {
        if self.input.is_empty() {
            self.input = bytes;
        } else {
            // The input so far is a few bytes, too short to tell what begins.
            self.input = [&*self.input, &*bytes].concat().into();
        }
    }

    /// Whether there is no output before more input.
    pub fn is_hungry(&self) -> bool {
        match self.state {
            State::Start | State::BetweenMembers | State::BetweenFrames(_) => {
                self.input.len() < self.beginning()
            }
            State::Inside(_) => self.input.is_empty() && !self.has_more,
            State::End => self.input.is_empty(),
            State::Bad => false,
        }
    }

    /// Reads at most [`PIECE`] bytes and yields at most as many; none if they decode to nothing yet.
    pub fn step(&mut self) -> Result<Bytes, BadCoding> {
        if self.is_hungry() {
            return Ok(Bytes::new());
        }
        self.state = match std::mem::replace(&mut self.state, State::Bad) {
            State::Start => self.begin(),
            State::BetweenMembers if !self.input.starts_with(&GZIP_MAGIC) => State::End,
            State::BetweenMembers => self.begin(),
            State::BetweenFrames(codec) if is_zstd(&self.input) => State::Inside(codec),
            State::BetweenFrames(_) => State::Bad,
            state @ (State::Inside(_) | State::End | State::Bad) => state,
        };
        match &self.state {
            State::Inside(_) => Ok(self.decode()),
            State::End => {
                self.input.clear();
                Ok(Bytes::new())
            }
            _ => Err(BadCoding),
        }
    }

    /// Whether the page is complete: nothing is missing, and all of it has been yielded. A page of no bytes is complete.
    pub fn is_whole(&self) -> bool {
        match self.state {
            State::Start | State::BetweenFrames(_) => self.input.is_empty(),
            State::BetweenMembers | State::End => true,
            State::Inside(_) | State::Bad => false,
        }
    }

    /// What it takes in memory, in bytes, its input included.
    pub fn bytes(&self) -> usize {
        let codec = match &self.state {
            State::Inside(codec) | State::BetweenFrames(codec) => codec.bytes(),
            State::Start | State::BetweenMembers | State::End | State::Bad => 0,
        };
        codec + self.input.len() + self.room.capacity()
    }

    /// How many bytes identify a stream.
    fn beginning(&self) -> usize {
        match self.coding {
            Coding::Gzip => GZIP_MAGIC.len(),
            Coding::Deflate => ZLIB_HEADER,
            Coding::Brotli => 1,
            Coding::Zstd => ZSTD_MAGIC.len(),
        }
    }

    /// The state after the first bytes of a stream, which have come.
    fn begin(&self) -> State {
        let codec = match self.coding {
            Coding::Gzip => Codec::Inflate(Inflate::new(true, GZIP_FRAME + DEFLATE_WINDOW)),
            Coding::Deflate => Codec::Inflate(Inflate::new(is_zlib(&self.input), DEFLATE_WINDOW)),
            Coding::Brotli => {
                let alloc = StandardAlloc::default;
                // Strict: without the extension for windows of up to 1 GiB.
                Codec::Brotli(Box::new(BrotliState::new_strict(alloc(), alloc(), alloc())))
            }
            Coding::Zstd => match zstd() {
                Ok(zstd) if is_zstd(&self.input) => Codec::Zstd(zstd, zstd_window(&self.input)),
                Ok(_) | Err(_) => return State::Bad,
            },
        };
        State::Inside(codec)
    }

    /// Calls the codec once, and returns its output.
    fn decode(&mut self) -> Bytes {
        let State::Inside(codec) = &mut self.state else { return Bytes::new() };
        if self.room.len() < LEAST_ROOM {
            self.room = BytesMut::zeroed(PIECE);
        }
        let input = &self.input[..self.input.len().min(PIECE)];
        let Step { read, written, then } = codec.step(input, &mut self.room);
        // A codec that reads and writes nothing would be called for ever.
        let is_stuck = read == 0 && written == 0 && !input.is_empty();
        self.has_more = written == self.room.len();
        match (then, self.coding) {
            (Then::Fails, _) => self.state = State::Bad,
            (Then::GoesOn, _) if is_stuck => self.state = State::Bad,
            (Then::GoesOn, _) => {}
            (Then::Ends, Coding::Gzip) => self.state = State::BetweenMembers,
            (Then::Ends, Coding::Deflate | Coding::Brotli) => self.state = State::End,
            (Then::Ends, Coding::Zstd) => {
                if let State::Inside(codec) = std::mem::replace(&mut self.state, State::Bad) {
                    self.state = State::BetweenFrames(codec);
                }
            }
        }
        self.input.advance(read);
        self.room.split_to(written).freeze()
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").field("coding", &self.coding).finish_non_exhaustive()
    }
}

/// Whether a stream has zlib's header (RFC 1950, 2.2). As bare deflate these bytes would be a stored block with padding
/// that is not zero, which no encoder writes.
fn is_zlib(stream: &[u8]) -> bool {
    matches!(stream, [method, flags, ..]
        if method & 0x0f == 8 && method >> 4 <= 7 && u16::from_be_bytes([*method, *flags]).is_multiple_of(31))
}

/// Whether a frame of today's zstd begins here. The library also knows the formats from before version 1.0, each with a
/// decoder of its own, when another crate of the program switches them on.
fn is_zstd(stream: &[u8]) -> bool {
    match stream.first_chunk::<4>() {
        Some([first, rest @ ..]) => {
            stream.starts_with(&ZSTD_MAGIC) || (first & 0xf0 == ZSTD_SKIPPED[0] && *rest == ZSTD_SKIPPED[1..])
        }
        None => false,
    }
}

/// The window of the frame that begins here, in bytes (RFC 8878, 3.1.1.1); the largest one if it is not said yet.
fn zstd_window(stream: &[u8]) -> usize {
    const SINGLE_SEGMENT: u8 = 0x20;
    let window = match stream.get(ZSTD_MAGIC.len()..) {
        // The window is the content.
        Some([descriptor, rest @ ..]) if descriptor & SINGLE_SEGMENT != 0 => {
            let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
            let length = 1 << (descriptor >> 6);
            let size = rest.get(dictionary..dictionary + length);
            size.map(|size| size.iter().rev().fold(0, |size: usize, byte| size << 8 | usize::from(*byte)))
        }
        Some([_, window, ..]) => {
            let base = 1_usize << (10 + (window >> 3)).min(30);
            Some(base + base / 8 * usize::from(window & 7))
        }
        _ => None,
    };
    window.map_or(1 << ZSTD_WINDOW, |window| window.min(1 << ZSTD_WINDOW))
}

fn zstd() -> std::io::Result<Zstd<'static>> {
    let mut zstd = Zstd::new()?;
    zstd.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW))?;
    Ok(zstd)
}

impl Codec {
    /// What it takes in memory, in bytes.
    fn bytes(&self) -> usize {
        match self {
            Self::Inflate(_) => INFLATE,
            Self::Brotli(brotli) => BROTLI + usize::try_from(brotli.ringbuffer_size).unwrap_or(0),
            Self::Zstd(_, window) => ZSTD + window,
        }
    }

    /// Decodes some of `input` into `output`, which must not be empty.
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Step {
        match self {
            Self::Inflate(inflate) => {
                let (read, written) = (inflate.total_in(), inflate.total_out());
                let then = match inflate.decompress(input, output, InflateFlush::NoFlush) {
                    Ok(Status::Ok | Status::BufError) => Then::GoesOn,
                    Ok(Status::StreamEnd) => Then::Ends,
                    Err(_) => Then::Fails,
                };
                // The differences fit: they are at most the lengths of the slices.
                let since = |now: u64, before: u64| (now - before) as usize;
                Step {
                    read: since(inflate.total_in(), read),
                    written: since(inflate.total_out(), written),
                    then,
                }
            }
            Self::Brotli(brotli) => {
                let (mut read, mut left) = (0, input.len());
                let (mut written, mut room) = (0, output.len());
                let outcome = BrotliDecompressStream(
                    &mut left,
                    &mut read,
                    input,
                    &mut room,
                    &mut written,
                    output,
                    &mut 0,
                    brotli,
                );
                let then = match outcome {
                    BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => Then::GoesOn,
                    BrotliResult::ResultSuccess => Then::Ends,
                    BrotliResult::ResultFailure => Then::Fails,
                };
                Step { read, written, then }
            }
            Self::Zstd(zstd, _) => match zstd.run_on_buffers(input, output) {
                Ok(status) => {
                    let then = if status.remaining == 0 { Then::Ends } else { Then::GoesOn };
                    Step { read: status.bytes_read, written: status.bytes_written, then }
                }
                Err(_) => Step { read: 0, written: 0, then: Then::Fails },
            },
        }
    }
}
