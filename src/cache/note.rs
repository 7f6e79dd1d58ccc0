//! `cache-status`: what the cache did, for whoever looks at a response (RFC 9211).

use http::{HeaderMap, HeaderName, HeaderValue};

/// The field's name.
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Why a request was forwarded to an origin (RFC 9211, 2.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Forwarded {
    /// The cache is off for the route, or the request has credentials.
    Bypass,
    /// The method is not one that is stored.
    Method,
    /// Nothing is stored for the URL.
    UriMiss,
    /// What is stored is for other requests.
    VaryMiss,
    /// What is stored is stale.
    Stale,
}

impl Forwarded {
    fn word(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Stale => "stale",
        }
    }
}

/// What the cache did for one response.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Note {
    /// It is a stored one, fresh.
    Hit,
    /// It is a stored one that has been stale for so many seconds.
    StaleHit(u64),
    /// It is the origin's.
    Forwarded(Forwarded),
    /// It is the origin's, and is stored.
    Stored(Forwarded),
    /// It is a stored one; the origin, asked since it was stale, answered with this status, if it answered.
    Asked(Option<u16>),
}

impl Note {
    /// Adds the field, behind those of caches before this one.
    pub(crate) fn write(self, headers: &mut HeaderMap) {
        let text = match self {
            Self::Hit => {
                headers.append(CACHE_STATUS, HeaderValue::from_static("icpgate; hit"));
                return;
            }
            Self::StaleHit(seconds) => format!("icpgate; hit; ttl=-{seconds}"),
            Self::Forwarded(why) => format!("icpgate; fwd={}", why.word()),
            Self::Stored(why) => format!("icpgate; fwd={}; stored", why.word()),
            Self::Asked(Some(status)) => format!("icpgate; fwd=stale; fwd-status={status}"),
            Self::Asked(None) => "icpgate; fwd=stale".to_owned(),
        };
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.append(CACHE_STATUS, value);
        }
    }
}
