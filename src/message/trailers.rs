//! Trailers: the fields behind a body, and which of them are passed on.
//!
//! A field that routes, authenticates, frames or tells who the client is means something in a head alone (RFC 9110,
//! 6.5.1). Some servers merge trailers into the head, so such a field must never pass.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::BadMessage;
use super::hop_by_hop::{Nominated, is_hop_by_hop};

/// The most bytes of trailers, over either protocol.
pub(super) const TRAILER_BYTES: usize = 16 * 1024;
/// The most fields of trailers, over either protocol.
pub(super) const TRAILER_FIELDS: usize = 64;

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

/// Holds trailers of HTTP/2 to the limits that the parser of HTTP/1.1 has.
pub fn check(trailers: &HeaderMap) -> Result<(), BadMessage> {
    let bytes = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
    let fits = trailers.len() <= TRAILER_FIELDS && trailers.iter().map(bytes).sum::<usize>() <= TRAILER_BYTES;
    if fits { Ok(()) } else { Err(BadMessage::TooManyFields) }
}

/// The trailers that may be passed on; `nominated` is what the head's `connection` names.
pub fn passable(mut trailers: HeaderMap, nominated: &Nominated) -> Option<HeaderMap> {
    let nominated = nominated.among(&trailers);
    let forbids = |name: &HeaderName| {
        is_hop_by_hop(name)
            || FORBIDDEN.contains(&name.as_str())
            || name.as_str().starts_with("x-forwarded-")
            || name.as_str().contains('_')
            || nominated.contains(name)
    };
    let forbidden: Vec<HeaderName> = trailers.keys().filter(|name| forbids(name)).cloned().collect();
    for name in forbidden {
        trailers.remove(name);
    }
    (!trailers.is_empty()).then_some(trailers)
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;

    #[test]
    fn only_fields_that_say_nothing_of_the_message_pass() {
        let with = |names: &[&'static str]| -> HeaderMap {
            let field = |name: &&'static str| (HeaderName::from_static(name), HeaderValue::from_static("a"));
            names.iter().map(field).collect()
        };
        let connection = HeaderValue::from_static("x-secret");
        let nominated = Nominated::of(&HeaderMap::from_iter([(header::CONNECTION, connection)]));
        let all =
            ["x-sum", "content-length", "host", "x-forwarded-for", "x_sum", "te", "x-secret", "grpc-status"];
        let passed = passable(with(&all), &nominated).expect("trailers");
        assert_eq!(passed.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-sum", "grpc-status"]);
        assert_eq!(passable(with(&["authorization", "cookie", "x-request-id"]), &nominated), None);
    }

    #[test]
    fn trailers_have_limits() {
        let many = |count: usize, length: usize| {
            let field = |index: usize| {
                let name = HeaderName::try_from(format!("x-{index}")).expect("a name");
                (name, HeaderValue::try_from("v".repeat(length)).expect("a value"))
            };
            check(&(0..count).map(field).collect())
        };
        assert_eq!(many(TRAILER_FIELDS, 1), Ok(()));
        assert_eq!(many(TRAILER_FIELDS + 1, 1), Err(BadMessage::TooManyFields));
        assert_eq!(many(1, TRAILER_BYTES), Err(BadMessage::TooManyFields));
    }

    /// The least processor time of some runs, in nanoseconds.
    fn cost(work: impl Fn()) -> i64 {
        let now = || {
            let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
            time.tv_sec * 1_000_000_000 + time.tv_nsec
        };
        let run = |_| {
            let began = now();
            work();
            now() - began
        };
        (0..20).map(run).min().expect("some runs")
    }

    /// Eight times the input costs about eight times as much; with a loop within a loop it were 64 times.
    #[test]
    fn the_cost_is_linear_in_fields_and_nominated_names() {
        let name = |index: usize| HeaderName::try_from(format!("x-name-{index}")).expect("a name");
        let with = |count: usize| {
            let list = (0..count).map(|index| name(index).to_string()).collect::<Vec<_>>().join(",");
            let list = HeaderValue::try_from(list).expect("a value");
            let nominated = Nominated::of(&HeaderMap::from_iter([(header::CONNECTION, list)]));
            let trailers: HeaderMap =
                (0..count).map(|index| (name(index), HeaderValue::from_static("1"))).collect();
            cost(|| assert_eq!(passable(trailers.clone(), &nominated), None))
        };
        let (few, many) = (with(500), with(4000));
        assert!(many < few * 24, "{few} ns, then {many} ns");
    }
}
