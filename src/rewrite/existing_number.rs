//! Which filing number a page shows at a place: a short piece of its source, read as a visitor does.
//!
//! Tags are white space, character references are the characters they stand for, and a number is what
//! [`FilingNumber`] takes for one.

use std::ops::Range;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, MatchKind};
use encoding_rs::{Encoding, GBK};

use crate::gate::{FilingNumber, NumberKind};

/// The numbers that are looked for.
#[derive(Clone, Debug)]
pub(super) enum OwnNumbers {
    /// Every valid one: whose page it is, is not known.
    Any,
    /// Those of these filings.
    Of {
        /// As filed.
        filed: Vec<FilingNumber>,
        /// Subjects' numbers that are shown in place of those.
        subjects: Vec<FilingNumber>,
    },
}

/// Whose number a page shows. A page that shows both shows its own.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum ExistingNumber {
    /// Another filing's.
    Other,
    /// The filing's own.
    Own,
}

/// Bytes of the page's source looked at before a place, and from it on.
pub(super) const BEFORE: usize = 128;
pub(super) const AFTER: usize = 256;
/// Bytes of the longest landmark: `ＩＣＰ` in UTF-8.
pub(super) const LONGEST_LANDMARK: usize = 9;

/// What begins or goes on at a landmark.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Landmark {
    /// A filing number: `ICP`, or a licence class such as `B2`.
    Number,
    /// The host of a link to the ministry: `miit`.
    Link,
}

/// Finds landmarks. One set serves every number and every charset; a clone shares it.
#[derive(Clone, Debug)]
pub(super) struct Landmarks(Arc<AhoCorasick>);

impl Default for Landmarks {
    fn default() -> Self {
        let patterns = LINKS.map(Vec::from).into_iter().chain(numbers());
        let search = AhoCorasick::builder().match_kind(MatchKind::LeftmostFirst).build(patterns);
        Self(Arc::new(search.expect("a few short patterns")))
    }
}

impl Landmarks {
    /// Where landmarks stand in `source`, in order.
    pub(super) fn places(&self, source: &[u8]) -> impl Iterator<Item = (Range<usize>, Landmark)> {
        let landmark = |pattern| if pattern < LINKS.len() { Landmark::Link } else { Landmark::Number };
        self.0.find_iter(source).map(move |found| (found.range(), landmark(found.pattern().as_usize())))
    }
}

/// Hosts in mixed case are not found: nobody writes them.
const LINKS: [&[u8]; 3] = [b"miit", b"MIIT", b"Miit"];

/// What numbers are found by. All patterns have three bytes or more, and with [`LINKS`] they are few enough for a vector
/// search on every processor. None ends as another begins, so cutting a page changes no match. Classes are told from
/// other text by what follows them: a dash (also in full width, in UTF-8 and GBK), a space, a tag or a reference.
fn numbers() -> Vec<Vec<u8>> {
    let mut patterns: Vec<Vec<u8>> =
        ["ICP", "icp", "Icp", "b2-", "b1-", "A2-", "A1-"].map(Into::into).to_vec();
    for class in ["B2", "B1"] {
        let follows: [&[u8]; 6] = [b"-", b" ", b"\xe2\x80", b"\xef\xbc\x8d", b"\xa1\xaa", b"\xa3\xad"];
        patterns.extend(follows.map(|next| [class.as_bytes(), next].concat()));
    }
    patterns.extend([b"B2&".to_vec(), b"B2<".to_vec()]);
    for wide in ["ＩＣＰ", "ｉｃｐ", "Ｂ２", "Ｂ１"] {
        patterns.extend([wide.into(), GBK.encode(wide).0.into_owned()]);
    }
    patterns
}

/// What is looked for in a page.
#[derive(Clone, Debug)]
pub(super) struct NumberSearch {
    pub(super) own: OwnNumbers,
    pub(super) landmarks: Landmarks,
}

/// The number that begins in `before` and goes on in `after`, where a landmark stands.
pub(super) fn number_at(
    before: &[u8],
    after: &[u8],
    charset: &'static Encoding,
    own: &OwnNumbers,
) -> Option<ExistingNumber> {
    let after = visible(&charset.decode_without_bom_handling(after).0);
    // `before` may begin within a character of two bytes: decoding from there would find nothing.
    let cuts = if charset.is_single_byte() { 1 } else { 2 };
    let pieces = (0..cuts).filter_map(|cut| {
        let before = charset.decode_without_bom_handling(before.get(cut..)?).0;
        Some(visible(skip_cut_tag(&before)))
    });
    pieces.filter_map(|before| number_across(&before, &after, own)).max()
}

fn number_across(before: &str, after: &str, own: &OwnNumbers) -> Option<ExistingNumber> {
    let text = [before, after].concat();
    let starts = before.char_indices().map(|(start, _)| start);
    let numbers = starts.filter_map(|start| {
        let number = FilingNumber::at_start_of(&text[start..])?;
        // A number that ends before the landmark belongs to an earlier one.
        FilingNumber::at_start_of(&before[start..]).is_none().then_some(number)
    });
    numbers.filter_map(|number| whose(&number, own)).max()
}

/// `None` for a number that says nothing of the domain: a licence, which stands beside the filing's number on
/// many pages, and the number of the own subject where that is not the one to show.
fn whose(number: &FilingNumber, own: &OwnNumbers) -> Option<ExistingNumber> {
    let (filed, subjects) = match own {
        OwnNumbers::Any => (&[][..], &[][..]),
        OwnNumbers::Of { filed, subjects } => (&filed[..], &subjects[..]),
    };
    let is_own = |own: &FilingNumber| number == own || is_subject_of(own, number);
    if subjects.contains(number) || filed.iter().any(is_own) {
        Some(ExistingNumber::Own)
    } else if (number.kind() == NumberKind::Licence && number.service().is_none())
        || filed.iter().any(|own| is_subject_of(number, own))
    {
        None
    } else {
        Some(if matches!(own, OwnNumbers::Any) { ExistingNumber::Own } else { ExistingNumber::Other })
    }
}

fn is_subject_of(subject: &FilingNumber, service: &FilingNumber) -> bool {
    subject.service().is_none()
        && service.as_str().strip_prefix(subject.as_str()).is_some_and(|n| n.starts_with('-'))
}

/// Drops the rest of a tag that began before the piece.
fn skip_cut_tag(source: &str) -> &str {
    match source.find(['<', '>']) {
        Some(end) if source[end..].starts_with('>') => &source[end + 1..],
        _ => source,
    }
}

/// What a visitor sees of a piece of source.
fn visible(source: &str) -> String {
    let mut rest = source;
    let mut text = String::with_capacity(rest.len());
    while let Some(c) = rest.chars().next() {
        let (read, length) = match c {
            '<' => (' ', tag_length(rest)),
            '&' => reference(rest).unwrap_or((c, 1)),
            _ => (c, c.len_utf8()),
        };
        text.push(read);
        rest = rest.get(length..).unwrap_or_default();
    }
    text
}

/// The length of the tag or comment at the start of `source`, or 1.
fn tag_length(source: &str) -> usize {
    let end = if source.starts_with("<!--") { "-->" } else { ">" };
    if source[1..].starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?')) {
        source.find(end).map_or(source.len(), |at| at + end.len())
    } else {
        1
    }
}

/// The character reference at the start of `source`: its character and its length.
fn reference(source: &str) -> Option<(char, usize)> {
    let length = source.bytes().take(12).position(|byte| byte == b';')?;
    let name = source.get(1..length)?;
    let c = match name.strip_prefix('#') {
        Some(number) => {
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)?
        }
        None => match name {
            "nbsp" | "ensp" | "emsp" | "thinsp" | "zwnj" | "zwj" | "shy" => ' ',
            "ndash" | "mdash" | "minus" | "hyphen" | "dash" => '-',
            _ => return None,
        },
    };
    Some((c, length + 1))
}

#[cfg(test)]
mod tests {
    use encoding_rs::{GBK, UTF_8};

    use super::*;

    fn numbers_of(own: &str) -> OwnNumbers {
        OwnNumbers::Of { filed: vec![FilingNumber::parse(own, 2026).unwrap()], subjects: Vec::new() }
    }

    /// `^` marks the place.
    #[track_caller]
    fn check(own: &str, source: &str, expected: Option<ExistingNumber>) {
        let own = numbers_of(own);
        let (before, after) = source.split_once('^').unwrap();
        assert_eq!(number_at(before.as_bytes(), after.as_bytes(), UTF_8, &own), expected, "{source}");
        let (before, after) = (GBK.encode(before).0, GBK.encode(after).0);
        assert_eq!(number_at(&before, &after, GBK, &own), expected, "{source} (GBK)");
    }

    const OWN: &str = "京ICP备2024012345号-1";

    #[test]
    fn the_own_number_is_known_in_every_spelling() {
        for source in [
            "京ICP备^2024012345号-1",
            "京^ICP备2024012345号-1",
            "版权所有京ICP备^2024012345号-1 All rights reserved",
            "京ICP备^2024012345号-1All rights reserved",
            "京 ICP 备&nbsp;^2024012345 号 - 1",
            "京icp備^2024012345號—1",
            "京^ＩＣＰ备２０２４０１２３４５号－１",
            "&#20140;ICP&#x5907;^2024012345&#21495;&ndash;1",
            "<a href=\"x\"><b>京</b>ICP备^2024012345<i>号</i>-1</a><a>2024</a>",
            "<!-- > --> 京ICP备^2024012345号-1",
            "href='y'>京ICP备^2024012345号-1</a> | 京公网安备11010502030143号",
            "沪ICP备2024099999号-1 京ICP备^2024012345号-1.",
            "京ICP备^2024012345号-1 - 2 items",
            "京ICP备^2024012345号-1 2024-2026",
        ] {
            check(OWN, source, Some(ExistingNumber::Own));
        }
        for source in [
            "粤^B2-20090059-5",
            "粤^Ｂ２－２００９００５９－５",
            "粤^ICP证B2-20090059-5号",
            "粤ICP证^B2-20090059号-5",
            "增值电信业务经营许可证：粤 ^B2 - 20090059 - 5",
        ] {
            check("粤B2-20090059-5", source, Some(ExistingNumber::Own));
            check("粤ICP证B2-20090059-5号", source, Some(ExistingNumber::Own));
        }
        check("京ICP备11018762号", "京ICP备^11018762号-3", Some(ExistingNumber::Own));
    }

    #[test]
    fn another_number_is_another() {
        for source in [
            "京ICP备^2024012345号-2",
            "京ICP备^2024012345号-12",
            "京ICP备^2024012345号-1A",
            "沪ICP备^2024012345号-1",
            "京ICP证^030173号-1",
            "浙^B2-20080101-4",
            "合字A1.B1.^B2-20190051-3",
            "京^ICP备11018762号",
        ] {
            check(OWN, source, Some(ExistingNumber::Other));
        }
    }

    #[test]
    fn a_subject_is_the_own_number_where_it_is_the_one_to_show() {
        let number = |text| FilingNumber::parse(text, 2026).unwrap();
        let filed = vec![number("粤ICP备2024012345号-1")];
        let shows_subject =
            OwnNumbers::Of { filed: filed.clone(), subjects: vec![number("粤ICP备2024012345号")] };
        let shows_service = OwnNumbers::Of { filed, subjects: Vec::new() };
        for (text, with_subject, with_service, any) in [
            ("ICP备2024012345号", Some(ExistingNumber::Own), None, Some(ExistingNumber::Own)),
            (
                "ICP备2024012345号-1",
                Some(ExistingNumber::Own),
                Some(ExistingNumber::Own),
                Some(ExistingNumber::Own),
            ),
            (
                "ICP备2024012345号-2",
                Some(ExistingNumber::Other),
                Some(ExistingNumber::Other),
                Some(ExistingNumber::Own),
            ),
            ("B2-20090059", None, None, None),
            ("ICP备12345678号-1", None, None, None),
        ] {
            for (own, expected) in
                [(&shows_subject, with_subject), (&shows_service, with_service), (&OwnNumbers::Any, any)]
            {
                assert_eq!(
                    number_at("粤".as_bytes(), text.as_bytes(), UTF_8, own),
                    expected,
                    "{text} {own:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_filing_number_is_nothing() {
        for source in [
            "^",
            "^2024012345",
            "tel ^2024012345 - 1",
            "京ICP备^2024012345号",
            "京ICP证^030173号",
            "京ICP备^12345678号-1",
            "萌ICP备^20240123号",
            "京ICP备2024012345号-1 and ^2024012345",
            "浙^B2-20080101",
        ] {
            check(OWN, source, None);
        }
    }

    #[test]
    fn a_stretch_may_begin_and_end_within_a_character() {
        let own = numbers_of(OWN);
        for charset in [UTF_8, GBK] {
            let before = charset.encode("中文网站中文网站京ICP备").0;
            let after = charset.encode("2024012345号-1中文网站").0;
            for start in 0..8 {
                for end in 0..6 {
                    let (before, after) = (&before[start..], &after[..after.len() - end]);
                    assert_eq!(
                        number_at(before, after, charset, &own),
                        Some(ExistingNumber::Own),
                        "{start} {end}"
                    );
                }
            }
        }
    }

    #[test]
    fn every_number_has_a_landmark_in_every_spelling() {
        let landmarks = Landmarks::default();
        for number in [
            OWN,
            "京icp備2024012345號-1",
            "浙B2-20080101-4",
            "浙b2-20080101-4",
            "浙B2 - 20080101 - 4",
            "浙B2—20080101—4",
            "浙B2&ndash;20080101-4",
            "浙<b>B2</b>-20080101-4",
            "浙Ｂ２－２００８０１０１－４",
            "合字B1.B2-20190051-3",
            "合字A1.B1-20190051-3",
            "浙ICP证B2-20080101-4号",
        ] {
            for charset in [UTF_8, GBK] {
                assert!(landmarks.places(&charset.encode(number).0).count() > 0, "{number}");
            }
        }
    }

    #[test]
    fn landmarks_are_found_in_order() {
        let landmarks = Landmarks::default();
        let places = |source: &[u8]| landmarks.places(source).map(|(range, _)| range).collect::<Vec<_>>();
        assert_eq!(places("icp B2-2 ICP ＩＣＰ".as_bytes()), [0..3, 4..7, 9..12, 13..22]);
        assert_eq!(places(&GBK.encode("ICP ＩＣＰ").0), [0..3, 4..10]);
        assert!(places(b"IC B2").is_empty());
        let kinds: Vec<_> = landmarks.places(b"beian.miit.gov.cn ICP MIIT").map(|(_, kind)| kind).collect();
        assert_eq!(kinds, [Landmark::Link, Landmark::Number, Landmark::Link]);
        assert!(numbers().iter().all(|pattern| (3..=LONGEST_LANDMARK).contains(&pattern.len())));
        assert!(LINKS.len() + numbers().len() <= 32);
    }
}
