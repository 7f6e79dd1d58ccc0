//! Fields that concern one hop alone (RFC 9110, 7.6.1): a proxy passes none of them on.

use std::collections::HashSet;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

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

/// The lists of a message's `connection` that declare other fields hop-by-hop.
#[derive(Clone, Debug, Default)]
pub struct Nominated(Vec<HeaderValue>);

impl Nominated {
    /// The lists of `headers`. None for what almost every message has: `close`, `keep-alive` or nothing.
    pub fn of(headers: &HeaderMap) -> Self {
        let lists = headers.get_all(header::CONNECTION).iter();
        Self(lists.filter(|list| names(list).next().is_some()).cloned().collect())
    }

    /// The names of `fields` that are nominated. The cost is linear in the lists, whatever their length.
    pub fn among(&self, fields: &HeaderMap) -> HashSet<HeaderName> {
        let present = self.0.iter().flat_map(names).filter(|name| fields.contains_key(*name));
        present.filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok()).collect()
    }
}

/// The names in a list, without the options of the connection itself.
fn names(list: &HeaderValue) -> impl Iterator<Item = &str> {
    let is_option =
        |name: &str| ["", "close", "keep-alive", "upgrade"].iter().any(|o| name.eq_ignore_ascii_case(o));
    list.to_str().unwrap_or_default().split(',').map(str::trim).filter(move |name| !is_option(name))
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
        let nominated = Nominated::of(&headers);
        assert_eq!(nominated.among(&headers), HashSet::new());
        for name in ["x-secret", "x-other", "upgrade"] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        assert_eq!(nominated.among(&headers), HashSet::from([HeaderName::from_static("x-secret")]));
    }
}
