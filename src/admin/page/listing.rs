//! A table that shows the most important rows of many.

use std::fmt::Display;

use jiff::Timestamp;

use crate::clock::SHANGHAI;

/// The rows that are shown, and how many there are.
#[derive(Debug)]
pub(crate) struct Listing<R> {
    pub(crate) rows: Vec<R>,
    /// Rows that match the filter.
    pub(crate) matching: usize,
    /// Rows without the filter.
    pub(crate) total: usize,
}

impl<R> Listing<R> {
    /// The `most` items with the lowest key, of those that match.
    pub(crate) fn first<T, K: Ord>(
        most: usize,
        items: impl Iterator<Item = T>,
        matches: impl Fn(&T) -> bool,
        key: impl Fn(&T) -> K,
        row: impl Fn(T) -> R,
    ) -> Self {
        let mut total = 0;
        let mut matching: Vec<T> = items.inspect(|_| total += 1).filter(matches).collect();
        matching.sort_by_cached_key(key);
        let count = matching.len();
        Self { rows: matching.into_iter().take(most).map(row).collect(), matching: count, total }
    }

    /// Whether the filter or the limit hides rows.
    pub(crate) fn is_cut(&self) -> bool {
        self.rows.len() < self.total
    }
}

/// What the operator looks for: a part of a name, in any case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Search(String);

impl Search {
    /// The longest host name.
    const LENGTH: usize = 253;

    pub(crate) fn new(text: &str) -> Self {
        let text = text.trim();
        Self(text[..text.floor_char_boundary(Self::LENGTH)].to_lowercase())
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// Whether the part is in one of these texts; always if nothing is looked for.
    pub(crate) fn is_in<T: Display>(&self, texts: impl IntoIterator<Item = T>) -> bool {
        self.0.is_empty() || texts.into_iter().any(|text| text.to_string().to_lowercase().contains(&self.0))
    }
}

/// How good something is, as a class of the style sheet.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Level {
    Bad,
    Warn,
    Good,
    Quiet,
}

impl Level {
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Bad => "bad",
            Self::Warn => "warn",
            Self::Good => "good",
            Self::Quiet => "quiet",
        }
    }
}

/// A time to the minute, in Shanghai.
pub(crate) fn minute(time: Timestamp) -> String {
    SHANGHAI.to_datetime(time).strftime("%Y-%m-%d %H:%M").to_string()
}

/// A time to the second, in Shanghai.
pub(crate) fn second(time: Timestamp) -> String {
    SHANGHAI.to_datetime(time).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_keys_are_shown_of_what_matches() {
        let search = Search::new(" 1 ");
        let listing = Listing::first(
            3,
            0..100,
            |number| search.is_in([number]),
            |number| std::cmp::Reverse(*number),
            |number| number,
        );
        assert_eq!(listing.rows, [91, 81, 71]);
        assert_eq!((listing.matching, listing.total), (19, 100));
        assert!(listing.is_cut());
    }
}
