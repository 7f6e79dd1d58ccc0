//! What a page links to and what a browser loads for it: attributes, `srcset`, and `url()` and `@import` of its styles.
//!
//! Templates are inert, and so is what a browser with scripting on does not parse, such as `noscript`. What scripts load is
//! not seen.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lol_html::html_content::TextChunk;
use lol_html::send::{Element, HtmlRewriter, Settings};
use lol_html::{MemorySettings, element, end_tag, text};

/// A URL as a page writes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Reference {
    /// Of an `a`.
    Link(String),
    /// Loaded to show the page.
    Loaded(String),
    /// What relative URLs are relative to.
    Base(String),
}

/// Its output is discarded: the page itself goes another way.
type Tokenizer = HtmlRewriter<'static, fn(&[u8])>;

/// Reads the references of a page as it comes.
pub(super) struct ReferenceReader {
    /// `None` behind a tag that is too long.
    rewriter: Option<Tokenizer>,
    state: Arc<Mutex<State>>,
}

struct State {
    /// Bytes of the longest style sheet that is read whole.
    held: usize,
    found: Vec<Reference>,
    /// The style sheet that is being read.
    style: String,
    /// Open templates.
    templates: usize,
}

impl ReferenceReader {
    /// At the beginning of a page in a superset of ASCII. Tags of more than `held` bytes end the reading, and longer style
    /// sheets are read up to there.
    pub(super) fn new(held: usize) -> Self {
        let state = State { held, found: Vec::new(), style: String::new(), templates: 0 };
        let state = Arc::new(Mutex::new(state));
        let (of_elements, of_styles) = (Arc::clone(&state), Arc::clone(&state));
        let memory = MemorySettings::new().with_max_allowed_memory_usage(held);
        let settings = Settings::new_send()
            .with_strict(false)
            .with_memory_settings(memory)
            .append_element_content_handler(element!("*", move |element: &mut Element<'_, '_>| {
                let mut state = lock(&of_elements);
                if element.tag_name() == "template" && element.can_have_content() {
                    state.templates += 1;
                    let state = Arc::clone(&of_elements);
                    element.on_end_tag(end_tag!(move |_| {
                        let mut state = lock(&state);
                        state.templates = state.templates.saturating_sub(1);
                        Ok(())
                    }))?;
                } else if state.templates == 0 {
                    of_element(element, &mut state.found);
                }
                Ok(())
            }))
            .append_element_content_handler(text!("style", move |chunk: &mut TextChunk<'_>| {
                lock(&of_styles).style(chunk.as_str(), chunk.last_in_text_node());
                Ok(())
            }));
        let rewriter: Tokenizer = HtmlRewriter::new(settings, |_| ());
        Self { rewriter: Some(rewriter), state }
    }

    /// Takes the page's next bytes; returns what was found since the last call, in order. Those of a style sheet come
    /// where it ends.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Vec<Reference> {
        if self.rewriter.as_mut().is_some_and(|rewriter| rewriter.write(bytes).is_err()) {
            // It must not be used after an error.
            self.rewriter = None;
        }
        std::mem::take(&mut lock(&self.state).found)
    }

    /// Ends the page; returns the rest.
    pub(super) fn finish(self) -> Vec<Reference> {
        if let Some(rewriter) = self.rewriter {
            // It fails only where it holds too much, which `read` would have told.
            let _ = rewriter.end();
        }
        std::mem::take(&mut lock(&self.state).found)
    }
}

impl std::fmt::Debug for ReferenceReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReferenceReader").finish_non_exhaustive()
    }
}

impl State {
    fn style(&mut self, text: &str, is_last: bool) {
        if self.style.len() + text.len() <= self.held {
            self.style.push_str(text);
        }
        if is_last {
            let style = std::mem::take(&mut self.style);
            if self.templates == 0 {
                self.found.extend(of_style(&style));
            }
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn of_element(element: &Element<'_, '_>, found: &mut Vec<Reference>) {
    let name = element.tag_name();
    let value = |attribute: &str| element.get_attribute(attribute).map(|value| unescaped(&value));
    match &*name {
        "a" => found.extend(value("href").map(Reference::Link)),
        "base" => found.extend(value("href").map(Reference::Base)),
        _ => {}
    }
    let loaded = loaded_attributes(&name, value);
    found.extend(loaded.iter().filter_map(|attribute| value(attribute)).map(Reference::Loaded));
    if let Some(set) = srcset_attribute(&name).and_then(value) {
        found.extend(candidates(&set).map(|url| Reference::Loaded(set[url].to_owned())));
    }
    found.extend(value("style").iter().flat_map(|style| of_style(style)));
}

/// The attributes of an element with a URL that a browser loads.
pub(super) fn loaded_attributes(
    name: &str,
    value: impl Fn(&str) -> Option<String>,
) -> &'static [&'static str] {
    match name {
        "link" if value("rel").is_some_and(|rel| is_loaded(&rel)) => &["href"],
        "script" | "img" | "iframe" | "frame" | "embed" | "track" | "source" | "audio" => &["src"],
        "video" => &["src", "poster"],
        "input" if value("type").is_some_and(|kind| kind.eq_ignore_ascii_case("image")) => &["src"],
        "object" => &["data"],
        "use" | "image" => &["href", "xlink:href"],
        "body" | "table" | "td" | "th" => &["background"],
        _ => &[],
    }
}

/// The attribute of an element with several URLs to choose from.
pub(super) fn srcset_attribute(name: &str) -> Option<&'static str> {
    match name {
        "img" | "source" => Some("srcset"),
        "link" => Some("imagesrcset"),
        _ => None,
    }
}

/// Whether a browser loads, or connects for, a `link` with this `rel`.
fn is_loaded(rel: &str) -> bool {
    const LOADED: [&str; 9] = [
        "stylesheet",
        "icon",
        "apple-touch-icon",
        "manifest",
        "preload",
        "modulepreload",
        "prefetch",
        "preconnect",
        "dns-prefetch",
    ];
    rel.split_ascii_whitespace().any(|word| LOADED.iter().any(|known| word.eq_ignore_ascii_case(known)))
}

/// An attribute's value with its character references resolved, as far as URLs are written with them.
pub(super) fn unescaped(value: &str) -> String {
    let mut parts = value.split('&');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let resolved = part.split_once(';').and_then(|(name, behind)| Some((referred(name)?, behind)));
        match resolved {
            Some((c, behind)) => text + c.encode_utf8(&mut [0; 4]) + behind,
            None => text + "&" + part,
        }
    })
}

/// The character that a reference stands for, without its `&` and `;`.
fn referred(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16),
            None => number.parse(),
        };
        return char::from_u32(code.ok()?);
    }
    Some(match name {
        "amp" | "AMP" => '&',
        "quot" | "QUOT" => '"',
        "apos" => '\'',
        "lt" => '<',
        "gt" => '>',
        "sol" => '/',
        "colon" => ':',
        "period" => '.',
        "comma" => ',',
        "quest" => '?',
        "equals" => '=',
        "num" => '#',
        "lpar" => '(',
        "rpar" => ')',
        "lowbar" => '_',
        "Tab" => '\t',
        "NewLine" => '\n',
        _ => return None,
    })
}

/// Where the URLs of a `srcset` are: each is followed by a descriptor up to a comma (HTML Standard, 4.8.4.2.2).
pub(super) fn candidates(set: &str) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = &set[at..];
        let from = at + rest.find(|c: char| !c.is_ascii_whitespace() && c != ',')?;
        let url = set[from..].split(|c: char| c.is_ascii_whitespace()).next().unwrap_or_default();
        let bare = url.trim_end_matches(',');
        at = from + url.len();
        if bare.len() == url.len() {
            at = set[at..].find(',').map_or(set.len(), |comma| at + comma);
        }
        Some(from..from + bare.len())
    })
}

/// The URLs of a style sheet: in `url()`, and of `@import`.
fn of_style(style: &str) -> Vec<Reference> {
    let style = without_comments(style);
    let mut found = Vec::new();
    let mut rest = &*style;
    while let Some((at, word)) = next_of(rest, &["url(", "@import"]) {
        let value = rest[at + word.len()..].trim_start();
        let (url, behind) = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => value[1..].split_once(quote).unwrap_or((&value[1..], "")),
            _ if word == "@import" => ("", value),
            _ => value.split_once(')').unwrap_or((value, "")),
        };
        if !url.trim().is_empty() {
            found.push(Reference::Loaded(url.trim().to_owned()));
        }
        rest = behind;
    }
    found
}

/// The first of these words, in any case.
fn next_of<'w>(text: &str, words: &[&'w str]) -> Option<(usize, &'w str)> {
    let lower = |at: usize, word: &str| {
        text.as_bytes()
            .get(at..at + word.len())
            .is_some_and(|found| found.eq_ignore_ascii_case(word.as_bytes()))
    };
    let starts = memchr::memchr3_iter(b'u', b'U', b'@', text.as_bytes());
    starts.into_iter().find_map(|at| Some((at, *words.iter().find(|word| lower(at, word))?)))
}

fn without_comments(style: &str) -> String {
    let mut parts = style.split("/*");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + " " + part.split_once("*/").map_or("", |(_, behind)| behind))
}

/// The host of a URL in lower case; `None` for a relative one, and for schemes that ask no server.
pub(super) fn host(url: &str) -> Option<String> {
    let url: String = url.trim().chars().filter(|c| !matches!(c, '\t' | '\n' | '\r')).collect();
    let schemes = ["https:", "http:", "wss:", "ws:"];
    let behind = schemes.iter().find_map(|scheme| {
        let (start, rest) = url.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    });
    let is_slash = |c: char| matches!(c, '/' | '\\');
    let rest =
        behind.unwrap_or(&url).strip_prefix(is_slash)?.strip_prefix(is_slash)?.trim_start_matches(is_slash);
    let authority = rest.split(['/', '\\', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = if host.starts_with('[') { host } else { host.split(':').next().unwrap_or_default() };
    Some(host.trim_end_matches('.').to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(html: &str, expected: &[&str]) {
        for size in [html.len(), 1, 7] {
            let mut reader = ReferenceReader::new(1 << 16);
            let mut found: Vec<_> =
                html.as_bytes().chunks(size).flat_map(|chunk| reader.read(chunk)).collect();
            found.extend(reader.finish());
            let loaded = found.into_iter().filter_map(|reference| match reference {
                Reference::Loaded(url) => Some(url),
                Reference::Link(_) | Reference::Base(_) => None,
            });
            assert_eq!(loaded.collect::<Vec<_>>(), expected, "{html}");
        }
    }

    #[test]
    fn what_a_browser_loads_is_found() {
        check("<script src='/a.js'></script><script>x('/b.js')</script>", &["/a.js"]);
        check("<link rel=\"Stylesheet\" href=a.css><link rel=canonical href=b><link href=c>", &["a.css"]);
        check("<link rel='shortcut icon' href=a><link rel=preconnect href=//b>", &["a", "//b"]);
        check(
            "<img src=a srcset='b 1x, c,d 200w , e'><picture><source srcset=f>",
            &["a", "b", "c,d", "e", "f"],
        );
        check("<img srcset='a, b 2x'>", &["a", "b"]);
        check("<video src=a poster=b><iframe src=c></iframe><object data=d></object>", &["a", "b", "c", "d"]);
        check(
            "<input src=a><input type=IMAGE src=b><svg><use href=c /><image xlink:href=d /></svg>",
            &["b", "c", "d"],
        );
        check("<p style=\"background: url( 'a' )\">x</p><a href=b style='x:URL(c)'>", &["a", "c"]);
        check("<style>@import 'a';@IMPORT url(b);p{x:url(\"c\") url( d )}</style>", &["a", "b", "c", "d"]);
        check("<style>/* url(a) */p{x:url(b)/*</style>", &["b"]);
        check(
            "<img src='https://x/?a&amp;b&c'><img src='https:&#x2F;&#47;y'><img src='https&colon;&sol;/z'>",
            &["https://x/?a&b&c", "https://y", "https://z"],
        );
        check("<link rel=preload href=a imagesrcset='b 1x, c 2x'>", &["a", "b", "c"]);
    }

    #[test]
    fn a_tag_that_is_too_long_ends_the_reading() {
        let mut reader = ReferenceReader::new(1 << 16);
        assert_eq!(reader.read(b"<img src=a><img title='").len(), 1);
        for _ in 0..100 {
            reader.read(&[b'x'; 1000]);
        }
        assert!(reader.read(b"'><img src=b>").is_empty() && reader.finish().is_empty());
    }

    #[test]
    fn what_is_inert_is_not_loaded() {
        check(
            "<!-- <img src=a> --><template><img src=b><style>p{x:url(c)}</style></template><img src=d>",
            &["d"],
        );
        check("<noscript><img src=a></noscript><textarea><img src=b></textarea>", &[]);
        check("<script>'<img src=a>'</script><title><img src=b></title>", &[]);
    }

    #[test]
    fn a_host_is_read_as_browsers_read_it() {
        for (url, expected) in [
            ("https://Fonts.GoogleApis.com/css?family=x", Some("fonts.googleapis.com")),
            ("//a.cn", Some("a.cn")),
            (" HTTP:\\\\a.cn\\b", Some("a.cn")),
            ("https://user:pw@a.cn:8443/b@c", Some("a.cn")),
            ("https://a.cn.?b", Some("a.cn")),
            ("ht\ntps://a.cn#b", Some("a.cn")),
            ("https://[::1]:80/", Some("[::1]:80")),
            ("/a", None),
            ("a.js", None),
            ("data:text/css,a", None),
            ("", None),
        ] {
            assert_eq!(host(url).as_deref(), expected, "{url}");
        }
    }
}
