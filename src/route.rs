//! Routes: which origins serve which requests of a site.
//!
//! The first match wins. Paths are compared on segment bounds, both sides in one spelling.

mod normal;
pub mod region;
mod table;

use http::{HeaderMap, HeaderName, Method};

use crate::origin::{OriginId, Region};

pub use normal::normal;
pub use region::ClientRegions;
pub use table::Routes;

/// One rule of a site.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// Which requests it is for.
    pub matcher: Matcher,
    /// In the order of preference; never empty.
    pub origins: Vec<OriginId>,
    /// Where its requests may go.
    pub residency: Residency,
}

/// Where the requests of a route may go, whatever is up or down.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Residency {
    /// To both sides of the border.
    #[default]
    Any,
    /// To this side alone.
    Within(Region),
}

impl Residency {
    /// Whether a server of `region` may be asked.
    pub fn allows(self, region: Region) -> bool {
        match self {
            Self::Any => true,
            Self::Within(only) => only == region,
        }
    }
}

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

    fn matches(&self, path: &str) -> bool {
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
    fn holds(&self, asked: &Asked<'_>) -> bool {
        (self.methods.is_empty() || self.methods.contains(asked.method))
            && (self.clients.is_none() || self.clients == asked.region)
            && self.headers.iter().all(|(name, value)| {
                asked.headers.get_all(name).iter().any(|sent| sent.as_bytes() == value.as_bytes())
            })
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
        path && methods && clients && self.headers.iter().all(|header| other.headers.contains(header))
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
        Asked { method: &Method::GET, path, headers, region: None }
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
}
