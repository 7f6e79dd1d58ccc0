//! Where lol_html has a page's tags and text, for the scanner to be compared with.
//!
//! lol_html passes everything on at once but the name of a tag, until that is whole. So text, where
//! tags can begin, is wherever `<x` is kept back: in a comment, a script or an attribute it is not.
//! No handler is set: with any, it keeps whole tags and comments back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lol_html::send::{HtmlRewriter, Settings};
use lol_html::{MemorySettings, OutputSink};

/// The tokenizer of one page.
#[derive(Debug)]
pub(crate) struct Tokens {
    rewriter: HtmlRewriter<'static, Passed>,
    /// Told by the rewriter, which only one thread at a time runs.
    passed: Arc<AtomicUsize>,
    fed: usize,
}

/// Bytes that may be kept back at most.
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

    /// Whether a tag can begin here. The question is an unknown tag, which means nothing to what
    /// follows if it is asked before `<`, before letters or digits that are in no known name and that
    /// `<` and `</` do not precede, or at the end.
    pub(crate) fn at_text(&mut self) -> bool {
        self.feed(b"<x");
        let is_kept = self.fed - self.passed.load(Ordering::Relaxed) == 2;
        if is_kept {
            self.feed(b">");
        }
        is_kept
    }
}

/// Whether what is at a place can be asked about: a `<` or a `0`, which is in no known name.
pub(crate) fn is_question(page: &[u8], place: usize) -> bool {
    let before = &page[..place];
    match page[place] {
        b'<' => true,
        b'0' => !before.ends_with(b"<") && !before.ends_with(b"</"),
        _ => false,
    }
}

/// For every place that can be asked about and for the end: whether a tag can begin there.
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

/// The page without what lol_html reads in another way than browsers: `=` before `>` ends its
/// attribute there, and the element's text is taken for text with tags in it.
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
