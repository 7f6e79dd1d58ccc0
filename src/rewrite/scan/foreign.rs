//! SVG and MathML, in which elements with names of HTML have no meaning, and HTML inside them.

use super::attributes::{Attributes, End, Watched};
use super::element::Element;

/// The nested languages.
#[derive(Debug, Default)]
pub(super) struct Foreign {
    /// The outermost first; around it is HTML.
    entered: Vec<Language>,
    is_lost: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Language {
    Html,
    Svg,
    MathMl,
}

/// Levels of nesting that are followed: 4 KiB of memory.
const DEEPEST: usize = 4096;

impl Foreign {
    /// Whether the place is inside SVG or MathML.
    pub(super) fn is_entered(&self) -> bool {
        !self.entered.is_empty()
    }

    pub(super) fn is_html(&self) -> bool {
        self.current() == Language::Html
    }

    /// Whether the nesting is too deep to follow.
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// The reader for the attributes of a tag.
    pub(super) fn attributes(&self, element: Element, closing: bool) -> Attributes {
        match (element, self.current()) {
            _ if closing => Attributes::default(),
            (Element::Font, Language::Svg | Language::MathMl) => Attributes::watching(Watched::FontAttribute),
            (Element::AnnotationXml, Language::MathMl) => Attributes::watching(Watched::HtmlEncoding),
            _ => Attributes::default(),
        }
    }

    pub(super) fn open(&mut self, element: Element, end: End) {
        match (element, self.current()) {
            (Element::Svg, _) if !end.self_closing => self.enter(Language::Svg),
            (Element::Math, _) if !end.self_closing => self.enter(Language::MathMl),
            (_, Language::Html) => {}
            (
                Element::Breakout
                | Element::Paragraph
                | Element::Break
                | Element::Body
                | Element::Head
                | Element::Meta,
                _,
            ) => self.leave(),
            (Element::Font, _) if end.watched => self.leave(),
            (Element::SvgHtml | Element::Title, Language::Svg) | (Element::MathText, Language::MathMl)
                if !end.self_closing =>
            {
                self.enter(Language::Html);
            }
            (Element::AnnotationXml, Language::MathMl) if end.watched && !end.self_closing => {
                self.enter(Language::Html);
            }
            _ => {}
        }
    }

    pub(super) fn close(&mut self, element: Element) {
        let leaves = match (self.current(), element) {
            (Language::Svg, Element::Svg) | (Language::MathMl, Element::Math) => true,
            (Language::Svg | Language::MathMl, Element::Paragraph | Element::Break) => true,
            (Language::Svg | Language::MathMl, _) => false,
            (Language::Html, _) => matches!(
                (self.around(), element),
                (Language::MathMl, Element::MathText | Element::AnnotationXml)
                    | (Language::Svg, Element::SvgHtml | Element::Title)
            ),
        };
        if leaves {
            self.leave();
        }
    }

    fn current(&self) -> Language {
        self.entered.last().copied().unwrap_or(Language::Html)
    }

    /// The language outside of the current one.
    fn around(&self) -> Language {
        let outer = self.entered.len().checked_sub(2);
        outer.map_or(Language::Html, |place| self.entered[place])
    }

    fn enter(&mut self, language: Language) {
        if self.entered.len() < DEEPEST {
            self.entered.push(language);
        } else {
            self.is_lost = true;
        }
    }

    fn leave(&mut self) {
        self.entered.pop();
    }
}
