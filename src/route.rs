//! Routes: which origins serve which requests of a site.
//!
//! The first match wins. Paths are compared on segment bounds and as sent: nothing is decoded.

use http::{HeaderMap, HeaderName, Method};

use crate::origin::OriginId;

/// One rule of a site.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// Which requests it is for.
    pub matcher: Matcher,
    /// In the order of preference; never empty.
    pub origins: Vec<OriginId>,
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
        match text.trim_end_matches('/') {
            "" => Self::Any,
            prefix => Self::Prefix(prefix.to_owned()),
        }
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
    pub fn matches(&self, method: &Method, path: &str, headers: &HeaderMap) -> bool {
        self.path.matches(path)
            && (self.methods.is_empty() || self.methods.contains(method))
            && self.headers.iter().all(|(name, value)| {
                headers.get_all(name).iter().any(|sent| sent.as_bytes() == value.as_bytes())
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
        path && methods && self.headers.iter().all(|header| other.headers.contains(header))
    }
}

/// The first route that is for the request.
pub fn resolve<'r>(
    routes: &'r [Route],
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> Option<&'r Route> {
    routes.iter().find(|route| route.matcher.matches(method, path, headers))
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
        assert_eq!(matcher.matches(&Method::GET, path, &HeaderMap::new()), expected, "{matcher:?} {path}");
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
        assert!(!matcher.matches(&Method::POST, "/pay", &headers));
        headers.insert("x-tier", HeaderValue::from_static("gold"));
        assert!(matcher.matches(&Method::POST, "/pay", &headers));
        assert!(!matcher.matches(&Method::GET, "/pay", &headers));
    }

    #[test]
    fn a_route_behind_one_that_covers_it_is_never_reached() {
        assert!(prefix("/").covers(&prefix("/pay")));
        assert!(prefix("/pay").covers(&prefix("/pay/x")));
        assert!(!prefix("/pay").covers(&prefix("/payments")));
        let post = Matcher { methods: vec![Method::POST], ..prefix("/") };
        assert!(!post.covers(&prefix("/pay")));
        assert!(prefix("/").covers(&post));
    }
}
