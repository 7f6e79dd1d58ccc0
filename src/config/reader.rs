//! Typed readers of nodes: a [`Value`] knows its place in the file and reports its own problems.
//!
//! A reader returns `None` only after it has reported a fatal problem. A conversion goes on after that to find
//! more problems, and its result is dropped in the end.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Display;
use std::hash::Hash;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::findings::{Findings, Place, quote};
use super::node::{Node, Number};
use super::problem::Severity;
use super::schema::Section;
use super::suggest::did_you_mean;
use super::units;

#[derive(Clone, Copy, Debug)]
pub(super) struct Value<'v> {
    node: &'v Node<'v>,
    place: Place<'v>,
    findings: &'v Findings,
}

impl<'v> Value<'v> {
    pub(super) fn root(node: &'v Node<'v>, findings: &'v Findings) -> Self {
        Self { node, place: Place::File, findings }
    }

    pub(super) fn fatal(&self, message: impl Display, hint: impl Into<Option<String>>) {
        self.findings.add(Severity::Fatal, self.place, message, hint.into());
    }

    pub(super) fn warn(&self, message: impl Display, hint: impl Into<Option<String>>) {
        self.findings.add(Severity::Warning, self.place, message, hint.into());
    }

    fn expected<T>(&self, what: impl Display, hint: Option<&str>) -> Option<T> {
        let found = match self.node {
            Node::Null => "nothing".to_owned(),
            Node::Bool(value) => value.to_string(),
            Node::Number(value) => value.to_string(),
            Node::Text(text) => quote(text),
            Node::List(_) => "a list".to_owned(),
            Node::Map(_) => "a mapping".to_owned(),
        };
        self.fatal(format_args!("expected {what}, found {found}"), hint.map(str::to_owned));
        None
    }

    /// Whether nothing fatal has been found so far, in the whole file.
    pub(super) fn is_sound(&self) -> bool {
        self.findings.is_sound()
    }

    /// The string here, if it is one. Reports nothing.
    pub(super) fn plain_text(&self) -> Option<&'v str> {
        match self.node {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The string under the key `name`, if it is one, with its place. Reports nothing.
    pub(super) fn own_name<'s>(&'s self) -> Option<(&'s str, Value<'s>)> {
        let value = self.own("name")?;
        Some((value.plain_text()?, value))
    }

    /// The value under `key`, if there is one. Other keys are not checked.
    pub(super) fn own<'s>(&'s self, key: &str) -> Option<Value<'s>> {
        let Node::Map(map) = self.node else { return None };
        let (key, node) = map.iter().find(|(own, _)| own == key)?;
        Some(Value { node, place: Place::Key(&self.place, key), findings: self.findings })
    }

    pub(super) fn is_map(&self) -> bool {
        matches!(self.node, Node::Map(_))
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self.node, Node::List(_))
    }

    pub(super) fn text(&self) -> Option<&'v str> {
        self.text_for("text", None)
    }

    fn text_for(&self, what: &str, example: Option<&str>) -> Option<&'v str> {
        match self.node {
            Node::Text(text) if !text.is_empty() => Some(text),
            Node::Bool(_) | Node::Number(_) => {
                let example = example.map_or_else(String::new, |example| format!("such as {example}; "));
                let hint = format!("{example}put a number or a boolean in quotes");
                self.expected(what, Some(&hint))
            }
            Node::Text(_) | Node::Null | Node::List(_) | Node::Map(_) => {
                self.expected(what, example.map(|example| format!("such as {example}")).as_deref())
            }
        }
    }

    /// A string that `parse` accepts. The example goes into the hint.
    pub(super) fn parsed<T, E: Display>(
        &self,
        what: &str,
        example: &str,
        parse: impl FnOnce(&'v str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text_for(what, Some(example))?;
        match parse(text) {
            Ok(value) => Some(value),
            Err(error) => {
                let message = format!("{} is not {what}: {error}", quote(text));
                self.fatal(message, format!("such as {example}"));
                None
            }
        }
    }

    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let known = || words.iter().map(|(word, _)| *word);
        let Node::Text(text) = self.node else {
            return self.expected(format_args!("one of {}", join(known())), None);
        };
        let found = words.iter().find(|(word, _)| word == text).map(|(_, value)| *value);
        if found.is_none() {
            let message = format!("{} is not one of {}", quote(text), join(known()));
            self.fatal(message, did_you_mean(text, known()));
        }
        found
    }

    /// A whole number of at least `min` and at most `max`.
    pub(super) fn count(&self, min: u64, max: u64) -> Option<u64> {
        match self.node {
            Node::Number(Number::Unsigned(value)) if (min..=max).contains(value) => Some(*value),
            _ => self.expected(format_args!("a whole number from {min} to {max}"), None),
        }
    }

    pub(super) fn percent(&self) -> Option<u32> {
        self.parsed("a percentage", "20%", |text| match text.strip_suffix('%').map(str::parse) {
            Some(Ok(percent @ 0..=100)) if !text.starts_with('+') => Ok(percent),
            Some(_) => Err("it is not from 0% to 100%"),
            None => Err("it does not end in %"),
        })
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        match self.node {
            Node::Bool(value) => Some(*value),
            _ => self.expected("true or false", None),
        }
    }

    /// A duration that is not zero.
    pub(super) fn duration(&self) -> Option<Duration> {
        let duration = self.duration_or_zero()?;
        if duration.is_zero() {
            self.fatal("it may not be zero", "such as 5s".to_owned());
            return None;
        }
        Some(duration)
    }

    pub(super) fn duration_or_zero(&self) -> Option<Duration> {
        self.parsed("a duration", "250ms, 5s, 10m, 24h or 190d", units::duration)
    }

    /// A size in bytes, with or without a unit, of at least `min` and at most `max`.
    pub(super) fn size(&self, min: u64, max: u64) -> Option<u64> {
        let size = match self.node {
            Node::Number(Number::Unsigned(bytes)) => *bytes,
            _ => self.parsed("a size", "4096, 64KiB, 1MiB or 1GiB", units::size)?,
        };
        if !(min..=max).contains(&size) {
            let (min, max) = (units::show_size(min), units::show_size(max));
            self.fatal(format_args!("{} is not from {min} to {max}", units::show_size(size)), None);
            return None;
        }
        Some(size)
    }

    /// A path; a relative one is relative to `folder`.
    pub(super) fn path(&self, folder: &Path) -> Option<PathBuf> {
        let path =
            |text: &str| if text.contains('\0') { Err("it holds a NUL") } else { Ok(folder.join(text)) };
        self.parsed("a path", "certs/example.cn.pem", path)
    }

    /// A free name: no control characters, no surrounding white space.
    pub(super) fn name(&self) -> Option<&'v str> {
        self.parsed("a name", "bj-edge-1", |text| {
            if text.len() > 253 {
                Err("it is longer than 253 bytes")
            } else if text.trim() != text || text.contains(char::is_control) {
                Err("it holds a control character, or white space around it")
            } else {
                Ok(text)
            }
        })
    }

    pub(super) fn items<'s>(&'s self) -> Option<Vec<Value<'s>>> {
        let items = self.items_or_none()?;
        if items.is_empty() {
            self.fatal("the list is empty", "name at least one, or leave the key out".to_owned());
            return None;
        }
        Some(items)
    }

    pub(super) fn items_or_none<'s>(&'s self) -> Option<Vec<Value<'s>>> {
        let Node::List(list) = self.node else {
            return self.expected("a list", Some("write [one, another]"));
        };
        let item =
            |(index, node)| Value { node, place: Place::Item(&self.place, index), findings: self.findings };
        Some(list.iter().enumerate().map(item).collect())
    }

    /// Every item of a list that is not empty, converted by `read`. A repeated item is a problem.
    pub(super) fn distinct<T: Clone + Eq + Hash>(
        &self,
        read: impl Fn(&Value<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let items = self.items()?;
        let mut seen = HashSet::with_capacity(items.len());
        let mut all = Vec::with_capacity(items.len());
        for item in &items {
            let Some(value) = read(item) else { continue };
            if !seen.insert(value.clone()) {
                item.fatal("it is there twice", "remove one of them".to_owned());
            }
            all.push(value);
        }
        (all.len() == items.len()).then_some(all)
    }

    /// The entries of a mapping. Keys that `section` does not have are problems.
    pub(super) fn fields<'s>(&'s self, section: &'static Section) -> Option<Fields<'s>> {
        let entries = self.entries()?;
        let mut seen = 0_u64;
        for entry in &entries {
            let Some(position) = section.keys.iter().position(|key| *key == entry.0) else {
                let known = section.keys.iter().copied();
                let colon = entry.0.contains('：').then(|| "'：' (U+FF1A) is not YAML's `: `".to_owned());
                let hint = colon
                    .or_else(|| did_you_mean(entry.0, known.clone()))
                    .unwrap_or_else(|| format!("known here: {}", join(known)));
                entry.1.fatal(format_args!("unknown key {}", quote(entry.0)), hint);
                continue;
            };
            if seen & (1 << position) != 0 {
                entry.1.fatal(format_args!("the key {} is there twice", quote(entry.0)), None);
            }
            seen |= 1 << position;
        }
        Some(Fields { map: *self, entries, section })
    }

    pub(super) fn entries<'s>(&'s self) -> Option<Vec<(&'s str, Value<'s>)>> {
        let Node::Map(map) = self.node else { return self.expected("a mapping of keys and values", None) };
        let entry = |(key, node): &'s (Cow<'_, str>, Node<'_>)| {
            let key: &'s str = key;
            (key, Value { node, place: Place::Key(&self.place, key), findings: self.findings })
        };
        Some(map.iter().map(entry).collect())
    }
}

#[derive(Debug)]
pub(super) struct Fields<'f> {
    map: Value<'f>,
    entries: Vec<(&'f str, Value<'f>)>,
    section: &'static Section,
}

impl<'f> Fields<'f> {
    pub(super) fn map(&self) -> &Value<'f> {
        &self.map
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value<'f>> {
        debug_assert!(self.section.keys.contains(&key), "{key} is a key of {}", self.section.name);
        self.entries.iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    pub(super) fn required(&self, key: &'static str) -> Option<&Value<'f>> {
        let found = self.get(key);
        if found.is_none() {
            self.missing(key, "it is required here", None);
        }
        found
    }

    pub(super) fn missing(&self, key: &str, why: impl Display, hint: Option<String>) {
        let place = Place::Key(&self.map.place, key);
        self.map.findings.add(Severity::Fatal, place, format_args!("{key} is missing: {why}"), hint);
    }

    /// Reports a key that has no effect here.
    pub(super) fn useless(&self, key: &str, why: &str) {
        if let Some(value) = self.get(key) {
            value.fatal(format_args!("{key} has no effect here: {why}"), "remove it".to_owned());
        }
    }
}

fn join<'w>(words: impl Iterator<Item = &'w str>) -> String {
    words.collect::<Vec<_>>().join(", ")
}
