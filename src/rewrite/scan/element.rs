//! The names of the elements that matter.

use crate::rewrite::tags::Tag;

/// An element that changes how a page is read, or where the footer may go.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Element {
    #[default]
    Other,
    Html,
    Head,
    Body,
    Frameset,
    Meta,
    Template,
    Title,
    Textarea,
    Plaintext,
    Script,
    Style,
    Iframe,
    Xmp,
    Noembed,
    Noframes,
    Noscript,
    Svg,
    Math,
    /// Ends SVG and MathML.
    Breakout,
    Paragraph,
    Break,
    Font,
    /// Holds HTML inside SVG.
    SvgHtml,
    /// Holds HTML inside MathML.
    MathText,
    AnnotationXml,
}

impl Element {
    /// The element that the first `length` bytes name. Elements that matter only inside SVG and MathML may come out as
    /// `Other`.
    #[inline(always)]
    pub(super) fn named(bytes: &[u8], length: usize) -> Self {
        match bytes.first_chunk() {
            Some(eight) if length <= 8 && eight[length - 1] != 0 => {
                // Lower-cases letters; other bytes do not become letters.
                let word = u64::from_le_bytes(*eight) & (u64::MAX >> (64 - 8 * length));
                Self::of_word(word | (word & LETTERS) >> 1)
            }
            _ => Name::of(&bytes[..length]).element(),
        }
    }

    /// By a lower-case name of at most eight letters, the first in the lowest byte.
    #[expect(
        non_upper_case_globals,
        reason = "each constant is the word of the element that it is named for"
    )]
    fn of_word(word: u64) -> Self {
        macro_rules! words {
            ($($name:literal => $element:ident,)*) => {{
                $(const $element: u64 = word_of($name);)*
                match word {
                    $($element => Self::$element,)*
                    _ => Self::Other,
                }
            }};
        }
        words! {
            b"html" => Html,
            b"head" => Head,
            b"body" => Body,
            b"frameset" => Frameset,
            b"meta" => Meta,
            b"template" => Template,
            b"title" => Title,
            b"textarea" => Textarea,
            b"script" => Script,
            b"style" => Style,
            b"iframe" => Iframe,
            b"xmp" => Xmp,
            b"noembed" => Noembed,
            b"noframes" => Noframes,
            b"noscript" => Noscript,
            b"svg" => Svg,
            b"math" => Math,
        }
    }

    /// What a tag of this element means for the footer.
    pub(super) fn tag(self, closing: bool) -> Option<Tag> {
        match self {
            Self::Html | Self::Head => Some(Tag::Root),
            Self::Body if closing => Some(Tag::BodyEnd),
            Self::Body => Some(Tag::Body),
            Self::Frameset if !closing => Some(Tag::Frameset),
            Self::Meta if !closing => Some(Tag::Meta),
            Self::Template if closing => Some(Tag::TemplateEnd),
            Self::Template => Some(Tag::Template),
            _ => None,
        }
    }
}

/// The bit that every letter has; the next lower bit is its case.
const LETTERS: u64 = 0x4040_4040_4040_4040;

const fn word_of(name: &[u8]) -> u64 {
    let (mut word, mut at) = (0, name.len());
    while at > 0 {
        at -= 1;
        word = word << 8 | name[at] as u64;
    }
    word
}

/// The end of the name that goes on at `at`.
pub(super) fn name_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|byte| ends_name(*byte)).map_or(bytes.len(), |length| at + length)
}

/// Whether the name of a tag ends before `byte`.
pub(super) fn ends_name(byte: u8) -> bool {
    matches!(byte, b'>' | b'/') || is_space(byte)
}

pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b'\x0c')
}

/// A name, cut to one byte more than the longest that matters.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Name {
    letters: [u8; LONGEST + 1],
    length: usize,
}

const LONGEST: usize = b"annotation-xml".len();

impl Name {
    pub(super) fn of(name: &[u8]) -> Self {
        let mut new = Self::default();
        new.extend(name);
        new
    }

    pub(super) fn extend(&mut self, more: &[u8]) {
        let room = &mut self.letters[self.length..];
        let length = more.len().min(room.len());
        for (letter, byte) in room.iter_mut().zip(more) {
            *letter = byte.to_ascii_lowercase();
        }
        self.length += length;
    }

    /// In bytes, after the cut.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// In lower case.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.letters[..self.length]
    }

    /// Whether it is a prefix of `whole`.
    pub(super) fn may_be(&self, whole: &[u8]) -> bool {
        whole.starts_with(self.as_bytes())
    }

    pub(super) fn element(&self) -> Element {
        match self.as_bytes() {
            b"p" => Element::Paragraph,
            b"br" => Element::Break,
            b"b" | b"big" | b"blockquote" | b"center" | b"code" | b"dd" | b"div" | b"dl" | b"dt" | b"em"
            | b"embed" | b"h1" | b"h2" | b"h3" | b"h4" | b"h5" | b"h6" | b"hr" | b"i" | b"img" | b"li"
            | b"listing" | b"menu" | b"nobr" | b"ol" | b"pre" | b"ruby" | b"s" | b"small" | b"span"
            | b"strong" | b"strike" | b"sub" | b"sup" | b"table" | b"tt" | b"u" | b"ul" | b"var" => {
                Element::Breakout
            }
            b"font" => Element::Font,
            b"desc" | b"foreignobject" => Element::SvgHtml,
            b"mi" | b"mo" | b"mn" | b"ms" | b"mtext" => Element::MathText,
            b"annotation-xml" => Element::AnnotationXml,
            b"plaintext" => Element::Plaintext,
            // A word cannot tell zero bytes behind a name.
            name if name.len() <= 8 && name.last() != Some(&0) => Element::of_word(word_of(name)),
            _ => Element::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_in_any_case() {
        for (name, expected) in [
            ("body", Element::Body),
            ("BoDy", Element::Body),
            ("svg", Element::Svg),
            ("noscript", Element::Noscript),
            ("PLAINTEXT", Element::Plaintext),
            ("bodyx", Element::Other),
            ("bod", Element::Other),
            ("b\0dy", Element::Other),
            ("title\0\0\0", Element::Other),
            ("scripts!!", Element::Other),
            ("DIV", Element::Breakout),
            ("h1", Element::Breakout),
            ("h\x11", Element::Other),
            ("annotation-XML", Element::AnnotationXml),
            ("annotation-xmlx", Element::Other),
        ] {
            assert_eq!(Name::of(name.as_bytes()).element(), expected, "{name}");
            let in_html = if expected == Element::AnnotationXml { Element::Other } else { expected };
            for more in [">", "> and more of the page"] {
                let told = Element::named([name, more].concat().as_bytes(), name.len());
                assert!(told == in_html || told == expected || expected == Element::Breakout, "{name}");
            }
        }
    }
}
