//! What differs between two snapshots: names that were added, removed and replaced.

use std::collections::HashMap;
use std::sync::Arc;

use super::Snapshot;
use crate::config::Config;
use crate::gate::SiteId;

/// Names of one kind of change that are kept; beyond, they are counted.
const NAMED: usize = 10;

/// What differs between two snapshots.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// The parts that differ.
    pub parts: Vec<PartChanges>,
}

/// A part of a snapshot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part {
    /// The allowlist, by domain.
    Filings,
    /// Listeners by name.
    Listeners,
    /// Sites by name.
    Sites,
    /// Usable certificates, by the site's name.
    Certificates,
    /// Origins by name.
    Origins,
    /// Sinks by name.
    Sinks,
    /// Top-level keys of the configuration.
    Settings,
}

impl Part {
    /// The word for it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Filings => "filings",
            Self::Listeners => "listeners",
            Self::Sites => "sites",
            Self::Certificates => "certificates",
            Self::Origins => "origins",
            Self::Sinks => "sinks",
            Self::Settings => "settings",
        }
    }
}

/// What differs in one part.
#[derive(Clone, Debug)]
pub struct PartChanges {
    /// The part.
    pub part: Part,
    /// New names.
    pub added: Names,
    /// Names that are gone.
    pub removed: Names,
    /// Names with another value.
    pub replaced: Names,
}

/// Some names.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Names {
    /// The first of them.
    pub first: Vec<String>,
    /// How many there are.
    pub count: usize,
}

impl Names {
    fn add(&mut self, name: &str) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(name.to_owned());
        }
    }
}

impl Changes {
    /// What `after` has that `before` had not, and the reverse. Sites name their listeners and origins by place: those of a
    /// configuration whose places have moved count as replaced.
    pub fn between(before: &Snapshot, after: &Snapshot) -> Self {
        let filings = |snapshot: &'_ Snapshot| -> Vec<_> {
            let all = &snapshot.gate.filings;
            let of_domain = all.iter().map(|filing| (filing, all.of_domain(filing.domain.as_str())));
            // Each domain once, in the order of the file.
            let once = of_domain
                .filter(|(filing, of_domain)| of_domain.first().is_some_and(|it| Arc::ptr_eq(it, filing)));
            once.map(|(filing, of_domain)| (filing.domain.shared(), of_domain.to_vec())).collect()
        };
        let certificates = |snapshot: &Snapshot| -> Vec<_> {
            let sites = snapshot.config.sites.iter().zip(&snapshot.certificates);
            let usable = sites.filter_map(|(site, certificate)| Some((site, certificate.as_ref()?)));
            usable.map(|(site, certificate)| (Arc::clone(&site.name), Arc::as_ptr(certificate))).collect()
        };
        let (old, new) = (&*before.config, &*after.config);
        let parts = [
            compare(Part::Filings, filings(before), filings(after)),
            compare(Part::Listeners, listeners(old), listeners(new)),
            compare(Part::Sites, sites(before), sites(after)),
            compare(Part::Certificates, certificates(before), certificates(after)),
            compare(Part::Origins, origins(old), origins(new)),
            compare(Part::Sinks, sinks(old), sinks(new)),
            settings(old, new),
        ];
        let differ = |part: &PartChanges| part.added.count + part.removed.count + part.replaced.count > 0;
        Self { parts: parts.into_iter().filter(differ).collect() }
    }
}

type Named<T> = Vec<(Arc<str>, T)>;

fn listeners(config: &Config) -> Named<&crate::config::Listener> {
    config.listeners.iter().map(|listener| (Arc::clone(&listener.name), &**listener)).collect()
}

/// With the digests of their copied assets.
fn sites(snapshot: &Snapshot) -> Named<(&crate::config::Site, Option<u64>)> {
    let digest = |place| snapshot.asset_map(SiteId(place)).map(|map| map.digest());
    let sites = snapshot.config.sites.iter().enumerate();
    sites.map(|(place, site)| (Arc::clone(&site.name), (site, digest(place)))).collect()
}

fn origins(config: &Config) -> Named<&crate::origin::Origin> {
    config.origins.iter().map(|origin| (Arc::clone(&origin.name), origin)).collect()
}

fn sinks(config: &Config) -> Named<&crate::config::sinks::Sink> {
    config.sinks.iter().map(|sink| (Arc::clone(&sink.name), &**sink)).collect()
}

fn settings(old: &Config, new: &Config) -> PartChanges {
    let mut replaced = Names::default();
    for (key, differs) in [
        ("access_log", old.access_log != new.access_log || old.free_shipped != new.free_shipped),
        ("client_regions", old.client_regions != new.client_regions),
        ("limits", old.limits != new.limits),
        ("log", old.log != new.log),
        ("name_servers", old.name_servers != new.name_servers),
    ] {
        if differs {
            replaced.add(key);
        }
    }
    PartChanges { part: Part::Settings, added: Names::default(), removed: Names::default(), replaced }
}

fn compare<T: PartialEq>(part: Part, before: Named<T>, after: Named<T>) -> PartChanges {
    let (mut added, mut removed, mut replaced) = (Names::default(), Names::default(), Names::default());
    let known: HashMap<&str, &T> = before.iter().map(|(name, value)| (&**name, value)).collect();
    let kept: HashMap<&str, &T> = after.iter().map(|(name, value)| (&**name, value)).collect();
    for (name, value) in &after {
        match known.get(&**name) {
            None => added.add(name),
            Some(before) if *before != value => replaced.add(name),
            Some(_) => {}
        }
    }
    before.iter().filter(|(name, _)| !kept.contains_key(&**name)).for_each(|(name, _)| removed.add(name));
    PartChanges { part, added, removed, replaced }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_added_removed_and_replaced_and_counted_beyond_the_first() {
        let named = |values: &[(&str, u32)]| -> Named<u32> {
            values.iter().map(|(name, value)| (Arc::from(*name), *value)).collect()
        };
        let before = named(&[("a", 1), ("b", 1), ("c", 1)]);
        let mut after = named(&[("a", 1), ("b", 2), ("d", 1)]);
        let part = compare(Part::Sites, before.clone(), after.clone());
        let only = |name: &str| Names { first: vec![name.to_owned()], count: 1 };
        assert_eq!((part.added, part.removed, part.replaced), (only("d"), only("c"), only("b")));
        after.extend((0..100).map(|number| (Arc::from(format!("e{number}")), 1)));
        let part = compare(Part::Sites, before, after);
        assert_eq!((part.added.first.len(), part.added.count), (NAMED, 101));
    }
}
