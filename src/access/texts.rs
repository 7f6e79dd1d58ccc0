//! The texts of a request that the client chose, as it sent them.
//!
//! They stay in the request head until the exchange is over; the record takes truncated copies along. Packing
//! replaces bytes that are not UTF-8, so that a record is bounded and can be written out as it is.

use std::borrow::Cow;

/// Bytes of a text that a record keeps.
pub const TEXT_BYTES: usize = 8 * 1024;

/// Bytes of an invalid host that a record keeps: no host name is longer (RFC 1035, 2.3.4).
pub const NAME_BYTES: usize = 255;

/// Bytes of a text that a record keeps of a client beyond its budget.
const SHORT_BYTES: usize = 64;

const TEXTS: usize = 5;

/// The texts of a request; what the client did not send is empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestTexts<'r> {
    /// The method.
    pub method: &'r [u8],
    /// The path, without the query.
    pub path: &'r [u8],
    /// The query, redacted.
    pub query: &'r [u8],
    /// The `referer` header, its query redacted.
    pub referer: &'r [u8],
    /// The `user-agent` header.
    pub user_agent: &'r [u8],
    /// Whether a text is shortened because the client is beyond its budget.
    pub is_truncated: bool,
}

/// The lengths of the texts, as truncated.
#[derive(Clone, Copy, Debug)]
pub struct Lengths([u16; TEXTS]);

impl<'r> RequestTexts<'r> {
    /// The texts as a record keeps them, truncated. Concatenated, they are the input of [`RequestTexts::of`].
    pub fn kept(&self) -> [&'r [u8]; TEXTS] {
        [cut(self.method), cut(self.path), cut(self.query), cut(self.referer), cut(self.user_agent)]
    }

    /// Splits `all` into the texts; missing bytes become empty texts.
    pub fn of(mut all: &'r [u8], lengths: Lengths) -> Self {
        let [method, path, query, referer, user_agent] = lengths.0.map(|length| {
            let (text, rest) = all.split_at(all.len().min(length.into()));
            all = rest;
            text
        });
        Self { method, path, query, referer, user_agent, is_truncated: false }
    }

    /// The texts as a record keeps them of a client beyond its budget. Short ones stay whole.
    pub fn shortened(self) -> Self {
        let all = [self.method, self.path, self.query, self.referer, self.user_agent];
        let [method, path, query, referer, user_agent] = all.map(shorten);
        let is_truncated = all.iter().any(|text| text.len() > SHORT_BYTES);
        Self { method, path, query, referer, user_agent, is_truncated }
    }
}

impl Lengths {
    /// The lengths of truncated texts.
    pub fn of(texts: [&[u8]; TEXTS]) -> Self {
        const { assert!(TEXT_BYTES <= u16::MAX as usize) }
        let mut lengths = [0; TEXTS];
        for (length, text) in lengths.iter_mut().zip(texts) {
            *length = text.len() as u16;
        }
        Self(lengths)
    }

    /// The total length in bytes.
    pub fn sum(self) -> usize {
        self.0.into_iter().map(usize::from).sum()
    }
}

/// Truncates a text and replaces what is not UTF-8.
pub fn to_utf8(text: &[u8]) -> Cow<'_, str> {
    let text = cut(text);
    // Texts are nearly always UTF-8, and checking is much faster than finding what is not.
    std::str::from_utf8(text).map_or_else(|_| String::from_utf8_lossy(text), Cow::Borrowed)
}

fn cut(text: &[u8]) -> &[u8] {
    &text[..text.len().min(TEXT_BYTES)]
}

/// At most [`SHORT_BYTES`], without a part of a character at the end.
fn shorten(text: &[u8]) -> &[u8] {
    if text.len() <= SHORT_BYTES {
        return text;
    }
    let is_inside = |at: &usize| text[*at] & 0xc0 == 0x80;
    // A character of UTF-8 has at most four bytes.
    let end = (SHORT_BYTES - 3..=SHORT_BYTES).rev().find(|at| !is_inside(at)).unwrap_or(SHORT_BYTES);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_is_its_own_however_long_the_others_are() {
        let long = [b'x'; TEXT_BYTES + 1];
        let sent = RequestTexts {
            path: b"/a",
            query: &long,
            user_agent: b"curl/8",
            method: b"PUT",
            ..RequestTexts::default()
        };
        let (all, lengths) = (sent.kept().concat(), Lengths::of(sent.kept()));
        assert_eq!(lengths.sum(), all.len());
        let read = RequestTexts::of(&all, lengths);
        assert_eq!((read.method, read.path, read.query), (&b"PUT"[..], &b"/a"[..], &long[1..]));
        assert_eq!((read.referer, read.user_agent), (&b""[..], &b"curl/8"[..]));
        for cut in 0..all.len() {
            RequestTexts::of(&all[..cut], lengths);
        }
    }

    #[test]
    fn a_shortened_text_is_marked_and_ends_with_a_whole_character() {
        let long = format!("{}京京", "x".repeat(SHORT_BYTES - 4));
        let short = [b'x'; SHORT_BYTES];
        let sent = RequestTexts { path: long.as_bytes(), query: &short, ..RequestTexts::default() };
        let kept = sent.shortened();
        assert_eq!((kept.path, kept.query), (&long.as_bytes()[..SHORT_BYTES - 1], &short[..]));
        assert!(kept.is_truncated && !kept.shortened().path.is_empty());
        assert!(!RequestTexts { query: &short, ..RequestTexts::default() }.shortened().is_truncated);
        let noise = [0x80; 2 * SHORT_BYTES];
        assert_eq!(RequestTexts { path: &noise, ..sent }.shortened().path.len(), SHORT_BYTES);
    }

    #[test]
    fn what_is_shown_is_cut_and_utf_8() {
        assert_eq!(to_utf8(b"curl/8"), "curl/8");
        assert_eq!(to_utf8(b"/a\xff\xc2b"), "/a\u{fffd}\u{fffd}b");
        assert_eq!(to_utf8(&[b'x'; TEXT_BYTES + 1]).len(), TEXT_BYTES);
    }
}
