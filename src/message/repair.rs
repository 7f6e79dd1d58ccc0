//! Heads of servers that break the grammar, put right where they can be read in one way.
//!
//! A field that is none is dropped and counted. What might say where the body ends, to this reader or to another one, is
//! refused: nothing is ever guessed about framing.

use bytes::{Bytes, BytesMut};

use super::BadMessage;

/// Fields that say where a body ends.
const FRAMING: [&[u8]; 2] = [b"content-length", b"transfer-encoding"];
/// `HTTP/1.1 200`: a status line without its reason.
const STATUS_BYTES: usize = 12;

/// Bytes that keep to the grammar.
#[derive(Debug)]
pub(super) struct Repaired {
    pub(super) bytes: Bytes,
    /// How many fields were dropped.
    pub(super) dropped: u32,
}

/// Puts a head right; its empty line is included.
pub(super) fn head(bytes: &[u8]) -> Result<Repaired, BadMessage> {
    let mut lines = lines(bytes).skip_while(|line| line.is_empty());
    let status = lines.next().ok_or(BadMessage::Syntax)?;
    let (line, reason) = status.split_at_checked(STATUS_BYTES).ok_or(BadMessage::Syntax)?;
    let is_status = line.starts_with(b"HTTP/1.") && matches!(reason.first(), None | Some(b' '));
    if !is_status || mentions_framing(reason) {
        return Err(BadMessage::Syntax);
    }
    let mut out = BytesMut::with_capacity(bytes.len() + 2);
    // The reason goes no further.
    out.extend_from_slice(line);
    out.extend_from_slice(b" \r\n");
    fields(lines, out)
}

/// Puts trailers right; their empty line is included.
pub(super) fn trailers(bytes: &[u8]) -> Result<Repaired, BadMessage> {
    fields(lines(bytes), BytesMut::with_capacity(bytes.len() + 2))
}

/// What became of the line before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Before {
    Dropped,
    Framing,
    /// A field, and where it begins in the output.
    Field(usize),
}

fn fields<'b>(lines: impl Iterator<Item = &'b [u8]>, mut out: BytesMut) -> Result<Repaired, BadMessage> {
    let (mut dropped, mut before) = (0, Before::Dropped);
    for line in lines.take_while(|line| !line.is_empty()) {
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            // A folded value goes on (RFC 9112, 5.2).
            match before {
                Before::Framing => return Err(BadMessage::Coding),
                _ if mentions_framing(line) => return Err(BadMessage::Coding),
                Before::Dropped => {}
                Before::Field(_) if is_value(line) => {
                    out.truncate(out.len() - 2);
                    out.extend_from_slice(b" ");
                    out.extend_from_slice(trim(line));
                    out.extend_from_slice(b"\r\n");
                }
                Before::Field(begin) => {
                    out.truncate(begin);
                    dropped += 1;
                    before = Before::Dropped;
                }
            }
            continue;
        }
        before = match split(line) {
            Some((name, value)) => {
                let begin = out.len();
                for part in [name, b": ", value, b"\r\n"] {
                    out.extend_from_slice(part);
                }
                if is_framing(name) { Before::Framing } else { Before::Field(begin) }
            }
            None if mentions_framing(line) => return Err(BadMessage::Coding),
            None => {
                dropped += 1;
                Before::Dropped
            }
        };
    }
    out.extend_from_slice(b"\r\n");
    Ok(Repaired { bytes: out.freeze(), dropped })
}

/// Lines, without their ends.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// Name and value of a field. White space before the colon is removed (RFC 9112, 5.1).
fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, value) = line.split_at(memchr::memchr(b':', line)?);
    let (name, value) = (trim(name), trim(&value[1..]));
    (!name.is_empty() && name.iter().all(is_token) && is_value(value)).then_some((name, value))
}

/// Without blanks at either end. Other white space is a control character.
fn trim(text: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let begin = text.iter().position(|byte| !is_blank(byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !is_blank(byte)).map_or(begin, |last| last + 1);
    &text[begin..end]
}

fn is_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

/// No control characters, but tabs.
fn is_value(value: &[u8]) -> bool {
    value.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control())
}

fn is_framing(name: &[u8]) -> bool {
    FRAMING.iter().any(|framing| name.eq_ignore_ascii_case(framing))
}

/// Whether some reader could take a part of the line for a field of the framing: one that passes over bytes that no name
/// has, or that ends lines at a bare CR.
fn mentions_framing(line: &[u8]) -> bool {
    line.split(|byte| *byte == b'\r').any(|part| {
        let Some(colon) = memchr::memchr(b':', part) else { return false };
        let name: Vec<u8> = part[..colon].iter().copied().filter(is_token).collect();
        is_framing(&name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repaired(fields: &str) -> Result<(String, u32), BadMessage> {
        let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
        let Repaired { bytes, dropped } = head(text.as_bytes())?;
        let text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
        let fields = text.strip_prefix("HTTP/1.1 200 \r\n").and_then(|rest| rest.strip_suffix("\r\n"));
        Ok((fields.expect("a head").to_owned(), dropped))
    }

    #[test]
    fn fields_that_are_none_are_dropped() {
        for (sent, kept, dropped) in [
            ("X : a\r\nY\t:b\r\n", "X: a\r\nY: b\r\n", 0),
            ("Content-Length : 5\r\n", "Content-Length: 5\r\n", 0),
            ("<br>Warning: a\r\nX: b\r\n", "X: b\r\n", 1),
            ("no colon\r\nX: b\r\n: c\r\n", "X: b\r\n", 2),
            ("X: a\x01b\r\nY: c\0\r\nZ: d\r\n", "Z: d\r\n", 2),
            ("X: a\rb\r\nY: a\r\r\n", "", 2),
            ("X: a\r\n b\r\n\tc\r\n", "X: a b c\r\n", 0),
            ("X: a\r\n b\x01\r\n c\r\nY: d\r\n", "Y: d\r\n", 1),
            ("x@y: a\r\n folded\r\nX: b\n", "X: b\r\n", 1),
        ] {
            assert_eq!(repaired(sent), Ok((kept.to_owned(), dropped)), "{sent:?}");
        }
    }

    #[test]
    fn what_may_speak_of_framing_is_refused() {
        for bad in [
            "Transfer-Encoding\x0b: chunked\r\n",
            "Content-Length: 5\0\r\n",
            "Transfer-Encoding:\r\n chunked\r\n",
            "X: a\r\n Transfer-Encoding: chunked\r\n",
            "X: a\rContent-Length: 5\r\n",
            " Content-Length: 5\r\n",
            "(content-length): 5\r\n",
        ] {
            assert_eq!(repaired(bad), Err(BadMessage::Coding), "{bad:?}");
        }
        for bad in
            ["SSH-2.0\r\n\r\n", "HTTP/1.1 200\rContent-Length: 5\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n", ""]
        {
            assert_eq!(head(bad.as_bytes()).map(|_| ()), Err(BadMessage::Syntax), "{bad:?}");
        }
    }
}
