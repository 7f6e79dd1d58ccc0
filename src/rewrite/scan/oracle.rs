//! Asks lol_html where a page's tags and text are, to compare the scanner with it.
//!
//! lol_html holds back nothing but an unfinished tag name. So tags can begin wherever it holds back `<x`, which it does not
//! in a comment, a script or an attribute. No handler is set: with one it holds back whole tags and comments.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lol_html::send::{HtmlRewriter, Settings};
use lol_html::{MemorySettings, OutputSink};

/// The tokenizer of one page.
#[derive(Debug)]
pub(crate) struct Tokens {
    rewriter: HtmlRewriter<'static, Passed>,
    /// Counted by the rewriter.
    passed: Arc<AtomicUsize>,
    fed: usize,
}

/// Bytes that lol_html may hold back.
const MEMORY: usize = 1 << 20;

#[derive(Debug)]
struct Passed(Arc<AtomicUsize>);

impl OutputSink for Passed {
    fn handle_chunk(&mut self, chunk: &[u8]) {
        self.0.fetch_add(chunk.len(), Ordering::Relaxed);
    }
}

impl Tokens {
    /// At the beginning of a page.
    pub(crate) fn new() -> Self {
        let passed = Arc::new(AtomicUsize::new(0));
        let memory = MemorySettings::new()
            .with_preallocated_parsing_buffer_size(256)
            .with_max_allowed_memory_usage(MEMORY);
        let settings = Settings::new_send()
            .with_memory_settings(memory)
            .with_strict(false)
            .with_adjust_charset_on_meta_tag(false);
        Self { rewriter: HtmlRewriter::new(settings, Passed(Arc::clone(&passed))), passed, fed: 0 }
    }

    /// Feeds the next bytes of the page.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.fed += bytes.len();
        self.rewriter.write(bytes).expect("pages are short");
    }

    /// Whether a tag can begin here. It feeds an unknown tag, which changes nothing before `<`, before a letter or digit
    /// of no known name that does not follow `<` or `</`, and at the end.
    pub(crate) fn at_text(&mut self) -> bool {
        self.feed(b"<x");
        let is_kept = self.fed - self.passed.load(Ordering::Relaxed) == 2;
        if is_kept {
            self.feed(b">");
        }
        is_kept
    }
}

/// Whether a place can be asked about: a `<`, or a `0`, which no known name has.
pub(crate) fn is_question(page: &[u8], place: usize) -> bool {
    let before = &page[..place];
    match page[place] {
        b'<' => true,
        b'0' => !before.ends_with(b"<") && !before.ends_with(b"</"),
        _ => false,
    }
}

/// Whether a tag can begin, for every place that can be asked about and for the end.
pub(crate) fn answers(page: &[u8]) -> Vec<bool> {
    let mut tokens = Tokens::new();
    let (mut answers, mut fed) = (Vec::new(), 0);
    for place in (0..page.len()).filter(|place| is_question(page, *place)) {
        tokens.feed(&page[fed..place]);
        fed = place;
        answers.push(tokens.at_text());
    }
    tokens.feed(&page[fed..]);
    answers.push(tokens.at_text());
    answers
}

/// The page without what lol_html reads differently from browsers: an `=` before `>`, after which it takes a raw
/// element's text for text with tags.
pub(crate) fn without_empty_values(page: &[u8]) -> Vec<u8> {
    let mut page = page.to_vec();
    for place in 0..page.len() {
        let follows = page[place + 1..].iter().find(|byte| !byte.is_ascii_whitespace());
        if page[place] == b'=' && follows == Some(&b'>') {
            page[place] = b'a';
        }
    }
    page
}
