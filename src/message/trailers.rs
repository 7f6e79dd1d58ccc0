//! Trailers: the fields behind a body, and which of them are passed on.
//!
//! A field that routes, authenticates, frames or tells who the client is means something in a head alone (RFC 9110,
//! 6.5.1). Some servers merge trailers into the head, so such a field must never pass.

use http::header::{HeaderMap, HeaderName};

use super::hop_by_hop::is_hop_by_hop;

/// Fields that never pass, besides hop-by-hop ones, `x-forwarded-*` and names with an underscore.
const FORBIDDEN: [&str; 16] = [
    "authorization",
    "cache-control",
    "cdn-loop",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "set-cookie",
    "via",
    "www-authenticate",
    "x-real-ip",
    "x-request-id",
];

/// The trailers that may be passed on; `nominated` are the names in the head's `connection`.
pub fn passable(trailers: HeaderMap, nominated: &[HeaderName]) -> Option<HeaderMap> {
    let forbids = |name: &HeaderName| {
        is_hop_by_hop(name)
            || FORBIDDEN.contains(&name.as_str())
            || name.as_str().starts_with("x-forwarded-")
            || name.as_str().contains('_')
            || nominated.contains(name)
    };
    let mut trailers = trailers;
    while let Some(name) = trailers.keys().find(|name| forbids(name)).cloned() {
        trailers.remove(name);
    }
    (!trailers.is_empty()).then_some(trailers)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_fields_that_say_nothing_of_the_message_pass() {
        let with = |names: &[&'static str]| -> HeaderMap {
            let field = |name: &&'static str| (HeaderName::from_static(name), HeaderValue::from_static("a"));
            names.iter().map(field).collect()
        };
        let nominated = [HeaderName::from_static("x-secret")];
        let all =
            ["x-sum", "content-length", "host", "x-forwarded-for", "x_sum", "te", "x-secret", "grpc-status"];
        let passed = passable(with(&all), &nominated).expect("trailers");
        assert_eq!(passed.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-sum", "grpc-status"]);
        assert_eq!(passable(with(&["authorization", "cookie", "x-request-id"]), &nominated), None);
    }
}
