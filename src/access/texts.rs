//! The texts that a client chose, as it sent them.
//!
//! They stand in the head of the request until its exchange is over; the record takes copies along, each cut
//! at a length. Whoever packs it replaces what is no UTF-8, so that a record is bounded and can be written
//! out as it is.

use std::borrow::Cow;

/// As much of a text as a record keeps, in bytes.
pub const TEXT_BYTES: usize = 8 * 1024;

/// As much of a host that is none as a record keeps, in bytes: no host is longer (RFC 1035, 2.3.4).
pub const NAME_BYTES: usize = 255;

const TEXTS: usize = 5;

/// What a client sent with a request; what it did not send is empty.
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
}

/// How long the texts are that a record takes along.
#[derive(Clone, Copy, Debug)]
pub struct Lengths([u16; TEXTS]);

impl<'r> RequestTexts<'r> {
    /// As much of each as a record keeps; one after the other, they are what [`RequestTexts::of`] takes apart.
    pub fn kept(&self) -> [&'r [u8]; TEXTS] {
        [cut(self.method), cut(self.path), cut(self.query), cut(self.referer), cut(self.user_agent)]
    }

    /// The texts in `all`, one after the other; what is missing there is empty.
    pub fn of(mut all: &'r [u8], lengths: Lengths) -> Self {
        let [method, path, query, referer, user_agent] = lengths.0.map(|length| {
            let (text, rest) = all.split_at(all.len().min(length.into()));
            all = rest;
            text
        });
        Self { method, path, query, referer, user_agent }
    }
}

impl Lengths {
    /// Those of texts as they are kept.
    pub fn of(texts: [&[u8]; TEXTS]) -> Self {
        const { assert!(TEXT_BYTES <= u16::MAX as usize) }
        let mut lengths = [0; TEXTS];
        for (length, text) in lengths.iter_mut().zip(texts) {
            *length = text.len() as u16;
        }
        Self(lengths)
    }

    /// Of all texts together, in bytes.
    pub fn sum(self) -> usize {
        self.0.into_iter().map(usize::from).sum()
    }
}

/// A text as it is written out: cut, and with a replacement for what is no UTF-8.
pub fn to_utf8(text: &[u8]) -> Cow<'_, str> {
    let text = cut(text);
    // Nearly always so, and told much faster than what is no UTF-8 is found.
    std::str::from_utf8(text).map_or_else(|_| String::from_utf8_lossy(text), Cow::Borrowed)
}

fn cut(text: &[u8]) -> &[u8] {
    &text[..text.len().min(TEXT_BYTES)]
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
    fn what_is_shown_is_cut_and_utf_8() {
        assert_eq!(to_utf8(b"curl/8"), "curl/8");
        assert_eq!(to_utf8(b"/a\xff\xc2b"), "/a\u{fffd}\u{fffd}b");
        assert_eq!(to_utf8(&[b'x'; TEXT_BYTES + 1]).len(), TEXT_BYTES);
    }
}
