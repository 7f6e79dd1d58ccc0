//! The footer of one filing, ready to be written into a page.
//!
//! It has no style and no script, so no content security policy can hide it. Where a page does not declare
//! UTF-8 it is written in ASCII, with character references.

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use encoding_rs::UTF_8;

use super::charset::Known;
use super::existing_number::Landmarks;
use crate::gate::{Filing, FilingNumber, PublicSecurityNumber, SiteId};

/// The footer of one filing. A clone shares it.
#[derive(Clone, Debug)]
pub struct Footer(Arc<Html>);

#[derive(Debug)]
struct Html {
    number: FilingNumber,
    /// Finds numbers that a page carries already.
    landmarks: Landmarks,
    utf8: Bytes,
    /// With character references; made for the first page that needs it.
    ascii: OnceLock<Bytes>,
}

impl Footer {
    /// The footer for a filing's number and, where it has one, its public security number.
    pub fn new(number: &FilingNumber, public_security: Option<&PublicSecurityNumber>) -> Self {
        Self::with(Landmarks::default(), number, public_security)
    }

    fn with(
        landmarks: Landmarks,
        number: &FilingNumber,
        public_security: Option<&PublicSecurityNumber>,
    ) -> Self {
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
        Self(Arc::new(Html {
            number: number.clone(),
            landmarks,
            utf8: Bytes::from(html),
            ascii: OnceLock::new(),
        }))
    }

    /// The bytes to write into a page, by what it declares.
    pub(super) fn bytes(&self, charset: Known) -> Bytes {
        if charset == Known::Declared(UTF_8) {
            return self.0.utf8.clone();
        }
        let ascii = || Bytes::from(references(&String::from_utf8_lossy(&self.0.utf8)));
        self.0.ascii.get_or_init(ascii).clone()
    }

    /// Its HTML in UTF-8.
    pub fn html(&self) -> Bytes {
        self.0.utf8.clone()
    }

    /// The number it shows.
    pub(super) fn number(&self) -> &FilingNumber {
        &self.0.number
    }

    pub(super) fn landmarks(&self) -> &Landmarks {
        &self.0.landmarks
    }
}

/// The footers of every site of a configuration, each made when a page first needs it.
#[derive(Debug)]
pub struct Footers {
    landmarks: Landmarks,
    /// By [`SiteId`].
    sites: Vec<OnceLock<Box<Kept>>>,
}

#[derive(Debug)]
struct Kept {
    filing: Arc<Filing>,
    footer: Option<Footer>,
    /// Another filing's: a site may have hosts under several.
    next: OnceLock<Box<Self>>,
}

/// Footers kept for one site. Those of further filings are made anew for every page.
const KEPT: usize = 16;

impl Footers {
    /// For this many sites.
    pub fn new(sites: usize) -> Self {
        Self { landmarks: Landmarks::default(), sites: (0..sites).map(|_| OnceLock::new()).collect() }
    }

    /// The footer of a filing on a site; `None` for a filing without a number.
    pub fn of(&self, site: SiteId, filing: &Arc<Filing>) -> Option<Footer> {
        let mut next = self.sites.get(site.0)?;
        for _ in 0..KEPT {
            let kept = next.get_or_init(|| {
                Box::new(Kept {
                    filing: Arc::clone(filing),
                    footer: self.make(filing),
                    next: OnceLock::new(),
                })
            });
            if Arc::ptr_eq(&kept.filing, filing) {
                return kept.footer.clone();
            }
            next = &kept.next;
        }
        self.make(filing)
    }

    fn make(&self, filing: &Filing) -> Option<Footer> {
        let number = filing.number.as_ref()?;
        Some(Footer::with(self.landmarks.clone(), number, filing.public_security.as_ref()))
    }
}

/// With numeric character references for everything outside ASCII.
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
        let html = String::from_utf8(footer.bytes(Known::Declared(UTF_8)).to_vec()).unwrap();
        assert!(html.contains(">京ICP备2024012345号-1</a>"), "{html}");
        assert!(html.contains("href=\"https://beian.miit.gov.cn/\""), "{html}");
        assert!(
            html.contains("\"https://beian.mps.gov.cn/#/query/webSearch?code=11010502030143\""),
            "{html}"
        );
        assert!(html.contains(">京公网安备11010502030143号</a>"), "{html}");
        assert!(!html.contains("style"), "{html}");

        for charset in [Known::Undeclared, Known::Declared(GBK)] {
            let ascii = footer.bytes(charset);
            assert!(ascii.is_ascii());
            assert!(memchr::memmem::find(&ascii, b">&#x4EAC;ICP&#x5907;2024012345&#x53F7;-1</a>").is_some());
        }
        assert!(
            !String::from_utf8_lossy(&Footer::new(&number, None).bytes(Known::Declared(UTF_8)))
                .contains("mps")
        );
    }

    #[test]
    fn footers_of_a_site_are_made_once() {
        let filing = |number: &str| {
            Arc::new(Filing {
                domain: crate::hostname::Hostname::parse("example.cn").unwrap(),
                number: FilingNumber::parse(number, 2026).ok(),
                status: crate::gate::FilingStatus::Approved,
                begins: None,
                ends: None,
                hosts: None,
                access: None,
                public_security: None,
                public_security_due: None,
                sms_verification_due: None,
            })
        };
        let footers = Footers::new(2);
        let filings: Vec<_> = (1..40).map(|n| filing(&format!("京ICP备2024012345号-{n}"))).collect();
        for _ in 0..2 {
            for filing in &filings {
                let footer = footers.of(SiteId(1), filing).unwrap();
                assert_eq!(Some(footer.number()), filing.number.as_ref());
            }
        }
        let again = |place: usize| {
            let [one, other] = [0, 1].map(|_| footers.of(SiteId(1), &filings[place]).unwrap());
            Arc::ptr_eq(&one.0, &other.0)
        };
        assert!(again(0) && again(KEPT - 1) && !again(KEPT));
        assert!(footers.of(SiteId(0), &filing("")).is_none());
    }
}
