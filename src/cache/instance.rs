//! The cache itself: what is stored, who fetches, and what fetches may do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::HeaderMap;
use pingora::cache::NoCacheReason;
use pingora::cache::lock::{CacheKeyLock, CacheLock, LockStatus, Locked};
use pingora::cache::predictor::{CacheablePredictor, Predictor};

use super::disk::Disk;
use super::flight::{Flight, Flights, Permit};
use super::key::Key;
use super::stored::{PageStamp, Stored};
use super::table::Table;
use crate::config::{CacheSettings, DiskCache};

/// How long others wait for one fetch before one of them fetches too. A slow page of an origin across the border
/// takes seconds; its own deadlines are longer.
const FETCH_AGE: Duration = Duration::from_secs(30);
/// URLs that are remembered as not to be stored, in each of 16 parts: they are fetched without waiting for each other.
const UNCACHEABLE: usize = 4096;
/// Fetches that may go on without a client and without anybody waiting. Clients that cancel at once must not be able
/// to make the edge fetch without end.
const DETACHED: usize = 64;

/// The edge cache.
pub struct Cache {
    /// The largest body that is stored, in bytes.
    pub(super) max_object: usize,
    pub(super) table: Table,
    pub(super) disk: Option<Disk>,
    lock: Arc<CacheLock>,
    uncacheable: Predictor<16>,
    flights: Arc<Flights>,
    detached: AtomicUsize,
}

/// Who fetches.
pub(crate) enum Turn {
    /// The caller, for all that wait.
    Lead(Permit),
    /// The caller, for itself: the fetch is not shared.
    Alone,
    /// Somebody else; the result is ready once this resolves.
    Wait(Waiting),
}

/// A fetch of somebody else.
pub(crate) struct Waiting(pingora::cache::lock::ReadLock);

impl Waiting {
    /// Waits for the end of the fetch. `false` if there is nothing to share, and everybody fetches alone.
    pub(crate) async fn ended(&self) -> bool {
        self.0.wait().await;
        self.0.lock_status() != LockStatus::GiveUp
    }
}

impl Cache {
    /// An empty cache.
    pub fn new(settings: &CacheSettings) -> Arc<Self> {
        let bytes = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
        let max_object = bytes(settings.max_object.min(settings.memory));
        Arc::new(Self {
            max_object,
            table: Table::new(bytes(settings.memory)),
            disk: settings.disk.as_ref().and_then(|disk| open(disk, max_object)),
            lock: Arc::new(CacheLock::new(FETCH_AGE)),
            uncacheable: Predictor::new(UNCACHEABLE, None),
            flights: Arc::new(Flights::new(bytes(settings.memory))),
            detached: AtomicUsize::new(0),
        })
    }

    /// The stored response that a request with these fields selects.
    pub(crate) fn find(&self, key: &Key, asked: &HeaderMap, stamp: &PageStamp) -> Option<Arc<Stored>> {
        self.table.find(key, asked, stamp)
    }

    /// The file of a response that is not in memory.
    pub(crate) fn on_disk(&self, key: &Key, asked: &HeaderMap, stamp: &PageStamp) -> Option<u64> {
        self.disk.as_ref()?.find(key, asked, stamp)
    }

    /// Brings a response from its file into memory.
    pub(crate) async fn load(self: &Arc<Self>, key: &Key, file: u64) {
        let (cache, key) = (Arc::clone(self), key.clone());
        let load = move || {
            let purges = cache.disk.as_ref().map(Disk::purges);
            if let Some(stored) = cache.disk.as_ref().and_then(|disk| disk.read(&key, file)) {
                cache.table.insert(stored);
                // Purged since it was read: the purge may have come before the insertion.
                if cache.disk.as_ref().map(Disk::purges) != purges {
                    cache.table.remove(&key);
                }
            }
        };
        // A read that panics is a miss.
        let _ = tokio::task::spawn_blocking(load).await;
    }

    /// Whether anything is stored for the URL, though perhaps for other requests.
    pub(crate) fn has_variants(&self, key: &Key) -> bool {
        self.table.has(key)
    }

    /// Whose turn it is to fetch. `stale` if a stored response is to be revalidated.
    pub(crate) fn turn(self: &Arc<Self>, key: &Key, stale: bool) -> Turn {
        if !self.uncacheable.cacheable_prediction(key.lock_key()) {
            return Turn::Alone;
        }
        match self.lock.lock(key.lock_key(), stale) {
            Locked::Write(permit) => Turn::Lead(Permit::new(Arc::clone(&self.lock), key.clone(), permit)),
            Locked::Read(read) => Turn::Wait(Waiting(read)),
        }
    }

    /// Drops what is stored for a URL. What is being fetched is not stored.
    pub(crate) fn purge(&self, key: &Key) {
        self.flights.purge(|flight| flight == key);
        self.remove(key);
    }

    /// Drops what is stored for a URL.
    pub(super) fn remove(&self, key: &Key) {
        self.table.remove(key);
        if let Some(disk) = &self.disk {
            disk.remove(key);
        }
    }

    /// Drops everything of a site.
    pub(crate) fn purge_site(&self, site: &str) {
        self.flights.purge(|flight| **flight.site() == *site);
        self.table.remove_site(site);
        if let Some(disk) = &self.disk {
            disk.remove_site(site);
        }
    }

    /// Bytes and responses on disk; `None` if nothing is stored there.
    pub fn disk_usage(&self) -> Option<(usize, usize)> {
        self.disk.as_ref().map(Disk::usage)
    }

    /// Bytes and responses in memory.
    pub fn usage(&self) -> (usize, usize) {
        self.table.usage()
    }

    /// Registers a fetch whose response may be stored.
    pub(super) fn begin(&self, key: &Key) -> Flight {
        Flight::begin(&self.flights, key)
    }

    /// Remembers whether responses of a URL can be stored.
    pub(super) fn predict(&self, key: &Key, is_storable: bool) {
        if is_storable {
            self.uncacheable.mark_cacheable(key.lock_key());
        } else {
            self.uncacheable.mark_uncacheable(key.lock_key(), NoCacheReason::OriginNotCache);
        }
    }

    /// Lets one more fetch go on without its client, unless too many do.
    pub(super) fn detach(self: &Arc<Self>) -> Option<Detached> {
        if self.detached.fetch_add(1, Ordering::Relaxed) >= DETACHED {
            self.detached.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Detached(Arc::clone(self)))
    }
}

/// The disk; without it, the cache goes on in memory.
fn open(settings: &DiskCache, max_object: usize) -> Option<Disk> {
    let opened = Disk::open(settings, max_object);
    let failed = |error: &std::io::Error| {
        tracing::error!(directory = %settings.directory.display(), %error, "cache.disk cannot be used; the cache goes on in memory");
    };
    opened.inspect_err(failed).ok()
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("usage", &self.usage()).finish_non_exhaustive()
    }
}

/// Counts a fetch that goes on without a client.
pub(super) struct Detached(Arc<Cache>);

impl Drop for Detached {
    fn drop(&mut self) {
        self.0.detached.fetch_sub(1, Ordering::Relaxed);
    }
}
