//! Ranges of stored responses (RFC 9110, 14). Several ranges at once get the whole.

use std::ops::Range;

use http::HeaderMap;
use http::header::{ETAG, HeaderValue, IF_RANGE, LAST_MODIFIED, RANGE};

/// What a request wants of a response.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Wanted {
    Whole,
    Part(Range<usize>),
    /// Nothing of the range is there.
    Unsatisfiable,
}

/// What a GET with the fields `asked` wants of `length` bytes with the fields `stored`.
pub(super) fn wanted(asked: &HeaderMap, stored: &HeaderMap, length: usize) -> Wanted {
    let mut ranges = asked.get_all(RANGE).iter();
    let (Some(range), None) = (ranges.next(), ranges.next()) else { return Wanted::Whole };
    let applies = asked.get(IF_RANGE).is_none_or(|condition| is_unchanged(condition, stored));
    let range = range.to_str().ok().filter(|_| applies).and_then(|range| {
        let (unit, range) = range.split_once('=')?;
        unit.trim().eq_ignore_ascii_case("bytes").then(|| range.trim())
    });
    range.and_then(|range| parse(range, length)).unwrap_or(Wanted::Whole)
}

/// `None` for what is no single range, and is ignored.
fn parse(range: &str, length: usize) -> Option<Wanted> {
    let (first, last) = range.split_once('-')?;
    let number = |digits: &str| {
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        // More digits than fit are beyond every end.
        is_number.then(|| digits.parse().unwrap_or(usize::MAX))
    };
    if first.is_empty() {
        let suffix = number(last)?;
        return Some(match suffix.min(length) {
            0 => Wanted::Unsatisfiable,
            suffix => Wanted::Part(length - suffix..length),
        });
    }
    let first = number(first)?;
    let end =
        if last.is_empty() { length } else { number(last).filter(|last| *last >= first)?.saturating_add(1) };
    Some(if first < length { Wanted::Part(first..end.min(length)) } else { Wanted::Unsatisfiable })
}

/// `if-range`: the strong tag, or exactly the date (RFC 9110, 13.1.5).
fn is_unchanged(condition: &HeaderValue, stored: &HeaderMap) -> bool {
    let is_strong = |tag: &&HeaderValue| tag.as_bytes().starts_with(b"\"");
    if condition.as_bytes().starts_with(b"\"") {
        return stored.get(ETAG).filter(is_strong) == Some(condition);
    }
    !condition.as_bytes().starts_with(b"W/") && stored.get(LAST_MODIFIED) == Some(condition)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_range_is_a_part_and_the_rest_is_the_whole() {
        for (range, expected) in [
            ("bytes=0-4", Wanted::Part(0..5)),
            ("bytes=5-", Wanted::Part(5..10)),
            ("Bytes=-3", Wanted::Part(7..10)),
            ("bytes=-30", Wanted::Part(0..10)),
            ("bytes=2-99999999999999999999999", Wanted::Part(2..10)),
            ("bytes=10-", Wanted::Unsatisfiable),
            ("bytes=-0", Wanted::Unsatisfiable),
            ("bytes=99999999999999999999999-", Wanted::Unsatisfiable),
            ("bytes=5-4", Wanted::Whole),
            ("bytes=0-1,3-4", Wanted::Whole),
            ("lines=0-1", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("bytes", Wanted::Whole),
        ] {
            let asked = HeaderMap::from_iter([(RANGE, HeaderValue::from_static(range))]);
            assert_eq!(wanted(&asked, &HeaderMap::new(), 10), expected, "{range}");
        }
    }

    #[test]
    fn a_range_of_a_changed_response_is_the_whole() {
        let date = "Sun, 29 Nov 2026 10:00:00 GMT";
        let stored = |tag| {
            HeaderMap::from_iter([
                (ETAG, HeaderValue::from_static(tag)),
                (LAST_MODIFIED, HeaderValue::from_static(date)),
            ])
        };
        let part = |condition: &'static str, tag| {
            let fields = [(RANGE, "bytes=0-1"), (IF_RANGE, condition)];
            let asked =
                HeaderMap::from_iter(fields.map(|(name, value)| (name, HeaderValue::from_static(value))));
            wanted(&asked, &stored(tag), 10) != Wanted::Whole
        };
        assert!(part("\"a\"", "\"a\"") && part(date, "\"a\""));
        assert!(!part("\"b\"", "\"a\"") && !part("W/\"a\"", "W/\"a\"") && !part("\"a\"", "W/\"a\""));
        assert!(!part("Sun, 29 Nov 2026 10:00:01 GMT", "\"a\""));
    }
}
