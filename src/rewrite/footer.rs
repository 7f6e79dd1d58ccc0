//! The footer of one filing, ready to be written into a page.
//!
//! icpgate's own HTML has no style and no script, so no content security policy can hide it. Where a page does not declare
//! UTF-8 it is written in ASCII, with character references.

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use encoding_rs::UTF_8;

use super::FooterPages;
use super::charset::Known;
use super::existing_number::{Landmarks, NumberSearch, OwnNumbers};
use super::ministry_link;
use super::template::{FooterTemplate, Placeholder};
use crate::gate::{Filing, FilingNumber, PublicSecurityNumber, SiteId};

/// Paths of every site that icpgate answers itself.
pub const OWN_PATHS: &str = "/_icpgate/";
/// The path of the icon beside a public security number.
pub const ICON_PATH: &str = "/_icpgate/public-security.svg";
/// That icon, an SVG document: a plain shield, since the ministry's emblem is not ours to distribute.
pub const ICON: &[u8] = include_bytes!("footer/public-security.svg");

/// A site's `footer`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct FooterSettings {
    /// Which pages get it.
    pub pages: FooterPages,
    /// Which number it shows.
    pub display: FooterDisplay,
    /// The HTML, where it is not icpgate's own.
    pub template: Option<FooterTemplate>,
}

/// Which number a footer shows.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum FooterDisplay {
    /// By the rule of the province: Guangdong shows the subject's number, the others the service's.
    #[default]
    Auto,
    /// The number as filed, with its `-N`.
    Service,
    /// The subject's number, without `-N`.
    Subject,
}

impl FooterDisplay {
    /// The number to show for a filing. A licence keeps its `-N`.
    pub fn of(self, filed: &FilingNumber) -> FilingNumber {
        let shows_subject = match self {
            Self::Auto => filed.area() == Some(GUANGDONG),
            Self::Service => false,
            Self::Subject => true,
        };
        filed.subject().filter(|_| shows_subject).unwrap_or_else(|| filed.clone())
    }
}

/// The first two digits of Guangdong's area codes (GB/T 2260).
const GUANGDONG: &str = "44";

/// The footer of one filing. A clone shares it.
#[derive(Clone, Debug)]
pub struct Footer(Arc<Html>);

#[derive(Debug)]
struct Html {
    /// Finds what a page carries already.
    search: NumberSearch,
    utf8: Bytes,
    /// With character references; made for the first page that needs it.
    ascii: OnceLock<Bytes>,
}

impl Footer {
    /// The footer for a filing's number and, where it has one, its public security number.
    pub fn new(number: &FilingNumber, public_security: Option<&PublicSecurityNumber>) -> Self {
        Self::with(Landmarks::default(), &FooterSettings::default(), number, public_security)
    }

    /// The footer that a site's settings ask for.
    pub(super) fn of(
        settings: &FooterSettings,
        number: &FilingNumber,
        public_security: Option<&PublicSecurityNumber>,
    ) -> Self {
        Self::with(Landmarks::default(), settings, number, public_security)
    }

    fn with(
        landmarks: Landmarks,
        settings: &FooterSettings,
        filed: &FilingNumber,
        public_security: Option<&PublicSecurityNumber>,
    ) -> Self {
        let shown = settings.display.of(filed);
        let html = html(settings.template.as_ref(), &shown, public_security);
        let own = OwnNumbers::Of { filed: vec![filed.clone()], subjects: vec![shown] };
        let search = NumberSearch { own, landmarks };
        Self(Arc::new(Html { search, utf8: Bytes::from(html), ascii: OnceLock::new() }))
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

    /// What is looked for in pages that may have it already.
    pub(super) fn search(&self) -> &NumberSearch {
        &self.0.search
    }
}

/// The HTML in UTF-8.
fn html(
    template: Option<&FooterTemplate>,
    number: &FilingNumber,
    public_security: Option<&PublicSecurityNumber>,
) -> String {
    let number_link = format!(
        "<a href=\"https://{}/\" target=\"_blank\" rel=\"noopener noreferrer nofollow\">{number}</a>",
        ministry_link::HOST
    );
    let security_link = public_security.map(|number| {
        let (code, text) = (number.code(), number.as_str());
        format!(
            "<a href=\"https://beian.mps.gov.cn/#/query/webSearch?code={code}\" target=\"_blank\" \
             rel=\"noopener noreferrer nofollow\"><img src=\"{ICON_PATH}\" alt=\"\" width=\"20\" height=\"20\" \
             align=\"absmiddle\">{text}</a>"
        )
    });
    let security_link = security_link.unwrap_or_default();
    match template {
        Some(template) => template.filled(|placeholder| match placeholder {
            Placeholder::Number => number.as_str(),
            Placeholder::NumberLink => &number_link,
            Placeholder::PublicSecurity => public_security.map_or("", PublicSecurityNumber::as_str),
            Placeholder::PublicSecurityLink => &security_link,
        }),
        None => {
            let space = if security_link.is_empty() { "" } else { " " };
            format!("<div align=\"center\">{number_link}{space}{security_link}</div>")
        }
    }
}

/// The footers of every site of a configuration, each made when a page first needs it.
#[derive(Debug)]
pub struct Footers {
    landmarks: Landmarks,
    /// By [`SiteId`].
    sites: Vec<SiteFooters>,
}

#[derive(Debug)]
struct SiteFooters {
    settings: FooterSettings,
    first: OnceLock<Box<Kept>>,
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
    /// For sites with these settings, in the order of their ids.
    pub fn new<'s>(sites: impl Iterator<Item = &'s FooterSettings>) -> Self {
        let sites = sites.map(|settings| SiteFooters { settings: settings.clone(), first: OnceLock::new() });
        Self { landmarks: Landmarks::default(), sites: sites.collect() }
    }

    /// The footer of a filing on a site; `None` for a filing without a number.
    pub fn of(&self, site: SiteId, filing: &Arc<Filing>) -> Option<Footer> {
        let site = self.sites.get(site.0)?;
        let mut next = &site.first;
        for _ in 0..KEPT {
            let kept = next.get_or_init(|| {
                Box::new(Kept {
                    filing: Arc::clone(filing),
                    footer: self.make(&site.settings, filing),
                    next: OnceLock::new(),
                })
            });
            if Arc::ptr_eq(&kept.filing, filing) {
                return kept.footer.clone();
            }
            next = &kept.next;
        }
        self.make(&site.settings, filing)
    }

    fn make(&self, settings: &FooterSettings, filing: &Filing) -> Option<Footer> {
        let number = filing.number.as_ref()?;
        Some(Footer::with(self.landmarks.clone(), settings, number, filing.public_security.as_ref()))
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
        assert!(html.contains("<img src=\"/_icpgate/public-security.svg\" alt=\"\""), "{html}");
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
    fn the_province_or_the_site_says_which_number_is_shown() {
        use FooterDisplay::{Auto, Service, Subject};
        for (display, filed, shown) in [
            (Auto, "粤ICP备2024012345号-1", "粤ICP备2024012345号"),
            (Auto, "京ICP备2024012345号-1", "京ICP备2024012345号-1"),
            (Auto, "粤B2-20090059-5", "粤B2-20090059-5"),
            (Auto, "合字B2-20190051-1", "合字B2-20190051-1"),
            (Service, "粤ICP备2024012345号-1", "粤ICP备2024012345号-1"),
            (Subject, "京ICP备2024012345号-1", "京ICP备2024012345号"),
            (Subject, "京ICP备2024012345号", "京ICP备2024012345号"),
            (Subject, "粤B2-20090059-5", "粤B2-20090059-5"),
        ] {
            let filed = FilingNumber::parse(filed, 2026).unwrap();
            assert_eq!(display.of(&filed).as_str(), shown, "{display:?} {filed}");
            let settings = FooterSettings { display, ..FooterSettings::default() };
            let html = Footer::of(&settings, &filed, None).bytes(Known::Declared(UTF_8));
            let html = String::from_utf8(html.to_vec()).unwrap();
            assert!(html.contains(&format!(">{shown}</a>")), "{html}");
        }
    }

    #[test]
    fn a_template_is_the_whole_footer() {
        let template = FooterTemplate::parse("<p>© 公司 {number_link} {public_security_link}</p>").unwrap();
        let settings = FooterSettings { template: Some(template), ..FooterSettings::default() };
        let number = FilingNumber::parse("京ICP备2024012345号-1", 2026).unwrap();
        let footer = Footer::of(&settings, &number, None);
        let html = String::from_utf8(footer.bytes(Known::Declared(UTF_8)).to_vec()).unwrap();
        assert!(html.starts_with("<p>© 公司 <a href=") && html.ends_with("号-1</a> </p>"), "{html}");
        assert!(footer.bytes(Known::Undeclared).is_ascii());
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
        let sites = [FooterSettings::default(), FooterSettings::default()];
        let footers = Footers::new(sites.iter());
        let filings: Vec<_> = (1..40).map(|n| filing(&format!("京ICP备2024012345号-{n}"))).collect();
        for _ in 0..2 {
            for filing in &filings {
                let html = footers.of(SiteId(1), filing).unwrap().bytes(Known::Declared(UTF_8));
                let number = filing.number.as_ref().unwrap().as_str();
                assert!(memchr::memmem::find(&html, format!(">{number}</a>").as_bytes()).is_some());
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
