//! A body as it comes: by length, in chunks, or until the connection ends.
//!
//! What is decoded does not depend on how the bytes were cut. Chunks have just the form of RFC 9112,
//! 7.1: no bare line feed, no size that is not plain. Servers may put blanks behind a size, and their trailers are
//! repaired as their heads are.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

use super::fields::{self, EndOfHead};
use super::repair::{self, Repaired};
use super::trailers::{TRAILER_BYTES, TRAILER_FIELDS};
use super::{BadMessage, Framing};

/// The longest line that says the size of a chunk, its extensions included, in bytes.
const SIZE_LINE: usize = 256;
/// The most digits of a size: more would not fit 64 bits.
const SIZE_DIGITS: usize = 16;

/// Decodes one body.
#[derive(Clone, Debug)]
pub struct BodyDecoder {
    state: State,
    sender: Sender,
    /// Fields of trailers that were dropped.
    dropped: u32,
}

/// Who sends a body: requests are read more strictly, since something may hide in them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Sender {
    Client,
    Server,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// So many bytes are left.
    Length(u64),
    /// All that comes.
    UntilClose,
    /// The line with a chunk's size.
    Size,
    /// So many bytes of a chunk are left.
    Chunk(u64),
    /// The line end behind a chunk.
    ChunkEnd,
    /// Fields behind the last chunk.
    Trailers(EndOfHead),
    /// All of it has come.
    Done,
}

/// What comes next.
#[derive(Debug)]
pub enum Piece {
    /// Bytes; never none.
    Data(Bytes),
    /// More input is needed.
    Wanting,
    /// The end, and the fields behind it.
    End(Option<HeaderMap>),
}

impl BodyDecoder {
    /// For the body of an answer.
    pub fn of_answer(framing: Framing) -> Self {
        Self { sender: Sender::Server, ..Self::new(framing) }
    }

    /// For the body of a request.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size,
            Framing::UntilClose => State::UntilClose,
        };
        Self { state, sender: Sender::Client, dropped: 0 }
    }

    /// Whether all of it has come.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Whether the end of the input is the end of the body.
    pub fn ends_with_input(&self) -> bool {
        matches!(self.state, State::Done | State::UntilClose)
    }

    /// How many fields of trailers were dropped.
    pub fn dropped(&self) -> u32 {
        self.dropped
    }

    /// How many bytes are left, where that is known.
    pub fn left(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left),
            State::Done => Some(0),
            _ => None,
        }
    }

    /// Takes the next piece off `input`. What follows the body is left there.
    pub fn next(&mut self, input: &mut BytesMut) -> Result<Piece, BadMessage> {
        loop {
            match self.state {
                State::Done => return Ok(Piece::End(None)),
                State::UntilClose => return Ok(data(input, u64::MAX).map_or(Piece::Wanting, Piece::Data)),
                State::Length(left) => {
                    let Some(bytes) = data(input, left) else { return Ok(Piece::Wanting) };
                    let left = left - bytes.len() as u64;
                    self.state = if left == 0 { State::Done } else { State::Length(left) };
                    return Ok(Piece::Data(bytes));
                }
                State::Chunk(left) => {
                    let Some(bytes) = data(input, left) else { return Ok(Piece::Wanting) };
                    let left = left - bytes.len() as u64;
                    self.state = if left == 0 { State::ChunkEnd } else { State::Chunk(left) };
                    return Ok(Piece::Data(bytes));
                }
                State::ChunkEnd => match &input[..input.len().min(2)] {
                    b"\r\n" => {
                        input.advance(2);
                        self.state = State::Size;
                    }
                    b"" | b"\r" => return Ok(Piece::Wanting),
                    _ => return Err(BadMessage::Chunk),
                },
                State::Size => match size(input, self.sender)? {
                    None => return Ok(Piece::Wanting),
                    Some(0) => self.state = State::Trailers(EndOfHead::after_a_line()),
                    Some(size) => self.state = State::Chunk(size),
                },
                State::Trailers(mut end) => {
                    let Some(length) = end.find(input) else {
                        self.state = State::Trailers(end);
                        let fits = input.len() <= TRAILER_BYTES;
                        return if fits { Ok(Piece::Wanting) } else { Err(BadMessage::Chunk) };
                    };
                    if length > TRAILER_BYTES {
                        return Err(BadMessage::Chunk);
                    }
                    let (trailers, dropped) = trailers(&input.split_to(length).freeze(), self.sender)?;
                    self.dropped = dropped;
                    self.state = State::Done;
                    return Ok(Piece::End(trailers));
                }
            }
        }
    }
}

fn data(input: &mut BytesMut, at_most: u64) -> Option<Bytes> {
    let length = usize::try_from(at_most).unwrap_or(usize::MAX).min(input.len());
    (length > 0).then(|| input.split_to(length).freeze())
}

/// Takes the line with a size off the input, once it is whole.
fn size(input: &mut BytesMut, sender: Sender) -> Result<Option<u64>, BadMessage> {
    let seen = &input[..input.len().min(SIZE_LINE)];
    let Some(end) = memchr::memchr(b'\n', seen) else {
        let hopeless = seen.len() == SIZE_LINE || !is_begun_well(seen);
        return if hopeless { Err(BadMessage::Chunk) } else { Ok(None) };
    };
    let line = seen[..end].strip_suffix(b"\r").ok_or(BadMessage::Chunk)?;
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, extensions) = line.split_at(digits);
    let extensions = match sender {
        Sender::Client => extensions,
        Sender::Server => extensions.trim_ascii_start(),
    };
    let is_extension = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
    let plain = (1..=SIZE_DIGITS).contains(&digits.len())
        && (extensions.is_empty() || extensions[0] == b';')
        && extensions.iter().all(is_extension);
    if !plain {
        return Err(BadMessage::Chunk);
    }
    let size = digits.iter().fold(0_u64, |size, digit| size << 4 | u64::from(hex(*digit)));
    input.advance(end + 1);
    Ok(Some(size))
}

/// Whether the beginning of a line could become one with a size.
fn is_begun_well(line: &[u8]) -> bool {
    line.first().is_none_or(u8::is_ascii_hexdigit)
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// The fields behind the last chunk, and how many were dropped.
fn trailers(bytes: &Bytes, sender: Sender) -> Result<(Option<HeaderMap>, u32), BadMessage> {
    if let Some(trailers) = plain_trailers(bytes) {
        return Ok((trailers?, 0));
    }
    match sender {
        Sender::Client => Err(BadMessage::Chunk),
        Sender::Server => {
            let Repaired { bytes, dropped } = repair::trailers(bytes)?;
            Ok((plain_trailers(&bytes).ok_or(BadMessage::Chunk)??, dropped))
        }
    }
}

/// The fields of trailers that keep to the grammar; `None` for others.
fn plain_trailers(bytes: &Bytes) -> Option<Result<Option<HeaderMap>, BadMessage>> {
    let mut room = [httparse::EMPTY_HEADER; TRAILER_FIELDS];
    let parsed = match httparse::parse_headers(bytes, &mut room) {
        Ok(httparse::Status::Complete((_, parsed))) => parsed,
        Err(httparse::Error::TooManyHeaders) => return Some(Err(BadMessage::Chunk)),
        Ok(httparse::Status::Partial) | Err(_) => return None,
    };
    let headers = fields::collect(parsed, bytes).map_err(|_| BadMessage::Chunk);
    Some(headers.map(|headers| (!headers.is_empty()).then_some(headers)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default)]
    struct Decoded {
        body: Vec<u8>,
        ended: bool,
        left: Vec<u8>,
        trailers: Option<HeaderMap>,
    }

    /// What is made of input that comes in parts.
    fn decode(framing: Framing, parts: &[&[u8]]) -> Result<Decoded, BadMessage> {
        let (mut decoder, mut input) = (BodyDecoder::new(framing), BytesMut::new());
        let mut decoded = Decoded::default();
        for part in parts {
            input.extend_from_slice(part);
            while !decoded.ended {
                match decoder.next(&mut input)? {
                    Piece::Data(bytes) => decoded.body.extend_from_slice(&bytes),
                    Piece::Wanting => break,
                    Piece::End(trailers) => {
                        decoded.ended = true;
                        decoded.trailers = trailers;
                    }
                }
            }
        }
        decoded.left = input.to_vec();
        Ok(decoded)
    }

    #[test]
    fn a_body_is_the_same_at_every_split() {
        for (framing, bytes, body, rest) in [
            (Framing::None, "rest", "", "rest"),
            (Framing::Length(5), "hellorest", "hello", "rest"),
            (Framing::Chunked, "5;a=\"b\"\r\nhello\r\n01\r\n!\r\n000\r\n\r\nrest", "hello!", "rest"),
            (Framing::Chunked, "A\r\n0123456789\r\n0\r\nX: y\r\nZ: w\r\n\r\nrest", "0123456789", "rest"),
        ] {
            let bytes = bytes.as_bytes();
            for split in 0..=bytes.len() {
                let decoded = decode(framing, &[&bytes[..split], &bytes[split..]]).expect("a body");
                assert_eq!(decoded.body, body.as_bytes());
                assert!(decoded.ended && decoded.left == rest.as_bytes(), "{split}: {decoded:?}");
            }
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(decode(framing, &single).expect("a body").body, body.as_bytes());
        }
    }

    #[test]
    fn every_prefix_is_a_beginning() {
        let bytes = b"5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n";
        for length in 0..bytes.len() {
            assert!(!decode(Framing::Chunked, &[&bytes[..length]]).expect("a beginning").ended);
        }
    }

    #[test]
    fn servers_may_pad_sizes_and_send_trailers_that_are_none() {
        let bytes = b"5  \r\nhello\r\n1 ;a\r\n!\r\n0\t\r\nX : 1\r\n<br>\r\nY: 2\r\n\r\nrest";
        for split in 0..=bytes.len() {
            let (mut decoder, mut input) = (BodyDecoder::of_answer(Framing::Chunked), BytesMut::new());
            let (mut body, mut trailers) = (Vec::new(), None);
            for part in [&bytes[..split], &bytes[split..]] {
                input.extend_from_slice(part);
                while !decoder.is_done() {
                    match decoder.next(&mut input).expect("a body") {
                        Piece::Data(bytes) => body.extend_from_slice(&bytes),
                        Piece::Wanting => break,
                        Piece::End(fields) => trailers = fields,
                    }
                }
            }
            let trailers = trailers.expect("trailers");
            assert_eq!((&body[..], &input[..], decoder.dropped()), (&b"hello!"[..], &b"rest"[..], 1));
            assert_eq!((trailers["x"].as_bytes(), trailers["y"].as_bytes()), (&b"1"[..], &b"2"[..]));
        }
        let mut framed = BytesMut::from(&b"0\r\nContent-Length\0: 5\r\n\r\n"[..]);
        assert!(BodyDecoder::of_answer(Framing::Chunked).next(&mut framed).is_err());
    }

    #[test]
    fn chunks_of_no_plain_form_are_refused() {
        let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(SIZE_LINE));
        let trailers = format!("0\r\nX: {}\r\n\r\n", "a".repeat(TRAILER_BYTES));
        for bad in [
            "\r\nhello",
            "0x5\r\nhello\r\n",
            "-1\r\n",
            "+5\r\nhello\r\n",
            " 5\r\nhello\r\n",
            "5 \r\nhello\r\n",
            "5\nhello\r\n",
            "5;a\nhello\r\n",
            "5;a\rb\r\nhello\r\n",
            "10000000000000000\r\n",
            "5\r\nhello!\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "0\r\nno colon\r\n\r\n",
            "0\r\nX : y\r\n\r\n",
            &long,
            &trailers,
        ] {
            assert!(decode(Framing::Chunked, &[bad.as_bytes()]).is_err(), "{:?}", &bad[..bad.len().min(40)]);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_no_split_tells(bytes: Vec<u8>, split: usize) {
            let split = split % (bytes.len() + 1);
            let whole = decode(Framing::Chunked, &[&bytes]);
            let cut = decode(Framing::Chunked, &[&bytes[..split], &bytes[split..]]);
            proptest::prop_assert_eq!(whole.is_ok(), cut.is_ok());
            if let (Ok(whole), Ok(cut)) = (whole, cut) {
                proptest::prop_assert_eq!((whole.body, whole.ended), (cut.body, cut.ended));
            }
        }
    }
}
