//! A page's content coding, undone as the page streams.
//!
//! What comes out is made only when it is asked for, a piece at a time: of a page that unpacks to a
//! thousand times its size no more is held than of any other, one window and one piece. What comes out of a
//! page that is in its coding does not depend on how it was cut.

use std::fmt;

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use bytes::{Buf, Bytes, BytesMut};
use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder as Zstd, Operation};

#[cfg(test)]
mod tests;

/// The most bytes that are read, and that come out, at once.
pub const PIECE: usize = 16 << 10;
/// Room for fewer bytes is not decoded into: so many of a buffer may be lost.
const LEAST_ROOM: usize = PIECE / 4;
/// The window of gzip and deflate, 32 KiB, as a power of two. They have no larger one.
const GZIP_WINDOW: u8 = 15;
/// The largest window of zstd, 8 MiB, as a power of two: no page may need more (RFC 9659).
const ZSTD_WINDOW: u32 = 23;
/// What a member of gzip begins with.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// The length of zlib's header.
const ZLIB_HEADER: usize = 2;

/// A content coding that can be undone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Coding {
    /// `gzip`, or `x-gzip`: one member or more.
    Gzip,
    /// `deflate`: zlib's format, or without its frame, as some servers send it and every browser takes it.
    Deflate,
    /// `br`. Its window has 16 MiB at most.
    Brotli,
    /// `zstd`: one frame or more.
    Zstd,
}

impl Coding {
    /// By its name in `content-encoding`.
    pub(super) fn named(name: &str) -> Option<Self> {
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

/// What came is not in the coding that it was said to be in.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("it is not in its content coding")]
pub struct BadCoding;

/// Decodes one page: bytes go in by [`feed`](Self::feed), and come out by [`step`](Self::step) until it
/// [is hungry](Self::is_hungry).
pub struct Decoder {
    coding: Coding,
    state: State,
    /// What was not read yet.
    input: Bytes,
    /// What the next piece is decoded into.
    room: BytesMut,
    /// There may be more to come out of what was read: the last piece had no room for it.
    has_more: bool,
}

/// Where in the page.
enum State {
    /// Before the first byte.
    Start,
    /// In a stream; or behind one of zstd, which has `ended` and may be followed by another.
    Inside {
        codec: Codec,
        ended: bool,
    },
    /// Behind a member of gzip.
    Between,
    /// Behind the end. What still comes is not looked at, as browsers do not look at it.
    End,
    Bad,
}

enum Codec {
    Inflate(Decompress),
    Brotli(Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>),
    Zstd(Zstd<'static>),
}

/// What one call of a codec did.
struct Step {
    read: usize,
    written: usize,
    then: Then,
}

enum Then {
    GoesOn,
    /// A stream is at its end.
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
            // Mostly a single byte, which does not tell yet what it begins.
            self.input = [&*self.input, &*bytes].concat().into();
        }
    }

    /// Whether nothing comes out before more of the page is fed.
    pub fn is_hungry(&self) -> bool {
        match self.state {
            State::Start | State::Between => self.input.len() < self.beginning(),
            State::Inside { .. } => self.input.is_empty() && !self.has_more,
            State::End => self.input.is_empty(),
            State::Bad => false,
        }
    }

    /// Decodes on: reads no more than [`PIECE`] bytes, and gives no more; none where they tell nothing yet.
    pub fn step(&mut self) -> Result<Bytes, BadCoding> {
        if self.is_hungry() {
            return Ok(Bytes::new());
        }
        if matches!(self.state, State::Start | State::Between) {
            self.state = self.begin();
        }
        match &mut self.state {
            State::Inside { .. } => Ok(self.decode()),
            State::Bad => Err(BadCoding),
            State::Start | State::Between | State::End => {
                self.input.clear();
                Ok(Bytes::new())
            }
        }
    }

    /// Whether the page may end here: all of it has come out, and nothing is missing. One of no bytes at all is
    /// whole.
    pub fn is_whole(&self) -> bool {
        match self.state {
            State::Start => self.input.is_empty(),
            State::Inside { ended, .. } => ended && self.is_hungry(),
            State::Between | State::End => true,
            State::Bad => false,
        }
    }

    /// How many bytes tell what a stream is.
    fn beginning(&self) -> usize {
        match self.coding {
            Coding::Gzip => GZIP_MAGIC.len(),
            Coding::Deflate => ZLIB_HEADER,
            Coding::Brotli | Coding::Zstd => 1,
        }
    }

    /// Where what was fed leads, which tells.
    fn begin(&self) -> State {
        let codec = match self.coding {
            Coding::Gzip if matches!(self.state, State::Between) && !self.input.starts_with(&GZIP_MAGIC) => {
                return State::End;
            }
            Coding::Gzip => Codec::Inflate(Decompress::new_gzip(GZIP_WINDOW)),
            Coding::Deflate => Codec::Inflate(Decompress::new(is_zlib(&self.input))),
            Coding::Brotli => {
                let alloc = StandardAlloc::default;
                // Strict: without the windows of a gigabyte that an extension has.
                Codec::Brotli(Box::new(BrotliState::new_strict(alloc(), alloc(), alloc())))
            }
            Coding::Zstd => match zstd() {
                Ok(zstd) => Codec::Zstd(zstd),
                Err(_) => return State::Bad,
            },
        };
        State::Inside { codec, ended: false }
    }

    /// One call of the codec, and what came out by it.
    fn decode(&mut self) -> Bytes {
        let State::Inside { codec, ended } = &mut self.state else { return Bytes::new() };
        if self.room.len() < LEAST_ROOM {
            self.room = BytesMut::zeroed(PIECE);
        }
        let input = &self.input[..self.input.len().min(PIECE)];
        let Step { read, written, then } = codec.step(input, &mut self.room);
        // A codec that takes nothing and gives nothing would be asked for ever.
        let is_stuck = read == 0 && written == 0 && !input.is_empty();
        self.has_more = written == self.room.len();
        match (then, self.coding) {
            (Then::Fails, _) => self.state = State::Bad,
            (Then::GoesOn, _) if is_stuck => self.state = State::Bad,
            (Then::GoesOn, _) => *ended &= read == 0,
            (Then::Ends, Coding::Gzip) => self.state = State::Between,
            (Then::Ends, Coding::Deflate | Coding::Brotli) => self.state = State::End,
            (Then::Ends, Coding::Zstd) => {
                // The codec goes on to the next frame by itself.
                *ended = true;
                self.has_more = false;
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

/// Whether what begins so has zlib's frame (RFC 1950, 2.2). Without it, it would be a stored block whose padding is
/// not zero, which no encoder writes.
fn is_zlib(stream: &[u8]) -> bool {
    matches!(stream, [method, flags, ..]
        if method & 0x0f == 8 && method >> 4 <= 7 && u16::from_be_bytes([*method, *flags]).is_multiple_of(31))
}

fn zstd() -> std::io::Result<Zstd<'static>> {
    let mut zstd = Zstd::new()?;
    zstd.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW))?;
    Ok(zstd)
}

impl Codec {
    /// Decodes some of `input` into `output`, which must not be empty.
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Step {
        match self {
            Self::Inflate(inflate) => {
                let (read, written) = (inflate.total_in(), inflate.total_out());
                let then = match inflate.decompress(input, output, FlushDecompress::None) {
                    Ok(Status::Ok | Status::BufError) => Then::GoesOn,
                    Ok(Status::StreamEnd) => Then::Ends,
                    Err(_) => Then::Fails,
                };
                // Of no more than the two slices have.
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
            Self::Zstd(zstd) => match zstd.run_on_buffers(input, output) {
                Ok(status) => {
                    let then = if status.remaining == 0 { Then::Ends } else { Then::GoesOn };
                    Step { read: status.bytes_read, written: status.bytes_written, then }
                }
                Err(_) => Step { read: 0, written: 0, then: Then::Fails },
            },
        }
    }
}
