//! Which requests a route is for: the conditions, and which of them imply others.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, Method};
use ipnet::IpNet;

use super::normal::normal;
use crate::origin::Region;

/// What a request asks for, as far as routes look at it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path without the query, [`normal`].
    pub path: &'a str,
    /// The fields of the head.
    pub headers: &'a HeaderMap,
    /// Where the client is; `None` while that is not known, or for an address that is not public.
    pub region: Option<Region>,
    /// The client's address, as records show it.
    pub client: IpAddr,
}

/// Which requests a route is for: those that meet every condition.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Matcher {
    /// On the path.
    pub path: PathMatch,
    /// The method is one of these; empty for every method.
    pub methods: Vec<Method>,
    /// Each of these headers is there with just this value.
    pub headers: Vec<(HeaderName, String)>,
    /// The client is there; `None` for wherever it is.
    pub clients: Option<Region>,
    /// The client's address is in one of these; empty for every address.
    pub from: Vec<IpNet>,
}

/// A condition on the path.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum PathMatch {
    /// Every path.
    #[default]
    Any,
    /// This path and every path below it; without a slash at the end, and not empty.
    Prefix(String),
    /// Just this path.
    Exact(String),
}

impl PathMatch {
    /// The condition that `path: TEXT` means: `/pay` and `/pay/` are the same, `/` is every path.
    pub fn prefix(text: &str) -> Self {
        match normal(text).trim_end_matches('/') {
            "" => Self::Any,
            prefix => Self::Prefix(prefix.to_owned()),
        }
    }

    /// The condition that `path_exact: TEXT` means.
    pub fn exact(text: &str) -> Self {
        Self::Exact(normal(text).into_owned())
    }

    /// Whether a path in the one spelling meets the condition.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Prefix(prefix) => path
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            Self::Exact(exact) => path == exact,
        }
    }
}

impl Matcher {
    /// Whether a request is meant.
    pub fn matches(&self, asked: &Asked<'_>) -> bool {
        self.path.matches(asked.path) && self.holds(asked)
    }

    /// Whether every condition but the path's is met.
    pub(super) fn holds(&self, asked: &Asked<'_>) -> bool {
        (self.methods.is_empty() || self.methods.contains(asked.method))
            && (self.clients.is_none() || self.clients == asked.region)
            && (self.from.is_empty() || self.is_from(asked.client))
            && self.headers.iter().all(|(name, value)| {
                asked.headers.get_all(name).iter().any(|sent| sent.as_bytes() == value.as_bytes())
            })
    }

    fn is_from(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        self.from.iter().any(|network| network.contains(&client))
    }

    /// Whether every request that `other` is for is also one that this matcher is for, as far as the
    /// conditions themselves show it. A route behind such a matcher is never reached.
    pub fn covers(&self, other: &Self) -> bool {
        let path = match (&self.path, &other.path) {
            (PathMatch::Any, _) => true,
            (PathMatch::Prefix(_), PathMatch::Prefix(path) | PathMatch::Exact(path)) => {
                self.path.matches(path)
            }
            (one, another) => one == another,
        };
        let methods = self.methods.is_empty()
            || (!other.methods.is_empty()
                && other.methods.iter().all(|method| self.methods.contains(method)));
        let clients = self.clients.is_none() || self.clients == other.clients;
        let from = self.from.is_empty()
            || (!other.from.is_empty()
                && other.from.iter().all(|inner| self.from.iter().any(|outer| outer.contains(inner))));
        path && methods && clients && from && self.headers.iter().all(|header| other.headers.contains(header))
    }

    /// Whether every request that this matcher is for is one that some of `others` are for: each of its
    /// methods may be taken by another of them.
    pub fn is_covered_by<'m>(&self, others: impl Iterator<Item = &'m Self> + Clone) -> bool {
        let taken = |methods| {
            let narrowed = Self { methods, ..self.clone() };
            others.clone().any(|other| other.covers(&narrowed))
        };
        match self.methods.as_slice() {
            [] => taken(Vec::new()),
            methods => methods.iter().all(|method| taken(vec![method.clone()])),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn prefix(text: &str) -> Matcher {
        Matcher { path: PathMatch::prefix(text), ..Matcher::default() }
    }

    #[track_caller]
    fn check(matcher: &Matcher, path: &str, expected: bool) {
        let headers = HeaderMap::new();
        assert_eq!(matcher.matches(&asked(path, &headers)), expected, "{matcher:?} {path}");
    }

    fn asked<'a>(path: &'a str, headers: &'a HeaderMap) -> Asked<'a> {
        Asked { method: &Method::GET, path, headers, region: None, client: [192, 0, 2, 1].into() }
    }

    #[test]
    fn prefixes_end_on_segment_bounds() {
        for written in ["/pay", "/pay/"] {
            check(&prefix(written), "/pay", true);
            check(&prefix(written), "/pay/", true);
            check(&prefix(written), "/pay/x", true);
            check(&prefix(written), "/payments", false);
            check(&prefix(written), "/", false);
        }
        check(&prefix("/"), "/anything", true);
        check(&prefix("/"), "*", true);
        check(&Matcher { path: PathMatch::Exact("/pay".to_owned()), ..Matcher::default() }, "/pay/", false);
    }

    #[test]
    fn every_condition_must_be_met() {
        let matcher = Matcher {
            methods: vec![Method::POST],
            headers: vec![(HeaderName::from_static("x-tier"), "gold".to_owned())],
            ..prefix("/pay")
        };
        let mut headers = HeaderMap::new();
        let post =
            |headers: &HeaderMap| matcher.matches(&Asked { method: &Method::POST, ..asked("/pay", headers) });
        assert!(!post(&headers));
        headers.insert("x-tier", HeaderValue::from_static("gold"));
        assert!(post(&headers));
        assert!(!matcher.matches(&asked("/pay", &headers)));
    }

    #[test]
    fn clients_of_no_region_match_neither() {
        for region in Region::ALL {
            let matcher = Matcher { clients: Some(region), ..Matcher::default() };
            for at in [None, Some(Region::Mainland), Some(Region::Offshore)] {
                let headers = HeaderMap::new();
                let asked = Asked { region: at, ..asked("/", &headers) };
                assert_eq!(matcher.matches(&asked), at == Some(region));
            }
            assert!(prefix("/").covers(&matcher));
            assert!(!matcher.covers(&prefix("/")));
        }
    }

    #[test]
    fn a_route_behind_one_that_covers_it_is_never_reached() {
        assert!(prefix("/").covers(&prefix("/pay")));
        assert!(prefix("/pay").covers(&prefix("/pay/x")));
        assert!(!prefix("/pay").covers(&prefix("/payments")));
        let post = Matcher { methods: vec![Method::POST], ..prefix("/") };
        assert!(!post.covers(&prefix("/pay")));
        let get = Matcher { methods: vec![Method::GET], ..prefix("/pay") };
        let both = Matcher { methods: vec![Method::GET, Method::POST], ..prefix("/pay/x") };
        assert!(!post.covers(&both) && !get.covers(&both));
        assert!(both.is_covered_by([&post, &get].into_iter()), "one takes the one, one the other");
        assert!(
            !both.is_covered_by([&post].into_iter())
                && !prefix("/pay").is_covered_by([&post, &get].into_iter())
        );
        assert!(prefix("/").covers(&post));
    }

    #[test]
    fn networks_are_of_the_client_and_a_wider_one_covers_a_narrower() {
        let from = |networks: &[&str]| Matcher {
            from: networks.iter().map(|text| text.parse().expect("a network")).collect(),
            ..Matcher::default()
        };
        let headers = HeaderMap::new();
        let at = |client: &str| Asked { client: client.parse().expect("an address"), ..asked("/", &headers) };
        let office = from(&["10.0.0.0/8", "2001:db8::/32"]);
        for (client, expected) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("2001:db8::1", true),
            ("192.0.2.1", false),
            ("2001:db9::1", false),
        ] {
            assert_eq!(office.matches(&at(client)), expected, "{client}");
        }
        assert!(office.covers(&from(&["10.1.0.0/16"])) && prefix("/").covers(&office));
        assert!(!office.covers(&from(&["10.1.0.0/16", "192.0.2.0/24"])) && !office.covers(&prefix("/")));
    }
}
