//! Counters and state of a store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, AtomicUsize, Ordering};

use jiff::Timestamp;
use tokio::sync::watch;

use crate::retention::write::{Progress, StoreFull};

/// Slots of a store: exchanges in progress and records not yet written, together.
pub const SLOTS: usize = 65_536;

/// 256 MiB: no slot is given while full lanes hold this much memory.
const QUEUE_BYTES: usize = 256 * 1024 * 1024;

/// An hour in milliseconds.
const HOUR: i64 = 60 * 60 * 1000;

/// Counters and state of a store, for metrics and the status page.
#[derive(Debug, Default)]
pub struct StoreStats {
    pub(super) records: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) turned_away: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) truncated: AtomicU64,
    pub(super) free_bytes: AtomicU64,
    /// When the oldest segment was opened, in milliseconds; 0 without one.
    pub(super) oldest: AtomicI64,
    pub(super) bytes: AtomicU64,
    /// Published by the writer; shippers wait for it.
    pub(super) progress: watch::Sender<Progress>,
    pub(super) clock_synchronized: AtomicBool,
    pub(super) in_use: AtomicUsize,
    pub(super) full_bytes: Arc<AtomicUsize>,
    /// 0: none; otherwise one more than an index in [`StoreFull::ALL`].
    trouble: AtomicU8,
}

impl StoreStats {
    /// Records written since the start.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Exchanges and refusals since the start whose record was lost.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Requests since the start that got 503 because no record could be kept.
    pub fn turned_away(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }

    /// Failed writes and syncs since the start.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Records since the start whose texts were shortened, because their client was beyond its budget.
    pub fn truncated(&self) -> u64 {
        self.truncated.load(Ordering::Relaxed)
    }

    /// Bytes that the store may still take, with `reserve` left free.
    pub fn room(&self, reserve: u64) -> u64 {
        self.free_bytes.load(Ordering::Relaxed).saturating_sub(reserve)
    }

    /// How many days of records the disk holds at the average rate of those in the store, with `reserve` left
    /// free; `None` before the store spans an hour.
    pub fn days_held(&self, reserve: u64, now: Timestamp) -> Option<f64> {
        let oldest = self.oldest.load(Ordering::Relaxed);
        let span = now.as_millisecond().saturating_sub(oldest);
        let bytes = self.bytes();
        if oldest == 0 || span < HOUR || bytes == 0 {
            return None;
        }
        let room = bytes + self.room(reserve);
        Some(room as f64 / bytes as f64 * span as f64 / (24 * HOUR) as f64)
    }

    /// When the oldest record in the store was written, to its segment.
    pub fn oldest(&self) -> Option<Timestamp> {
        let oldest = self.oldest.load(Ordering::Relaxed);
        Timestamp::from_millisecond(oldest).ok().filter(|_| oldest != 0)
    }

    /// The durable watermark: every record with a lower `seq` survives a power failure.
    pub fn synced_before(&self) -> u64 {
        self.progress.borrow().synced_before
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether the wall clock follows a time source.
    pub fn clock_synchronized(&self) -> bool {
        self.clock_synchronized.load(Ordering::Relaxed)
    }

    /// Slots taken: exchanges in progress and records not yet written.
    pub fn slots_in_use(&self) -> usize {
        self.in_use.load(Ordering::Relaxed)
    }

    /// Why no record can be kept now; `None` if records can be kept.
    pub fn full(&self) -> Option<StoreFull> {
        let code = usize::from(self.trouble.load(Ordering::Relaxed));
        if let Some(trouble) = code.checked_sub(1).and_then(|index| StoreFull::ALL.get(index)) {
            return Some(*trouble);
        }
        let bytes = self.full_bytes.load(Ordering::Relaxed);
        (self.slots_in_use() >= SLOTS || bytes >= QUEUE_BYTES).then_some(StoreFull::Queue)
    }

    /// Publishes a fault of the disk or the writer; a full queue shows by itself.
    pub(super) fn set_trouble(&self, trouble: Option<StoreFull>) {
        let trouble = trouble.filter(|trouble| *trouble != StoreFull::Queue);
        let code = trouble.map_or(0, |trouble| trouble as u8 + 1);
        self.trouble.store(code, Ordering::Relaxed);
    }

    /// Publishes how much is safe on the disk, and wakes waiting shippers if that changed.
    pub(super) fn publish_progress(&self, progress: Progress) {
        self.progress.send_if_modified(|known| std::mem::replace(known, progress) != progress);
    }

    pub(super) fn claim(&self) -> Result<(), StoreFull> {
        if let Some(full) = self.full() {
            return Err(full);
        }
        // Sequentially consistent with `Shared::idle`: either the writer sees the slot, or the worker sees an
        // idle writer.
        if self.in_use.fetch_add(1, Ordering::SeqCst) >= SLOTS {
            self.release(1);
            return Err(StoreFull::Queue);
        }
        Ok(())
    }

    pub(super) fn release(&self, slots: usize) {
        self.in_use.fetch_sub(slots, Ordering::Relaxed);
    }

    pub(super) fn lose(&self, count: u64) {
        self.lost.fetch_add(count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trouble_is_told_as_it_was_published() {
        let stats = StoreStats::default();
        for trouble in StoreFull::ALL {
            stats.set_trouble(Some(trouble));
            let expected = Some(trouble).filter(|trouble| *trouble != StoreFull::Queue);
            assert_eq!(stats.full(), expected);
        }
        stats.set_trouble(None);
        assert_eq!(stats.full(), None);
    }

    #[test]
    fn the_disk_lasts_as_long_as_the_store_s_own_growth_lets_it() {
        const DAY: i64 = 24 * HOUR;
        let stats = StoreStats::default();
        let now = Timestamp::from_millisecond(1_772_000_000_000).expect("a time");
        let held = |reserve| stats.days_held(reserve, now);
        assert_eq!(held(0), None, "nothing is known yet");
        // A gigabyte in ten days, nine free, one of them the reserve.
        stats.oldest.store(now.as_millisecond() - 10 * DAY, Ordering::Relaxed);
        stats.bytes.store(1_000_000_000, Ordering::Relaxed);
        stats.free_bytes.store(9_000_000_000, Ordering::Relaxed);
        assert_eq!(held(1_000_000_000), Some(90.0));
        assert_eq!(held(u64::MAX), Some(10.0));
        stats.oldest.store(now.as_millisecond() - HOUR / 2, Ordering::Relaxed);
        assert_eq!(held(0), None, "half an hour tells nothing");
    }
}
