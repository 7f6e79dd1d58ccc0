//! Encodes a body as it streams: br, zstd or gzip.
//!
//! Everything pushed so far leaves with the next [flush](Encoder::flush). The decoded result does not depend on how the
//! body is cut or when it is flushed. An encoder holds at most 256 KiB, its output buffer included.

use std::fmt;

use brotli::enc::StandardAlloc;
use brotli::enc::encode::{BrotliEncoderOperation, BrotliEncoderParameter, BrotliEncoderStateStruct};
use bytes::{Bytes, BytesMut};
use zlib_rs::{Deflate, DeflateConfig, DeflateFlush, Status};
use zstd::zstd_safe::zstd_sys::ZSTD_EndDirective;
use zstd::zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer};

#[cfg(test)]
mod tests;

/// The output buffer: 8 KiB. Output leaves when it is full, on a flush, and at the end.
const ROOM: usize = 8 << 10;
/// A buffer with less room is replaced.
const LEAST_ROOM: usize = ROOM / 4;
/// br compresses each piece of input by itself at this quality, so small ones are collected up to 16 KiB.
const BROTLI_PIECE: usize = 16 << 10;
/// The lowest quality that uses Huffman codes of its own for each piece; higher ones take more than 256 KiB.
const BROTLI_QUALITY: u32 = 1;
/// 256 KiB, as a power of two: what a decoder keeps.
const BROTLI_WINDOW: u32 = 18;
const ZSTD_LEVEL: i32 = 1;
/// 16 KiB, as a power of two. The level's own 512 KiB would take more than 1 MiB a response.
const ZSTD_WINDOW: u32 = 14;
/// The entries in zstd's table of matches, as a power of two.
const ZSTD_TABLE: u32 = 14;
/// The shortest match that zstd looks for, in bytes. The level's own 7 makes pages of 10 KiB up to 4 % larger.
const ZSTD_MATCH: u32 = 5;
/// gzip's level: 5 is where a page's ratio stops to grow noticeably.
const GZIP_LEVEL: i32 = 5;
/// 16 KiB, as a power of two.
const GZIP_WINDOW: i32 = 14;
/// zlib's memory level, from 1 to 9.
const GZIP_MEMORY: i32 = 6;
/// Added to the window, this makes zlib write gzip's header and checksum.
const GZIP_FRAME: i32 = 16;

/// A content coding that can be produced.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Encoding {
    /// `br`
    Brotli,
    /// `zstd`
    Zstd,
    /// `gzip`
    Gzip,
}

impl Encoding {
    /// Every encoding, in the order of variants.
    pub const ALL: [Self; 3] = [Self::Brotli, Self::Zstd, Self::Gzip];

    /// Its name in `content-encoding`, in the configuration and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }
}

/// The encoder failed. The rest of the body cannot be encoded, so the answer stays incomplete.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the body could not be encoded")]
pub struct EncoderFailed;

/// Bytes of one body before and after the encoder.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EncodedBytes {
    /// The coding.
    pub encoding: Encoding,
    /// Bytes taken.
    pub taken: u64,
    /// Bytes yielded.
    pub yielded: u64,
}

/// Encodes one body: [`push`](Self::push) every part, [`flush`](Self::flush) when nothing more is there for now, and
/// [`finish`](Self::finish).
pub struct Encoder {
    codec: Codec,
    /// The output buffer; its first `filled` bytes have not left yet.
    room: BytesMut,
    filled: usize,
    bytes: EncodedBytes,
    /// Whether input came since the last flush.
    is_dirty: bool,
}

enum Codec {
    Brotli(Box<Brotli>),
    Zstd(CCtx<'static>),
    Gzip(Deflate),
}

struct Brotli {
    state: BrotliEncoderStateStruct<StandardAlloc>,
    /// Input that is not compressed yet.
    collected: Vec<u8>,
}

/// How far one run of a codec goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Until {
    /// The input is taken.
    Taken,
    /// All of it can be decoded from the output.
    Flushed,
    /// The stream is complete.
    Finished,
}

/// The outcome of one call of a codec.
struct Step {
    read: usize,
    written: usize,
    /// Whether the codec got as far as it was to go.
    is_there: bool,
}

impl Encoder {
    /// For one body.
    pub fn new(encoding: Encoding) -> Result<Self, EncoderFailed> {
        let codec = match encoding {
            Encoding::Brotli => Codec::Brotli(Box::new(Brotli::new())),
            Encoding::Zstd => Codec::Zstd(zstd()?),
            Encoding::Gzip => Codec::Gzip(gzip()),
        };
        let bytes = EncodedBytes { encoding, taken: 0, yielded: 0 };
        Ok(Self { codec, room: BytesMut::new(), filled: 0, bytes, is_dirty: false })
    }

    /// Takes the next bytes. Yields what fills the output buffer.
    pub fn push(&mut self, bytes: &[u8], out: &mut impl FnMut(Bytes)) -> Result<(), EncoderFailed> {
        self.bytes.taken += bytes.len() as u64;
        self.is_dirty |= !bytes.is_empty();
        let mut rest = bytes;
        while let Codec::Brotli(brotli) = &mut self.codec
            && !rest.is_empty()
        {
            let room = BROTLI_PIECE - brotli.collected.len();
            let (piece, more) = rest.split_at(rest.len().min(room));
            brotli.collected.extend_from_slice(piece);
            rest = more;
            if brotli.collected.len() == BROTLI_PIECE {
                self.run_collected(Until::Taken, out)?;
            }
        }
        self.run(rest, Until::Taken, out)
    }

    /// Whether a flush would yield anything.
    pub fn is_dirty(&self) -> bool {
        self.is_dirty
    }

    /// Yields everything that was pushed.
    pub fn flush(&mut self, out: &mut impl FnMut(Bytes)) -> Result<(), EncoderFailed> {
        if !self.is_dirty {
            return Ok(());
        }
        self.is_dirty = false;
        self.run_collected(Until::Flushed, out)?;
        self.emit(out);
        Ok(())
    }

    /// Completes the stream.
    pub fn finish(&mut self, out: &mut impl FnMut(Bytes)) -> Result<(), EncoderFailed> {
        self.is_dirty = false;
        self.run_collected(Until::Finished, out)?;
        self.emit(out);
        Ok(())
    }

    /// What it has taken and yielded so far.
    pub fn bytes(&self) -> EncodedBytes {
        self.bytes
    }

    /// Runs on the input that was collected, if the codec collects.
    fn run_collected(&mut self, until: Until, out: &mut impl FnMut(Bytes)) -> Result<(), EncoderFailed> {
        let mut collected = match &mut self.codec {
            Codec::Brotli(brotli) => std::mem::take(&mut brotli.collected),
            Codec::Zstd(_) | Codec::Gzip(_) => Vec::new(),
        };
        self.run(&collected, until, out)?;
        collected.clear();
        if let Codec::Brotli(brotli) = &mut self.codec {
            brotli.collected = collected;
        }
        Ok(())
    }

    /// Calls the codec until it got there.
    fn run(
        &mut self,
        mut input: &[u8],
        until: Until,
        out: &mut impl FnMut(Bytes),
    ) -> Result<(), EncoderFailed> {
        loop {
            if self.filled == self.room.len() {
                self.emit(out);
                if self.room.len() < LEAST_ROOM {
                    self.room = BytesMut::zeroed(ROOM);
                }
            }
            let Step { read, written, is_there } =
                self.codec.step(input, &mut self.room[self.filled..], until)?;
            input = &input[read..];
            self.filled += written;
            if is_there {
                return Ok(());
            }
            // A codec that reads and writes nothing would be called for ever.
            if read == 0 && written == 0 {
                return Err(EncoderFailed);
            }
        }
    }

    fn emit(&mut self, out: &mut impl FnMut(Bytes)) {
        if self.filled > 0 {
            self.bytes.yielded += self.filled as u64;
            out(self.room.split_to(self.filled).freeze());
            self.filled = 0;
        }
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

fn gzip() -> Deflate {
    Deflate::new_with_config(DeflateConfig {
        level: GZIP_LEVEL,
        window_bits: GZIP_FRAME + GZIP_WINDOW,
        mem_level: GZIP_MEMORY,
        ..DeflateConfig::default()
    })
}

fn zstd() -> Result<CCtx<'static>, EncoderFailed> {
    let mut zstd = CCtx::try_create().ok_or(EncoderFailed)?;
    for parameter in [
        CParameter::CompressionLevel(ZSTD_LEVEL),
        CParameter::WindowLog(ZSTD_WINDOW),
        CParameter::HashLog(ZSTD_TABLE),
        CParameter::MinMatch(ZSTD_MATCH),
    ] {
        zstd.set_parameter(parameter).map_err(|_| EncoderFailed)?;
    }
    Ok(zstd)
}

impl Brotli {
    fn new() -> Self {
        let mut state = BrotliEncoderStateStruct::new(StandardAlloc::default());
        state.set_parameter(BrotliEncoderParameter::BROTLI_PARAM_QUALITY, BROTLI_QUALITY);
        state.set_parameter(BrotliEncoderParameter::BROTLI_PARAM_LGWIN, BROTLI_WINDOW);
        Self { state, collected: Vec::new() }
    }

    fn step(&mut self, input: &[u8], output: &mut [u8], until: Until) -> Result<Step, EncoderFailed> {
        let operation = match until {
            Until::Taken => BrotliEncoderOperation::BROTLI_OPERATION_PROCESS,
            Until::Flushed => BrotliEncoderOperation::BROTLI_OPERATION_FLUSH,
            Until::Finished => BrotliEncoderOperation::BROTLI_OPERATION_FINISH,
        };
        let (mut read, mut left) = (0, input.len());
        let (mut written, mut room) = (0, output.len());
        let is_well = self.state.compress_stream(
            operation,
            &mut left,
            input,
            &mut read,
            &mut room,
            output,
            &mut written,
            &mut None,
            &mut |_, _, _, _| (),
        );
        if !is_well {
            return Err(EncoderFailed);
        }
        let is_there = left == 0
            && match until {
                Until::Taken | Until::Flushed => !self.state.has_more_output(),
                Until::Finished => self.state.is_finished(),
            };
        Ok(Step { read, written, is_there })
    }
}

impl Codec {
    /// Encodes some of `input` into `output`, which must not be empty.
    fn step(&mut self, input: &[u8], output: &mut [u8], until: Until) -> Result<Step, EncoderFailed> {
        match self {
            Self::Brotli(brotli) => brotli.step(input, output, until),
            Self::Zstd(zstd) => {
                let end = match until {
                    Until::Taken => ZSTD_EndDirective::ZSTD_e_continue,
                    Until::Flushed => ZSTD_EndDirective::ZSTD_e_flush,
                    Until::Finished => ZSTD_EndDirective::ZSTD_e_end,
                };
                let mut from = InBuffer::around(input);
                let mut to = OutBuffer::around(output);
                let left = zstd.compress_stream2(&mut to, &mut from, end).map_err(|_| EncoderFailed)?;
                let read = from.pos();
                let is_there = read == input.len() && (until == Until::Taken || left == 0);
                Ok(Step { read, written: to.pos(), is_there })
            }
            Self::Gzip(deflate) => {
                let flush = match until {
                    Until::Taken => DeflateFlush::NoFlush,
                    Until::Flushed => DeflateFlush::SyncFlush,
                    Until::Finished => DeflateFlush::Finish,
                };
                let (read, written) = (deflate.total_in(), deflate.total_out());
                let status = deflate.compress(input, output, flush).map_err(|_| EncoderFailed)?;
                // The differences fit: they are at most the lengths of the slices.
                let read = (deflate.total_in() - read) as usize;
                let written = (deflate.total_out() - written) as usize;
                let is_there = match until {
                    // With room left there is nothing more to come.
                    Until::Taken | Until::Flushed => read == input.len() && written < output.len(),
                    Until::Finished => status == Status::StreamEnd,
                };
                Ok(Step { read, written, is_there })
            }
        }
    }
}
