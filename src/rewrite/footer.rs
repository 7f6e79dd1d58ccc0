//! The footer of one filing, ready to be written into a page.
//!
//! It has no style and no script of its own, so that no content security policy can hide it. In a page
//! of another charset than UTF-8 it is written in ASCII.

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use encoding_rs::{Encoding, UTF_8};

use super::shown::{Letters, Needles};
use crate::gate::{Filing, FilingNumber, PublicSecurityNumber, SiteId};

/// The footer of one filing. A clone is the same one.
#[derive(Clone, Debug)]
pub struct Footer(Arc<Made>);

#[derive(Debug)]
struct Made {
    number: FilingNumber,
    /// What shows that a page may carry the number already.
    needles: Needles,
    html: Bytes,
    /// The same for a page of another charset than UTF-8, once there is one.
    ascii: OnceLock<Bytes>,
}

impl Footer {
    /// The footer for a filing's number and, where it has one, its public security number.
    pub fn new(number: &FilingNumber, public_security: Option<&PublicSecurityNumber>) -> Self {
        Self::with(Letters::default(), number, public_security)
    }

    fn with(letters: Letters, number: &FilingNumber, public_security: Option<&PublicSecurityNumber>) -> Self {
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
        Self(Arc::new(Made {
            number: number.clone(),
            needles: Needles::new(number, letters),
            html: Bytes::from(html),
            ascii: OnceLock::new(),
        }))
    }

    /// The bytes to write into a page of this charset.
    pub(super) fn bytes(&self, charset: &'static Encoding) -> Bytes {
        if charset == UTF_8 {
            return self.0.html.clone();
        }
        let ascii = || Bytes::from(references(&String::from_utf8_lossy(&self.0.html)));
        self.0.ascii.get_or_init(ascii).clone()
    }

    /// The number that it shows.
    pub(super) fn number(&self) -> &FilingNumber {
        &self.0.number
    }

    pub(super) fn needles(&self) -> &Needles {
        &self.0.needles
    }
}

/// The footers of every site of a configuration, each made when it is first asked for.
#[derive(Debug)]
pub struct Footers {
    letters: Letters,
    /// By [`SiteId`].
    sites: Vec<OnceLock<Box<Kept>>>,
}

#[derive(Debug)]
struct Kept {
    filing: Arc<Filing>,
    footer: Option<Footer>,
    /// That of another filing: a site may have hosts under several.
    next: OnceLock<Box<Self>>,
}

/// Footers kept for one site. A site with more filings has some of them made for every page.
const KEPT: usize = 16;

impl Footers {
    /// None yet, for so many sites.
    pub fn new(sites: usize) -> Self {
        Self { letters: Letters::default(), sites: (0..sites).map(|_| OnceLock::new()).collect() }
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
        Some(Footer::with(self.letters.clone(), number, filing.public_security.as_ref()))
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
        let html = String::from_utf8(footer.bytes(UTF_8).to_vec()).unwrap();
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
