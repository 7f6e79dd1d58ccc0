//! Whether a body that is labelled `text/html` begins like a page.
//!
//! PHP labels everything `text/html` by default: JSON, JSONP, scripts, feeds. A `</body>` in those is data. A page
//! begins with a tag of HTML, behind white space, byte order marks, comments and processing instructions. The
//! verdict does not depend on how the body is cut into chunks.

/// Reads the start of a body.
#[derive(Debug, Default)]
pub(super) struct Sniffer {
    state: State,
    /// It began with `<?xml`: only `html` makes it a page.
    is_xml: bool,
}

/// What a body is, by its start.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Page,
    Data,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// White space, or this many bytes of a byte order mark.
    Blank(usize),
    /// Behind `<`: the name of a tag, a declaration or an instruction.
    Name(Word),
    /// Until the next `>`.
    Skip,
    /// In a comment, behind this many dashes.
    Comment(usize),
    Decided(Kind),
}

impl Default for State {
    fn default() -> Self {
        Self::Blank(0)
    }
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
const HTML_DOCTYPE: &[u8] = b"!doctypehtml";

impl Sniffer {
    /// Reads on; `None` while the start tells nothing yet.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Option<Kind> {
        for byte in bytes {
            if let State::Decided(_) = self.state {
                break;
            }
            self.state = self.step(*byte);
        }
        match self.state {
            State::Decided(kind) => Some(kind),
            _ => None,
        }
    }

    fn step(&mut self, byte: u8) -> State {
        match self.state {
            State::Blank(mark) if BYTE_ORDER_MARK[mark] == byte => {
                State::Blank((mark + 1) % BYTE_ORDER_MARK.len())
            }
            State::Blank(0) if byte.is_ascii_whitespace() => State::Blank(0),
            State::Blank(0) if byte == b'<' => State::Name(Word::default()),
            State::Blank(_) => State::Decided(Kind::Data),
            State::Name(word) => self.name(word, byte),
            State::Skip | State::Comment(2) if byte == b'>' => State::Blank(0),
            State::Skip => State::Skip,
            State::Comment(dashes) => State::Comment(if byte == b'-' { 2.min(dashes + 1) } else { 0 }),
            State::Decided(_) => self.state,
        }
    }

    /// The next byte behind `<` and `word`.
    fn name(&mut self, word: Word, byte: u8) -> State {
        let (is_end, is_space) = (byte == b'>', byte.is_ascii_whitespace());
        match word.first() {
            None if byte.is_ascii_alphabetic() || matches!(byte, b'!' | b'?') => State::Name(word.with(byte)),
            None if byte == b'/' => State::Skip,
            None => State::Decided(Kind::Data),
            // White space in a declaration does not count: `<!doctypehtml>` is one too.
            Some(b'!') if is_end => State::Blank(0),
            Some(b'!') if is_space => State::Name(word),
            Some(b'!') => match word.with(byte) {
                word if word.is(b"!--") => State::Comment(2),
                word if word.is(HTML_DOCTYPE) => State::Decided(Kind::Page),
                word if word.length < HTML_DOCTYPE.len() => State::Name(word),
                _ => State::Skip,
            },
            Some(b'?') => {
                self.is_xml |= word.is(b"?xml");
                if is_end { State::Blank(0) } else { State::Name(word.with(byte)) }
            }
            Some(_) if is_end || is_space || byte == b'/' => {
                let begins_page = if self.is_xml { word.is(b"html") } else { word.is_element() };
                State::Decided(if begins_page { Kind::Page } else { Kind::Data })
            }
            Some(_) => State::Name(word.with(byte)),
        }
    }
}

/// A word in lower case, as much of it as is compared.
#[derive(Clone, Copy, Debug, Default)]
struct Word {
    letters: [u8; HTML_DOCTYPE.len()],
    length: usize,
}

impl Word {
    fn with(mut self, byte: u8) -> Self {
        if let Some(free) = self.letters.get_mut(self.length) {
            *free = byte.to_ascii_lowercase();
        }
        self.length = (self.length + 1).min(HTML_DOCTYPE.len() + 1);
        self
    }

    fn first(&self) -> Option<u8> {
        self.letters[..self.length.min(1)].first().copied()
    }

    fn is(&self, word: &[u8]) -> bool {
        self.letters.get(..self.length) == Some(word)
    }

    fn is_element(&self) -> bool {
        let name = self.letters.get(..self.length);
        name.is_some_and(|name| ELEMENTS.iter().any(|element| element.as_bytes() == name))
    }
}

/// The elements of HTML, also the obsolete ones (HTML Standard, Index and 16.2).
const ELEMENTS: [&str; 147] = [
    "a",
    "abbr",
    "acronym",
    "address",
    "applet",
    "area",
    "article",
    "aside",
    "audio",
    "b",
    "base",
    "basefont",
    "bdi",
    "bdo",
    "bgsound",
    "big",
    "blink",
    "blockquote",
    "body",
    "br",
    "button",
    "canvas",
    "caption",
    "center",
    "cite",
    "code",
    "col",
    "colgroup",
    "data",
    "datalist",
    "dd",
    "del",
    "details",
    "dfn",
    "dialog",
    "dir",
    "div",
    "dl",
    "dt",
    "em",
    "embed",
    "fencedframe",
    "fieldset",
    "figcaption",
    "figure",
    "font",
    "footer",
    "form",
    "frame",
    "frameset",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "head",
    "header",
    "hgroup",
    "hr",
    "html",
    "i",
    "iframe",
    "image",
    "img",
    "input",
    "ins",
    "isindex",
    "kbd",
    "keygen",
    "label",
    "layer",
    "legend",
    "li",
    "link",
    "listing",
    "main",
    "map",
    "mark",
    "marquee",
    "math",
    "menu",
    "menuitem",
    "meta",
    "meter",
    "multicol",
    "nav",
    "nextid",
    "nobr",
    "noembed",
    "noframes",
    "nolayer",
    "noscript",
    "object",
    "ol",
    "optgroup",
    "option",
    "output",
    "p",
    "param",
    "picture",
    "plaintext",
    "portal",
    "pre",
    "progress",
    "q",
    "rb",
    "rp",
    "rt",
    "rtc",
    "ruby",
    "s",
    "samp",
    "script",
    "search",
    "section",
    "select",
    "slot",
    "small",
    "source",
    "spacer",
    "span",
    "strike",
    "strong",
    "style",
    "sub",
    "summary",
    "sup",
    "table",
    "tbody",
    "td",
    "template",
    "textarea",
    "tfoot",
    "th",
    "thead",
    "time",
    "title",
    "tr",
    "track",
    "tt",
    "u",
    "ul",
    "var",
    "video",
    "wbr",
    "xmp",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bodies: &[&str], expected: Option<Kind>) {
        for body in bodies {
            assert_eq!(Sniffer::default().read(body.as_bytes()), expected, "{body}");
            let mut sniffer = Sniffer::default();
            let last = body.as_bytes().chunks(1).map(|byte| sniffer.read(byte)).last();
            assert_eq!(last.flatten(), expected, "{body}, byte by byte");
        }
    }

    #[test]
    fn a_page_begins_with_a_tag_of_html() {
        let pages = [
            "<!doctype html>",
            "<!DOCTYPE HTML PUBLIC \"-//W3C//DTD XHTML 1.0\">",
            "<!doctypehtml>",
            "\u{feff}<html>",
            "\u{feff}\u{feff}\r\n \u{feff}<html lang=zh>",
            "<!-- {\"a\": 1} --><!----><!--> <head>",
            "<?xml version=\"1.0\" encoding=\"gbk\"?>\n<!DOCTYPE html PUBLIC \"x\">",
            "<?xml version=\"1.0\"?><html xmlns=\"http://www.w3.org/1999/xhtml\">",
            "<?php echo 1 ?><br />",
            "<script>",
            "<META charset=gbk>",
            "<blockquote>",
            "</p><p>",
            "<!ELEMENT x><p>",
        ];
        check(&pages, Some(Kind::Page));
    }

    #[test]
    fn data_begins_with_something_else() {
        let data = [
            "{\"a\": \"<body></body>\"}",
            "\u{feff}[1]",
            " \n\"<body>\"",
            "callback({\"a\": \"<body>\"})",
            "/**/ typeof x",
            "var a = '<html>'",
            "document.write('<body></body>')",
            ")]}',\n{}",
            "1",
            "text <body>",
            "<?xml version=\"1.0\"?><rss version=\"2.0\">",
            "<?xml version=\"1.0\"?>\n<!-- x -->\n<feed xmlns=\"http://www.w3.org/2005/Atom\">",
            "<?xml?><title>",
            "<rss version=\"2.0\">",
            "<urlset>",
            "<soap:Envelope>",
            "<xml><return_code><![CDATA[<body>]]></return_code></xml>",
            "<bodyguard>",
            "<!DOCTYPE rss><rss>",
            "<!-- x --> {}",
            "<![CDATA[ x ]]> x",
            "< p>",
            "<\0h\0t\0m\0l",
            "\u{fffd}",
        ];
        check(&data, Some(Kind::Data));
    }

    #[test]
    fn a_start_that_goes_on_tells_nothing_yet() {
        check(&["", " \n", "\u{feff}", "<", "<!doctype htm", "<!-- <html>", "<body", "<?xml <html"], None);
    }
}
