//! Fetches under way: who may store, how much memory they hold, and what was purged meanwhile.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::HashMap;
use pingora::cache::lock::{CacheKeyLock, CacheLock, LockStatus, WritePermit};

use super::key::Key;

/// The fetches under way.
pub(super) struct Flights {
    open: Mutex<HashMap<u64, (Key, Arc<AtomicBool>)>>,
    next: AtomicU64,
    /// Bytes that they hold, and the most that they may.
    held: AtomicUsize,
    limit: usize,
}

impl Flights {
    /// Fetches that hold at most this many bytes together.
    pub(super) fn new(limit: usize) -> Self {
        Self { open: Mutex::default(), next: AtomicU64::new(0), held: AtomicUsize::new(0), limit }
    }

    /// What is being fetched and `is_meant` will not be stored.
    pub(super) fn purge(&self, is_meant: impl Fn(&Key) -> bool) {
        for (key, is_purged) in self.open().values() {
            if is_meant(key) {
                is_purged.store(true, Ordering::Release);
            }
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, (Key, Arc<AtomicBool>)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A fetch under way, until it is dropped.
pub(super) struct Flight {
    flights: Arc<Flights>,
    number: u64,
    is_purged: Arc<AtomicBool>,
    held: usize,
}

impl Flight {
    pub(super) fn begin(flights: &Arc<Flights>, key: &Key) -> Self {
        let number = flights.next.fetch_add(1, Ordering::Relaxed);
        let is_purged = Arc::new(AtomicBool::new(false));
        flights.open().insert(number, (key.clone(), Arc::clone(&is_purged)));
        Self { flights: Arc::clone(flights), number, is_purged, held: 0 }
    }

    pub(super) fn is_purged(&self) -> bool {
        self.is_purged.load(Ordering::Acquire)
    }

    /// Reserves memory; `false` if all fetches together hold too much.
    pub(super) fn hold(&mut self, bytes: usize) -> bool {
        self.held += bytes;
        self.flights.held.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) <= self.flights.limit
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.flights.held.fetch_sub(self.held, Ordering::Relaxed);
        self.flights.open().remove(&self.number);
    }
}

/// The right to fetch for all that wait. Dropped without a word, as when its request is cancelled, it passes to one of
/// them: pingora's own permit would panic in debug builds and leave them waiting.
pub(crate) struct Permit {
    lock: Arc<CacheLock>,
    key: Key,
    permit: Option<WritePermit>,
}

impl Permit {
    pub(super) fn new(lock: Arc<CacheLock>, key: Key, permit: WritePermit) -> Self {
        Self { lock, key, permit: Some(permit) }
    }

    /// The response is stored: the others find it.
    pub(crate) fn done(self) {
        self.release(LockStatus::Done);
    }

    /// There is nothing to share: the others fetch for themselves.
    pub(crate) fn give_up(self) {
        self.release(LockStatus::GiveUp);
    }

    fn release(mut self, status: LockStatus) {
        if let Some(permit) = self.permit.take() {
            self.lock.release(self.key.lock_key(), permit, status);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.lock.release(self.key.lock_key(), permit, LockStatus::TransientError);
        }
    }
}
