//! The tags that matter to a footer, and what they tell of a page.

/// A doctype, or a tag of an element that matters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Tag {
    element: Element,
    closing: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Element {
    /// A doctype, `html` or `head`.
    Root,
    Body,
    Frameset,
    Template,
}

/// What `<` begins, by its letters alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Begun {
    /// A tag that matters, if it is one.
    Tag(Tag),
    /// The bytes end before that is known.
    Partial,
    Other,
}

const DOCTYPE: &[u8] = b"!doctype";
const NAMES: [(&[u8], Element); 5] = [
    (b"html", Element::Root),
    (b"head", Element::Root),
    (b"body", Element::Body),
    (b"frameset", Element::Frameset),
    (b"template", Element::Template),
];

impl Tag {
    /// The end tag of the body.
    pub(super) const BODY_END: Self = Self { element: Element::Body, closing: true };

    /// Reads the name behind the `<` that `bytes` begin with.
    pub(super) fn read(bytes: &[u8]) -> Begun {
        let (closing, rest) = match bytes {
            [_, b'/', rest @ ..] => (true, rest),
            [_, rest @ ..] => (false, rest),
            [] => return Begun::Partial,
        };
        match rest {
            [] => Begun::Partial,
            [b'!', ..] if !closing => doctype(rest),
            [b'b' | b'f' | b'h' | b't' | b'B' | b'F' | b'H' | b'T', ..] => named(rest, closing),
            _ => Begun::Other,
        }
    }
}

/// Nothing need stand between it and the name that it gives.
fn doctype(rest: &[u8]) -> Begun {
    if starts_with(rest, DOCTYPE) {
        Begun::Tag(Tag { element: Element::Root, closing: false })
    } else if starts_with(DOCTYPE, rest) {
        Begun::Partial
    } else {
        Begun::Other
    }
}

fn named(rest: &[u8], closing: bool) -> Begun {
    for (name, element) in NAMES {
        if starts_with(rest, name) {
            return match rest.get(name.len()) {
                None => Begun::Partial,
                Some(b'>' | b'/' | b' ' | b'\t' | b'\n' | b'\r' | b'\x0c') => {
                    Begun::Tag(Tag { element, closing })
                }
                Some(_) => Begun::Other,
            };
        } else if starts_with(name, rest) {
            return Begun::Partial;
        }
    }
    Begun::Other
}

fn starts_with(bytes: &[u8], start: &[u8]) -> bool {
    bytes.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start))
}

/// What the tags told of the page.
#[derive(Debug, Default)]
pub(super) struct Outline {
    /// It has a doctype, or an html, head or body tag.
    pub(super) document: bool,
    body: bool,
    /// It has frames and no body before them.
    pub(super) frameset: bool,
    /// Templates that are open.
    pub(super) templates: usize,
}

impl Outline {
    pub(super) fn take(&mut self, tag: Tag) {
        match tag.element {
            Element::Root => self.document = true,
            Element::Body => {
                self.document = true;
                self.body = true;
            }
            Element::Frameset => self.frameset |= !tag.closing && !self.body,
            Element::Template if tag.closing => self.templates = self.templates.saturating_sub(1),
            Element::Template => self.templates += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_whole() {
        let tag = |element, closing| Begun::Tag(Tag { element, closing });
        for (text, expected) in [
            ("</BoDy>", Begun::Tag(Tag::BODY_END)),
            ("<body/", tag(Element::Body, false)),
            ("<template\n", tag(Element::Template, false)),
            ("<!DOCTYPE html>", tag(Element::Root, false)),
            ("<!doctypehtml>", tag(Element::Root, false)),
            ("<bodyx>", Begun::Other),
            ("<b>", Begun::Other),
            ("<bo-dy", Begun::Other),
            ("<div", Begun::Other),
            ("</!doctype", Begun::Other),
            ("<!--", Begun::Other),
            ("<\u{4e2d}", Begun::Other),
            ("<body", Begun::Partial),
            ("<", Begun::Partial),
            ("</", Begun::Partial),
            ("<b", Begun::Partial),
            ("<!", Begun::Partial),
            ("<!doc", Begun::Partial),
        ] {
            assert_eq!(Tag::read(text.as_bytes()), expected, "{text}");
        }
    }
}
