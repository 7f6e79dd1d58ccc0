//! The footer of one filing, ready to be written into a page.
//!
//! It has no style and no script of its own, so that no content security policy can hide it. In a page
//! of another charset than UTF-8 it is written in ASCII.

use std::borrow::Cow;
use std::fmt::Write as _;

use encoding_rs::{Encoding, UTF_8};

use crate::gate::{FilingNumber, PublicSecurityNumber};

/// The footer of one filing.
#[derive(Clone, Debug)]
pub struct Footer {
    number: FilingNumber,
    html: String,
}

impl Footer {
    /// The footer for a filing's number and, where it has one, its public security number.
    pub fn new(number: &FilingNumber, public_security: Option<&PublicSecurityNumber>) -> Self {
        let mut html = format!(
            "<div align=\"center\"><a href=\"https://beian.miit.gov.cn/\" target=\"_blank\" \
             rel=\"noopener noreferrer nofollow\">{number}</a>"
        );
        if let Some(number) = public_security {
            let (code, text) = (number.code(), number.as_str());
            // Writing into a string cannot fail.
            let _ = write!(
                html,
                " <a href=\"https://beian.mps.gov.cn/#/query/webSearch?code={code}\" target=\"_blank\" \
                 rel=\"noopener noreferrer nofollow\">{text}</a>"
            );
        }
        html.push_str("</div>");
        Self { number: number.clone(), html }
    }

    /// The bytes to write into a page of this charset.
    pub(super) fn bytes(&self, charset: &'static Encoding) -> Cow<'_, [u8]> {
        if charset == UTF_8 {
            Cow::Borrowed(self.html.as_bytes())
        } else {
            Cow::Owned(references(&self.html).into_bytes())
        }
    }

    /// The number that it shows.
    pub(super) fn number(&self) -> &FilingNumber {
        &self.number
    }
}

/// Writes everything that is not ASCII as a numeric character reference.
fn references(html: &str) -> String {
    let mut ascii = String::with_capacity(html.len() * 2);
    for c in html.chars() {
        if c.is_ascii() {
            ascii.push(c);
        } else {
            // Writing into a string cannot fail.
            let _ = write!(ascii, "&#x{:X};", u32::from(c));
        }
    }
    ascii
}

#[cfg(test)]
mod tests {
    use encoding_rs::GBK;

    use super::*;

    #[test]
    fn both_numbers_are_linked_where_they_can_be_looked_up() {
        let number = FilingNumber::parse("京ICP备2024012345号-1", 2026).unwrap();
        let police = PublicSecurityNumber::parse("京公网安备11010502030143号").unwrap();
        let footer = Footer::new(&number, Some(&police));
        let html = String::from_utf8(footer.bytes(UTF_8).into_owned()).unwrap();
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
        assert!(memchr::memmem::find(&ascii, b">&#x4EAC;ICP&#x5907;2024012345&#x53F7;-1</a>").is_some());
        assert!(!String::from_utf8_lossy(&Footer::new(&number, None).bytes(UTF_8)).contains("mps"));
    }
}
