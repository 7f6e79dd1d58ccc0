//! Which filing number a page shows at a place: a short stretch of its source, read as a visitor does.
//!
//! Tags are white space, character references are what they stand for, and a number is whatever
//! [`FilingNumber`] takes for one.

use std::ops::Range;
use std::sync::Arc;

use encoding_rs::{Encoding, UTF_8};
use memchr::memmem::Finder;

use crate::gate::{FilingNumber, NumberKind};

/// Whose number is shown. A page that shows both shows its own.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Shown {
    /// That of another filing.
    Other,
    /// The filing's own.
    Own,
}

/// Bytes of the page's source looked at before the place, and from it on.
pub(super) const BEFORE: usize = 128;
pub(super) const AFTER: usize = 256;
/// The longest that can stand at a place, in bytes.
pub(super) const LONGEST_PLACE: usize = 16;

/// What stands wherever a number may be shown: the digits that every spelling of the own one has, and
/// the letters that most numbers have.
#[derive(Clone, Debug)]
pub(super) struct Needles {
    letters: Letters,
    digits: Finder<'static>,
}

/// The letters, which are the same for every number.
#[derive(Clone, Debug)]
pub(super) struct Letters(Arc<Spellings>);

#[derive(Debug)]
struct Spellings {
    ascii: [Finder<'static>; 2],
    /// In full width, as UTF-8 has them.
    wide: Finder<'static>,
    /// In full width, as GBK has them.
    wide_gbk: Finder<'static>,
}

impl Default for Letters {
    fn default() -> Self {
        Self(Arc::new(Spellings {
            ascii: [Finder::new(b"ICP"), Finder::new(b"icp")],
            wide: Finder::new("ＩＣＰ".as_bytes()),
            wide_gbk: Finder::new(b"\xa3\xc9\xa3\xc3\xa3\xd0"),
        }))
    }
}

impl Needles {
    pub(super) fn new(own: &FilingNumber, letters: Letters) -> Self {
        Self { letters, digits: Finder::new(longest_digits(own.as_str())).into_owned() }
    }

    /// Where in `source` one stands, in order, if the page has that charset, as far as it is known.
    pub(super) fn places(&self, source: &[u8], charset: Option<&'static Encoding>) -> Vec<Range<usize>> {
        let Spellings { ascii, wide, wide_gbk } = &*self.letters.0;
        let wide = (charset.is_none_or(|charset| charset == UTF_8)).then_some(wide);
        let wide_gbk = (charset != Some(UTF_8)).then_some(wide_gbk);
        let mut places = Vec::new();
        for finder in ascii.iter().chain([&self.digits]).chain(wide).chain(wide_gbk) {
            let mut from = 0;
            while let Some(at) = source.get(from..).and_then(|rest| finder.find(rest)) {
                let place = from + at;
                places.push(place..place + finder.needle().len());
                // One may begin within another.
                from = place + 1;
            }
        }
        places.sort_unstable_by_key(|place| place.start);
        places
    }
}

fn longest_digits(number: &str) -> &str {
    number.split(|c: char| !c.is_ascii_digit()).max_by_key(|run| run.len()).unwrap_or_default()
}

/// The number that is begun in `before` and goes on in `after`, if any.
pub(super) fn number_at(
    before: &[u8],
    after: &[u8],
    charset: &'static Encoding,
    own: &FilingNumber,
) -> Option<Shown> {
    let after = visible(&charset.decode_without_bom_handling(after).0);
    // Where a character is cut in two, decoding may begin with the other half; then nothing is found.
    let cuts = if charset.is_single_byte() { 1 } else { 2 };
    let stretches = (0..cuts).filter_map(|cut| {
        let before = charset.decode_without_bom_handling(before.get(cut..)?).0;
        Some(visible(behind_cut_tag(&before)))
    });
    stretches.filter_map(|before| number_across(&before, &after, own)).max()
}

fn number_across(before: &str, after: &str, own: &FilingNumber) -> Option<Shown> {
    let text = [before, after].concat();
    let starts = before.char_indices().map(|(start, _)| start);
    let numbers = starts.filter_map(|start| {
        let number = FilingNumber::at_start_of(&text[start..])?;
        // One that ends before the place is another place's.
        FilingNumber::at_start_of(&before[start..]).is_none().then_some(number)
    });
    numbers.filter_map(|number| whose(&number, own)).max()
}

/// `None` for a number that says nothing: a licence, which proves no filing and stands beside the
/// number on many pages, and the subject of the own one.
fn whose(number: &FilingNumber, own: &FilingNumber) -> Option<Shown> {
    if number == own || is_subject_of(own, number) {
        Some(Shown::Own)
    } else if (number.kind() == NumberKind::Licence && number.service().is_none())
        || is_subject_of(number, own)
    {
        None
    } else {
        Some(Shown::Other)
    }
}

fn is_subject_of(subject: &FilingNumber, service: &FilingNumber) -> bool {
    subject.service().is_none()
        && service.as_str().strip_prefix(subject.as_str()).is_some_and(|n| n.starts_with('-'))
}

/// Drops the rest of a tag that was begun before.
fn behind_cut_tag(source: &str) -> &str {
    match source.find(['<', '>']) {
        Some(end) if source[end..].starts_with('>') => &source[end + 1..],
        _ => source,
    }
}

/// The text of a piece of source.
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

/// The length of the tag or comment that `source` begins with; 1 if it begins with neither.
fn tag_length(source: &str) -> usize {
    let end = if source.starts_with("<!--") { "-->" } else { ">" };
    if source[1..].starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?')) {
        source.find(end).map_or(source.len(), |at| at + end.len())
    } else {
        1
    }
}

/// The character that a reference at the start of `source` stands for, and the reference's length.
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

    /// `^` marks the place.
    #[track_caller]
    fn check(own: &str, source: &str, expected: Option<Shown>) {
        let own = FilingNumber::parse(own, 2026).unwrap();
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
            check(OWN, source, Some(Shown::Own));
        }
        check("粤B2-20090059-5", "粤B2-^20090059-5", Some(Shown::Own));
        check("京ICP备11018762号", "京ICP备^11018762号-3", Some(Shown::Own));
    }

    #[test]
    fn another_number_is_another() {
        for source in [
            "京ICP备^2024012345号-2",
            "京ICP备^2024012345号-12",
            "京ICP备^2024012345号-1A",
            "沪ICP备^2024012345号-1",
            "京ICP证^030173号-1",
            "京^ICP备11018762号",
        ] {
            check(OWN, source, Some(Shown::Other));
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
        ] {
            check(OWN, source, None);
        }
    }

    #[test]
    fn a_stretch_may_begin_and_end_within_a_character() {
        let own = FilingNumber::parse(OWN, 2026).unwrap();
        for charset in [UTF_8, GBK] {
            let before = charset.encode("中文网站中文网站京ICP备").0;
            let after = charset.encode("2024012345号-1中文网站").0;
            for start in 0..8 {
                for end in 0..6 {
                    let (before, after) = (&before[start..], &after[..after.len() - end]);
                    assert_eq!(number_at(before, after, charset, &own), Some(Shown::Own), "{start} {end}");
                }
            }
        }
    }

    #[test]
    fn places_are_found_in_order() {
        let needles = Needles::new(&FilingNumber::parse(OWN, 2026).unwrap(), Letters::default());
        let source = "icp 2024012345 ICP ＩＣＰ".as_bytes();
        assert_eq!(needles.places(source, None), [0..3, 4..14, 15..18, 19..28]);
        assert_eq!(needles.places(&GBK.encode("ICP ＩＣＰ").0, Some(GBK)), [0..3, 4..10]);
        assert!(needles.places(b"IC", Some(UTF_8)).is_empty());
    }
}
