//! Reads a YAML file into a [`Node`].
//!
//! Only this file uses the YAML library; [`plain`] reads the simple subset that most files keep to, without
//! it. Time and memory are bounded for any input: file size, nesting depth and alias expansion are limited.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserializer;
use serde::de::{DeserializeSeed, EnumAccess, Error, MapAccess, SeqAccess, Visitor};

use super::node::{Malformed, Node, Number};
use super::{lookalike, plain};
use crate::regular_file;

/// A file that cannot be read at all.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be read: {reason}", path.display())]
pub struct Unreadable {
    /// The file.
    pub path: PathBuf,
    /// The system's reason.
    pub reason: io::Error,
}

impl Unreadable {
    /// Whether the system lacked descriptors or memory, or had an I/O error: a retry may succeed.
    pub fn is_for_want_of_resources(&self) -> bool {
        use rustix::io::Errno;
        let of_the_system = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS, Errno::IO, Errno::INTR];
        Errno::from_io_error(&self.reason).is_some_and(|error| of_the_system.contains(&error))
    }
}

/// Reads the regular file `path`, at most one byte more than `limit`.
pub(super) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, Unreadable> {
    regular_file::read_up_to(path, limit).map_err(|reason| Unreadable { path: path.to_owned(), reason })
}

/// Parses one YAML document of at most `limit` bytes.
pub(super) fn parse(bytes: &[u8], limit: u64) -> Result<Node<'_>, Malformed> {
    if bytes.len() as u64 > limit {
        return Err(Malformed::TooLarge(limit >> 20));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        Malformed::NotUtf8(before.len() - line_start + 1, line)
    })?;
    check_shape(bytes)?;
    match plain::parse(text) {
        Some(node) => Ok(node),
        None => match (parse_fully(text), lookalike::find(text)) {
            // A file whose every colon is `：` is one text to YAML.
            (Err(Malformed::Syntax(_)) | Ok(Node::Text(_)), Some(found)) => Err(Malformed::Lookalike(found)),
            (parsed, _) => parsed,
        },
    }
}

/// Parses with the YAML library.
pub(super) fn parse_fully(text: &str) -> Result<Node<'_>, Malformed> {
    let seed = NodeSeed { budget: &Cell::new(text.len().saturating_mul(2).saturating_add(1024)) };
    seed.deserialize(serde_yaml::Deserializer::from_str(text))
        .map_err(|error| Malformed::Syntax(error.to_string()))
        .and_then(|node| if matches!(node, Node::Null) { Err(Malformed::Empty) } else { Ok(node) })
}

/// Refuses input on which the YAML library would take too much time or memory: its time per token grows with the
/// depth of brackets, and it keeps every token. Counts indicators in strings and comments too; the limits leave
/// room for them.
fn check_shape(bytes: &[u8]) -> Result<(), Malformed> {
    let (mut depth, mut parts) = (0_usize, 0_usize);
    for byte in bytes {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' | b':' | b'-' | b'?' => {}
            _ => continue,
        }
        parts += 1;
        if depth > MAX_BRACKETS {
            return Err(Malformed::TooDeep);
        }
        if parts > MAX_PARTS {
            return Err(Malformed::TooManyParts);
        }
    }
    Ok(())
}

const MAX_BRACKETS: usize = 512;
/// Twenty times the parts of 10,000 filings with every key.
const MAX_PARTS: usize = 5_000_000;

/// Builds a [`Node`]. Nodes and bytes of text spend the budget, twice the size of the file: only the expansion of
/// aliases can exceed it.
#[derive(Clone, Copy)]
struct NodeSeed<'b> {
    budget: &'b Cell<usize>,
}

impl NodeSeed<'_> {
    fn spend<E: Error>(self, cost: usize) -> Result<(), E> {
        let left = self.budget.get().checked_sub(cost).ok_or_else(|| E::custom(MULTIPLIED))?;
        self.budget.set(left);
        Ok(())
    }
}

const MULTIPLIED: &str = "its aliases multiply it beyond measure";

impl<'de> DeserializeSeed<'de> for NodeSeed<'_> {
    type Value = Node<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NodeSeed<'_> {
    type Value = Node<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a plain YAML value")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        self.spend(1).map(|()| Node::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        self.visit_unit()
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        self.spend(1).map(|()| Node::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        self.spend(1).map(|()| Node::Number(Number::Unsigned(value)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        self.spend(1).map(|()| Node::Number(Number::Negative(value)))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        self.spend(1).map(|()| Node::Number(Number::Fraction(value)))
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<Self::Value, E> {
        self.visit_f64(value as f64)
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<Self::Value, E> {
        self.visit_f64(value as f64)
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Self::Value, E> {
        self.spend(1 + value.len()).map(|()| Node::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        self.spend(1 + value.len()).map(|()| Node::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        self.spend(1)?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        self.spend(1)?;
        let mut map = Vec::new();
        while let Some(key) = entries.next_key_seed(self)? {
            let key = match key {
                Node::Text(key) => key,
                Node::Null => Cow::Borrowed("null"),
                Node::Bool(key) => Cow::Owned(key.to_string()),
                Node::Number(key) => Cow::Owned(key.to_string()),
                Node::List(_) | Node::Map(_) => return Err(Error::custom("a key must be a word")),
            };
            map.push((key, entries.next_value_seed(self)?));
        }
        Ok(Node::Map(map))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
        Err(Error::custom("tags (`!name`) have no meaning here"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    const LIMIT: u64 = 32 << 20;

    #[track_caller]
    fn check_malformed(bytes: &[u8], expected: &str) {
        let started = Instant::now();
        let error = parse(bytes, LIMIT).expect_err("malformed").to_string();
        assert!(error.contains(expected), "{error}");
        assert!(started.elapsed() < Duration::from_secs(5), "{expected} took {:?}", started.elapsed());
    }

    #[test]
    fn what_is_no_document_is_told_apart() {
        for nothing in ["", "\n", "# filings: []\n", "---\n", "~"] {
            check_malformed(nothing.as_bytes(), "it is empty");
        }
        check_malformed(b"a: \xff", "it is not UTF-8: byte 4 of line 1");
        check_malformed("a: 1\nb: 例".as_bytes().split_last().expect("bytes").1, "byte 4 of line 2");
        check_malformed(b"a: \0", "control characters");
        check_malformed(b"a: [1", "did not find expected ',' or ']'");
        check_malformed(b"a: 1\n---\nb: 2", "more than one document");
        check_malformed(b"a: *b", "unknown anchor");
        check_malformed(b"a: !secret b", "tags");
        check_malformed(b"[a]: b", "a key must be a word");
        check_malformed(b"a: 1\n  b: 2", "line 2 column 4");
    }

    #[test]
    fn a_character_that_looks_like_yamls_is_named_with_its_line() {
        for (text, message) in [
            ("a: 1\nb：2\n", "line 2: '：' (U+FF1A) stands where YAML has `: `"),
            ("# 注：\na：1", "line 2: '：' (U+FF1A)"),
            ("a:\n\tb: 2\n", "line 2: a tab (U+0009) stands where YAML has spaces"),
            ("a:\n  - b: 1\n\t  c: 2\n", "line 3: a tab (U+0009)"),
            ("# 注：\na: [b，c\n", "line 2: '，' (U+FF0C) stands where YAML has `, `"),
            ("a: \"x：y\"\nb: ［1]\n- c", "line 2: '［' (U+FF3B) stands where YAML has `[`"),
            ("a: 1\n\u{3000}b: 2: 3\n", "line 2: '\\u{3000}' (U+3000) stands where YAML has a space"),
            ("a: “b”: c\n", "line 1: '“' (U+201C) stands where YAML has `\"`"),
            ("－ a\nb: c", "line 1: '－' (U+FF0D) stands where YAML has `- `"),
        ] {
            check_malformed(text.as_bytes(), message);
        }
        check_malformed("a: '：'\nb: [1".as_bytes(), "did not find expected ',' or ']'");
    }

    #[test]
    fn nesting_and_multiplying_are_bounded() {
        check_malformed("[".repeat(10_000).as_bytes(), "nested too deeply");
        check_malformed("[".repeat(20 << 20).as_bytes(), "nested too deeply");
        check_malformed("a,".repeat(16 << 20).as_bytes(), "too many parts");
        check_malformed("- ".repeat(16 << 20).as_bytes(), "too many parts");
        check_malformed("{a: ".repeat(10_000).as_bytes(), "nested too deeply");
        check_malformed("[".repeat(500).as_bytes(), "it is not valid YAML");
        let balanced = format!("{}{}", "[".repeat(500), "]".repeat(500));
        check_malformed(balanced.as_bytes(), "recursion limit");
        check_malformed("- ".repeat(20_000).as_bytes(), "recursion limit");
        check_malformed(b"a: &a [*a]", "recursion limit");
        let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..10 {
            let below = vec![format!("*a{}", level - 1); 10].join(", ");
            laughs += &format!("a{level}: &a{level} [{below}]\n");
        }
        check_malformed(laughs.as_bytes(), "beyond measure");
    }
}
