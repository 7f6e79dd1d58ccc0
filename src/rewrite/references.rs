//! What a page links to and what a browser loads for it: attributes, `srcset`, and `url()` and `@import` of its styles.
//!
//! Templates are inert, and so is what a browser with scripting on does not parse, such as `noscript`. What scripts load is
//! not seen.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use lol_html::html_content::Element;
use lol_html::{Settings, element, end_tag, rewrite_str, text};

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

/// The references of a whole page, in order; those of a style sheet in it stand where it ends.
pub(super) fn references(html: &str) -> Vec<Reference> {
    let found = RefCell::new(Vec::new());
    let style = RefCell::new(String::new());
    let templates = Rc::new(Cell::new(0_usize));
    let settings = Settings::new()
        .with_strict(false)
        .append_element_content_handler(element!("*", |element| {
            if element.tag_name() == "template" && element.can_have_content() {
                templates.set(templates.get() + 1);
                let templates = Rc::clone(&templates);
                element.on_end_tag(end_tag!(move |_| {
                    templates.set(templates.get().saturating_sub(1));
                    Ok(())
                }))?;
            } else if templates.get() == 0 {
                of_element(element, &mut found.borrow_mut());
            }
            Ok(())
        }))
        .append_element_content_handler(text!("style", |chunk| {
            let mut style = style.borrow_mut();
            style.push_str(chunk.as_str());
            if chunk.last_in_text_node() {
                let style = std::mem::take(&mut *style);
                if templates.get() == 0 {
                    found.borrow_mut().extend(of_style(&style));
                }
            }
            Ok(())
        }));
    // What was read before a failure is worth telling, and no handler fails.
    let _ = rewrite_str(html, settings);
    found.into_inner()
}

fn of_element(element: &Element<'_, '_>, found: &mut Vec<Reference>) {
    let name = element.tag_name();
    let value = |attribute: &str| element.get_attribute(attribute).map(|value| unescaped(&value));
    let loaded: &[&str] = match &*name {
        "a" => {
            found.extend(value("href").map(Reference::Link));
            &[]
        }
        "base" => {
            found.extend(value("href").map(Reference::Base));
            &[]
        }
        "link" if value("rel").is_some_and(|rel| is_loaded(&rel)) => &["href"],
        "script" | "img" | "iframe" | "frame" | "embed" | "track" | "source" | "audio" => &["src"],
        "video" => &["src", "poster"],
        "input" if value("type").is_some_and(|kind| kind.eq_ignore_ascii_case("image")) => &["src"],
        "object" => &["data"],
        "use" | "image" => &["href", "xlink:href"],
        "body" | "table" | "td" | "th" => &["background"],
        _ => &[],
    };
    found.extend(loaded.iter().filter_map(|attribute| value(attribute)).map(Reference::Loaded));
    if matches!(&*name, "img" | "source") {
        found.extend(value("srcset").iter().flat_map(|set| of_srcset(set)));
    }
    found.extend(value("style").iter().flat_map(|style| of_style(style)));
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

/// An attribute's value with the references that URLs are written with.
fn unescaped(value: &str) -> String {
    value.replace("&#x2f;", "/").replace("&#x2F;", "/").replace("&#47;", "/").replace("&amp;", "&")
}

/// The candidates of a `srcset`: a URL, and a descriptor up to a comma (HTML Standard, 4.8.4.2.2).
fn of_srcset(set: &str) -> Vec<Reference> {
    let mut found = Vec::new();
    let mut rest = set;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == ',');
        let (url, behind) = rest.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((rest, ""));
        let bare = url.trim_end_matches(',');
        if bare.is_empty() {
            return found;
        }
        found.push(Reference::Loaded(bare.to_owned()));
        rest =
            if bare.len() < url.len() { behind } else { behind.split_once(',').map_or("", |(_, next)| next) };
    }
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
        let loaded = references(html).into_iter().filter_map(|reference| match reference {
            Reference::Loaded(url) => Some(url),
            Reference::Link(_) | Reference::Base(_) => None,
        });
        assert_eq!(loaded.collect::<Vec<_>>(), expected, "{html}");
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
        check("<img src='https://x/?a&amp;b'><img src='https:&#x2F;/y'>", &["https://x/?a&b", "https://y"]);
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
