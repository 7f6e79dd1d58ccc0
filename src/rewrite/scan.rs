//! Finds tags and text in a page: HTML's tokenization, as far as that needs.
//!
//! The result is that of a browser with scripting on, without building a tree. Where a tree would be needed (SVG and
//! MathML that are not closed), it does as lol_html does. Every byte moves one automaton by one step, and shortcuts only
//! skip bytes that would not move it, so the result does not depend on how a page is cut into chunks.

mod attributes;
mod element;
mod foreign;
mod plain;
mod raw;

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;

use self::attributes::{Attributes, End};
use self::element::{Element, Name};
use self::foreign::Foreign;
use self::raw::Raw;
use super::tags::Tag;

/// Reads one page.
#[derive(Debug, Default)]
pub struct Scanner {
    state: State,
    /// The name of a tag that goes on in the next chunk.
    name: Name,
    /// The element of the current tag, once its name is read.
    element: Element,
    closing: bool,
    attributes: Attributes,
    raw: Raw,
    foreign: Foreign,
}

/// The state of the tokenizer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum State {
    /// Text in which tags can begin.
    #[default]
    Data,
    /// `<`
    TagOpen,
    /// `</`
    EndTagOpen,
    /// The name of a tag.
    TagName,
    /// The rest of a tag.
    InTag,
    /// `<!`
    MarkupDeclaration,
    /// `<!-`
    CommentOpen,
    /// `<!` and this many letters of `doctype`.
    Doctype(usize),
    /// `<!` and this many letters of `[CDATA[`.
    CdataOpen(usize),
    /// Until the next `>`: a doctype, `<?`, or `</` and `<!` with something unknown behind them.
    Bogus,
    /// A comment.
    Comment(Comment),
    /// A CDATA section, behind this many `]`, two at most.
    Cdata(usize),
    /// The text of an element in which only its own end tag counts.
    Raw,
    /// The rest of the page: behind `<plaintext>`, or nested too deeply to follow.
    Rest,
}

/// The place in a comment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Comment {
    /// Behind `<!--`.
    Start,
    /// Behind `<!--` and `-`.
    StartDash,
    Inside,
    Dash,
    /// Behind `--` or more dashes.
    Dashes,
    /// Behind `--!`.
    Bang,
}

const DOCTYPE: &[u8] = b"doctype";
const CDATA: &[u8] = b"[CDATA[";

impl Scanner {
    /// Reads `bytes` from `at` up to the end of the name of the next tag that matters, or all of them.
    pub(super) fn read(&mut self, bytes: &[u8], at: &mut usize) -> Option<Tag> {
        loop {
            let byte = *bytes.get(*at)?;
            let mut found = None;
            *at = match self.state {
                State::Data => self.data(bytes, *at, &mut found),
                State::TagName => self.tag_name(bytes, *at, &mut found),
                State::InTag => self.in_tag(bytes, *at),
                State::Raw => self.raw(bytes, *at),
                State::Bogus => self.pass_until(bytes, *at, b'>', State::Data),
                State::Comment(Comment::Inside) => {
                    self.pass_until(bytes, *at, b'-', State::Comment(Comment::Dash))
                }
                State::Cdata(0) => self.pass_until(bytes, *at, b']', State::Cdata(1)),
                State::Rest => bytes.len(),
                State::TagOpen
                | State::EndTagOpen
                | State::MarkupDeclaration
                | State::CommentOpen
                | State::Doctype(_)
                | State::CdataOpen(_)
                | State::Comment(_)
                | State::Cdata(_) => {
                    let (taken, tag) = self.step(byte);
                    found = tag;
                    *at + usize::from(taken)
                }
            };
            if found.is_some() {
                return found;
            }
        }
    }

    /// Reads `bytes`, ignoring their tags.
    pub fn pass(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while self.read(bytes, &mut at).is_some() {}
    }

    /// Whether the next byte is text or begins a tag.
    pub fn is_text(&self) -> bool {
        self.state == State::Data
    }

    /// Whether the next byte is in the attributes of a start tag of `a`.
    pub(super) fn is_in_link(&self) -> bool {
        self.state == State::InTag && !self.closing && self.name.as_bytes() == b"a"
    }

    /// Whether the page is nested too deeply to follow; nothing is text from here on.
    pub fn is_lost(&self) -> bool {
        self.foreign.is_lost()
    }

    /// How many of the last bytes may be the start of `</body`.
    pub fn begun(&self) -> usize {
        match self.state {
            State::TagOpen => 1,
            State::EndTagOpen => 2,
            State::TagName if self.closing && self.name.may_be(b"body") => 2 + self.name.len(),
            _ => 0,
        }
    }

    /// Skips to behind the next `byte`.
    fn pass_until(&mut self, bytes: &[u8], at: usize, byte: u8, next: State) -> usize {
        match plain::find(&bytes[at..], byte) {
            Some(length) => {
                self.state = next;
                at + length + 1
            }
            None => bytes.len(),
        }
    }

    /// Reads text up to the next tag that may matter, and that tag as far as it has come.
    fn data(&mut self, bytes: &[u8], at: usize, found: &mut Option<Tag>) -> usize {
        let open = match self.foreign.is_entered() {
            false => bytes.len() - plain::pass(&bytes[at..]).len(),
            true => plain::find(&bytes[at..], b'<').map_or(bytes.len(), |length| at + length),
        };
        let closing = bytes.get(open + 1) == Some(&b'/');
        let start = open + 1 + usize::from(closing);
        if !bytes.get(start).is_some_and(u8::is_ascii_alphabetic) {
            self.state = if open == bytes.len() { State::Data } else { State::TagOpen };
            return bytes.len().min(open + 1);
        }
        self.closing = closing;
        self.name = Name::default();
        self.state = State::TagName;
        let end = self.tag_name(bytes, start, found);
        if self.state == State::InTag && found.is_none() { self.in_tag(bytes, end) } else { end }
    }

    /// Reads the rest of a name that was cut.
    fn tag_name(&mut self, bytes: &[u8], at: usize, found: &mut Option<Tag>) -> usize {
        let end = element::name_end(bytes, at);
        self.name.extend(&bytes[at..end]);
        if end < bytes.len() {
            self.named(self.name.element(), found);
        }
        end
    }

    fn named(&mut self, element: Element, found: &mut Option<Tag>) {
        self.element = element;
        self.attributes = self.foreign.attributes(element, self.closing);
        self.state = State::InTag;
        *found = element.tag(self.closing);
    }

    /// Reads the rest of a tag behind its name.
    fn in_tag(&mut self, bytes: &[u8], at: usize) -> usize {
        let Some((end, tag_end)) = self.attributes.read(bytes, at) else { return bytes.len() };
        self.state = self.behind_tag(tag_end);
        end
    }

    fn behind_tag(&mut self, end: End) -> State {
        let element = self.element;
        if element == Element::Other && !self.foreign.is_entered() {
            return State::Data;
        }
        let was_html = self.foreign.is_html();
        if self.closing {
            self.foreign.close(element);
        } else {
            self.foreign.open(element, end);
        }
        if self.foreign.is_lost() {
            return State::Rest;
        }
        match element {
            _ if self.closing || !was_html => State::Data,
            Element::Plaintext => State::Rest,
            _ => match Raw::of(element) {
                Some(raw) => {
                    self.raw = raw;
                    State::Raw
                }
                None => State::Data,
            },
        }
    }

    /// Reads the text of a raw element and the name of its end tag.
    fn raw(&mut self, bytes: &[u8], at: usize) -> usize {
        let Some(end) = self.raw.read(bytes, at) else { return bytes.len() };
        self.closing = true;
        self.element = self.raw.element();
        self.attributes = Attributes::default();
        self.state = State::InTag;
        end
    }

    /// Steps by one byte. `false`: the byte is read again in the next state.
    fn step(&mut self, byte: u8) -> (bool, Option<Tag>) {
        let (taken, next) = match (self.state, byte) {
            (State::TagOpen, b'/') => (true, State::EndTagOpen),
            (State::TagOpen, b'!') => (true, State::MarkupDeclaration),
            (State::TagOpen, b'?') => (true, State::Bogus),
            (State::TagOpen | State::EndTagOpen, _) if byte.is_ascii_alphabetic() => {
                self.closing = self.state == State::EndTagOpen;
                self.name = Name::default();
                (false, State::TagName)
            }
            (State::TagOpen, _) => (false, State::Data),
            (State::EndTagOpen, b'>') => (true, State::Data),
            (State::MarkupDeclaration, b'-') => (true, State::CommentOpen),
            (State::MarkupDeclaration, b'd' | b'D') => (true, State::Doctype(1)),
            (State::MarkupDeclaration, b'[') if !self.foreign.is_html() => (true, State::CdataOpen(1)),
            (State::CommentOpen, b'-') => (true, State::Comment(Comment::Start)),
            (State::Doctype(length), _) if byte.to_ascii_lowercase() == DOCTYPE[length] => {
                if length + 1 == DOCTYPE.len() {
                    self.state = State::Bogus;
                    return (true, Some(Tag::Root));
                }
                (true, State::Doctype(length + 1))
            }
            (State::CdataOpen(length), _) if byte == CDATA[length] => {
                let is_whole = length + 1 == CDATA.len();
                (true, if is_whole { State::Cdata(0) } else { State::CdataOpen(length + 1) })
            }
            (State::Comment(place), _) => match place.step(byte) {
                Some(next) => (true, State::Comment(next)),
                None => (true, State::Data),
            },
            (State::Cdata(2), b'>') => (true, State::Data),
            (State::Cdata(brackets), b']') => (true, State::Cdata((brackets + 1).min(2))),
            (State::Cdata(_), _) => (true, State::Cdata(0)),
            _ => (false, State::Bogus),
        };
        self.state = next;
        (taken, None)
    }
}

impl Comment {
    /// The next place; `None` at the end of the comment.
    fn step(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Start | Self::StartDash | Self::Dashes | Self::Bang, b'>') => None,
            (Self::Start, b'-') => Some(Self::StartDash),
            (Self::StartDash | Self::Dash | Self::Dashes, b'-') => Some(Self::Dashes),
            (Self::Inside | Self::Bang, b'-') => Some(Self::Dash),
            (Self::Dashes, b'!') => Some(Self::Bang),
            _ => Some(Self::Inside),
        }
    }
}
