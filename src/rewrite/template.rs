//! A footer in an operator's own HTML.
//!
//! A template is a fragment of plain elements, each closed. It can neither run a script nor change the page around it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use lol_html::html_content::Element;
use lol_html::{RewriteStrSettings, element, end_tag, rewrite_str};

/// The HTML of a footer with placeholders for its numbers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FooterTemplate(Vec<Piece>);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Piece {
    Text(String),
    Placeholder(Placeholder),
}

/// What stands for a value of the filing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Placeholder {
    Number,
    NumberLink,
    PublicSecurity,
    PublicSecurityLink,
}

const PLACEHOLDERS: [(&str, Placeholder); 4] = [
    ("number", Placeholder::Number),
    ("number_link", Placeholder::NumberLink),
    ("public_security", Placeholder::PublicSecurity),
    ("public_security_link", Placeholder::PublicSecurityLink),
];

/// Why a text is not a template.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidTemplate {
    /// Longer than 4 KiB.
    #[error("it is longer than {LONGEST} bytes")]
    TooLong,
    /// A `{` that begins none of the placeholders.
    #[error(
        "{{{0} is none of the placeholders {{number}} {{number_link}} {{public_security}} {{public_security_link}}"
    )]
    Placeholder(String),
    /// An element that is not allowed.
    #[error("<{0}> cannot stand in a footer: only text, links, images and plain containers can")]
    Element(String),
    /// A comment, a doctype or the like.
    #[error("comments and declarations cannot stand in a footer")]
    Declaration,
    /// An attribute that is not allowed, such as `onclick`.
    #[error("the attribute {0} cannot stand in a footer")]
    Attribute(String),
    /// A URL that is not one of a web page.
    #[error("{0:?} is no URL for a footer: it begins with https://, http://, / or #")]
    Url(String),
    /// An end tag is missing, or has no start tag.
    #[error("each element must be closed by its own end tag")]
    Unbalanced,
}

/// Bytes of a template: some forty times icpgate's own footer.
const LONGEST: usize = 4096;

/// Elements with nothing but text and such elements in them.
const ELEMENTS: [&str; 21] = [
    "a", "abbr", "address", "b", "br", "center", "div", "em", "footer", "hr", "i", "img", "li", "nav", "p",
    "section", "small", "span", "strong", "sup", "ul",
];

/// Attributes beside `aria-*` and `data-*`.
const ATTRIBUTES: [&str; 18] = [
    "align",
    "alt",
    "class",
    "dir",
    "height",
    "href",
    "hreflang",
    "id",
    "lang",
    "loading",
    "referrerpolicy",
    "rel",
    "role",
    "src",
    "style",
    "target",
    "title",
    "width",
];

impl FooterTemplate {
    /// Parses a template and checks its HTML.
    pub fn parse(text: &str) -> Result<Self, InvalidTemplate> {
        if text.len() > LONGEST {
            return Err(InvalidTemplate::TooLong);
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('{') {
            let found = PLACEHOLDERS.iter().find_map(|(name, placeholder)| {
                Some((*placeholder, behind.strip_prefix(name)?.strip_prefix('}')?))
            });
            let Some((placeholder, behind)) = found else {
                let end = behind.find('}').map_or(behind.len(), |end| end + 1);
                return Err(InvalidTemplate::Placeholder(behind[..end].chars().take(40).collect()));
            };
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(Piece::Placeholder(placeholder));
            rest = behind;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        check(text)?;
        let template = Self(pieces);
        // A link that is put into an attribute is another tag's end.
        check(&template.filled(|placeholder| match placeholder {
            Placeholder::Number | Placeholder::PublicSecurity => "x",
            Placeholder::NumberLink | Placeholder::PublicSecurityLink => {
                "<a href=\"https://example.cn/\">x</a>"
            }
        }))?;
        Ok(template)
    }

    /// The HTML with every value filled in.
    pub(super) fn filled<'v>(&self, value: impl Fn(Placeholder) -> &'v str) -> String {
        let pieces = self.0.iter().map(|piece| match piece {
            Piece::Text(text) => text.as_str(),
            Piece::Placeholder(placeholder) => value(*placeholder),
        });
        pieces.collect()
    }
}

fn check(html: &str) -> Result<(), InvalidTemplate> {
    if html.contains("<!") || html.contains("<?") {
        return Err(InvalidTemplate::Declaration);
    }
    let found = RefCell::new(None);
    let opened = Cell::new(0);
    let closed = Rc::new(Cell::new(0));
    let settings = RewriteStrSettings::new().append_element_content_handler(element!("*", |element| {
        if let Err(invalid) = check_element(element) {
            found.borrow_mut().get_or_insert(invalid);
        }
        if element.can_have_content() {
            opened.set(opened.get() + 1);
            let closed = Rc::clone(&closed);
            element.on_end_tag(end_tag!(move |_| {
                closed.set(closed.get() + 1);
                Ok(())
            }))?;
        }
        Ok(())
    }));
    let outcome = rewrite_str(html, settings);
    if let Some(invalid) = found.into_inner() {
        return Err(invalid);
    }
    let end_tags = html.matches("</").count();
    let is_balanced = outcome.is_ok() && opened.get() == closed.get() && end_tags == closed.get();
    if is_balanced { Ok(()) } else { Err(InvalidTemplate::Unbalanced) }
}

fn check_element(element: &Element<'_, '_>) -> Result<(), InvalidTemplate> {
    let name = element.tag_name();
    if !ELEMENTS.contains(&&*name) {
        return Err(InvalidTemplate::Element(name));
    }
    for attribute in element.attributes() {
        let (name, value) = (attribute.name(), attribute.value());
        let is_free = name.starts_with("aria-") || name.starts_with("data-");
        if !ATTRIBUTES.contains(&&*name) && !is_free {
            return Err(InvalidTemplate::Attribute(name));
        }
        let is_url = name == "href" || name == "src";
        if is_url && !["https://", "http://", "/", "#"].iter().any(|start| value.starts_with(start)) {
            return Err(InvalidTemplate::Url(value));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_placeholder_is_filled_in() {
        let text = "<p class=\"x\">{number}|{number_link}|{public_security}|{public_security_link}</p>";
        let filled = FooterTemplate::parse(text).unwrap().filled(|placeholder| match placeholder {
            Placeholder::Number => "1",
            Placeholder::NumberLink => "2",
            Placeholder::PublicSecurity => "3",
            Placeholder::PublicSecurityLink => "4",
        });
        assert_eq!(filled, "<p class=\"x\">1|2|3|4</p>");
    }

    #[test]
    fn plain_elements_are_taken() {
        for text in [
            "{number_link}",
            "<div><img src=\"/logo.png\" alt=\"\" width=\"20\" height=\"20\"><br>{number_link}<hr></div>",
            "<footer style=\"color: #999\" aria-label=\"备案\"><a href=\"/about\">关于</a> {number_link}</footer>",
            "<ul><li>{number_link}</li><li>{public_security_link}</li></ul>",
        ] {
            assert!(FooterTemplate::parse(text).is_ok(), "{text}: {:?}", FooterTemplate::parse(text));
        }
    }

    #[test]
    fn what_could_change_the_page_is_refused() {
        use InvalidTemplate as Invalid;
        for (text, expected) in [
            ("{numbr}", Invalid::Placeholder("numbr}".to_owned())),
            ("{ number }", Invalid::Placeholder(" number }".to_owned())),
            ("{", Invalid::Placeholder(String::new())),
            ("<script>x()</script>", Invalid::Element("script".to_owned())),
            ("<SCRIPT src=\"/x.js\"></SCRIPT>", Invalid::Element("script".to_owned())),
            ("<div><iframe src=\"/x\"></iframe></div>", Invalid::Element("iframe".to_owned())),
            ("<svg><a></a></svg>", Invalid::Element("svg".to_owned())),
            ("<style>p{number}</style>", Invalid::Element("style".to_owned())),
            ("<body>{number}</body>", Invalid::Element("body".to_owned())),
            ("<a onclick=\"x()\">{number}</a>", Invalid::Attribute("onclick".to_owned())),
            ("<a href=\"javascript:x()\">{number}</a>", Invalid::Url("javascript:x()".to_owned())),
            ("<a href=\" javascript:x()\">{number}</a>", Invalid::Url(" javascript:x()".to_owned())),
            ("<p title=\"{number_link}\">{number_link}</p>", Invalid::Attribute("https:".to_owned())),
            ("<!-- {number} -->", Invalid::Declaration),
            ("<!doctype html>{number}", Invalid::Declaration),
            ("<div>{number}", Invalid::Unbalanced),
            ("{number}</div>", Invalid::Unbalanced),
            ("{number}</body>", Invalid::Unbalanced),
            ("<p>{number}<p>x</p>", Invalid::Unbalanced),
            ("<div>{number}</div", Invalid::Unbalanced),
        ] {
            assert_eq!(FooterTemplate::parse(text), Err(expected), "{text}");
        }
        assert_eq!(FooterTemplate::parse(&"x".repeat(LONGEST + 1)), Err(Invalid::TooLong));
    }
}
