//! Fields that concern one hop alone (RFC 9110, 7.6.1): a proxy passes none of them on.

use http::header::{self, HeaderMap, HeaderName};

/// Whether a field concerns one hop alone whatever `connection` says.
pub fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// The fields that `connection` declares hop-by-hop for this message.
pub fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .filter(|name| *name != "close" && *name != "keep-alive" && *name != "upgrade")
        .collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn nominated_fields_concern_one_hop() {
        let mut headers = HeaderMap::new();
        for value in ["close, X-Secret", "upgrade"] {
            headers.append(header::CONNECTION, HeaderValue::from_static(value));
        }
        assert_eq!(nominated(&headers), ["x-secret"]);
    }
}
