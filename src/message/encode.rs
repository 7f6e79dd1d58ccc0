//! Heads and bodies in the words of HTTP/1.1, as they are sent.
//!
//! A head is written in one way: names in lower case, one line a field, one framing.

use bytes::{BufMut, BytesMut};
use http::header::{HeaderMap, HeaderName};
use http::{Method, StatusCode};

/// Begins a request.
pub fn request_line(method: &Method, target: &[u8], out: &mut BytesMut) {
    out.put_slice(method.as_str().as_bytes());
    out.put_u8(b' ');
    out.put_slice(target);
    out.put_slice(b" HTTP/1.1\r\n");
}

/// Begins a response.
pub fn status_line(status: StatusCode, out: &mut BytesMut) {
    if status == StatusCode::OK {
        return out.put_slice(b"HTTP/1.1 200 OK\r\n");
    }
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(status.as_str().as_bytes());
    out.put_u8(b' ');
    out.put_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.put_slice(b"\r\n");
}

/// One field. The value must be one: without line ends.
pub fn field(name: &HeaderName, value: &[u8], out: &mut BytesMut) {
    out.put_slice(name.as_str().as_bytes());
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

/// Every field.
pub fn fields(headers: &HeaderMap, out: &mut BytesMut) {
    for (name, value) in headers {
        field(name, value.as_bytes(), out);
    }
}

/// `content-length`.
pub fn length(length: u64, out: &mut BytesMut) {
    out.put_slice(b"content-length: ");
    decimal(length, out);
    out.put_slice(b"\r\n");
}

/// A number.
fn decimal(mut number: u64, out: &mut BytesMut) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.put_slice(&digits[first..]);
}

/// What stands before the bytes of a chunk of `length` bytes, at least one.
pub fn chunk_begin(length: usize, out: &mut BytesMut) {
    let mut digits = [0; 16];
    let mut first = digits.len();
    let mut left = length;
    while left > 0 {
        first -= 1;
        digits[first] = b"0123456789abcdef"[left & 0xf];
        left >>= 4;
    }
    out.put_slice(&digits[first..]);
    out.put_slice(b"\r\n");
}

/// What stands behind the bytes of a chunk.
pub const CHUNK_END: &[u8] = b"\r\n";

/// The last chunk, with the fields behind it.
pub fn last_chunk(trailers: Option<&HeaderMap>, out: &mut BytesMut) {
    out.put_slice(b"0\r\n");
    if let Some(trailers) = trailers {
        fields(trailers, out);
    }
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut BytesMut)) -> String {
        let mut out = BytesMut::new();
        write(&mut out);
        String::from_utf8(out.to_vec()).expect("ASCII")
    }

    #[test]
    fn lines_are_as_the_grammar_has_them() {
        assert_eq!(written(|out| request_line(&Method::GET, b"/a?b", out)), "GET /a?b HTTP/1.1\r\n");
        assert_eq!(written(|out| status_line(StatusCode::OK, out)), "HTTP/1.1 200 OK\r\n");
        let unknown = StatusCode::from_u16(299).expect("a status");
        assert_eq!(written(|out| status_line(unknown, out)), "HTTP/1.1 299 \r\n");
        for (number, text) in [(0, "0"), (10, "10"), (u64::MAX, "18446744073709551615")] {
            assert_eq!(written(|out| length(number, out)), format!("content-length: {text}\r\n"));
        }
        for number in [1, 15, 16, 0x10_00, usize::MAX] {
            assert_eq!(written(|out| chunk_begin(number, out)), format!("{number:x}\r\n"));
        }
        assert_eq!(written(|out| last_chunk(None, out)), "0\r\n\r\n");
    }
}
