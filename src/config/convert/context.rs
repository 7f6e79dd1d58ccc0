//! What sites and routes refer to, and what they have used or claimed so far.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::values::Names;
use crate::config::Listener;
use crate::config::acme::AcmeSettings;
use crate::config::reader::Value;
use crate::gate::ListenerId;
use crate::hostname::HostPattern;
use crate::origin::{Origin, Region};
use crate::route::CacheUse;

/// What sites refer to, and what earlier sites have claimed.
pub(super) struct Context<'c> {
    pub(super) folder: &'c Path,
    pub(super) listener_names: &'c Names<'c>,
    pub(super) listeners: &'c [Option<Listener>],
    pub(super) origin_names: &'c Names<'c>,
    pub(super) names: HashMap<Arc<str>, ()>,
    pub(super) hosts: HashMap<(ListenerId, HostPattern), Arc<str>>,
    pub(super) used_listeners: Vec<bool>,
    pub(super) used_origins: Vec<bool>,
    /// The regions of the origins; `None` for an origin with a problem.
    pub(super) origin_regions: Vec<Option<Region>>,
    /// Whether `client_regions` is configured.
    pub(super) knows_clients: bool,
    pub(super) asks_for_clients: bool,
    /// Whether the section `cache` is there.
    pub(super) has_cache: bool,
    /// Whether the section `acme` is there.
    pub(super) has_acme: bool,
    /// The section `acme`, if it has no problem.
    pub(super) acme: Option<Arc<AcmeSettings>>,
    /// Whether the site that is read uses the cache.
    pub(super) site_cache: CacheUse,
}

impl<'c> Context<'c> {
    pub(super) fn new(
        folder: &'c Path,
        listener_names: &'c Names<'c>,
        listeners: &'c [Option<Listener>],
        origin_names: &'c Names<'c>,
        origins: &[Option<Origin>],
    ) -> Self {
        Self {
            folder,
            listener_names,
            listeners,
            origin_names,
            names: HashMap::new(),
            hosts: HashMap::new(),
            used_listeners: vec![false; listener_names.count],
            used_origins: vec![false; origin_names.count],
            origin_regions: origins.iter().map(|origin| Some(origin.as_ref()?.region)).collect(),
            knows_clients: false,
            asks_for_clients: false,
            has_cache: false,
            has_acme: false,
            acme: None,
            site_cache: CacheUse::Absent,
        }
    }

    /// Warns of listeners, origins and client regions that no site refers to.
    pub(super) fn warn_of_unused(
        &self,
        listeners: &[Value<'_>],
        origins: &[Value<'_>],
        regions: Option<&Value<'_>>,
    ) {
        let unused = |items: &[Value<'_>], used: &[bool], message: &str| {
            for (item, _) in items.iter().zip(used).filter(|(_, used)| !**used) {
                item.warn(message, None);
            }
        };
        unused(listeners, &self.used_listeners, "no site is on this listener: it is never bound");
        unused(origins, &self.used_origins, "no route leads to this origin");
        if let Some(regions) = regions.filter(|_| !self.asks_for_clients) {
            regions.warn("no route asks where clients are", "match: {clients: mainland}".to_owned());
        }
    }
}
