//! Which answers have their references mapped, judged by heads alone, and how their entity tags name the files.
//!
//! A page names files with their digests. A browser that holds it must not be told that it is unchanged once they are
//! others, so its entity tag ends in the digest of all files.

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};

use super::result::Unmapped;
use super::table::AssetMap;
use crate::message::RequestHead;
use crate::rewrite::destination::Destination;
use crate::rewrite::fields::tokens;
use crate::rewrite::head::{forbids_changes, weak_etag};
use crate::rewrite::plan::{MediaType, coding, is_attachment, may_be_html};
use crate::rewrite::{Charset, Coding, Compress};

/// An answer whose references are mapped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Mapping {
    /// What it is.
    pub kind: Mapped,
    /// Its content coding.
    pub coding: Option<Coding>,
    /// What its head says of its charset.
    pub charset: Charset,
}

/// What is mapped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mapped {
    /// A page.
    Page,
    /// A style sheet.
    Style,
}

impl Mapping {
    /// Makes the entity tag of a mapped answer weak, and appends the digest of all files.
    pub fn mark(headers: &mut HeaderMap, map: &AssetMap) {
        if let Some(marked) = headers.get(header::ETAG).and_then(|etag| marked(etag, map)) {
            headers.insert(header::ETAG, marked);
        }
    }
}

/// What is mapped in the answer to a request with the fields `asked`. `None` for other types and statuses, parts, what a
/// script asked for, and what is to be saved: they pass unchanged and are not counted.
pub fn mapping(
    method: &Method,
    asked: &HeaderMap,
    status: StatusCode,
    headers: &HeaderMap,
    compress: Compress<'_>,
) -> Option<Result<Mapping, Unmapped>> {
    let is_whole = status == StatusCode::OK && !headers.contains_key(header::CONTENT_RANGE);
    if !is_whole || !matches!(*method, Method::GET | Method::HEAD) {
        return None;
    }
    let coding = coding(asked, headers, compress).map_err(|_| Unmapped::Encoded);
    let is_data = || is_attachment(headers) || Destination::of(asked) == Destination::Subresource;
    let (kind, charset) = match MediaType::of(headers)? {
        MediaType::Html(_) if is_data() => return None,
        MediaType::Html(charset) => (Mapped::Page, charset),
        MediaType::Css(charset) => (Mapped::Style, charset),
        MediaType::Other => return None,
    };
    Some(match charset {
        _ if forbids_changes(headers) => Err(Unmapped::NoTransform),
        Charset::Declared(encoding) if !encoding.is_ascii_compatible() => Err(Unmapped::Charset),
        Charset::Declared(_) | Charset::Undeclared => coding.map(|coding| Mapping { kind, coding, charset }),
    })
}

/// What to ask the origin on a site with a map in place of the client's own conditions, if anything: whether the answer
/// still has this tag of the origin's, or no condition at all.
///
/// A page without an entity tag has nothing that names the files. Whether it has changed is not asked then.
pub fn conditions(head: &RequestHead, path: &str, map: &AssetMap) -> Option<Option<HeaderValue>> {
    let asked = &head.headers;
    if !matches!(head.method, Method::GET | Method::HEAD) || asked.contains_key(header::RANGE) {
        return None;
    }
    if let Some(tag) = unmarked(asked, map) {
        return Some(Some(tag));
    }
    let is_by_date =
        asked.contains_key(header::IF_MODIFIED_SINCE) && !asked.contains_key(header::IF_NONE_MATCH);
    let may_be_mapped = || may_be_html(&head.method, path, asked) || path.ends_with(".css");
    (is_by_date && may_be_mapped()).then_some(None)
}

/// The origin's own tag of the answer that a client holds, if it was mapped to the same files.
fn unmarked(asked: &HeaderMap, map: &AssetMap) -> Option<HeaderValue> {
    let end = mark(map);
    let held = tokens(asked, header::IF_NONE_MATCH).find_map(|tag| tag.strip_suffix(&*end))?;
    HeaderValue::try_from(format!("{held}\"")).ok()
}

impl AssetMap {
    /// Makes the head of a 304 fit the mapped answer that the client holds.
    pub fn apply_to_not_modified(&self, asked: &HeaderMap, headers: &mut HeaderMap) {
        let Some(marked) = headers.get(header::ETAG).and_then(|etag| marked(etag, self)) else { return };
        if tokens(asked, header::IF_NONE_MATCH).any(|held| held.as_bytes() == marked.as_bytes()) {
            headers.insert(header::ETAG, marked);
        }
    }
}

/// The weak tag of a mapped answer.
fn marked(etag: &HeaderValue, map: &AssetMap) -> Option<HeaderValue> {
    let weak = weak_etag(etag).unwrap_or_else(|| etag.clone());
    let bare = weak.as_bytes().strip_suffix(b"\"")?;
    HeaderValue::from_bytes(&[bare, mark(map).as_bytes()].concat()).ok()
}

fn mark(map: &AssetMap) -> String {
    format!("/{:016x}\"", map.digest())
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, Version};

    use super::*;
    use crate::rewrite::{CompressMode, CompressSettings};

    fn fields(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        all.iter().map(field).collect()
    }

    const HTML: (&str, &str) = ("content-type", "text/html; charset=gbk");

    #[test]
    fn pages_and_style_sheets_are_mapped_unless_they_must_not_change() {
        let settings = CompressSettings::default();
        let of = |status: u16, asked: &[_], answer: &[_]| {
            let compress = Compress::new(CompressMode::Auto, &settings, Version::HTTP_2);
            let status = StatusCode::from_u16(status).unwrap();
            mapping(&Method::GET, &fields(asked), status, &fields(answer), compress)
        };
        let gzip = ("content-encoding", "gzip");
        let page = Mapping { kind: Mapped::Page, coding: None, charset: Charset::Declared(encoding_rs::GBK) };
        assert_eq!(of(200, &[], &[HTML]), Some(Ok(page)));
        let coded = Mapping { coding: Some(Coding::Gzip), ..page };
        assert_eq!(of(200, &[("sec-fetch-dest", "iframe")], &[HTML, gzip]), Some(Ok(coded)));
        let style = Mapping { kind: Mapped::Style, coding: None, charset: Charset::Undeclared };
        assert_eq!(of(200, &[], &[("content-type", "Text/CSS;charset=x")]), Some(Ok(style)));
        for (status, asked, answer) in [
            (404, &[][..], &[HTML][..]),
            (206, &[], &[HTML]),
            (200, &[], &[HTML, ("content-range", "bytes 0-1/2")]),
            (200, &[], &[HTML, ("content-disposition", "attachment")]),
            (200, &[("x-requested-with", "XMLHttpRequest")], &[HTML]),
            (200, &[], &[("content-type", "text/plain")]),
            (200, &[], &[]),
        ] {
            assert_eq!(of(status, asked, answer), None, "{status} {asked:?} {answer:?}");
        }
        for (answer, why) in [
            (&[HTML, ("cache-control", "no-transform")][..], Unmapped::NoTransform),
            (&[HTML, ("content-encoding", "gzip, br")], Unmapped::Encoded),
            (&[("content-type", "text/html; charset=utf-16le")], Unmapped::Charset),
        ] {
            assert_eq!(of(200, &[], answer), Some(Err(why)), "{answer:?}");
        }
    }

    #[test]
    fn an_entity_tag_names_the_files() {
        let map = AssetMap::new(&[], &CompressSettings::default());
        for origin in ["\"a\"", "W/\"a\""] {
            let mut headers = fields(&[("etag", origin)]);
            Mapping::mark(&mut headers, &map);
            let held = headers["etag"].clone();
            let text = held.to_str().unwrap().to_owned();
            assert!(text.starts_with("W/\"a/") && text.ends_with('"'), "{text}");
            let asked = HeaderMap::from_iter([(
                header::IF_NONE_MATCH,
                HeaderValue::try_from(format!("\"b\", {text}")).unwrap(),
            )]);
            assert_eq!(unmarked(&asked, &map).unwrap(), "W/\"a\"");
            let mut unchanged = fields(&[("etag", origin)]);
            map.apply_to_not_modified(&asked, &mut unchanged);
            assert_eq!(unchanged["etag"], held);
        }
        assert_eq!(unmarked(&fields(&[("if-none-match", "W/\"a\", \"b/0000000000000000\"")]), &map), None);
        let mut unchanged = fields(&[("etag", "\"a\"")]);
        map.apply_to_not_modified(&fields(&[("if-none-match", "\"a\"")]), &mut unchanged);
        assert_eq!(unchanged["etag"], "\"a\"");
    }
}
