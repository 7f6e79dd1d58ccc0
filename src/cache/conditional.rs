//! What a stored response answers: itself, a part of it, or 304 (RFC 9111, 4.3.2).

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Version};

use super::freshness::{date, parse_date};
use super::range::{self, Wanted};
use super::stored::Stored;
use crate::message::{RequestHead, ResponseHead};

/// An answer from the cache.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: ResponseHead,
    /// Empty for HEAD and 304.
    pub(crate) body: Bytes,
}

/// Fields about a body, which a 304 does not have.
const OF_BODY: [HeaderName; 5] = [
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::ACCEPT_RANGES,
];

/// The answer to a GET or HEAD, `now` in seconds since 1970.
pub(crate) fn answer(asked: &RequestHead, stored: &Stored, now: i64) -> Answer {
    let mut headers = HeaderMap::with_capacity(stored.headers.len() + 4);
    headers.extend(stored.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
    headers.insert(header::AGE, stored.freshness.age(now).into());
    let (status, body) = if stored.status == StatusCode::OK && is_known(&asked.headers, &stored.headers) {
        for name in OF_BODY {
            headers.remove(name);
        }
        (StatusCode::NOT_MODIFIED, None)
    } else if stored.status == StatusCode::OK && asked.method == Method::GET {
        part(asked, stored, &mut headers)
    } else {
        (stored.status, Some(stored.body.clone()))
    };
    if let Some(body) = &body
        && status != StatusCode::NO_CONTENT
    {
        headers.insert(header::CONTENT_LENGTH, body.len().into());
    }
    let body = body.filter(|_| asked.method != Method::HEAD).unwrap_or_default();
    Answer { head: ResponseHead { status, version: Version::HTTP_11, headers }, body }
}

fn part(asked: &RequestHead, stored: &Stored, headers: &mut HeaderMap) -> (StatusCode, Option<Bytes>) {
    let length = stored.body.len();
    let mut content_range = |text: String| {
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(header::CONTENT_RANGE, value);
        }
    };
    match range::wanted(&asked.headers, &stored.headers, length) {
        Wanted::Whole => (StatusCode::OK, Some(stored.body.clone())),
        Wanted::Part(part) => {
            content_range(format!("bytes {}-{}/{length}", part.start, part.end - 1));
            (StatusCode::PARTIAL_CONTENT, Some(stored.body.slice(part)))
        }
        Wanted::Unsatisfiable => {
            content_range(format!("bytes */{length}"));
            (StatusCode::RANGE_NOT_SATISFIABLE, Some(Bytes::new()))
        }
    }
}

/// Whether the client has the response already.
fn is_known(asked: &HeaderMap, stored: &HeaderMap) -> bool {
    if asked.contains_key(header::IF_NONE_MATCH) {
        let tag = stored.get(header::ETAG).map(|tag| opaque(tag.as_bytes()));
        let listed = asked.get_all(header::IF_NONE_MATCH).iter().flat_map(|value| tags(value.as_bytes()));
        return listed.into_iter().any(|sent| sent == b"*" || Some(opaque(sent)) == tag);
    }
    let since = asked.get(header::IF_MODIFIED_SINCE).and_then(|since| parse_date(since.to_str().ok()?));
    let changed = date(stored, &header::LAST_MODIFIED).or_else(|| date(stored, &header::DATE));
    since.zip(changed).is_some_and(|(since, changed)| changed <= since)
}

/// A tag without its weakness (RFC 9110, 8.8.3.2).
fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// The tags of a list. A comma within a tag's quotes separates nothing.
fn tags(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    let parts = value.split(move |byte| {
        quoted ^= *byte == b'"';
        *byte == b',' && !quoted
    });
    parts.map(<[u8]>::trim_ascii).filter(|part| !part.is_empty())
}
