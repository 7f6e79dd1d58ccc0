//! A tag behind its name: where it ends, and the few attributes that matter.

use super::element::{Name, is_space};
use super::plain;

/// A tag behind its name.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attributes {
    place: Place,
    watch: Option<Watch>,
}

/// How a tag ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct End {
    /// With `/>`.
    pub(super) self_closing: bool,
    /// It had the attribute that was watched for.
    pub(super) watched: bool,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Place {
    /// An attribute's name can begin.
    #[default]
    Before,
    /// The same, behind a `/`.
    Slash,
    Name,
    AfterName,
    /// Behind `=`.
    BeforeValue,
    DoubleQuoted,
    SingleQuoted,
    Unquoted,
    /// Behind the tag's `>`.
    End,
}

impl Attributes {
    pub(super) fn watching(kind: Watched) -> Self {
        Self { place: Place::Before, watch: Some(Watch { kind, ..Watch::default() }) }
    }

    /// Reads `bytes` from `at`; returns the index behind the tag's `>`.
    pub(super) fn read(&mut self, bytes: &[u8], at: usize) -> Option<(usize, End)> {
        match &mut self.watch {
            None => {
                let common = match self.place {
                    Place::Before => plain::behind_attributes(&bytes[at..]),
                    _ => None,
                };
                let (end, self_closing) = match common {
                    Some((behind, self_closing)) => (bytes.len() - behind.len(), self_closing),
                    None => self.place.pass(bytes, at)?,
                };
                Some((end, End { self_closing, watched: false }))
            }
            Some(watch) => {
                for (length, byte) in bytes[at..].iter().enumerate() {
                    let before = self.place;
                    self.place = before.step(*byte);
                    watch.see(before, *byte, self.place);
                    if self.place == Place::End {
                        let self_closing = before == Place::Slash;
                        return Some((at + length + 1, End { self_closing, watched: watch.found }));
                    }
                }
                None
            }
        }
    }
}

impl Place {
    fn step(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::DoubleQuoted, b'"') | (Self::SingleQuoted, b'\'') => Self::Before,
            (Self::DoubleQuoted | Self::SingleQuoted, _) => self,
            (_, b'>') => Self::End,
            (Self::Before | Self::Slash | Self::Name | Self::AfterName, b'/') => Self::Slash,
            (Self::Before | Self::Slash, _) => {
                if is_space(byte) {
                    Self::Before
                } else {
                    Self::Name
                }
            }
            (Self::Name | Self::AfterName, b'=') => Self::BeforeValue,
            (Self::Name | Self::AfterName, _) => {
                if is_space(byte) {
                    Self::AfterName
                } else {
                    Self::Name
                }
            }
            (Self::BeforeValue, b'"') => Self::DoubleQuoted,
            (Self::BeforeValue, b'\'') => Self::SingleQuoted,
            (Self::BeforeValue, _) => {
                if is_space(byte) {
                    self
                } else {
                    Self::Unquoted
                }
            }
            (Self::Unquoted, _) => {
                if is_space(byte) {
                    Self::Before
                } else {
                    self
                }
            }
            (Self::End, _) => self,
        }
    }

    /// Steps to the end of the tag; returns the index behind it, and whether it ends in `/>`.
    fn pass(&mut self, bytes: &[u8], mut at: usize) -> Option<(usize, bool)> {
        loop {
            match self {
                Self::DoubleQuoted => {
                    at += plain::find(&bytes[at..], b'"')? + 1;
                    *self = Self::Before;
                }
                Self::SingleQuoted => {
                    at += plain::find(&bytes[at..], b'\'')? + 1;
                    *self = Self::Before;
                }
                _ => {
                    let byte = *bytes.get(at)?;
                    at += 1;
                    let next = self.step(byte);
                    if next == Self::End {
                        return Some((at, *self == Self::Slash));
                    }
                    *self = next;
                }
            }
        }
    }
}

/// What to watch for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Watched {
    /// An attribute that only HTML's `font` has.
    #[default]
    FontAttribute,
    /// `encoding` of `annotation-xml` with an HTML type.
    HtmlEncoding,
}

/// The attribute being read, its name and value cut to the longest that count.
#[derive(Clone, Copy, Debug, Default)]
struct Watch {
    kind: Watched,
    name: Name,
    value: Value,
    found: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Value {
    bytes: [u8; 22],
    length: usize,
}

impl Value {
    fn push(&mut self, byte: u8) {
        if let Some(free) = self.bytes.get_mut(self.length) {
            *free = byte.to_ascii_lowercase();
            self.length += 1;
        }
    }

    fn names_html(&self) -> bool {
        matches!(&self.bytes[..self.length], b"text/html" | b"application/xhtml+xml")
    }
}

impl Watch {
    fn see(&mut self, before: Place, byte: u8, after: Place) {
        match (before, after) {
            (Place::Name, Place::Name) => self.name.extend(&[byte]),
            (_, Place::Name) => self.name = Name::of(&[byte]),
            (Place::BeforeValue, Place::DoubleQuoted | Place::SingleQuoted) => self.value = Value::default(),
            (Place::BeforeValue, Place::Unquoted) => {
                self.value = Value::default();
                self.value.push(byte);
            }
            (_, Place::DoubleQuoted | Place::SingleQuoted | Place::Unquoted) => self.value.push(byte),
            _ => {}
        }
        let is_value_over =
            matches!(before, Place::DoubleQuoted | Place::SingleQuoted | Place::Unquoted) && before != after;
        self.found |= match self.kind {
            Watched::FontAttribute => {
                before == Place::Name
                    && after != Place::Name
                    && matches!(self.name.as_bytes(), b"color" | b"size" | b"face")
            }
            Watched::HtmlEncoding => {
                is_value_over && self.name.as_bytes() == b"encoding" && self.value.names_html()
            }
        };
    }
}
