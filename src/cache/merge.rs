//! The head of a stored response after a revalidation (RFC 9111, 3.2).

use http::header::{self, HeaderMap, HeaderName};

/// Fields that describe the stored body, or are never stored: a 304 does not change them.
const KEPT: [HeaderName; 6] = [
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::SET_COOKIE,
    header::AGE,
];

/// The stored fields, each replaced by those of the 304 under the same name.
pub(super) fn merged(stored: &HeaderMap, new: &HeaderMap) -> HeaderMap {
    let mut all = stored.clone();
    for name in new.keys().filter(|name| !KEPT.contains(name)) {
        all.remove(name);
        for value in new.get_all(name) {
            all.append(name, value.clone());
        }
    }
    all
}
