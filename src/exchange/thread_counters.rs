//! Each thread counts its exchanges for itself, until the metrics are scraped.
//!
//! Threads share no memory while they count. A thread's counts move to the families under the thread's lock,
//! so that they are in exactly one of the two places at any moment: a scrape finds every exchange that ended
//! before it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use foldhash::HashMap;
use thread_local::ThreadLocal;

use super::families::{Families, SiteCounters, SiteTable, Tally};
use crate::access::record::CacheResult;
use crate::gate::SiteId;
use crate::metrics::{Collector, Desc, Error, LocalHistogram, MetricFamily, Registry};
use crate::rewrite::{FooterResult, MapResult, foreign_domains};
use crate::snapshot::Snapshot;

/// Requests by what the cache did, in the order of [`CacheResult::ALL`].
pub type CacheCounts = [u64; CacheResult::ALL.len()];

/// The counters of exchanges. Clones are the same counters.
#[derive(Clone, Debug)]
pub struct ThreadCounters(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    families: Families,
    /// The sites of the snapshot in use.
    table: ArcSwap<SiteTable>,
    threads: ThreadLocal<ThreadCell>,
}

/// The counts of one thread. 128-byte alignment: a processor fetches cache lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct ThreadCell(Mutex<Option<Counts>>);

/// Counts of one generation, of those sites alone that the thread served.
#[derive(Debug)]
struct Counts {
    table: Arc<SiteTable>,
    duration: LocalHistogram,
    sites: HashMap<SiteId, SiteCounters<u64>>,
}

impl ThreadCounters {
    /// Registers the families.
    pub fn register(registry: &Registry) -> Result<Self, Error> {
        let shared =
            Shared { families: Families::new()?, table: ArcSwap::default(), threads: ThreadLocal::default() };
        registry.register(Self(Arc::new(shared)))
    }

    /// Counts for the sites of `snapshot` from now on; every series begins at zero.
    pub fn prepare(&self, snapshot: &Snapshot) {
        self.replace(self.0.families.table(snapshot));
    }

    fn replace(&self, table: SiteTable) {
        // Kept until no thread counts for it, so that the caller frees it and no thread that serves.
        let before = self.0.table.swap(Arc::new(table));
        self.flush();
        drop(before);
    }

    /// Moves the counts of every thread to the families.
    fn flush(&self) {
        for cell in &self.0.threads {
            // The assignment drops the counts, which moves them, while the lock is held.
            *cell.lock() = None;
        }
    }

    /// Counts an exchange of a site of that generation.
    pub(super) fn add(&self, generation: u64, site: SiteId, tally: Tally<'_>) {
        let families = &self.0.families;
        if self.add_to_thread(generation, site, tally).is_none() {
            let mut counts = SiteCounters::default();
            counts.add(tally);
            counts.add_to(&families.site(tally.site));
            families.duration.observe(tally.duration.as_secs_f64());
        }
        if let Some(FooterResult::Skipped(reason)) = tally.footer {
            families.footer_skipped.with_label_values(&[tally.site, reason.label()]).inc();
        }
        if let Some(bytes) = tally.encoded {
            families.add_encoded(bytes);
        }
    }

    /// Counts references to foreign hosts, by domain.
    pub(super) fn add_assets(&self, site: &str, found: &[(&'static str, u64)]) {
        for (domain, count) in found {
            self.0.families.foreign_assets.with_label_values(&[site, *domain]).inc_by(*count);
        }
    }

    /// Counts a page or style sheet of a site with copied assets.
    pub(super) fn add_mapped(&self, site: &str, result: MapResult) {
        self.0.families.mapped.with_label_values(&[site, result.label()]).inc();
    }

    /// The references of a site's pages to foreign hosts since the start, by domain.
    pub fn foreign_assets(&self, site: &str) -> Vec<(&'static str, u64)> {
        let count = |domain| self.0.families.foreign_assets.with_label_values(&[site, domain]).get();
        foreign_domains().map(|domain| (domain, count(domain))).filter(|(_, count)| *count > 0).collect()
    }

    /// What the cache did for each of `sites` since the start: the counts of [`CacheResult::ALL`].
    pub fn cache_results<'s>(&self, sites: impl Iterator<Item = &'s str>) -> Vec<(&'s str, CacheCounts)> {
        self.flush();
        let cache = &self.0.families.cache;
        let of = |site| CacheResult::ALL.map(|result| cache.with_label_values(&[site, result.label()]).get());
        sites.map(|site| (site, of(site))).collect()
    }

    /// `None` if the table is of another generation, or has no such site.
    fn add_to_thread(&self, generation: u64, site: SiteId, tally: Tally<'_>) -> Option<()> {
        let mut cell = self.0.threads.get_or_default().lock();
        if cell.as_ref().is_none_or(|counts| counts.table.generation != generation) {
            // LoadResult under the lock: once `replace` has flushed a thread, it never uses the table before.
            let table = self.0.table.load();
            if table.generation != generation {
                return None;
            }
            let duration = self.0.families.duration.local();
            *cell = Some(Counts { table: Arc::clone(&table), duration, sites: HashMap::default() });
        }
        let counts = cell.as_mut()?;
        counts.table.sites.get(site.0)?;
        counts.sites.entry(site).or_default().add(tally);
        counts.duration.observe(tally.duration.as_secs_f64());
        Some(())
    }
}

impl Collector for ThreadCounters {
    fn desc(&self) -> Vec<&Desc> {
        let families = &self.0.families;
        let counters = families.counters().into_iter().flat_map(Collector::desc);
        counters.chain(families.duration.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.flush();
        let families = &self.0.families;
        let counters = families.counters().into_iter().flat_map(Collector::collect);
        counters.chain(families.duration.collect()).collect()
    }
}

impl ThreadCell {
    fn lock(&self) -> MutexGuard<'_, Option<Counts>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Counts {
    /// Moves the counts to the families. The histogram does so when it is dropped itself.
    fn drop(&mut self) {
        for (site, counts) in &self.sites {
            if let Some(counters) = self.table.sites.get(site.0) {
                counts.add_to(counters);
            }
        }
    }
}

#[cfg(test)]
mod tests;
