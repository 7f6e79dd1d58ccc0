//! The routes of a site, found by path.
//!
//! [`Routes::resolve`] answers as if every route were asked in order, and asks only those whose path
//! can match: the work does not grow with the number of routes or the length of the path.

use std::collections::HashMap;

use super::normal::with_slashes_decoded;
use super::{Action, Asked, CacheUse, PathMatch, Residency, Route};
use crate::origin::Region;

/// The routes of a site, in order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Routes {
    all: Vec<Route>,
    /// Those for every path.
    any: Vec<usize>,
    exact: HashMap<String, Vec<usize>>,
    prefixes: HashMap<String, Vec<usize>>,
    /// The lengths that prefixes have, each once.
    lengths: Vec<usize>,
}

/// Why a request has no route.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unrouted {
    /// None of the site's routes is for it.
    NoMatch,
    /// Its path can be read in two ways, whose routes must not leave different regions.
    Ambiguous,
}

/// Where the requests of a route may go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Bound {
    /// Anywhere, or there is no route.
    Free,
    /// To the servers of this side of the border.
    Within(Region),
    /// Nowhere: the edge answers.
    Here,
}

impl Bound {
    fn of(route: Option<&Route>) -> Self {
        match route.map(|route| &route.action) {
            None => Self::Free,
            Some(Action::Forward(forward)) => match forward.residency {
                Residency::Any => Self::Free,
                Residency::Within(region) => Self::Within(region),
            },
            Some(Action::Redirect(_) | Action::Respond(_)) => Self::Here,
        }
    }
}

impl From<Vec<Route>> for Routes {
    fn from(all: Vec<Route>) -> Self {
        let mut routes = Self::default();
        for (place, route) in all.iter().enumerate() {
            match &route.matcher.path {
                PathMatch::Any => routes.any.push(place),
                PathMatch::Exact(path) => routes.exact.entry(path.clone()).or_default().push(place),
                PathMatch::Prefix(path) => {
                    routes.prefixes.entry(path.clone()).or_default().push(place);
                    routes.lengths.push(path.len());
                }
            }
        }
        routes.lengths.sort_unstable();
        routes.lengths.dedup();
        Self { all, ..routes }
    }
}

impl std::ops::Deref for Routes {
    type Target = [Route];

    fn deref(&self) -> &[Route] {
        &self.all
    }
}

impl Routes {
    /// Whether answers of any route are cached.
    pub fn use_cache(&self) -> bool {
        self.all.iter().any(|route| match &route.action {
            Action::Forward(forward) => forward.cache == CacheUse::Used,
            Action::Redirect(_) | Action::Respond(_) => false,
        })
    }

    /// The route of a request, whose path came as `sent` and is normal in `asked`. In whichever way a server reads it, it
    /// does not leave its residency.
    pub fn route(&self, sent: &str, asked: &Asked<'_>) -> Result<&Route, Unrouted> {
        match with_slashes_decoded(sent) {
            None => self.resolve(asked).ok_or(Unrouted::NoMatch),
            Some(decoded) => self.resolve_either(asked, &decoded),
        }
    }

    /// The route of a request for a path that a server may read in two ways: as `asked`, or as `decoded`.
    ///
    /// `asked` decides, unless the other reading is bound more closely, which must not be left by spelling.
    fn resolve_either(&self, asked: &Asked<'_>, decoded: &str) -> Result<&Route, Unrouted> {
        let as_sent = self.resolve(asked);
        let as_decoded = self.resolve(&Asked { path: decoded, ..*asked });
        let route = match (Bound::of(as_sent), Bound::of(as_decoded)) {
            (Bound::Within(one), Bound::Within(other)) if one != other => return Err(Unrouted::Ambiguous),
            (Bound::Here, _) => as_sent,
            (_, Bound::Here) | (Bound::Free, Bound::Within(_)) => as_decoded,
            _ => as_sent,
        };
        route.ok_or(Unrouted::NoMatch)
    }

    /// The first route that is for the request.
    fn resolve(&self, asked: &Asked<'_>) -> Option<&Route> {
        let mut best = usize::MAX;
        let mut consider = |places: &[usize]| {
            let matches =
                |place: &&usize| self.all.get(**place).is_some_and(|route| route.matcher.holds(asked));
            if let Some(place) = places.iter().take_while(|place| **place < best).find(matches) {
                best = *place;
            }
        };
        consider(&self.any);
        consider(self.exact.get(asked.path).map_or(&[], Vec::as_slice));
        let bytes = asked.path.as_bytes();
        for length in &self.lengths {
            if bytes.get(*length).is_some_and(|next| *next != b'/') {
                continue;
            }
            let Some(prefix) = asked.path.get(..*length) else { break };
            consider(self.prefixes.get(prefix).map_or(&[], Vec::as_slice));
        }
        self.all.get(best)
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};
    use proptest::prelude::*;

    use super::*;
    use crate::route::{Action, FixedAnswer, Forward, Matcher, normal};

    fn to(path: &str, action: Action) -> Route {
        let matcher = Matcher { path: PathMatch::prefix(path), ..Matcher::default() };
        Route { matcher, action, response_fields: None }
    }

    fn forward(residency: Residency) -> Action {
        Action::Forward(Forward { residency, ..Forward::default() })
    }

    #[test]
    fn no_reading_of_a_path_leaves_a_residency_or_an_answer_of_the_edge() {
        let (mainland, offshore) = (Residency::Within(Region::Mainland), Residency::Within(Region::Offshore));
        let refused = FixedAnswer { status: http::StatusCode::FORBIDDEN, body: bytes::Bytes::new() };
        let routes = Routes::from(vec![
            to("/admin", Action::Respond(refused)),
            to("/pay", forward(mainland)),
            to("/abroad", forward(offshore)),
            to("/a", forward(Residency::Any)),
        ]);
        let headers = HeaderMap::new();
        for (path, expected) in [
            ("/pay%2Fx", Ok("/pay")),
            ("/%2Fpay", Ok("/pay")),
            ("/a%2F..%2Fpay", Ok("/pay")),
            ("/pay/..%2Fa", Ok("/pay")),
            ("/pay/..%2F..%2Fx", Ok("/pay")),
            ("/pay/..%2Fabroad", Err(Unrouted::Ambiguous)),
            ("/a/..%2Fadmin", Ok("/admin")),
            ("/admin/..%2Fpay", Ok("/admin")),
            ("/pay/..%2Fadmin", Ok("/admin")),
            ("/%2fadmin", Ok("/admin")),
            ("/a/x%2Fy", Ok("/a")),
            ("/a%2Fx", Err(Unrouted::NoMatch)),
        ] {
            let (sent, decoded) = (normal(path), with_slashes_decoded(path).expect("two readings"));
            let client = [192, 0, 2, 1].into();
            let asked = Asked { method: &Method::GET, path: &sent, headers: &headers, region: None, client };
            let found = routes.resolve_either(&asked, &decoded).map(|route| route.matcher.path.clone());
            assert_eq!(found, expected.map(PathMatch::prefix), "{path}");
        }
    }

    fn path() -> impl Strategy<Value = PathMatch> {
        let text = prop::sample::select(vec!["/a", "/a/b", "/ab", "/b", "/a/b/c", "/a/", "/例"]);
        prop_oneof![
            1 => Just(PathMatch::Any),
            4 => text.clone().prop_map(PathMatch::prefix),
            4 => text.prop_map(|text| PathMatch::Exact(text.to_owned())),
        ]
    }

    fn route() -> impl Strategy<Value = Route> {
        let methods = prop::sample::select(vec![vec![], vec![Method::GET], vec![Method::POST]]);
        let clients = prop::sample::select(vec![None, Some(Region::Mainland), Some(Region::Offshore)]);
        (path(), methods, clients).prop_map(|(path, methods, clients)| Route {
            matcher: Matcher { path, methods, clients, ..Matcher::default() },
            action: Action::Forward(Forward::default()),
            response_fields: None,
        })
    }

    proptest! {
        #[test]
        fn the_answer_is_that_of_asking_each_in_order(
            all in prop::collection::vec(route(), 0..12),
            path in prop::sample::select(vec!["/", "/a", "/a/", "/a/b", "/ab", "/a/b/c/d", "/b", "*", "", "/例", "/例子", "/x"]),
            region in prop::sample::select(vec![None, Some(Region::Mainland), Some(Region::Offshore)]),
        ) {
            let headers = HeaderMap::new();
            let client = [192, 0, 2, 1].into();
            let asked = Asked { method: &Method::GET, path, headers: &headers, region, client };
            let expected = all.iter().find(|route| route.matcher.matches(&asked)).cloned();
            prop_assert_eq!(Routes::from(all).resolve(&asked).cloned(), expected);
        }
    }
}
