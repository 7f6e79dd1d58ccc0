//! Maps the references of a page that streams.
//!
//! lol_html finds the tags; the page's own bytes pass, and edits replace parts of tags and of style sheets. It reads every
//! page as `x-user-defined`, which gives each byte a character of its own: so places in its input and output are places in
//! the page, and text of any superset of ASCII stays as it is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes, BytesMut};
use encoding_rs::{Encoding, UTF_8, X_USER_DEFINED};
use lol_html::html_content::TextChunk;
use lol_html::send::{Element, HtmlRewriter, Settings};
use lol_html::{AsciiCompatibleEncoding, MemorySettings, element, text};

use super::element::{Attribute, Edit, edits, in_bytes};
use super::result::MapResult;
use super::style::StyleMapper;
use super::table::AssetMap;
use crate::rewrite::charset::charset_parameter;
use crate::rewrite::references::{host, unescaped};

/// Bytes of the longest tag. Behind a longer one the page passes unchanged.
const LONGEST: usize = 256 << 10;
/// How often a tag is checked for its length, in bytes of the page. The offsets are fixed, so that the result does not
/// depend on how the page is cut.
const LOOKS: usize = 4 << 10;
/// Bytes that lol_html may hold: the longest tag, and some 100 for each element that is not closed.
const MEMORY: usize = 2 << 20;

/// Maps one page. What comes out does not depend on how it is cut.
pub(super) struct PageMapper {
    /// `None` behind a tag that is too long.
    tokenizer: Option<HtmlRewriter<'static, Counter>>,
    state: Arc<Mutex<State>>,
    /// What the tokenizer has not passed on yet, and where it begins in the page.
    pending: BytesMut,
    begins: usize,
}

/// Counts what the tokenizer passes on, which is what it read.
type Counter = Box<dyn FnMut(&[u8]) + Send>;

struct State {
    map: Arc<AssetMap>,
    /// The host of the page.
    host: Box<str>,
    base: Base,
    /// The page's charset, as far as it is known.
    charset: Option<&'static Encoding>,
    /// The style sheet that is open.
    style: Option<StyleMapper>,
    has_mapped: bool,
    /// In the order of the page.
    edits: Vec<Edit>,
    /// Bytes of the page that the tokenizer has passed on.
    passed: usize,
}

/// What relative references are relative to: the first `base` decides (HTML Standard, 4.2.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Base {
    /// The page itself, so far.
    Page,
    /// A path of the page's own host.
    Own,
    /// Another host: a local path would be sought there, so nothing is mapped.
    Foreign,
}

impl PageMapper {
    /// At the beginning of a page of `host`, with the charset that its head declares.
    pub(super) fn new(map: Arc<AssetMap>, host: &str, charset: Option<&'static Encoding>) -> Self {
        let state = State {
            map,
            host: host.into(),
            base: Base::Page,
            charset,
            style: None,
            has_mapped: false,
            edits: Vec::new(),
            passed: 0,
        };
        let state = Arc::new(Mutex::new(state));
        let (of_elements, of_styles, of_output) =
            (Arc::clone(&state), Arc::clone(&state), Arc::clone(&state));
        let mut settings = Settings::new_send()
            .with_strict(false)
            .with_memory_settings(MemorySettings::new().with_max_allowed_memory_usage(MEMORY))
            .append_element_content_handler(element!("*", move |element: &mut Element<'_, '_>| {
                lock(&of_elements).element(element);
                Ok(())
            }))
            .append_element_content_handler(text!("style", move |chunk: &mut TextChunk<'_>| {
                lock(&of_styles).style(chunk);
                Ok(())
            }));
        if let Some(encoding) = AsciiCompatibleEncoding::new(X_USER_DEFINED) {
            settings = settings.with_encoding(encoding);
        }
        let counter: Counter = Box::new(move |bytes: &[u8]| lock(&of_output).passed += bytes.len());
        Self {
            tokenizer: Some(HtmlRewriter::new(settings, counter)),
            state,
            pending: BytesMut::new(),
            begins: 0,
        }
    }

    /// Takes the next bytes; returns what is settled.
    pub(super) fn push(&mut self, bytes: Bytes) -> Bytes {
        let (mut out, mut rest) = (BytesMut::new(), bytes);
        while !rest.is_empty() {
            let Some(tokenizer) = &mut self.tokenizer else {
                if out.is_empty() {
                    return rest;
                }
                out.extend_from_slice(&rest);
                break;
            };
            let at = self.begins + self.pending.len();
            let piece = rest.split_to(rest.len().min(LOOKS - at % LOOKS));
            let failed = tokenizer.write(&piece).is_err();
            self.pending.extend_from_slice(&piece);
            self.settle(&mut out);
            let is_look = (at + piece.len()).is_multiple_of(LOOKS);
            if failed || (is_look && self.pending.len() > LONGEST) {
                // It must not be used after an error.
                self.tokenizer = None;
                self.release(&mut out);
            }
        }
        out.freeze()
    }

    /// What it takes in memory, in bytes: what waits is here and in the tokenizer, whose tables take about a look's worth.
    pub(super) fn bytes(&self) -> usize {
        2 * self.pending.len() + LOOKS
    }

    /// Ends the page; returns the rest, and what was done.
    pub(super) fn finish(mut self) -> (Bytes, MapResult) {
        let is_cut = self.tokenizer.is_none();
        if let Some(tokenizer) = self.tokenizer.take() {
            // It fails only where it holds too much, which `push` would have told.
            let _ = tokenizer.end();
        }
        let mut out = BytesMut::new();
        self.settle(&mut out);
        self.release(&mut out);
        let result = match (is_cut, lock(&self.state).has_mapped) {
            (true, _) => MapResult::Cut,
            (false, true) => MapResult::Mapped,
            (false, false) => MapResult::Unchanged,
        };
        (out.freeze(), result)
    }

    /// Passes on what the tokenizer has passed on, with its edits.
    fn settle(&mut self, out: &mut BytesMut) {
        let mut state = lock(&self.state);
        let settled = state.passed.saturating_sub(self.begins).min(self.pending.len());
        let until = self.begins + settled;
        let mut page = self.pending.split_to(settled);
        for Edit { range, with } in state.edits.drain(..).filter(|edit| edit.range.end <= until) {
            let before = range.start.saturating_sub(self.begins).min(page.len());
            out.extend_from_slice(&page[..before]);
            out.extend_from_slice(&with);
            page.advance((before + range.len()).min(page.len()));
            self.begins = range.end;
        }
        self.begins = until;
        out.unsplit(page);
    }

    /// Passes on what is held when the tokenizer has ended.
    fn release(&mut self, out: &mut BytesMut) {
        let style = lock(&self.state).style.take();
        out.extend(style.map(StyleMapper::finish).unwrap_or_default());
        out.unsplit(self.pending.split());
    }
}

impl std::fmt::Debug for PageMapper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PageMapper").finish_non_exhaustive()
    }
}

impl State {
    fn element(&mut self, element: &Element<'_, '_>) {
        let name = element.tag_name();
        match &*name {
            "base" => self.base(element),
            "meta" if self.charset.is_none() => self.charset = charset(element),
            _ if self.base == Base::Foreign => {}
            _ => {
                let attributes: Vec<Attribute> = element.attributes().iter().filter_map(attribute).collect();
                let edits = edits(&name, &attributes, &self.map, self.charset.unwrap_or(UTF_8));
                self.has_mapped |= !edits.is_empty();
                self.edits.extend(edits);
            }
        }
    }

    fn base(&mut self, element: &Element<'_, '_>) {
        if self.base == Base::Page
            && let Some(url) = element.get_attribute("href")
        {
            let is_own = host(&unescaped(&url)).is_none_or(|host| *host == *self.host);
            self.base = if is_own { Base::Own } else { Base::Foreign };
        }
    }

    fn style(&mut self, chunk: &TextChunk<'_>) {
        let (map, encoding) = (&self.map, self.charset.unwrap_or(UTF_8));
        let is_mapped = self.base != Base::Foreign;
        let local = |url: &str| if is_mapped { map.local(url) } else { None };
        let style = self.style.get_or_insert_with(|| StyleMapper::new(encoding));
        let text = in_bytes(chunk.as_str());
        let mut with = Vec::with_capacity(text.len());
        style.push(&text, &local, &mut with);
        self.has_mapped |= style.has_mapped();
        if chunk.last_in_text_node() {
            with.extend(self.style.take().map(StyleMapper::finish).unwrap_or_default());
        }
        if with != text {
            self.edits.push(Edit { range: chunk.source_location().bytes(), with });
        }
    }
}

fn attribute(attribute: &lol_html::html_content::Attribute<'_>) -> Option<Attribute> {
    Some(Attribute {
        name: attribute.name(),
        value: attribute.value(),
        begins: attribute.name_source_location()?.bytes().start,
        value_range: attribute.value_source_location().map(|location| location.bytes()),
    })
}

/// The charset that a `meta` names.
fn charset(meta: &Element<'_, '_>) -> Option<&'static Encoding> {
    let named = meta.get_attribute("charset").map(String::into_bytes);
    let content = || Some(charset_parameter(meta.get_attribute("content")?.as_bytes())?.to_vec());
    Encoding::for_label(&named.or_else(content)?)
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
