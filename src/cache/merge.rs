//! The head of a stored response after a revalidation (RFC 9111, 3.2).

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Fields that describe the stored body, or are never stored: a 304 does not change them.
const KEPT: [HeaderName; 6] = [
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::SET_COOKIE,
    header::AGE,
];

/// The stored fields, each replaced by those of the 304 under the same name. The stored entity tag may differ from the
/// origin's, `validated`, since the body was changed here; it stays while the origin's is the same.
pub(super) fn merged(stored: &HeaderMap, validated: Option<&HeaderValue>, new: &HeaderMap) -> HeaderMap {
    let mut all = stored.clone();
    for name in new.keys().filter(|name| !KEPT.contains(name)) {
        all.remove(name);
        for value in new.get_all(name) {
            all.append(name, value.clone());
        }
    }
    let is_same = new.get(header::ETAG).map(opaque) == validated.map(opaque);
    if let Some(left) = stored.get(header::ETAG).filter(|_| is_same) {
        all.insert(header::ETAG, left.clone());
    }
    all
}

/// An entity tag without what makes it weak.
fn opaque(etag: &HeaderValue) -> &[u8] {
    etag.as_bytes().strip_prefix(b"W/").unwrap_or(etag.as_bytes())
}
