//! The edge cache as the pages show it: how full it is, and how often each site is answered from it.

use crate::access::record::CacheResult;
use crate::cache::Cache;
use crate::exchange::thread_counters::{CacheCounts, ThreadCounters};
use crate::snapshot::Snapshot;

/// The cache that this process has.
#[derive(Debug)]
pub(super) struct CacheState<'s> {
    pub(super) memory: Space,
    /// `None` without a disk that can be used.
    pub(super) disk: Option<Space>,
    /// Sites with a cached route, in the order of the configuration.
    pub(super) sites: Vec<SiteCache<'s>>,
}

/// What is stored, of what may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Space {
    pub(super) bytes: usize,
    pub(super) responses: usize,
    pub(super) limit: u64,
}

/// Requests of one site since the start, by what the cache did.
#[derive(Clone, Copy, Debug)]
pub(super) struct SiteCache<'s> {
    pub(super) site: &'s str,
    counts: CacheCounts,
}

impl<'s> CacheState<'s> {
    /// `None` if this process has no cache.
    pub(super) fn of(
        cache: Option<&Cache>,
        snapshot: &'s Snapshot,
        exchanges: &ThreadCounters,
    ) -> Option<Self> {
        let (cache, settings) = (cache?, snapshot.config.cache.as_ref()?);
        let space = |(bytes, responses), limit| Space { bytes, responses, limit };
        let cached = snapshot.config.sites.iter().filter(|site| site.routes.use_cache());
        let counted = exchanges.cache_results(cached.map(|site| &*site.name));
        Some(Self {
            memory: space(cache.usage(), settings.memory),
            disk: cache.disk_usage().zip(settings.disk.as_ref()).map(|(usage, disk)| space(usage, disk.size)),
            sites: counted.into_iter().map(|(site, counts)| SiteCache { site, counts }).collect(),
        })
    }
}

impl SiteCache<'_> {
    /// Each result with its count.
    pub(super) fn counts(&self) -> impl Iterator<Item = (CacheResult, u64)> {
        CacheResult::ALL.into_iter().zip(self.counts)
    }

    /// Requests.
    pub(super) fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Answers whose body came from the cache.
    pub(super) fn hits(&self) -> u64 {
        self.counts().filter(|(result, _)| result.is_from_cache()).map(|(_, count)| count).sum()
    }

    /// The share of requests whose body came from the cache, from 0 to 1; `None` before the first.
    pub(super) fn hit_rate(&self) -> Option<f64> {
        (self.total() > 0).then(|| self.hits() as f64 / self.total() as f64)
    }
}
