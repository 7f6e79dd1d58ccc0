//! Finding requests that come back: each carries the id of the edge that sent it on (RFC 8586).
//!
//! The id is random and new with each start. A client that repeats it gets its own request refused, and nothing else.

use http::HeaderMap;
use http::header::HeaderName;

pub(crate) const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");

/// The id of this process among the proxies that a request passes.
#[derive(Debug)]
pub struct LoopId(String);

impl Default for LoopId {
    fn default() -> Self {
        Self(format!("icpgate-{:016x}", fastrand::u64(..)))
    }
}

impl LoopId {
    /// The id as it is sent.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a request with those fields was sent on by this process before.
    pub(crate) fn is_in(&self, headers: &HeaderMap) -> bool {
        let ids =
            headers.get_all(CDN_LOOP).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        // Parameters may follow an id.
        let mut ids = ids.filter_map(|id| id.split(|byte| *byte == b';').next());
        ids.any(|id| id.trim_ascii() == self.0.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn an_id_is_found_among_others() {
        let (own, other) = (LoopId::default(), LoopId::default());
        let mut headers = HeaderMap::new();
        assert!(!own.is_in(&headers));
        for value in [format!("a.example, {}", other.as_str()), format!("b; c=1 , {};d=2", own.as_str())] {
            headers.append(CDN_LOOP, HeaderValue::from_str(&value).expect("a value"));
        }
        assert!(own.is_in(&headers) && other.is_in(&headers));
        assert!(!LoopId("icpgate".to_owned()).is_in(&headers));
    }
}
