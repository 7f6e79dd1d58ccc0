//! Reading header fields that are lists, such as `accept`.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// The elements of a list field. A value that is not ASCII is one element, `?`.
pub(super) fn tokens(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter();
    values
        .flat_map(|value| value.to_str().unwrap_or("?").split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

/// An element without its parameters: `text/html;q=0.9` is `text/html`.
pub(super) fn without_parameters(element: &str) -> &str {
    element.split(';').next().unwrap_or_default().trim()
}

/// Whether `accept` names this media range.
pub(super) fn accepts(headers: &HeaderMap, range: &str) -> bool {
    tokens(headers, header::ACCEPT).any(|sent| without_parameters(sent).eq_ignore_ascii_case(range))
}

/// Whether a field has exactly this value, in any case.
pub(super) fn has_value(headers: &HeaderMap, name: HeaderName, value: &[u8]) -> bool {
    headers.get(name).map(HeaderValue::as_bytes).is_some_and(|sent| sent.eq_ignore_ascii_case(value))
}
