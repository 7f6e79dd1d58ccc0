//! Stored responses on disk, bounded by bytes: they outlive a restart, and memory.
//!
//! One thread scans, writes and deletes; it is never waited for, and what it cannot keep up with is not written. What
//! is read is checked. Nothing is synced: a file that a crash left half-written has a wrong checksum, and is deleted
//! when it is read.

mod file;
mod index;
mod writer;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};

use fs_err as fs;
use http::HeaderMap;
use pingora::cache::eviction::EvictionManager;
use pingora::cache::eviction::lru::Manager;
use pingora::cache::key::HashBinary;

use self::index::{Entry, Index, Order, VERSION, item};
use super::freshness::system_time;
use super::key::Key;
use super::stored::{PageStamp, Stored};
use crate::config::DiskCache;

/// Responses that wait to be written; beyond, they are not.
const QUEUE: usize = 64;
/// The files of the cache.
pub(super) struct Disk {
    index: Arc<Index>,
    orders: SyncSender<Order>,
    largest: usize,
}

impl Disk {
    /// Opens the folder and starts the thread, which looks for the responses of an earlier run first.
    pub(super) fn open(settings: &DiskCache, largest: usize) -> io::Result<Self> {
        let folder = settings.directory.join(VERSION);
        fs::create_dir_all(&folder)?;
        let size = usize::try_from(settings.size).unwrap_or(usize::MAX);
        let index = Arc::new(Index {
            folder,
            entries: Mutex::default(),
            eviction: Manager::with_capacity(size, 1024),
            purges: AtomicU64::new(0),
        });
        let (orders, received) = sync_channel(QUEUE);
        let (for_thread, top) = (Arc::clone(&index), settings.directory.clone());
        let run = move || writer::run(&for_thread, &top, &received);
        std::thread::Builder::new().name("cache-disk".to_owned()).spawn(run)?;
        Ok(Self { index, orders, largest })
    }

    /// Bytes and responses.
    pub(super) fn usage(&self) -> (usize, usize) {
        (self.index.eviction.total_size(), self.index.eviction.total_items())
    }

    /// Whether a response that these fields select may be on disk.
    pub(super) fn find(&self, key: &Key, asked: &HeaderMap, stamp: &PageStamp) -> Option<u64> {
        let entries = self.index.entries();
        let fits = |entry: &&Entry| *entry.stamp == *stamp && entry.variance.selects(asked);
        entries.get(&key.hash())?.iter().rev().find(fits).map(|entry| entry.number)
    }

    /// Reads a response; blocks. One that cannot be read is deleted.
    pub(super) fn read(&self, key: &Key, number: u64) -> Option<Arc<Stored>> {
        let path = self.index.path(number);
        let read = fs::File::open(&path).and_then(|mut file| file::read(&mut file, self.largest));
        match read {
            Ok(stored) if stored.key == *key => {
                self.index.eviction.access(&item(key.hash(), number), 1, system_time(0));
                Some(Arc::new(stored))
            }
            Ok(_) => {
                self.delete(key.hash(), number);
                None
            }
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "a stored response cannot be used and is deleted");
                self.delete(key.hash(), number);
                None
            }
        }
    }

    /// How often something was purged.
    pub(super) fn purges(&self) -> u64 {
        self.index.purges.load(Ordering::Acquire)
    }

    /// Writes a response, unless the thread is behind, or something is purged after that many purges.
    pub(super) fn write(&self, stored: Arc<Stored>, purges: u64) {
        // A response that is not on disk is fetched again after a restart.
        let _ = self.orders.try_send(Order::Write(stored, purges));
    }

    fn delete(&self, hash: HashBinary, number: u64) {
        self.index.drop_file(hash, number);
        self.order_deletion(number);
    }

    fn order_deletion(&self, number: u64) {
        if let Err(TrySendError::Full(_)) = self.orders.try_send(Order::Delete(number)) {
            // It is in no index; the file goes at once, which is rare.
            let _ = fs::remove_file(self.index.path(number));
        }
    }

    pub(super) fn remove(&self, key: &Key) {
        let gone = self.index.purge(|entries| entries.remove(&key.hash()));
        for entry in gone.into_iter().flatten() {
            self.delete(key.hash(), entry.number);
        }
    }

    pub(super) fn remove_site(&self, site: &str) {
        let mut gone = Vec::new();
        self.index.purge(|entries| {
            entries.retain(|hash, variants| {
                let is_of_site = variants.first().is_some_and(|entry| *entry.site == *site);
                if is_of_site {
                    gone.extend(variants.iter().map(|entry| (*hash, entry.number)));
                }
                !is_of_site
            });
        });
        for (hash, number) in gone {
            self.delete(hash, number);
        }
    }
}
