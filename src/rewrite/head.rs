//! Edits that make a head true for an answer whose body is changed on the way.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::fields::tokens;

/// Headers about the body's exact bytes.
const REMOVED_HEADERS: [HeaderName; 7] = [
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::ACCEPT_RANGES,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("content-digest"),
];

/// Makes a head true for a changed body: removes what describes its exact bytes and weakens the entity tag. The framing
/// of the body is the caller's.
pub fn apply_to_head(headers: &mut HeaderMap) {
    for name in REMOVED_HEADERS {
        headers.remove(name);
    }
    if let Some(weak) = headers.get(header::ETAG).and_then(weak_etag) {
        headers.insert(header::ETAG, weak);
    }
}

/// Tells caches not to answer a request for a page with what a frame or a script got. Pages need no such field: data
/// never has a footer, and a frame with one does no harm.
pub fn vary_by_destination(headers: &mut HeaderMap) {
    vary(headers, &HeaderName::from_static("sec-fetch-dest"));
}

/// Adds a request field to those that an answer depends on, once.
pub(super) fn vary(headers: &mut HeaderMap, field: &HeaderName) {
    let sent: Vec<_> = tokens(headers, header::VARY).collect();
    if sent.iter().any(|name| *name == "*" || name.eq_ignore_ascii_case(field.as_str())) {
        return;
    }
    let all = [sent.as_slice(), &[field.as_str()]].concat().join(", ");
    if let Ok(all) = HeaderValue::from_str(&all) {
        headers.insert(header::VARY, all);
    }
}

/// The weak form of a strong entity tag.
pub(super) fn weak_etag(etag: &HeaderValue) -> Option<HeaderValue> {
    let strong = etag.as_bytes();
    if !strong.starts_with(b"\"") {
        return None;
    }
    HeaderValue::from_bytes(&[b"W/", strong].concat()).ok()
}

/// Whether the origin forbids changes of its answer.
pub(super) fn forbids_changes(headers: &HeaderMap) -> bool {
    tokens(headers, header::CACHE_CONTROL).any(|token| token.eq_ignore_ascii_case("no-transform"))
}
