//! What a checker sees of a page: the number, its link, and what the page loads from hosts that fail in the mainland.

use bytes::Bytes;
use encoding_rs::{Encoding, GBK, ISO_2022_JP, UTF_8};

use super::asset_report::Resolver;
use super::charset::Known;
use super::existing_number::{ExistingNumber, Landmarks, NumberSearch, OwnNumbers};
use super::foreign_hosts::Verdict;
use super::inject::read_whole;
use super::ministry_link;
use super::references::{Reference, ReferenceReader, host};
use super::{Charset, FooterDisplay};
use crate::gate::FilingNumber;

/// What was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Audit {
    /// The number.
    pub number: NumberFound,
    /// The link to the ministry.
    pub link: LinkFound,
    /// What is loaded from the listed hosts, each URL once.
    pub foreign_assets: Vec<ForeignAsset>,
}

/// Whether a page shows the number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NumberFound {
    /// The one that is looked for.
    Present,
    /// Another filing's alone.
    WrongNumber,
    /// None.
    Missing,
}

/// Whether a page links to the ministry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LinkFound {
    /// To the filing system.
    Ok,
    /// Nowhere.
    Missing,
    /// To a host that the filing system had in former years, alone.
    WrongHost,
}

/// Something that a page loads from a listed host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ForeignAsset {
    /// The host.
    pub host: String,
    /// The URL as the page writes it.
    pub url: String,
    /// What is wrong with the host.
    pub verdict: Verdict,
}

impl Audit {
    /// Whether there is nothing to correct.
    pub fn is_clean(&self) -> bool {
        self.number == NumberFound::Present && self.link == LinkFound::Ok && self.foreign_assets.is_empty()
    }
}

/// Reads a whole page. `charset` is what its head says; `filed` are the numbers to look for and how they are shown, and
/// without it every valid number counts.
pub fn audit(page: &[u8], charset: Charset, filed: Option<&[(FilingNumber, FooterDisplay)]>) -> Audit {
    let own = match filed {
        None => OwnNumbers::Any,
        Some(filed) => OwnNumbers::Of {
            filed: filed.iter().map(|(number, _)| number.clone()).collect(),
            subjects: filed.iter().map(|(number, display)| display.of(number)).collect(),
        },
    };
    let search = NumberSearch { own, landmarks: Landmarks::default() };
    let text = decoded(page, charset, &search);
    let (existing, _) = read_whole(Bytes::from(text.clone()), Charset::Declared(UTF_8), &search);
    let number = match existing {
        Some(ExistingNumber::Own) => NumberFound::Present,
        Some(ExistingNumber::Other) => NumberFound::WrongNumber,
        None => NumberFound::Missing,
    };
    let references = references(&text);
    Audit { number, link: link(&references), foreign_assets: foreign_assets(&references) }
}

/// The page as text, in the charset that browsers take.
fn decoded(page: &[u8], charset: Charset, search: &NumberSearch) -> String {
    let encoding = match (Encoding::for_bom(page), charset) {
        (Some((encoding, _)), _) | (None, Charset::Declared(encoding)) => encoding,
        (None, Charset::Undeclared) => match read_whole(Bytes::copy_from_slice(page), charset, search).1 {
            Known::Declared(encoding) => encoding,
            // The only charset that a tag can name and that is none of ASCII's.
            Known::Unreadable => ISO_2022_JP,
            Known::Undeclared if std::str::from_utf8(page).is_ok() => UTF_8,
            // What Chromium guesses.
            Known::Undeclared => GBK,
        },
    };
    encoding.decode(page).0.into_owned()
}

fn references(text: &str) -> Vec<Reference> {
    // As much as its longest tag: images in the page are long.
    let mut reader = ReferenceReader::new(text.len().saturating_add(1 << 16));
    let mut found = reader.read(text.as_bytes());
    found.extend(reader.finish());
    found
}

fn link(references: &[Reference]) -> LinkFound {
    let hosts = references.iter().filter_map(|reference| match reference {
        Reference::Link(url) => host(url),
        Reference::Loaded(_) | Reference::Base(_) => None,
    });
    let mut found = LinkFound::Missing;
    for host in hosts {
        if host == ministry_link::HOST {
            return LinkFound::Ok;
        }
        if ministry_link::FORMER_HOSTS.contains(&&*host) {
            found = LinkFound::WrongHost;
        }
    }
    found
}

fn foreign_assets(references: &[Reference]) -> Vec<ForeignAsset> {
    let mut found: Vec<ForeignAsset> = Vec::new();
    let mut resolver = Resolver::default();
    for reference in references {
        if let (Some((host, foreign)), Reference::Loaded(url)) = (resolver.foreign(reference), reference)
            && !found.iter().any(|asset| asset.url == *url)
        {
            found.push(ForeignAsset { host, url: url.clone(), verdict: foreign.verdict });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBER: &str = "京ICP备2024012345号-1";
    const LINK: &str = "<a href='https://beian.miit.gov.cn/'>京ICP备2024012345号-1</a>";

    fn of(body: &str) -> Audit {
        audit(format!("<!doctype html><body>{body}</body>").as_bytes(), Charset::Undeclared, None)
    }

    #[test]
    fn the_number_is_what_a_visitor_reads() {
        let filed = [(FilingNumber::parse(NUMBER, 2026).unwrap(), FooterDisplay::Auto)];
        for (body, any, own) in [
            (NUMBER, NumberFound::Present, NumberFound::Present),
            ("沪ICP备2024099999号-1", NumberFound::Present, NumberFound::WrongNumber),
            ("京<b>ICP备</b>2024012345号-1", NumberFound::Present, NumberFound::Present),
            ("<!-- 京ICP备2024012345号-1 -->", NumberFound::Missing, NumberFound::Missing),
            ("京ICP备12345678号-1", NumberFound::Missing, NumberFound::Missing),
            ("", NumberFound::Missing, NumberFound::Missing),
        ] {
            let page = format!("<body>{body}");
            let found = |filed| audit(page.as_bytes(), Charset::Undeclared, filed).number;
            assert_eq!((found(None), found(Some(&filed))), (any, own), "{body}");
        }
        let guangdong = [(FilingNumber::parse("粤ICP备2024012345号-1", 2026).unwrap(), FooterDisplay::Auto)];
        let found = audit("<body>粤ICP备2024012345号".as_bytes(), Charset::Undeclared, Some(&guangdong));
        assert_eq!(found.number, NumberFound::Present);
    }

    #[test]
    fn a_link_to_a_former_host_is_a_wrong_one() {
        assert_eq!(of(LINK).link, LinkFound::Ok);
        assert_eq!(of(NUMBER).link, LinkFound::Missing);
        for former in ministry_link::FORMER_HOSTS {
            assert_eq!(of(&LINK.replace(ministry_link::HOST, former)).link, LinkFound::WrongHost, "{former}");
        }
        assert_eq!(of(&format!("<!-- {LINK} -->")).link, LinkFound::Missing);
        assert_eq!(of(&LINK.replace("beian.miit", "example")).link, LinkFound::Missing);
    }

    #[test]
    fn each_foreign_asset_is_told_once() {
        let body = "<link rel=stylesheet href='//fonts.googleapis.com/css'><img src='//fonts.googleapis.com/css'>
            <script src='https://cdn.polyfill.io/v3/polyfill.min.js'></script><a href='https://www.google.com/'>x</a>
            <style>p{background:url(https://cdnjs.cloudflare.com/x.png)}</style><img src='/own.png'>";
        let found = of(body).foreign_assets;
        let told: Vec<_> = found.iter().map(|asset| (asset.host.as_str(), asset.verdict)).collect();
        let expected = [
            ("fonts.googleapis.com", Verdict::Blocked),
            ("cdn.polyfill.io", Verdict::Poisoned),
            ("cdnjs.cloudflare.com", Verdict::Slow),
        ];
        assert_eq!(told, expected);
        let based =
            of("<base href='https://unpkg.com/x/'><script src='y.js'></script><img src='data:image/png,x'>");
        assert_eq!(based.foreign_assets.len(), 1, "{based:?}");
    }

    #[test]
    fn a_page_is_read_in_the_charset_that_browsers_take() {
        let page = |meta: &str| format!("<html><head>{meta}</head><body>中文{LINK}</body></html>");
        for (bytes, charset) in [
            (page("").into_bytes(), Charset::Undeclared),
            (GBK.encode(&page("")).0.into_owned(), Charset::Undeclared),
            (GBK.encode(&page("<meta charset=gbk>")).0.into_owned(), Charset::Undeclared),
            (GBK.encode(&page("")).0.into_owned(), Charset::Declared(GBK)),
            (
                ISO_2022_JP.encode(&page("<meta charset=iso-2022-jp>").replace('备', "備")).0.into_owned(),
                Charset::Undeclared,
            ),
            (
                std::iter::once(0xfeff).chain(page("").encode_utf16()).flat_map(u16::to_le_bytes).collect(),
                Charset::Undeclared,
            ),
        ] {
            let found = audit(&bytes, charset, None);
            assert!(found.is_clean(), "{charset:?}: {found:?}");
        }
    }
}
