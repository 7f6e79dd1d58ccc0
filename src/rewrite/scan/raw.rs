//! Elements in whose text only their own end tag counts: `script`, `style`, `title` and the like.

use memchr::memchr2;

use super::element::{Element, ends_name};
use super::plain;

/// The text of such an element, behind its start tag.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Raw {
    element: Element,
    /// The name that its end tag must have.
    name: &'static [u8],
    place: Place,
    /// Only `script` can be escaped.
    pub(super) escape: Escape,
}

/// Whether a script's text is in an old-style comment (HTML Standard, script data escaped states).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Escape {
    #[default]
    None,
    /// Behind `<!--`.
    Once,
    /// Behind `<script` in that comment: the next `</script` only ends this.
    Twice,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Place {
    #[default]
    Text,
    /// Behind `-` in a comment.
    Dash,
    /// Behind `--` or more dashes.
    Dashes,
    /// Behind `<`.
    Less,
    /// Behind `</`.
    Slash,
    /// Behind `</` and this many letters of the name.
    Name(usize),
    /// Behind `<!` of a script.
    Bang,
    /// Behind `<!-` of a script.
    BangDash,
    /// Behind `<` and this many letters of the name, in an escaped script.
    Begin(usize),
}

impl Raw {
    /// `None` for an element in which tags count.
    pub(super) fn of(element: Element) -> Option<Self> {
        let name: &[u8] = match element {
            Element::Title => b"title",
            Element::Textarea => b"textarea",
            Element::Script => b"script",
            Element::Style => b"style",
            Element::Iframe => b"iframe",
            Element::Xmp => b"xmp",
            Element::Noembed => b"noembed",
            Element::Noframes => b"noframes",
            Element::Noscript => b"noscript",
            _ => return None,
        };
        Some(Self { element, name, ..Self::default() })
    }

    pub(super) fn element(&self) -> Element {
        self.element
    }

    /// Reads `bytes` from `at`; returns where the name of the end tag ends.
    pub(super) fn read(&mut self, bytes: &[u8], mut at: usize) -> Option<usize> {
        loop {
            if self.place == Place::Text {
                at = match self.escape {
                    Escape::None => self.next_less(bytes, at)?,
                    Escape::Once | Escape::Twice => at + memchr2(b'<', b'-', &bytes[at..])?,
                };
            }
            let byte = *bytes.get(at)?;
            if self.is_end(byte) {
                self.place = Place::Text;
                return Some(at);
            }
            let next = self.step(byte);
            // A byte that does not continue the last state may begin something itself.
            if next != Place::Text || self.place == Place::Text || byte != b'<' && byte != b'-' {
                at += 1;
            }
            self.place = next;
        }
    }

    /// The next `<` that may begin the end tag or an escape.
    fn next_less(&self, bytes: &[u8], mut at: usize) -> Option<usize> {
        loop {
            at += plain::find(bytes.get(at..)?, b'<')?;
            match bytes[at + 1..] {
                [] | [b'/'] => return Some(at),
                [b'/', letter, ..] if self.is_letter(0, letter) => return Some(at),
                [b'!', ..] if self.element == Element::Script => return Some(at),
                _ => at += 1,
            }
        }
    }

    fn is_end(&self, byte: u8) -> bool {
        self.place == Place::Name(self.name.len()) && self.escape != Escape::Twice && ends_name(byte)
    }

    fn step(&mut self, byte: u8) -> Place {
        let is_script = self.element == Element::Script;
        match (self.place, byte) {
            (Place::Text | Place::Dash | Place::Dashes, b'<') => Place::Less,
            (Place::Text, b'-') => Place::Dash,
            (Place::Dash | Place::Dashes, b'-') => Place::Dashes,
            (Place::Dashes, b'>') => {
                self.escape = Escape::None;
                Place::Text
            }
            (Place::Less, b'/') => Place::Slash,
            (Place::Less, b'!') if is_script && self.escape == Escape::None => Place::Bang,
            (Place::Bang, b'-') => Place::BangDash,
            (Place::BangDash, b'-') => {
                self.escape = Escape::Once;
                Place::Dashes
            }
            (Place::Slash, _) if self.is_letter(0, byte) => Place::Name(1),
            (Place::Name(length), _) if self.is_letter(length, byte) => Place::Name(length + 1),
            (Place::Less, _) if self.escape == Escape::Once && self.is_letter(0, byte) => Place::Begin(1),
            (Place::Begin(length), _) if self.is_letter(length, byte) => Place::Begin(length + 1),
            (Place::Begin(length), _) if length == self.name.len() && ends_name(byte) => {
                self.escape = Escape::Twice;
                Place::Text
            }
            (Place::Name(length), _) if length == self.name.len() && ends_name(byte) => {
                self.escape = Escape::Once;
                Place::Text
            }
            _ => Place::Text,
        }
    }

    fn is_letter(&self, place: usize, byte: u8) -> bool {
        self.name.get(place).is_some_and(|letter| *letter == byte.to_ascii_lowercase())
    }
}
