//! The routes of a site, found by path.
//!
//! [`Routes::resolve`] answers as if every route were asked in order, and asks only those whose path
//! can match: the work does not grow with the number of routes or the length of the path.

use std::collections::HashMap;

use super::{Asked, PathMatch, Route};

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
    /// The first route that is for the request.
    pub fn resolve(&self, asked: &Asked<'_>) -> Option<&Route> {
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
    use crate::origin::Region;
    use crate::route::{Action, Forward, Matcher};

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
