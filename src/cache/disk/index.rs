//! Which responses are on disk, and under which numbers.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::HashMap;
use pingora::cache::eviction::lru::Manager;
use pingora::cache::eviction::{CacheEntryId, CacheEntryKey, EvictionManager};
use pingora::cache::key::{CompactCacheKey, HashBinary};

use crate::cache::freshness::system_time;
use crate::cache::stored::{PageStamp, Stored};
use crate::cache::vary::Variance;

/// The folder of this version's files below the configured one. Folders of other versions are deleted.
pub(super) const VERSION: &str = "v1";
/// Files take whole blocks.
const BLOCK: u64 = 4096;

/// What the thread does.
pub(super) enum Order {
    /// Unless something was purged since that many purges.
    Write(Arc<Stored>, u64),
    Delete(u64),
}

/// Which responses are on disk.
pub(super) struct Index {
    pub(super) folder: PathBuf,
    pub(super) entries: Mutex<HashMap<HashBinary, Vec<Entry>>>,
    /// By its number, each file; the number is that of the eviction's list.
    pub(super) eviction: Manager<1>,
    /// How often something was purged; counted under the lock of the entries.
    pub(super) purges: AtomicU64,
}

/// A response on disk.
pub(super) struct Entry {
    pub(super) number: u64,
    pub(super) site: Arc<str>,
    pub(super) variance: Variance,
    pub(super) stamp: Arc<PageStamp>,
}

pub(super) fn item(hash: HashBinary, number: u64) -> CacheEntryKey {
    let key = CompactCacheKey { primary: hash, variance: None, user_tag: Box::default() };
    CacheEntryKey::identified(key, CacheEntryId::new(number))
}

impl Index {
    pub(super) fn entries(&self) -> MutexGuard<'_, HashMap<HashBinary, Vec<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes entries; what is being written is not added.
    pub(super) fn purge<T>(&self, remove: impl FnOnce(&mut HashMap<HashBinary, Vec<Entry>>) -> T) -> T {
        let mut entries = self.entries();
        self.purges.fetch_add(1, Ordering::AcqRel);
        remove(&mut entries)
    }

    pub(super) fn path(&self, number: u64) -> PathBuf {
        let name = format!("{number:016x}");
        self.folder.join(&name[14..]).join(name)
    }

    /// Adds a file in place of the one with the same variance; the numbers of files to delete. It is the file itself if
    /// something was purged since that many purges.
    pub(super) fn add(&self, hash: HashBinary, entry: Entry, bytes: u64, purges: u64) -> Vec<u64> {
        let (item, size) = (item(hash, entry.number), bytes.next_multiple_of(BLOCK));
        let mut entries = self.entries();
        if self.purges.load(Ordering::Acquire) != purges {
            return vec![entry.number];
        }
        let variants = entries.entry(hash).or_default();
        let is_replaced = |old: &Entry| entry.stamp.replaces(&entry.variance, &old.stamp, &old.variance);
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

    pub(super) fn forget(&self, hash: HashBinary, number: u64) {
        let mut entries = self.entries();
        if let Some(variants) = entries.get_mut(&hash) {
            variants.retain(|entry| entry.number != number);
            if variants.is_empty() {
                entries.remove(&hash);
            }
        }
    }

    pub(super) fn drop_file(&self, hash: HashBinary, number: u64) {
        self.forget(hash, number);
        self.eviction.remove((&item(hash, number)).into());
    }
}

/// Whether a folder below the configured one is this program's, of another version.
pub(super) fn is_other_version(folder: &Path) -> bool {
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let number = name.strip_prefix('v').unwrap_or_default();
    name != VERSION && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}
