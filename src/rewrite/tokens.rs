//! Where a page's tags are: lol_html's tokenizer, asked instead of imitated.
//!
//! lol_html passes everything on at once but the name of a tag, until that is whole. So text, where
//! tags can begin, is wherever `<x` is kept back: in a comment, a script or an attribute it is not.
//! No handler is set: with any, it keeps whole tags and comments back, and takes twice the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lol_html::send::{HtmlRewriter, Settings};
use lol_html::{MemorySettings, OutputSink};

/// The tokenizer of one page.
#[derive(Debug)]
pub(super) struct Tokens {
    rewriter: HtmlRewriter<'static, Passed>,
    /// Told by the rewriter, which only one thread at a time runs.
    passed: Arc<AtomicUsize>,
    fed: usize,
}

/// Bytes that may be kept back at most: in SVG and MathML, some tags are kept whole.
const MEMORY: usize = 1 << 20;

/// The page cannot be tokenized any further.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Untokenizable;

#[derive(Debug)]
struct Passed(Arc<AtomicUsize>);

impl OutputSink for Passed {
    fn handle_chunk(&mut self, chunk: &[u8]) {
        self.0.fetch_add(chunk.len(), Ordering::Relaxed);
    }
}

impl Tokens {
    pub(super) fn new() -> Self {
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

    /// Feeds the next bytes of the page. After an error nothing more may be fed.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(), Untokenizable> {
        self.fed += bytes.len();
        self.rewriter.write(bytes).map_err(|_| Untokenizable)
    }

    /// Whether a tag can begin here. The question is an unknown tag, which means nothing to what
    /// follows if it is asked before `<`, before letters or digits that are in no known name and that
    /// `<` and `</` do not precede, or at the end.
    pub(super) fn at_text(&mut self) -> Result<bool, Untokenizable> {
        self.feed(b"<x")?;
        let is_kept = self.fed - self.passed.load(Ordering::Relaxed) == 2;
        if is_kept {
            self.feed(b">")?;
        }
        Ok(is_kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(before: &str, expected: bool) {
        let mut tokens = Tokens::new();
        tokens.feed(before.as_bytes()).unwrap();
        assert_eq!(tokens.at_text(), Ok(expected), "{before}");
        assert_eq!(tokens.at_text(), Ok(expected), "{before}, asked twice");
        let mut tokens = Tokens::new();
        for byte in before.as_bytes() {
            tokens.feed(&[*byte]).unwrap();
        }
        assert_eq!(tokens.at_text(), Ok(expected), "{before}, byte by byte");
    }

    #[test]
    fn text_is_told_from_everything_else() {
        for text in [
            "",
            "<p>text",
            "<p>a < b",
            "a <",
            "a &",
            "<!doctype html>",
            "<!-- x -->",
            "<!-->",
            "<script></script>",
            "<script><!-- <script> </script> --></script>",
            "<svg><title>",
            "<svg><style>",
            "<svg><![CDATA[ ]]>",
            "<template>",
            "<svg><style/>",
            "<a title='>'>",
        ] {
            check(text, true);
        }
        for other in [
            "<p",
            "</",
            "</p",
            "<!",
            "<!-",
            "<!--",
            "<!-- ",
            "<!-- -",
            "<!-- --",
            "<!doctype",
            "<?php ",
            "<a ",
            "<a title",
            "<a title=",
            "<a title=\"",
            "<a title=x",
            "<a title=\"x\"",
            "<br/",
            "<script>",
            "<script>'<",
            "<script></scrip",
            "<script></script",
            "<script><!-- <script> ",
            "<script><!-- <script> </script> ",
            "<style>",
            "<title>",
            "<textarea>",
            "<noscript>",
            "<noframes>",
            "<iframe>",
            "<xmp>",
            "<plaintext></plaintext>",
            "<svg><![CDATA[",
            "<svg><![CDATA[ ]]",
        ] {
            check(other, false);
        }
    }

    #[test]
    fn what_is_kept_back_is_bounded() {
        let name = [b'x'; 4096];
        let mut tokens = Tokens::new();
        tokens.feed(b"<").unwrap();
        assert_eq!((0..1000).try_for_each(|_| tokens.feed(&name)), Err(Untokenizable));
        let mut tokens = Tokens::new();
        tokens.feed(b"<!-- ").unwrap();
        assert_eq!((0..1000).try_for_each(|_| tokens.feed(&name)), Ok(()));
        assert_eq!(tokens.at_text(), Ok(false));
    }
}
