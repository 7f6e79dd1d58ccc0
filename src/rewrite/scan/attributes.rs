//! The rest of a tag behind its name: where it ends, and the few attributes that change the page.

use super::element::{Name, is_space};
use super::plain;

/// A tag from the end of its name on.
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
    /// It had an attribute that was watched for.
    pub(super) watched: bool,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Place {
    /// Where the name of an attribute can begin.
    #[default]
    Before,
    /// There, behind a `/`.
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

    /// Reads `bytes` from `at` on: where the tag ends, behind its `>`, if it does.
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

    /// Steps over `bytes` to the end of the tag: where that is, and whether a `/` stands before it.
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

/// What is watched for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Watched {
    /// An attribute of `font` that only HTML's has.
    #[default]
    FontAttribute,
    /// `encoding` of `annotation-xml`, saying that HTML is in it.
    HtmlEncoding,
}

/// What was seen of attributes. Of names and values, as much is kept as the longest that count have.
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
