//! Where a page's tags are: lol_html's tokenizer, asked instead of imitated.
//!
//! lol_html passes text on at once and a tag only when it is whole. So after `<name ` was fed, a tag
//! has begun if just these bytes are kept back; a comment keeps more, text and script keep nothing.
//! No selector and no text handler is set: with them it keeps a stack of elements and decodes all
//! text, which costs two thirds of the throughput and lets unclosed elements use up its memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use lol_html::send::{DocumentContentHandlers, HtmlRewriter, Settings};
use lol_html::{MemorySettings, OutputSink};

/// The tokenizer of one page.
#[derive(Debug)]
pub(super) struct Tokens {
    rewriter: HtmlRewriter<'static, Passed>,
    seen: Arc<Seen>,
    fed: usize,
}

/// Bytes that may be kept back at most: a tag with an image in an attribute is kept whole.
const MEMORY: usize = 4 << 20;

/// The page cannot be tokenized any further.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Untokenizable;

/// What the tokenizer told; shared with its callbacks, which only one thread at a time runs.
#[derive(Debug, Default)]
struct Seen {
    passed: AtomicUsize,
    doctype: AtomicBool,
}

#[derive(Debug)]
struct Passed(Arc<Seen>);

impl OutputSink for Passed {
    fn handle_chunk(&mut self, chunk: &[u8]) {
        self.0.passed.fetch_add(chunk.len(), Ordering::Relaxed);
    }
}

impl Tokens {
    pub(super) fn new() -> Self {
        Self::with_memory(MEMORY)
    }

    pub(super) fn with_memory(bytes: usize) -> Self {
        let seen = Arc::new(Seen::default());
        let doctype = Arc::clone(&seen);
        // Any handler of the document switches the tokenizer from its scan for tags, which does not
        // keep comments back, to exact tokens.
        let handlers =
            DocumentContentHandlers::default().doctype(move |_: &mut lol_html::html_content::Doctype<'_>| {
                doctype.doctype.store(true, Ordering::Relaxed);
                Ok(())
            });
        let memory = MemorySettings::new()
            .with_preallocated_parsing_buffer_size(256)
            .with_max_allowed_memory_usage(bytes);
        let settings = Settings::new_send()
            .append_document_content_handler(handlers)
            .with_memory_settings(memory)
            .with_strict(false)
            .with_adjust_charset_on_meta_tag(false);
        Self { rewriter: HtmlRewriter::new(settings, Passed(Arc::clone(&seen))), seen, fed: 0 }
    }

    /// Feeds the next bytes of the page. After an error nothing more may be fed.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(), Untokenizable> {
        self.fed += bytes.len();
        self.rewriter.write(bytes).map_err(|_| Untokenizable)
    }

    /// Feeds `<name` or `</name`, known to be followed by the end of the name, and tells whether it
    /// begins a tag. The white space that it adds means nothing there, to a tag as to a script. Within a
    /// script ask for `</script` alone: where a script is commented out in it, any name is kept back.
    pub(super) fn feed_name(&mut self, name: &[u8]) -> Result<bool, Untokenizable> {
        self.feed(name)?;
        self.feed(b" ")?;
        Ok(self.kept() == name.len() + 1)
    }

    /// Whether no tag, comment or the like is unfinished.
    pub(super) fn at_text(&self) -> bool {
        self.kept() == 0
    }

    /// Whether a doctype has passed.
    pub(super) fn doctype(&self) -> bool {
        self.seen.doctype.load(Ordering::Relaxed)
    }

    fn kept(&self) -> usize {
        self.fed - self.seen.passed.load(Ordering::Relaxed)
    }
}

/// The elements that matter to a footer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Element {
    /// `html` and `head`.
    Root,
    Body,
    Frameset,
    Template,
    Script,
    /// Another one whose content is no markup and not the page's text.
    Raw,
}

/// What `<` begins, by its letters alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Name {
    /// The name of such an element; `length` is that of `<name`.
    Of {
        element: Element,
        closing: bool,
        length: usize,
    },
    /// The bytes end before the name does.
    Partial,
    Other,
}

const NAMES: [(&[u8], Element); 15] = [
    (b"html", Element::Root),
    (b"head", Element::Root),
    (b"body", Element::Body),
    (b"frameset", Element::Frameset),
    (b"template", Element::Template),
    (b"script", Element::Script),
    (b"style", Element::Raw),
    (b"title", Element::Raw),
    (b"textarea", Element::Raw),
    (b"noscript", Element::Raw),
    (b"noframes", Element::Raw),
    (b"noembed", Element::Raw),
    (b"iframe", Element::Raw),
    (b"plaintext", Element::Raw),
    (b"xmp", Element::Raw),
];

impl Name {
    /// Reads the name behind the `<` that `bytes` begin with.
    pub(super) fn read(bytes: &[u8]) -> Self {
        let closing = bytes.get(1) == Some(&b'/');
        let start = if closing { 2 } else { 1 };
        let rest = bytes.get(start..).unwrap_or_default();
        match rest.first() {
            None => return Self::Partial,
            Some(first) if !b"bhtsfnxip".contains(&first.to_ascii_lowercase()) => return Self::Other,
            Some(_) => {}
        }
        let length = rest.iter().take(10).take_while(|byte| byte.is_ascii_alphabetic()).count();
        let (name, behind) = rest.split_at(length);
        match behind.first() {
            None if NAMES.iter().any(|(known, _)| starts_with(known, name)) => Self::Partial,
            Some(b'>' | b'/' | b' ' | b'\t' | b'\n' | b'\r' | b'\x0c') => NAMES
                .iter()
                .find(|(known, _)| known.eq_ignore_ascii_case(name))
                .map_or(Self::Other, |&(_, element)| Self::Of { element, closing, length: start + length }),
            None | Some(_) => Self::Other,
        }
    }
}

fn starts_with(known: &[u8], part: &[u8]) -> bool {
    known.get(..part.len()).is_some_and(|start| start.eq_ignore_ascii_case(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(before: &str, name: &str, expected: bool) {
        for memory in [MEMORY, 1 << 16] {
            let mut tokens = Tokens::with_memory(memory);
            tokens.feed(before.as_bytes()).unwrap();
            assert_eq!(tokens.feed_name(name.as_bytes()), Ok(expected), "{before} | {name}");
        }
    }

    #[test]
    fn a_tag_is_told_from_what_only_looks_like_one() {
        check("", "<body", true);
        check("<p>text", "</body", true);
        check("<p>a < b", "</BODY", true);
        check("<script>", "</body", false);
        check("<script>var a = '<b>';", "</script", true);
        check("<script><!-- x", "</script", true);
        check("<style>", "</script", false);
        check("<textarea>", "</body", false);
        check("<title>", "</body", false);
        check("<noscript>", "</body", false);
        check("<plaintext>", "</plaintext", false);
        check("<!-- ", "</body", false);
        check("<!", "</body", false);
        check("<?php ", "</body", false);
        check("<a title=\"", "</body", false);
        check("<a ", "</body", false);
        check("<svg><![CDATA[", "</body", false);
        check("<svg><title>", "</body", true);
        check("<svg><style>", "<body", true);
        check("<template>", "</body", true);
    }

    #[test]
    fn names_are_read_whole() {
        let of = |element, closing, length| Name::Of { element, closing, length };
        for (text, expected) in [
            ("</BoDy>", of(Element::Body, true, 6)),
            ("<body/", of(Element::Body, false, 5)),
            ("<bodyx>", Name::Other),
            ("<body", Name::Partial),
            ("<", Name::Partial),
            ("</", Name::Partial),
            ("<b", Name::Partial),
            ("<b>", Name::Other),
            ("<bo-dy", Name::Other),
            ("<div", Name::Other),
            ("<plaintexts", Name::Other),
            ("<plaintext\n", of(Element::Raw, false, 10)),
            ("<!doctype", Name::Other),
        ] {
            assert_eq!(Name::read(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn what_is_kept_back_is_bounded() {
        let mut tokens = Tokens::with_memory(1 << 16);
        let result = (0..100).try_for_each(|_| tokens.feed(&[b"<!--", &[b'x'; 4096][..]].concat()));
        assert_eq!(result, Err(Untokenizable));
    }
}
