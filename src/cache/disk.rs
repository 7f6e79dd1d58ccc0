//! Stored responses on disk, bounded by bytes: they outlive a restart, and memory.
//!
//! One thread scans, writes and deletes; it is never waited for, and what it cannot keep up with is not written. What
//! is read is checked. Nothing is synced: a file that a crash left half-written has a wrong checksum, and is deleted
//! when it is read.

mod file;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::HashMap;
use fs_err as fs;
use http::HeaderMap;
use pingora::cache::eviction::lru::Manager;
use pingora::cache::eviction::{CacheEntryId, CacheEntryKey, EvictionManager};
use pingora::cache::key::{CompactCacheKey, HashBinary};

use super::freshness::system_time;
use super::key::Key;
use super::stored::{PageStamp, Stored};
use super::vary::Variance;
use crate::config::DiskCache;

/// The folder of this version's files below the configured one. Folders of other versions are deleted.
const VERSION: &str = "v1";
/// Responses that wait to be written; beyond, they are not.
const QUEUE: usize = 64;
/// Files take whole blocks.
const BLOCK: u64 = 4096;

/// The files of the cache.
pub(super) struct Disk {
    index: Arc<Index>,
    orders: SyncSender<Order>,
    largest: usize,
}

/// What the thread does.
enum Order {
    Write(Arc<Stored>),
    Delete(u64),
}

/// Which responses are on disk.
struct Index {
    folder: PathBuf,
    entries: Mutex<HashMap<HashBinary, Vec<Entry>>>,
    /// By its number, each file; the number is that of the eviction's list.
    eviction: Manager<1>,
}

/// A response on disk.
struct Entry {
    number: u64,
    site: Arc<str>,
    variance: Variance,
    stamp: Arc<PageStamp>,
}

fn item(hash: HashBinary, number: u64) -> CacheEntryKey {
    let key = CompactCacheKey { primary: hash, variance: None, user_tag: Box::default() };
    CacheEntryKey::identified(key, CacheEntryId::new(number))
}

impl Index {
    fn entries(&self) -> MutexGuard<'_, HashMap<HashBinary, Vec<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, number: u64) -> PathBuf {
        let name = format!("{number:016x}");
        self.folder.join(&name[14..]).join(name)
    }

    /// Adds a file in place of the one with the same variance; the numbers of files to delete.
    fn add(&self, hash: HashBinary, entry: Entry, bytes: u64) -> Vec<u64> {
        let (item, size) = (item(hash, entry.number), bytes.next_multiple_of(BLOCK));
        let mut entries = self.entries();
        let variants = entries.entry(hash).or_default();
        let is_replaced = |old: &Entry| old.variance == entry.variance || old.stamp != entry.stamp;
        let mut gone: Vec<_> = variants
            .extract_if(.., |old| old.number != entry.number && is_replaced(old))
            .map(|old| old.number)
            .collect();
        variants.push(entry);
        drop(entries);
        for number in &gone {
            self.eviction.remove((&self::item(hash, *number)).into());
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        for evicted in self.eviction.admit(item, size, system_time(0)) {
            let number = evicted.entry_id().map_or(0, CacheEntryId::get);
            self.forget(evicted.key().primary, number);
            gone.push(number);
        }
        gone
    }

    fn forget(&self, hash: HashBinary, number: u64) {
        let mut entries = self.entries();
        if let Some(variants) = entries.get_mut(&hash) {
            variants.retain(|entry| entry.number != number);
            if variants.is_empty() {
                entries.remove(&hash);
            }
        }
    }

    fn drop_file(&self, hash: HashBinary, number: u64) {
        self.forget(hash, number);
        self.eviction.remove((&item(hash, number)).into());
    }
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
        });
        let (orders, received) = sync_channel(QUEUE);
        let (for_thread, top) = (Arc::clone(&index), settings.directory.clone());
        let run = move || writer::run(&for_thread, &top, &received);
        std::thread::Builder::new().name("cache-disk".to_owned()).spawn(run)?;
        Ok(Self { index, orders, largest })
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

    /// Writes a response, unless the thread is behind.
    pub(super) fn write(&self, stored: &Arc<Stored>) {
        // A response that is not on disk is fetched again after a restart.
        let _ = self.orders.try_send(Order::Write(Arc::clone(stored)));
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
        let gone = self.index.entries().remove(&key.hash());
        for entry in gone.into_iter().flatten() {
            self.delete(key.hash(), entry.number);
        }
    }

    pub(super) fn remove_site(&self, site: &str) {
        let mut gone = Vec::new();
        self.index.entries().retain(|hash, variants| {
            let is_of_site = variants.first().is_some_and(|entry| *entry.site == *site);
            if is_of_site {
                gone.extend(variants.iter().map(|entry| (*hash, entry.number)));
            }
            !is_of_site
        });
        for (hash, number) in gone {
            self.delete(hash, number);
        }
    }

    /// Bytes and responses.
    pub(super) fn usage(&self) -> (usize, usize) {
        (self.index.eviction.total_size(), self.index.eviction.total_items())
    }
}

/// Whether a folder below the configured one is this program's, of another version.
fn is_other_version(folder: &Path) -> bool {
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let number = name.strip_prefix('v').unwrap_or_default();
    name != VERSION && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}
