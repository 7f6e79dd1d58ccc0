//! A one-pass parser for the subset of YAML that most files use: words, quoted strings, lists and mappings, each
//! value on one line.
//!
//! It gives the same result as the YAML library, or `None`; then the library parses the file. It exists because
//! the library needs too much time and memory for 100,000 filings.

use std::borrow::Cow;

use super::node::{Node, Number};

/// The deepest nesting of blocks and brackets.
const MAX_DEPTH: usize = 16;
const MAX_KEY: usize = 64;

/// Parses a document; `None` if any of it is outside the subset.
pub(super) fn parse(text: &str) -> Option<Node<'_>> {
    if !text.chars().all(is_plain) {
        return None;
    }
    let mut lines = Lines { rest: text, next: None };
    lines.advance();
    let (0, _) = lines.next? else { return None };
    let node = block(&mut lines, 0, MAX_DEPTH)?;
    lines.next.is_none().then_some(node)
}

/// Whether YAML allows the character anywhere and gives it no meaning of its own.
fn is_plain(character: char) -> bool {
    match character {
        '\n' | ' '..='~' => true,
        '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => false,
        _ => character >= '\u{a0}',
    }
}

/// The lines with content, each with its indentation.
struct Lines<'t> {
    rest: &'t str,
    next: Option<(usize, &'t str)>,
}

impl<'t> Lines<'t> {
    fn advance(&mut self) {
        self.next = None;
        while !self.rest.is_empty() {
            let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
            self.rest = rest;
            let content = line.trim_start_matches(' ');
            if !content.is_empty() && !content.starts_with('#') {
                self.next = Some((line.len() - content.len(), content.trim_end_matches(' ')));
                return;
            }
        }
    }

    /// The next line if its indentation is `indent`. A deeper line is outside the subset.
    fn at(&self, indent: usize) -> Option<Option<&'t str>> {
        match self.next {
            Some((found, _)) if found > indent => None,
            Some((found, content)) if found == indent => Some(Some(content)),
            Some(_) | None => Some(None),
        }
    }
}

fn block<'t>(lines: &mut Lines<'t>, indent: usize, depth: usize) -> Option<Node<'t>> {
    let depth = depth.checked_sub(1)?;
    match lines.next {
        Some((_, content)) if content.starts_with("- ") => list(lines, indent, depth),
        Some(_) | None => mapping(lines, indent, depth),
    }
}

fn list<'t>(lines: &mut Lines<'t>, indent: usize, depth: usize) -> Option<Node<'t>> {
    let mut items = Vec::new();
    while let Some(content) = lines.at(indent)? {
        let Some(item) = content.strip_prefix("- ") else { break };
        let item = item.trim_start_matches(' ');
        if key(item).is_some() {
            // The mapping starts on this line; its indentation is the column of its first key.
            let inner = indent + content.len() - item.len();
            lines.next = Some((inner, item));
            items.push(mapping(lines, inner, depth.checked_sub(1)?)?);
        } else {
            lines.advance();
            items.push(whole(item)?);
        }
    }
    Some(Node::List(items))
}

fn mapping<'t>(lines: &mut Lines<'t>, indent: usize, depth: usize) -> Option<Node<'t>> {
    let mut entries = Vec::new();
    while let Some(content) = lines.at(indent)? {
        if content.starts_with("- ") {
            break;
        }
        let (key, value) = key(content)?;
        lines.advance();
        let value = if value.is_empty() || value.starts_with('#') {
            match lines.next {
                Some((deeper, _)) if deeper > indent => block(lines, deeper, depth)?,
                // A list may have the indentation of its key.
                Some((same, content)) if same == indent && content.starts_with("- ") => {
                    list(lines, indent, depth)?
                }
                Some(_) | None => return None,
            }
        } else {
            whole(value)?
        };
        entries.push((Cow::Borrowed(key), value));
    }
    (!entries.is_empty()).then_some(Node::Map(entries))
}

/// The key at the start of a line, and the rest.
fn key(content: &str) -> Option<(&str, &str)> {
    let end =
        content.bytes().take(MAX_KEY + 1).position(|byte| !(byte.is_ascii_alphanumeric() || byte == b'_'))?;
    let (key, rest) = content.split_at(end);
    let value = rest.strip_prefix(':')?;
    let is_word = key.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') && is_text(key);
    let ends = value.is_empty() || value.starts_with(' ');
    (is_word && ends).then(|| (key, value.trim_start_matches(' ')))
}

/// A value that ends with its line.
fn whole(text: &str) -> Option<Node<'_>> {
    let (node, rest) = value(text, Inside::Line, MAX_DEPTH)?;
    let comment = rest.trim_start_matches(' ');
    (comment.is_empty() || (comment.starts_with('#') && comment.len() < rest.len())).then_some(node)
}

/// Where a value is, which decides where an unquoted word ends.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Inside {
    Line,
    Brackets,
}

/// The value at the start of `text`, and the rest.
fn value(text: &str, inside: Inside, depth: usize) -> Option<(Node<'_>, &str)> {
    let depth = depth.checked_sub(1)?;
    match text.bytes().next()? {
        b'[' => flow(&text[1..], ']', depth, |text, depth| value(text, Inside::Brackets, depth))
            .map(|(items, rest)| (Node::List(items), rest)),
        b'{' => flow(&text[1..], '}', depth, |text, depth| {
            let (key, text) = key(text)?;
            let (node, rest) = value(text, Inside::Brackets, depth)?;
            Some(((Cow::Borrowed(key), node), rest))
        })
        .map(|(entries, rest)| (Node::Map(entries), rest)),
        quote @ (b'"' | b'\'') => quoted(&text[1..], char::from(quote)),
        _ => word(text, inside),
    }
}

/// The items between brackets, and the rest after the closing one.
fn flow<'t, T>(
    text: &'t str,
    close: char,
    depth: usize,
    item: impl Fn(&'t str, usize) -> Option<(T, &'t str)>,
) -> Option<(Vec<T>, &'t str)> {
    let mut items = Vec::new();
    let mut text = text.trim_start_matches(' ');
    if let Some(rest) = text.strip_prefix(close) {
        return Some((items, rest));
    }
    loop {
        let (one, rest) = item(text, depth)?;
        items.push(one);
        let rest = rest.trim_start_matches(' ');
        if let Some(rest) = rest.strip_prefix(close) {
            return Some((items, rest));
        }
        text = rest.strip_prefix(", ")?.trim_start_matches(' ');
    }
}

fn quoted(text: &str, quote: char) -> Option<(Node<'_>, &str)> {
    let (content, rest) = text.split_once(quote)?;
    // Escapes are a backslash in double quotes and a doubled quote in single quotes.
    if content.contains('\\') || rest.starts_with(quote) {
        return None;
    }
    Some((Node::Text(Cow::Borrowed(content)), rest))
}

/// An unquoted string, a number or a boolean.
fn word(text: &str, inside: Inside) -> Option<(Node<'_>, &str)> {
    let first = text.chars().next()?;
    if first.is_ascii() && !first.is_ascii_alphanumeric() {
        return None;
    }
    let end = match inside {
        Inside::Line => text.find(" #").unwrap_or(text.len()),
        Inside::Brackets => text.find([',', '[', ']', '{', '}'])?,
    };
    let (word, rest) = text.split_at(end);
    let word = word.trim_end_matches(' ');
    let is_ambiguous = match inside {
        Inside::Line => word.contains(": ") || word.ends_with(':'),
        Inside::Brackets => word.contains([':', '#', '?']),
    };
    if is_ambiguous {
        return None;
    }
    let node = match word {
        "true" => Node::Bool(true),
        "false" => Node::Bool(false),
        _ if is_text(word) => Node::Text(Cow::Borrowed(word)),
        _ => Node::Number(Number::Unsigned(integer(word)?)),
    };
    Some((node, rest))
}

/// Whether YAML surely reads a word as a string, not as a number, a boolean or null.
fn is_text(word: &str) -> bool {
    let lower = |other: &str| word.eq_ignore_ascii_case(other);
    if lower("null") || lower("true") || lower("false") {
        return false;
    }
    let is_based = ["0x", "0o", "0b"].iter().any(|base| word.starts_with(base));
    let is_numeric = word.bytes().all(|byte| byte.is_ascii_digit());
    !word.starts_with(|first: char| first.is_ascii_digit())
        || !(is_based || is_numeric || word.parse::<f64>().is_ok())
}

/// A decimal number. With a leading zero it is a string in YAML, and outside the subset.
fn integer(word: &str) -> Option<u64> {
    let is_plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    word.parse().ok().filter(|_| is_plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::file;

    #[track_caller]
    fn same(text: &str) -> bool {
        let Some(plain) = parse(text) else { return false };
        let full = file::parse_fully(text);
        let full = full.unwrap_or_else(|error| panic!("{error}, and yet plain: {text:?}"));
        assert_eq!(format!("{plain:?}"), format!("{full:?}"), "{text:?}");
        true
    }

    #[test]
    fn what_operators_write_is_plain() {
        for text in [
            "filings: []\n",
            "filings:\n  - domain: example.cn\n    number: 京ICP备2024012345号-1\n    status: approved # since\n",
            "filings:\n- domain: 163.com\n  approved_on: 2026-03-02\n\n# the next\n- {domain: a.cn, status: preparing}\n",
            "a:\n  b:\n    - c: 1\n      d: [x, \"y z\", 'w: v']\n    - c: true\ne: {f: {g: [1, 2]}, h: []}\n",
            "a: 10.0.0.1:8080\nb: \"[::]:443\"\nc: 64KiB\nd: a#b\ne: 0\n",
            "a: http://b/c d  # e\n",
        ] {
            assert!(same(text), "{text:?}");
        }
    }

    #[test]
    fn what_needs_all_of_yaml_is_left_to_it() {
        for text in [
            "",
            "\n",
            "a",
            "- ",
            "a:\n",
            "a: &b c\n",
            "a: *b\n",
            "a: |\n  b\n",
            "a: >\n  b\n",
            "a: !b c\n",
            "a: \"b\\n\"\n",
            "a: 'it''s'\n",
            "a: b\n  c\n",
            "a: b\n  c: d\n",
            "a: [b,\n  c]\n",
            "--- \na: b\n",
            "a: b\n---\nc: d\n",
            "? a\n",
            "a: b: c\n",
            "a: [b: c]\n",
            "a: [b, ]\n",
            "a: {b}\n",
            "a: \"b\" c\n",
            "a: \"b\"# c\n",
            "\ta: b\n",
            "a: b\r\n",
            "a: 010\n",
            "a: 1.5\n",
            "a: 1e3\n",
            "a: 0x1f\n",
            "a: null\n",
            "a: ~\n",
            "a: -1\n",
            "a: .inf\n",
            "a: True\n",
            "null: a\n",
            "a : b\n",
            "a:b\n",
            "a:\n b: c\n  d: e\n",
            " a: b\n",
            "a: b\u{2028}c\n",
            "a: b:\n",
            "a: [b]]\n",
            "a: %b\n",
            "a: @b\n",
            "a: `b\n",
            "a: #b\n",
            "- - a\n",
            "-\n  a: b\n",
            "a: [1]: b\n",
            "%YAML 1.2\n",
            "a: b\n...\n",
        ] {
            assert!(parse(text).is_none(), "{text:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Whatever is taken for plain means the same to the reader of all of YAML.
        #[test]
        fn what_is_plain_means_what_yaml_means(
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    "a", "bc_1", "域名", "1", "07", "1.5", "2026-03-02", "true", "no", "null", "0x1", "1e3", ":", ": ", "- ", "-",
                    " ", "  ", "    ", "\n", "\n  ", "\n    ", "\n  - ", "\n- ", "#", " #", "[", "]", "{", "}", ", ", ",", "\"",
                    "'", "\\", "&", "*", "!", "|", ">", "%", "@", "?", "~", ".", "a: ", "b: ", "a:\n", "key: value\n", "- k: v\n",
                    "[a, b]", "{c: d}", "\"q r\"", "'s'", "---", "...", "\u{a0}", "=", "<<", "+1", "_",
                ]),
                0..14,
            ),
        ) {
            same(&parts.concat());
        }
    }
}
