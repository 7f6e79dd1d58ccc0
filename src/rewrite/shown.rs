//! Which filing number a page shows at a place: a short stretch of its source, read as a visitor does.
//!
//! The stretch is cut around letters that are known to be text. Tags are white space, character
//! references are what they stand for, and a number is whatever [`FilingNumber`] takes for one.

use encoding_rs::{Encoding, UTF_8};

use crate::gate::{FilingNumber, NumberKind};

/// Whose number it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Shown {
    /// The filing's own.
    Own,
    /// That of another filing.
    Other,
}

/// Bytes of the page's source looked at before the place, and from it on.
pub(super) const BEFORE: usize = 128;
pub(super) const AFTER: usize = 256;

/// The number that lies across the end of `before` and the beginning of `after`, if any.
pub(super) fn number_at(
    before: &[u8],
    after: &[u8],
    charset: &'static Encoding,
    own: &FilingNumber,
) -> Option<Shown> {
    let mut text = visible(&charset.decode_without_bom_handling(whole_characters(before, charset)).0, true);
    let place = text.len();
    text.extend(visible(&charset.decode_without_bom_handling(after).0, false));
    let first = place.saturating_sub(LONGEST_BEFORE);
    (first..=place).find_map(|start| {
        let number = number_from(text.get(start..)?, place - start)?;
        Some(if is_same(&number, own) {
            Shown::Own
        } else if is_of_no_filing(&number) || is_subject_of(&number, own) {
            return None;
        } else {
            Shown::Other
        })
    })
}

/// Characters that a number may have before the place, spaces between them included.
const LONGEST_BEFORE: usize = 40;
const LONGEST_NUMBER: usize = 64;

fn is_same(number: &FilingNumber, own: &FilingNumber) -> bool {
    number == own || (own.service().is_none() && is_subject_of(own, number))
}

fn is_subject_of(subject: &FilingNumber, service: &FilingNumber) -> bool {
    subject.service().is_none()
        && service.as_str().strip_prefix(subject.as_str()).is_some_and(|n| n.starts_with('-'))
}

/// A licence proves no filing, and stands beside the number on many pages.
fn is_of_no_filing(number: &FilingNumber) -> bool {
    number.kind() == NumberKind::Licence && number.service().is_none()
}

/// The longest number that `text` begins with, if it reaches beyond `place`.
fn number_from(text: &[char], place: usize) -> Option<FilingNumber> {
    let run = candidate(text);
    (place + 1..=run.len()).rev().find_map(|end| {
        let (part, behind) = run.split_at_checked(end)?;
        if !ends_there(part.last()?, behind) {
            return None;
        }
        FilingNumber::parse(&part.iter().collect::<String>(), i16::MAX).ok()
    })
}

/// Whether a number may end before `behind`: it has no further digit, and its kind no further letter.
fn ends_there(last: &char, behind: &[char]) -> bool {
    let Some(next) = behind.first() else { return true };
    if last.is_ascii_digit() {
        !next.is_ascii_digit()
    } else {
        !(last.is_ascii_alphabetic() && next.is_ascii_alphanumeric())
    }
}

/// The beginning of `text` that may be a number: one province or `合字`, then what numbers consist of.
/// White space parts two words of letters and digits, and nothing else.
fn candidate(text: &[char]) -> &[char] {
    let mut word: Option<char> = None;
    let mut spaced = false;
    let end = text.iter().take(LONGEST_NUMBER).position(|&c| {
        if c.is_whitespace() {
            spaced = true;
            return false;
        }
        let parted = spaced && c.is_ascii_alphanumeric() && word.is_some_and(|w| w.is_ascii_alphanumeric());
        let first = word.is_none();
        (word, spaced) = (Some(c), false);
        parted || !(first || c.is_ascii_alphanumeric() || is_number_character(c))
    });
    text.get(..end.unwrap_or(text.len().min(LONGEST_NUMBER))).unwrap_or_default()
}

fn is_number_character(c: char) -> bool {
    matches!(c, '备' | '備' | '证' | '證' | '号' | '號' | '字' | '.' | '-')
        || matches!(c, '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{ff01}'..='\u{ff5e}' | '\u{200b}'..='\u{200d}' | '\u{feff}' | '\u{ad}')
}

/// Drops the bytes at the start that may belong to a character cut in two.
fn whole_characters<'b>(bytes: &'b [u8], charset: &'static Encoding) -> &'b [u8] {
    let start = if charset == UTF_8 {
        bytes.iter().take(3).take_while(|&&byte| byte & 0xc0 == 0x80).count()
    } else if charset.is_single_byte() {
        0
    } else {
        // No trail byte of a superset of ASCII is white space, punctuation of numbers or `<`. Without
        // any of these the characters are two bytes each, and end where the stretch ends.
        bytes.iter().position(|byte| matches!(byte, 0..0x30 | 0x3a..0x40)).unwrap_or(bytes.len() % 2)
    };
    bytes.get(start..).unwrap_or_default()
}

/// The text of a piece of source. `cut` says that it may begin within a tag.
fn visible(source: &str, cut: bool) -> Vec<char> {
    let mut rest = source;
    if cut
        && let Some(end) = rest.find(['<', '>'])
        && rest[end..].starts_with('>')
    {
        rest = &rest[end + 1..];
    }
    let mut text = Vec::with_capacity(rest.len());
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
    use encoding_rs::GBK;

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
            "&#20140;ICP&#x5907;^2024012345&#21495;&ndash;1",
            "<a href=\"x\"><b>京</b>ICP备^2024012345<i>号</i>-1</a><a>2024</a>",
            "<!-- > --> 京ICP备^2024012345号-1",
            "href='y'>京ICP备^2024012345号-1</a> | 京公网安备11010502030143号",
            "京ICP备^2024012345号-1.",
            "京ICP备^2024012345号-1 - 2 items",
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
            "",
            "^2024012345",
            "tel ^2024012345 - 1",
            "京ICP备^2024012345号",
            "京ICP证^030173号",
            "京ICP备^12345678号-1",
            "萌ICP备^20240123号",
            "京ICP备2024012345号-1 and ^2024012345",
        ]
        .map(|source| if source.is_empty() { "^" } else { source })
        {
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
}
