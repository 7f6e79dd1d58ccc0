//! Suggestions for misspelt words.

/// `did you mean "x"?`, if a known word is similar.
pub(super) fn did_you_mean<'w>(text: &str, words: impl IntoIterator<Item = &'w str>) -> Option<String> {
    if text.len() > 300 {
        return None;
    }
    let text: Vec<char> = text.to_lowercase().chars().collect();
    let near = |word: &&str| {
        let word: Vec<char> = word.chars().collect();
        let limit = text.len().max(word.len()).div_ceil(4).min(3);
        (edits(&text, &word) <= limit).then(|| edits(&text, &word))
    };
    let best = words.into_iter().take(10_000).filter_map(|word| Some((near(&word)?, word))).min();
    best.map(|(_, word)| format!("did you mean {word:?}?"))
}

/// The Levenshtein distance: letters to insert, remove or change.
fn edits(one: &[char], another: &[char]) -> usize {
    if one.len().abs_diff(another.len()) > 3 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=another.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in another.iter().enumerate() {
            let change = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[another.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_suggested_and_far_ones_are_not() {
        let suggest = |text| did_you_mean(text, ["filings", "listeners", "limits", "log"]);
        for text in ["filing", "fillings", "Filings", "flings"] {
            assert_eq!(suggest(text).as_deref(), Some("did you mean \"filings\"?"), "{text}");
        }
        for text in ["", "x", "client_regions", "sinks", "proxy_protocol", &"filings".repeat(100)] {
            assert_eq!(suggest(text), None, "{text}");
        }
    }
}
