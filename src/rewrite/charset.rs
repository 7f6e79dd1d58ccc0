//! The charset of a page, as browsers find it out.

use encoding_rs::{Encoding, UTF_8};

/// The charset of a page, as far as its head tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Charset {
    /// By `content-type`.
    Declared(&'static Encoding),
    /// Nothing declared that is known: the page's first bytes tell, and UTF-8 is assumed.
    Undeclared,
}

/// Bytes at the beginning in which a page names its charset.
const START: usize = 1024;
/// The longest byte order mark.
const MARK: usize = 3;

impl Charset {
    /// How much of a page's beginning tells its charset: bytes of a mark, or all that may hold a tag.
    pub(super) fn start(self) -> usize {
        match self {
            Self::Declared(_) => MARK,
            Self::Undeclared => START,
        }
    }

    /// The charset of a page that begins with `start`, as much as [`start`](Self::start) says or the whole of it: its byte order mark,
    /// the head's word, a `meta` tag, UTF-8, in this order. `None` if it is no superset of ASCII.
    pub(super) fn of_page(self, start: &[u8]) -> Option<&'static Encoding> {
        let encoding = match (Encoding::for_bom(start), self) {
            (Some((marked, _)), _) => marked,
            (None, Self::Declared(declared)) => declared,
            // A page that can be read as ASCII up to its meta tag is not UTF-16, whatever the tag says.
            (None, Self::Undeclared) => {
                meta_charset(start).filter(|named| named.is_ascii_compatible()).unwrap_or(UTF_8)
            }
        };
        encoding.is_ascii_compatible().then_some(encoding)
    }
}

/// What the first `<meta … charset=…>` names, in either of its two forms.
fn meta_charset(start: &[u8]) -> Option<&'static Encoding> {
    memchr::memchr_iter(b'<', start).find_map(|at| {
        let tag = start.get(at + 1..)?;
        if !tag.get(..b"meta".len())?.eq_ignore_ascii_case(b"meta") {
            return None;
        }
        let tag = tag.get(..memchr::memchr(b'>', tag)?)?;
        let name = tag.windows(b"charset".len()).position(|name| name.eq_ignore_ascii_case(b"charset"))?;
        let value = tag.get(name + b"charset".len()..)?.trim_ascii_start();
        let value = value.strip_prefix(b"=")?.trim_ascii_start();
        let value = value.strip_prefix(b"\"").or(value.strip_prefix(b"'")).unwrap_or(value);
        let end = value.iter().position(|byte| b"\"'; \t\r\n/".contains(byte)).unwrap_or(value.len());
        Encoding::for_label(value.get(..end)?)
    })
}

#[cfg(test)]
mod tests {
    use encoding_rs::{BIG5, GBK, UTF_16LE};

    use super::*;

    #[test]
    fn the_charset_is_told_by_mark_head_and_meta() {
        #[track_caller]
        fn check(charset: Charset, start: &str, expected: Option<&'static Encoding>) {
            assert_eq!(charset.of_page(start.as_bytes()), expected, "{start}");
        }
        check(Charset::Undeclared, "<p>", Some(UTF_8));
        check(Charset::Undeclared, "<META Charset = 'GB2312'>", Some(GBK));
        check(
            Charset::Undeclared,
            "<meta name=a><meta http-equiv=content-type content=\"text/html; charset=gbk\">",
            Some(GBK),
        );
        check(Charset::Undeclared, "<meta charset=utf-16le>", Some(UTF_8));
        check(Charset::Undeclared, "<meta charset=", Some(UTF_8));
        check(Charset::Declared(BIG5), "<meta charset=gbk>", Some(BIG5));
        check(Charset::Declared(GBK), "\u{feff}<p>", Some(UTF_8));
        check(Charset::Declared(UTF_16LE), "<p>", None);
        assert_eq!(Charset::Undeclared.of_page(b"\xff\xfe<\0"), None);
    }
}
