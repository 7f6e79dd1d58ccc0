//! The recorder: how workers hand records over, without ever waiting.
//!
//! Who serves a request holds a [`Slot`] first, so that the record of an exchange that was accepted
//! always has its place on a lane. The writer is woken by the first slot that is taken, and looks by
//! itself as long as there is one.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;

use crate::access::AccessRecord;
use crate::access::texts::Sent;
use crate::config::{AccessLog, WhenFull};
use crate::retention::lanes::Lanes;
use crate::retention::refusals::Refusals;
use crate::retention::unrecorded::is_unrecorded;

/// Exchanges under way and records not yet written, together.
pub const SLOTS: usize = 65_536;

/// Bytes of lanes that are full of records, at which no slot is given.
const QUEUE_BYTES: usize = 256 * 1024 * 1024;

/// In milliseconds.
const HOUR: i64 = 60 * 60 * 1000;

/// Why no record can be kept now.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StoreFull {
    /// Every slot is taken, or what waits to be written is too large.
    #[error("too many access records are under way or not yet written")]
    Queue,
    /// Less disk is free than `access_log.reserve`.
    #[error("the disk of the access records has less free than access_log.reserve")]
    Reserve,
    /// The last write found no space.
    #[error("the disk of the access records is full")]
    NoSpace,
    /// The file system became read-only.
    #[error("the file system of the access records is read-only")]
    ReadOnly,
    /// The last write failed otherwise.
    #[error("the access records cannot be written")]
    Failing,
    /// The writer has ended.
    #[error("the store of access records is closed")]
    Closed,
}

impl StoreFull {
    /// Every one of them.
    pub const ALL: [Self; 6] =
        [Self::Queue, Self::Reserve, Self::NoSpace, Self::ReadOnly, Self::Failing, Self::Closed];

    /// The word for it in metrics and on the status page.
    pub fn label(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Reserve => "reserve",
            Self::NoSpace => "no_space",
            Self::ReadOnly => "read_only",
            Self::Failing => "failing",
            Self::Closed => "closed",
        }
    }
}

/// What the store has done and how it is, for metrics and the status page.
#[derive(Debug, Default)]
pub struct StoreStats {
    pub(super) records: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) turned_away: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) free_bytes: AtomicU64,
    /// When the oldest segment was opened, in milliseconds; zero without one.
    pub(super) oldest: AtomicI64,
    pub(super) bytes: AtomicU64,
    pub(super) synced_before: AtomicU64,
    pub(super) clock_synchronized: AtomicBool,
    in_use: AtomicUsize,
    full_bytes: Arc<AtomicUsize>,
    trouble: AtomicU8,
}

impl StoreStats {
    /// Records written since the start.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Exchanges and refusals whose record was lost since the start.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Requests that got 503 since the start because no record could be kept.
    pub fn turned_away(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }

    /// Writes and syncs that failed since the start.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// For how many days the disk holds records at the rate of those in the store, `reserve` left
    /// free; nothing before there are records of an hour.
    pub fn days_held(&self, reserve: u64, now: Timestamp) -> Option<f64> {
        let oldest = self.oldest.load(Ordering::Relaxed);
        let span = now.as_millisecond().saturating_sub(oldest);
        let bytes = self.bytes();
        if oldest == 0 || span < HOUR || bytes == 0 {
            return None;
        }
        let room = bytes + self.free_bytes.load(Ordering::Relaxed).saturating_sub(reserve);
        Some(room as f64 / bytes as f64 * span as f64 / (24 * HOUR) as f64)
    }

    /// The durable watermark: every record with a lower `seq` survives a power failure.
    pub fn synced_before(&self) -> u64 {
        self.synced_before.load(Ordering::Relaxed)
    }

    /// Bytes in the store.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether the wall clock is known to follow a time source.
    pub fn clock_synchronized(&self) -> bool {
        self.clock_synchronized.load(Ordering::Relaxed)
    }

    /// Slots taken: exchanges under way and records not yet written.
    pub fn slots_in_use(&self) -> usize {
        self.in_use.load(Ordering::Relaxed)
    }

    /// Why no record can be kept now, if so.
    pub fn full(&self) -> Option<StoreFull> {
        match self.trouble.load(Ordering::Relaxed) {
            1 => Some(StoreFull::Reserve),
            2 => Some(StoreFull::NoSpace),
            3 => Some(StoreFull::Failing),
            4 => Some(StoreFull::Closed),
            5 => Some(StoreFull::ReadOnly),
            _ => {
                let bytes = self.full_bytes.load(Ordering::Relaxed);
                (self.slots_in_use() >= SLOTS || bytes >= QUEUE_BYTES).then_some(StoreFull::Queue)
            }
        }
    }

    /// Publishes what is wrong with the disk or the writer; the queue speaks for itself.
    pub(super) fn set_trouble(&self, trouble: Option<StoreFull>) {
        let code = match trouble {
            None | Some(StoreFull::Queue) => 0,
            Some(StoreFull::Reserve) => 1,
            Some(StoreFull::NoSpace) => 2,
            Some(StoreFull::Failing) => 3,
            Some(StoreFull::Closed) => 4,
            Some(StoreFull::ReadOnly) => 5,
        };
        self.trouble.store(code, Ordering::Relaxed);
    }

    fn claim(&self) -> Result<(), StoreFull> {
        if let Some(full) = self.full() {
            return Err(full);
        }
        // In one order with `Shared::idle`: either the writer sees the slot or the worker an idle writer.
        if self.in_use.fetch_add(1, Ordering::SeqCst) >= SLOTS {
            self.release(1);
            return Err(StoreFull::Queue);
        }
        Ok(())
    }

    pub(super) fn release(&self, slots: usize) {
        self.in_use.fetch_sub(slots, Ordering::Relaxed);
    }

    fn lose(&self, count: u64) {
        self.lost.fetch_add(count, Ordering::Relaxed);
    }
}

/// What the recorders and the writer share.
pub(super) struct Shared {
    pub(super) stats: StoreStats,
    /// As configured at the moment; the directory never changes.
    pub(super) policy: ArcSwap<AccessLog>,
    pub(super) lanes: Lanes,
    refusals: Mutex<Refusals>,
    closing: AtomicBool,
    /// Nothing is under way, and the writer sleeps until somebody wakes it.
    idle: AtomicBool,
    writer: OnceLock<Thread>,
    /// Nobody takes records from the lanes any more.
    pub(super) ended: AtomicBool,
}

impl Shared {
    pub(super) fn refusals(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says who writes.
    pub(super) fn writer(&self, thread: Thread) {
        let _ = self.writer.set(thread);
    }

    /// Asks the writer to end.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.wake();
    }

    /// Whether the writer is asked to end.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Lets the writer sleep: for `tick` while exchanges are under way, and else for `idle` or until
    /// one begins.
    pub(super) fn rest(&self, tick: Duration, idle: Duration) {
        self.idle.store(true, Ordering::SeqCst);
        let nothing = self.stats.in_use.load(Ordering::SeqCst) == 0 && self.refusals().is_empty();
        if !nothing {
            self.idle.store(false, Ordering::Relaxed);
        }
        if !self.is_closing() {
            std::thread::park_timeout(if nothing { idle } else { tick });
        }
        self.idle.store(false, Ordering::Relaxed);
    }

    fn wake(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    /// Wakes the writer if it sleeps until then. While it is busy it looks by itself, so that hardly
    /// any exchange pays for waking it.
    fn wake_if_idle(&self) {
        if self.idle.load(Ordering::SeqCst) && self.idle.swap(false, Ordering::SeqCst) {
            self.wake();
        }
    }
}

/// Takes records from the workers. Cheap to clone; no call waits for the disk.
#[derive(Clone)]
pub struct Recorder {
    shared: Arc<Shared>,
}

impl Recorder {
    pub(super) fn new(log: &AccessLog) -> (Self, Arc<Shared>) {
        let stats = StoreStats::default();
        let shared = Arc::new(Shared {
            lanes: Lanes::new(Arc::clone(&stats.full_bytes)),
            stats,
            policy: ArcSwap::from_pointee(log.clone()),
            refusals: Mutex::default(),
            closing: AtomicBool::new(false),
            idle: AtomicBool::new(false),
            writer: OnceLock::new(),
            ended: AtomicBool::new(false),
        });
        (Self { shared: Arc::clone(&shared) }, shared)
    }

    /// A place for the record of an exchange that is about to begin.
    ///
    /// Fails when no record can be kept and `access_log.when_full` is `refuse`: the request then gets
    /// 503. With `drop` it never fails.
    pub fn reserve(&self) -> Result<Slot<'_>, StoreFull> {
        if is_unrecorded() {
            return Ok(Slot { shared: &self.shared, claimed: false });
        }
        let claimed = match self.shared.stats.claim() {
            Ok(()) => {
                self.shared.wake_if_idle();
                true
            }
            Err(_) if self.shared.policy.load().when_full == WhenFull::Drop => false,
            Err(full) => {
                self.shared.stats.turned_away.fetch_add(1, Ordering::Relaxed);
                return Err(full);
            }
        };
        Ok(Slot { shared: &self.shared, claimed })
    }

    /// Keeps the record of a refused connection, alone or, in a flood, counted with those alike.
    pub fn refused(&self, record: AccessRecord) {
        if is_unrecorded() {
            return;
        }
        if self.shared.stats.full() == Some(StoreFull::Closed) {
            self.shared.stats.lose(record.count);
        } else {
            self.shared.refusals().add(record);
            self.shared.wake_if_idle();
        }
    }

    /// Goes by the retention, the reserve and the `when_full` of `log` from now on.
    pub fn configure(&self, log: &AccessLog) {
        self.shared.policy.store(Arc::new(log.clone()));
    }

    /// How the store is.
    pub fn stats(&self) -> &StoreStats {
        &self.shared.stats
    }
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("stats", &self.shared.stats).finish_non_exhaustive()
    }
}

/// The place of one exchange's record on the lanes. Dropped without a record, it is free again.
#[must_use = "the exchange's record is kept through its slot"]
pub struct Slot<'r> {
    shared: &'r Shared,
    /// Not so only where `when_full` is `drop` and nothing could be kept.
    claimed: bool,
}

impl Slot<'_> {
    /// Takes the record, with the texts of its request; it is in the store within 100 ms.
    pub fn keep(mut self, record: AccessRecord, sent: &Sent<'_>) {
        if is_unrecorded() {
            return;
        }
        self.claimed = self.claimed || self.shared.stats.claim().is_ok();
        if !self.claimed || self.shared.ended.load(Ordering::Acquire) {
            self.shared.stats.lose(1);
            return;
        }
        // The writer frees it.
        self.claimed = false;
        if self.shared.lanes.put(record, sent) {
            self.shared.wake();
        }
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        if self.claimed {
            self.shared.stats.release(1);
        }
    }
}

impl std::fmt::Debug for Slot<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot").field("claimed", &self.claimed).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
