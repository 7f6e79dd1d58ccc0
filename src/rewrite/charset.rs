//! The charset of a page, as browsers determine it: byte order mark, `content-type`, the first `meta` that names one.

use encoding_rs::{Encoding, GBK, UTF_8};

/// What the head of an answer says of the page's charset.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Charset {
    /// `content-type` names it.
    Declared(&'static Encoding),
    /// `content-type` names none, or one that browsers do not know.
    Undeclared,
}

/// What is known of a page's charset at a place in it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Known {
    Declared(&'static Encoding),
    /// Declared, and not a superset of ASCII, such as UTF-16.
    Unreadable,
    Undeclared,
}

impl Known {
    fn of(encoding: &'static Encoding) -> Self {
        if encoding.is_ascii_compatible() { Self::Declared(encoding) } else { Self::Unreadable }
    }

    /// The charsets that text at this place may be in. Chromium guesses GBK where nothing is declared; a page in
    /// undeclared UTF-8 is taken for what its author meant.
    pub(super) fn candidates(self) -> impl Iterator<Item = &'static Encoding> {
        let (first, second) = match self {
            Self::Declared(encoding) => (Some(encoding), None),
            Self::Unreadable => (None, None),
            Self::Undeclared => (Some(UTF_8), Some(GBK)),
        };
        first.into_iter().chain(second)
    }
}

/// The charset of a page that is being read. Holds at most [`META_BYTES`] of it.
#[derive(Debug)]
pub(super) struct PageCharset {
    known: Known,
    /// The page's first bytes, until they can no longer be a byte order mark.
    mark: Option<Vec<u8>>,
    /// A `meta` tag that is not read to its end.
    meta: Option<MetaTag>,
}

/// The longest byte order mark, in bytes.
const MARK_BYTES: usize = 3;

impl PageCharset {
    pub(super) fn new(charset: Charset) -> Self {
        let known = match charset {
            Charset::Declared(encoding) => Known::of(encoding),
            Charset::Undeclared => Known::Undeclared,
        };
        Self { known, mark: Some(Vec::new()), meta: None }
    }

    /// As far as the page has been read.
    pub(super) fn known(&self) -> Known {
        self.known
    }

    /// Whether enough of the page's start has come to tell a byte order mark.
    pub(super) fn is_mark_read(&self) -> bool {
        self.mark.is_none()
    }

    /// Reads the page's next bytes for a byte order mark, which outweighs everything else.
    pub(super) fn read_mark(&mut self, bytes: &[u8]) {
        let Some(mark) = &mut self.mark else { return };
        mark.extend(bytes.iter().take(MARK_BYTES - mark.len()));
        if let Some((encoding, _)) = Encoding::for_bom(mark) {
            self.known = Known::of(encoding);
            self.mark = None;
        } else if mark.len() == MARK_BYTES {
            self.mark = None;
        }
    }

    /// A `meta` tag begins; what follows its name goes to [`read_meta`](Self::read_meta).
    pub(super) fn begin_meta(&mut self) {
        if self.known == Known::Undeclared {
            self.meta = Some(MetaTag::default());
        }
    }

    /// Reads the page's next bytes for the `meta` tag that has begun, if one has.
    pub(super) fn read_meta(&mut self, bytes: &[u8]) {
        if let Some(meta) = &mut self.meta
            && meta.read(bytes)
        {
            self.known = meta.charset().map_or(self.known, Known::of);
            self.meta = None;
        }
    }
}

/// The attributes of a `meta` tag.
#[derive(Debug, Default)]
struct MetaTag {
    bytes: Vec<u8>,
    quote: Option<u8>,
}

/// As much of a `meta` tag as is looked at. Those that name a charset have some 70 bytes.
const META_BYTES: usize = 1024;

impl MetaTag {
    /// Reads on to the end of the tag; whether that has come.
    fn read(&mut self, bytes: &[u8]) -> bool {
        for byte in bytes {
            match (self.quote, byte) {
                (None, b'>') => return true,
                (Some(quote), _) if quote == *byte => self.quote = None,
                (None, b'"' | b'\'') if self.bytes.trim_ascii_end().ends_with(b"=") => {
                    self.quote = Some(*byte)
                }
                _ => {}
            }
            if self.bytes.len() < META_BYTES {
                self.bytes.push(*byte);
            }
        }
        false
    }

    /// What the tag names, by `charset`, or by `http-equiv` and `content` (HTML Standard, 13.2.3.2).
    fn charset(&self) -> Option<&'static Encoding> {
        let (mut named, mut content, mut is_content_type) = (None, None, false);
        let mut rest = &self.bytes[..];
        while let Some((name, value, behind)) = attribute(rest) {
            match name.to_ascii_lowercase().as_slice() {
                b"charset" => named = named.or(Some(value)),
                b"content" => content = content.or(charset_parameter(value)),
                b"http-equiv" => is_content_type |= value.eq_ignore_ascii_case(b"content-type"),
                _ => {}
            }
            rest = behind;
        }
        let label = named.or(content.filter(|_| is_content_type))?;
        // A tag that can be read as ASCII is not in UTF-16.
        let encoding = Encoding::for_label(label)?;
        Some(if encoding.is_ascii_compatible() || encoding == encoding_rs::ISO_2022_JP {
            encoding
        } else {
            UTF_8
        })
    }
}

/// The first attribute's name and value, and what is behind it.
fn attribute(tag: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let start = tag.iter().position(|byte| !byte.is_ascii_whitespace() && *byte != b'/')?;
    let tag = &tag[start..];
    let length = tag.iter().position(|byte| byte.is_ascii_whitespace() || matches!(byte, b'=' | b'/'));
    let (name, rest) = tag.split_at(length.unwrap_or(tag.len()).max(1));
    let Some(value) = rest.trim_ascii_start().strip_prefix(b"=") else { return Some((name, b"", rest)) };
    let value = value.trim_ascii_start();
    match value.split_first() {
        Some((quote @ (b'"' | b'\''), value)) => {
            let end = memchr::memchr(*quote, value).unwrap_or(value.len());
            Some((name, &value[..end], value.get(end + 1..).unwrap_or_default()))
        }
        _ => {
            let end = value.iter().position(u8::is_ascii_whitespace).unwrap_or(value.len());
            Some((name, &value[..end], &value[end..]))
        }
    }
}

/// `gbk` of `text/html; charset=gbk`.
pub(super) fn charset_parameter(content: &[u8]) -> Option<&[u8]> {
    const NAME: &[u8] = b"charset";
    let at = content.windows(NAME.len()).position(|name| name.eq_ignore_ascii_case(NAME))?;
    let value = content[at + NAME.len()..].trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
    let is_end = |byte: &u8| matches!(byte, b'"' | b'\'' | b';') || byte.is_ascii_whitespace();
    let value = value.strip_prefix(b"\"").or(value.strip_prefix(b"'")).unwrap_or(value);
    value.get(..value.iter().position(is_end).unwrap_or(value.len()))
}

#[cfg(test)]
mod tests {
    use encoding_rs::{BIG5, UTF_16LE};

    use super::*;

    #[test]
    fn a_meta_tag_names_a_charset_in_either_form() {
        #[track_caller]
        fn check(tag: &str, expected: Option<&'static Encoding>) {
            for size in [1, tag.len()] {
                let mut charset = PageCharset::new(Charset::Undeclared);
                charset.begin_meta();
                tag.as_bytes().chunks(size).for_each(|bytes| charset.read_meta(bytes));
                assert_eq!(charset.known(), expected.map_or(Known::Undeclared, Known::of), "{tag}");
            }
        }
        check(" charset=gbk>", Some(GBK));
        check(" Charset = 'GB2312' >", Some(GBK));
        check(" charset=\"big5\"/>", Some(BIG5));
        check(" http-equiv=content-type content=\"text/html; charset=gbk\">", Some(GBK));
        check(" content='text/html;charset=\"utf-8\"' http-equiv='Content-Type'>", Some(UTF_8));
        check(" name=a content='charset=gbk'>", None);
        check(" name='a>b' charset=gbk>", Some(GBK));
        check(" name=\"a' charset=big5\" charset=gbk>", Some(GBK));
        check(" charset=utf-16le>", Some(UTF_8));
        check(" charset=iso-2022-jp>", Some(encoding_rs::ISO_2022_JP));
        check(" charset=nonsense>", None);
        check(" charset>", None);
        check(" charset=>", None);
        check(">", None);
        check(" charset=gbk", None);
        check(&format!(" content='{}' charset=gbk>", "x".repeat(2 * META_BYTES)), None);
    }

    #[test]
    fn a_mark_outweighs_the_head_and_the_head_a_tag() {
        #[track_caller]
        fn check(charset: Charset, start: &[u8], expected: Known) {
            for size in [1, start.len()] {
                let mut page = PageCharset::new(charset);
                start.chunks(size).for_each(|bytes| page.read_mark(bytes));
                page.begin_meta();
                page.read_meta(b" charset=gbk>");
                assert_eq!(page.known(), expected, "{start:?}");
            }
        }
        check(Charset::Undeclared, b"<p>", Known::Declared(GBK));
        check(Charset::Declared(BIG5), b"<p>", Known::Declared(BIG5));
        check(Charset::Declared(GBK), b"\xef\xbb\xbf<p>", Known::Declared(UTF_8));
        check(Charset::Undeclared, b"\xff\xfe<\0", Known::Unreadable);
        check(Charset::Declared(UTF_16LE), b"<p>", Known::Unreadable);
    }
}
