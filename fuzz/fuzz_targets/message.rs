//! HTTP/1.1 messages are parsed alike however they are cut, and none makes a parser panic.

#![no_main]

use bytes::{Bytes, BytesMut};
use icpgate::message::body::{BodyDecoder, Piece};
use icpgate::message::fields::EndOfHead;
use icpgate::message::{BadMessage, Framing, request, response};
use libfuzzer_sys::fuzz_target;

/// The body of input in parts of `length`, and whether it ended.
fn decode(framing: Framing, bytes: &[u8], length: usize) -> Result<(Vec<u8>, bool), BadMessage> {
    let (mut decoder, mut input, mut body) = (BodyDecoder::new(framing), BytesMut::new(), Vec::new());
    for part in bytes.chunks(length.max(1)) {
        input.extend_from_slice(part);
        loop {
            match decoder.next(&mut input)? {
                Piece::Data(bytes) => body.extend_from_slice(&bytes),
                Piece::Wanting => break,
                Piece::End(_) => return Ok((body, true)),
            }
        }
    }
    Ok((body, false))
}

fuzz_target!(|bytes: &[u8]| {
    let Some(length) = EndOfHead::default().find(bytes) else { return };
    let (head, rest) = bytes.split_at(length);
    let head = Bytes::copy_from_slice(head);
    let _ = response::parse(&head).map(|response| response::framing(&response.head, &http::Method::GET));
    let framing = request::parse(&head).map_or(Framing::Chunked, |request| request.framing);
    let whole = decode(framing, rest, rest.len());
    for length in [1, 2, 7] {
        assert_eq!(whole, decode(framing, rest, length));
    }
});
