//! The footer of one filing, ready to be written into a page.
//!
//! It has no style and no script of its own, so that no content security policy can hide it, and it
//! exists twice: as UTF-8, and in ASCII for pages in any other charset.

use std::fmt::Write as _;

use encoding_rs::{Encoding, UTF_8};
use memchr::memmem::Finder;

use crate::gate::{FilingNumber, PublicSecurityNumber};

/// The footer of one filing. Built once per filing and shared.
#[derive(Clone, Debug)]
pub struct Footer {
    number: FilingNumber,
    utf8: String,
    ascii: String,
    digits: Finder<'static>,
}

impl Footer {
    /// The footer for a filing's number and, where it has one, its public security number.
    pub fn new(number: &FilingNumber, public_security: Option<&PublicSecurityNumber>) -> Self {
        let mut utf8 = format!(
            "<div align=\"center\"><a href=\"https://beian.miit.gov.cn/\" target=\"_blank\" \
             rel=\"noopener noreferrer nofollow\">{number}</a>"
        );
        if let Some(number) = public_security {
            let (code, text) = (number.code(), number.as_str());
            let _ = write!(
                utf8,
                " <a href=\"https://beian.mps.gov.cn/#/query/webSearch?code={code}\" target=\"_blank\" \
                 rel=\"noopener noreferrer nofollow\">{text}</a>"
            );
        }
        utf8.push_str("</div>");
        let digits = longest_digits(number.as_str()).as_bytes();
        Self {
            number: number.clone(),
            ascii: references(&utf8),
            utf8,
            digits: Finder::new(digits).into_owned(),
        }
    }

    /// The bytes to write into a page of this charset.
    pub fn bytes(&self, charset: &'static Encoding) -> &[u8] {
        if charset == UTF_8 { self.utf8.as_bytes() } else { self.ascii.as_bytes() }
    }

    /// The number that it shows.
    pub fn number(&self) -> &FilingNumber {
        &self.number
    }

    /// Finds the digits of the number, which every spelling of it has in common.
    pub(super) fn digits(&self) -> &Finder<'static> {
        &self.digits
    }
}

/// The charset of a page, as far as its head tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Charset {
    /// By `content-type`; a superset of ASCII.
    Declared(&'static Encoding),
    /// Nothing declared that is known: the page's first bytes tell, and UTF-8 is assumed.
    Undeclared,
}

impl Charset {
    /// The charset of a page that begins with `start`: its byte order mark, the head's word, a `meta`
    /// tag, UTF-8, in this order. `None` if it is no superset of ASCII.
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
    let lower = start.to_ascii_lowercase();
    memchr::memmem::find_iter(&lower, b"<meta").find_map(|at| {
        let tag = lower.get(at..)?;
        let tag = tag.get(..memchr::memchr(b'>', tag).unwrap_or(tag.len()))?;
        let value = tag.get(memchr::memmem::find(tag, b"charset")? + b"charset".len()..)?.trim_ascii_start();
        let value = value.strip_prefix(b"=")?.trim_ascii_start();
        let value = value.strip_prefix(b"\"").or(value.strip_prefix(b"'")).unwrap_or(value);
        let end = value.iter().position(|byte| b"\"'; \t\r\n/".contains(byte)).unwrap_or(value.len());
        Encoding::for_label(value.get(..end)?)
    })
}

fn longest_digits(text: &str) -> &str {
    text.split(|c: char| !c.is_ascii_digit()).max_by_key(|run| run.len()).unwrap_or_default()
}

/// Writes everything that is not ASCII as a numeric character reference.
fn references(html: &str) -> String {
    let mut ascii = String::with_capacity(html.len() * 2);
    for c in html.chars() {
        if c.is_ascii() {
            ascii.push(c);
        } else {
            let _ = write!(ascii, "&#x{:X};", u32::from(c));
        }
    }
    ascii
}

#[cfg(test)]
mod tests {
    use encoding_rs::{BIG5, GBK, UTF_16LE};

    use super::*;

    #[test]
    fn both_numbers_are_linked_where_they_can_be_looked_up() {
        let number = FilingNumber::parse("京ICP备2024012345号-1", 2026).unwrap();
        let police = PublicSecurityNumber::parse("京公网安备11010502030143号").unwrap();
        let footer = Footer::new(&number, Some(&police));
        let html = std::str::from_utf8(footer.bytes(UTF_8)).unwrap();
        assert!(html.contains(">京ICP备2024012345号-1</a>"), "{html}");
        assert!(html.contains("href=\"https://beian.miit.gov.cn/\""), "{html}");
        assert!(
            html.contains("\"https://beian.mps.gov.cn/#/query/webSearch?code=11010502030143\""),
            "{html}"
        );
        assert!(html.contains(">京公网安备11010502030143号</a>"), "{html}");
        assert!(!html.contains("style"), "{html}");

        let ascii = footer.bytes(GBK);
        assert!(ascii.is_ascii());
        assert!(memchr::memmem::find(ascii, b">&#x4EAC;ICP&#x5907;2024012345&#x53F7;-1</a>").is_some());
        assert!(!String::from_utf8_lossy(Footer::new(&number, None).bytes(UTF_8)).contains("mps"));
    }

    #[test]
    fn the_digits_are_the_ones_that_tell_numbers_apart() {
        for (number, digits) in [
            ("京ICP备2024012345号-12", "2024012345"),
            ("粤B2-20090059-5", "20090059"),
            ("合字A1.B1.B2-20180017-2", "20180017"),
        ] {
            assert_eq!(longest_digits(number), digits);
        }
    }

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
