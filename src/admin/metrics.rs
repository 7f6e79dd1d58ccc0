//! The metrics page.

use std::collections::{HashMap, HashSet};

use crate::metrics::{Error, Labels, Registry};
use crate::snapshot::{OriginState, Snapshot};

/// Every series of what `snapshot` names, in Prometheus' text format.
pub(super) fn page(registry: &Registry, snapshot: &Snapshot) -> Result<String, Error> {
    let names = Names::of(snapshot);
    registry.text(|labels| names.contain(labels))
}

/// The names of a snapshot. Series of other names, which an earlier snapshot had, are left out; they go on
/// where they were if the name comes back.
struct Names<'s> {
    listeners: HashSet<&'s str>,
    sites: HashSet<&'s str>,
    origins: HashMap<&'s str, &'s OriginState>,
}

impl<'s> Names<'s> {
    fn of(snapshot: &'s Snapshot) -> Self {
        let config = &snapshot.config;
        Self {
            listeners: config.listeners.iter().map(|listener| &*listener.name).collect(),
            sites: config.sites.iter().map(|site| &*site.name).collect(),
            origins: snapshot.origins.iter().map(|state| (&*state.origin.name, &**state)).collect(),
        }
    }

    fn contain(&self, labels: Labels<'_>) -> bool {
        let is_of = |state: &OriginState| {
            labels.get("server").is_none_or(|server| state.servers.iter().any(|known| known.label == server))
                && labels.get("link").is_none_or(|link| state.links.iter().any(|known| *known.name == *link))
        };
        labels.get("listener").is_none_or(|listener| self.listeners.contains(listener))
            && labels.get("site").is_none_or(|site| self.sites.contains(site))
            && labels.get("origin").is_none_or(|origin| self.origins.get(origin).is_some_and(|it| is_of(it)))
    }
}
