//! Fields of heads and trailers, and what they say of the body and of the connection.

use std::sync::LazyLock;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use memchr::memmem::Finder;

use super::{BadMessage, Persistence};

/// The most options in `connection`: as many as a request may have fields. Browsers send one or two.
const CONNECTION_OPTIONS: usize = 128;

/// Finds the end of a head in bytes that grow, without looking at any of them twice.
#[derive(Clone, Copy, Debug, Default)]
pub struct EndOfHead {
    /// So many bytes have been looked at, without an empty line among them.
    searched: usize,
    /// Whether an empty line may be the very first one. Before a start line it ends nothing: one may be left
    /// from the message before (RFC 9112, 2.2).
    may_be_first: bool,
}

/// An empty line after another line, however lines are ended.
static EMPTY_LINE: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"\n\r\n"));
static BARE_EMPTY_LINE: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"\n\n"));

impl EndOfHead {
    /// For fields that follow a line that is known: they may be none.
    pub fn after_a_line() -> Self {
        Self { searched: 0, may_be_first: true }
    }

    /// Where the head in `bytes`, which have grown since the last call, ends: behind its empty line.
    pub fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        match bytes {
            [b'\n', ..] if self.may_be_first => return Some(1),
            [b'\r', b'\n', ..] if self.may_be_first => return Some(2),
            _ => {}
        }
        // The beginning of an empty line may be there already.
        let from = self.searched.saturating_sub(2);
        self.searched = bytes.len();
        let new = bytes.get(from..)?;
        let end = EMPTY_LINE.find(new).map(|at| at + 3);
        let bare_end = BARE_EMPTY_LINE.find(&new[..end.unwrap_or(new.len())]).map(|at| at + 2);
        Some(from + bare_end.or(end)?)
    }
}

/// The fields of a head that stands in `whole`, without copying their values.
pub(super) fn collect(parsed: &[httparse::Header<'_>], whole: &Bytes) -> Result<HeaderMap, BadMessage> {
    let mut headers = HeaderMap::with_capacity(parsed.len() + 4);
    let mut options = 0;
    for field in parsed {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| BadMessage::Syntax)?;
        if name == header::CONNECTION {
            options += 1 + memchr::memchr_iter(b',', field.value).count();
            if options > CONNECTION_OPTIONS {
                return Err(BadMessage::TooManyFields);
            }
        }
        let value = HeaderValue::from_maybe_shared(whole.slice_ref(field.value));
        headers.append(name, value.map_err(|_| BadMessage::Syntax)?);
    }
    Ok(headers)
}

/// Whether the client waits for `100 Continue` before it sends the body (RFC 9110, 10.1.1).
pub fn expects_continue(headers: &HeaderMap) -> bool {
    let expect = headers.get(header::EXPECT);
    expect.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// The length that a head says: once as a plain number, or more than once or as a list as long as all
/// of it agrees (RFC 9110, 8.6).
pub fn content_length(headers: &HeaderMap) -> Result<Option<u64>, BadMessage> {
    let mut length = None;
    for value in headers.get_all(header::CONTENT_LENGTH) {
        for said in value.as_bytes().split(|byte| *byte == b',') {
            let said = number(said.trim_ascii()).ok_or(BadMessage::Length)?;
            if length.is_some_and(|length| length != said) {
                return Err(BadMessage::Length);
            }
            length = Some(said);
        }
    }
    Ok(length)
}

/// Digits and nothing else.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// Whether a list of tokens has one.
pub fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|sent| sent.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// What a head says of the connection after it (RFC 9112, 9.3).
pub(super) fn persistence(headers: &HeaderMap, version: http::Version) -> Persistence {
    let kept = if version == http::Version::HTTP_11 {
        !has_token(headers, &header::CONNECTION, "close")
    } else {
        has_token(headers, &header::CONNECTION, "keep-alive")
            && !has_token(headers, &header::CONNECTION, "close")
    };
    if kept { Persistence::Kept } else { Persistence::Closed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_found_at_every_split() {
        for (head, rest) in [
            ("GET / HTTP/1.1\r\nHost: a.cn\r\n\r\n", "body"),
            ("GET / HTTP/1.1\nHost: a.cn\n\n", "\n\n"),
            ("\r\nGET / HTTP/1.1\r\n\r\n", "GET"),
            ("\r\n\r\n", "GET / HTTP/1.1\r\n\r\n"),
            ("GET / HTTP/1.1\n\r\n", "\n\n"),
            ("GET / HTTP/1.1\r\nHost: a.cn\n\n", "\r\n\r\n"),
        ] {
            let all = [head, rest].concat();
            assert_eq!(EndOfHead::default().find(all.as_bytes()), Some(head.len()));
            let mut end = EndOfHead::default();
            let found = (0..=all.len()).find_map(|length| end.find(&all.as_bytes()[..length]));
            assert_eq!(found, Some(head.len()), "{all:?}");
        }
    }

    /// By the definition: the first line that is empty, `begun` once a line has ended.
    fn first_empty_line(bytes: &[u8], mut begun: bool) -> Option<usize> {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', bytes) {
            let is_empty = matches!(&bytes[start..end], b"" | b"\r");
            start = end + 1;
            if is_empty && begun {
                return Some(start);
            }
            begun = true;
        }
        None
    }

    #[test]
    fn the_end_is_behind_the_first_empty_line_whatever_the_bytes() {
        let mut texts = vec![Vec::new()];
        for _ in 0..8 {
            let longer = |text: &Vec<u8>| [b'\r', b'\n', b'a'].map(|byte| [&**text, &[byte]].concat());
            texts = texts.iter().flat_map(longer).collect();
            for text in &texts {
                for (from, begun) in [(EndOfHead::default(), false), (EndOfHead::after_a_line(), true)] {
                    let expected = first_empty_line(text, begun);
                    assert_eq!({ from }.find(text), expected, "{text:?}");
                    let mut growing = from;
                    let found = (0..=text.len()).find_map(|length| growing.find(&text[..length]));
                    assert_eq!(found, expected, "{text:?}");
                }
            }
        }
    }

    #[test]
    fn a_long_list_of_connection_options_is_refused() {
        let collected = |options: usize| {
            let field = ["Connection: x", &",x".repeat(options - 1), "\r\n\r\n"].concat();
            let bytes = Bytes::from([field.as_str(), ""].concat());
            let mut room = [httparse::EMPTY_HEADER; 1];
            let parsed = httparse::parse_headers(&bytes, &mut room).expect("a field").unwrap().1;
            collect(parsed, &bytes).map(|headers| headers.len())
        };
        assert_eq!(collected(CONNECTION_OPTIONS), Ok(1));
        assert_eq!(collected(CONNECTION_OPTIONS + 1), Err(BadMessage::TooManyFields));
    }

    #[test]
    fn a_length_is_one_number_however_often_it_is_said() {
        let length = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONTENT_LENGTH, HeaderValue::from_static(value));
            }
            content_length(&headers)
        };
        assert_eq!(length(&[]), Ok(None));
        assert_eq!(length(&["5"]), Ok(Some(5)));
        assert_eq!(length(&["5, 005", "5"]), Ok(Some(5)));
        assert_eq!(length(&["18446744073709551615"]), Ok(Some(u64::MAX)));
        for bad in ["", "+5", "-5", "0x5", "5 5", "5,", "5,6", "5.0", "18446744073709551616"] {
            assert_eq!(length(&[bad]), Err(BadMessage::Length), "{bad:?}");
        }
        assert_eq!(length(&["5", "6"]), Err(BadMessage::Length));
    }
}
