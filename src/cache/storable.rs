//! Which responses are stored (RFC 9111, 3).

use http::header::{self, CONTENT_RANGE, SET_COOKIE, VARY};
use http::{HeaderMap, StatusCode};

use super::control::Control;
use super::freshness::{Freshness, Times, date, explicit, is_heuristic};

/// The freshness of a response to a GET without `authorization`, as the origin sent it; `None` if it is not stored.
pub(super) fn freshness(status: StatusCode, headers: &HeaderMap, times: Times) -> Option<Freshness> {
    let control = Control::of(headers);
    let is_final = !status.is_informational();
    let is_whole = !matches!(status, StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED)
        && !headers.contains_key(CONTENT_RANGE);
    let is_forbidden = control.no_store || control.private || headers.contains_key(SET_COOKIE);
    let varies_by_everything = headers
        .get_all(VARY)
        .iter()
        .any(|value| value.as_bytes().split(|b| *b == b',').any(|n| n.trim_ascii() == b"*"));
    if !is_final || !is_whole || is_forbidden || varies_by_everything {
        return None;
    }
    let stated = date(headers, &header::DATE).unwrap_or(times.received);
    let is_explicit = explicit(headers, &control, stated).is_some();
    if !is_explicit && !control.public && !is_heuristic(status) {
        return None;
    }
    let has_validator = headers.contains_key(header::ETAG) || headers.contains_key(header::LAST_MODIFIED);
    let unknown =
        Freshness { lifetime: 0, initial_age: 0, received: times.received, while_revalidate: 0, if_error: 0 };
    // What nobody says anything about is stored only to be revalidated.
    let freshness = Freshness::of(status, headers, times).or(Some(unknown))?;
    let is_useful = !freshness.is_never_fresh()
        || freshness.while_revalidate > 0
        || freshness.if_error > 0
        || (has_validator && status == StatusCode::OK);
    is_useful.then_some(freshness)
}
