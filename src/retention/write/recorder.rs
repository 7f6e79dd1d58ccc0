//! The recorder: workers hand records over through it, and never wait.
//!
//! A worker reserves a [`Slot`] before it serves a request, so that the record of an accepted exchange always
//! has its place on a lane. The first slot wakes the writer, which then looks for records by itself while any
//! slot is taken.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{oneshot, watch};

use crate::access::AccessRecord;
use crate::access::texts::RequestTexts;
use crate::config::{AccessLog, WhenFull};
use crate::retention::format::epoch::Epochs;
use crate::retention::write::StoreFull;
use crate::retention::write::lanes::Lanes;
use crate::retention::write::refusals::Refusals;
use crate::retention::write::stats::StoreStats;
use crate::retention::write::unrecorded::is_unrecorded;

/// What the writer thread does.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Role {
    #[default]
    Writes,
    /// Sends records to the process that writes the store now.
    Forwards,
    Ended,
}

/// An order to hand the store over.
pub(super) struct HandOver {
    /// Carries the last records of this process to the other.
    pub(super) link: UnixStream,
    /// Gets a copy of the lock, or the reason why the store cannot be handed over now.
    pub(super) taken: oneshot::Sender<io::Result<OwnedFd>>,
}

/// The state that recorders and the writer share.
pub(super) struct Shared {
    pub(super) stats: StoreStats,
    /// The current configuration; the directory in it never changes.
    pub(super) policy: ArcSwap<AccessLog>,
    pub(super) lanes: Lanes,
    /// Segments whose blocks are all before this one are confirmed elsewhere, and may be freed when the disk
    /// runs low.
    pub(super) confirmed_before: AtomicU64,
    /// Whether somebody waits for sealed segments.
    pub(super) segments_awaited: AtomicBool,
    refusals: Mutex<Refusals>,
    closing: AtomicBool,
    /// No slot is taken, and the writer sleeps until it is woken.
    idle: AtomicBool,
    writer: OnceLock<Thread>,
    /// What the writer thread does.
    pub(super) role: watch::Sender<Role>,
    /// Set to hand the store over; the writer takes it.
    hand_over: Mutex<Option<HandOver>>,
    pub(super) epochs: ArcSwap<Epochs>,
    /// The writer has ended: nobody takes records from the lanes any more.
    pub(super) ended: AtomicBool,
}

impl Shared {
    pub(super) fn refusals(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn writer(&self, thread: Thread) {
        let _ = self.writer.set(thread);
    }

    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.wake();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Puts the writer to sleep: for `tick` while a slot is taken or a refusal waits, otherwise for `idle` or
    /// until it is woken.
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

    /// Orders the writer to hand the store over.
    pub(super) fn hand_over(&self, order: HandOver) {
        *self.hand_over.lock().unwrap_or_else(PoisonError::into_inner) = Some(order);
        self.wake();
    }

    pub(super) fn take_hand_over(&self) -> Option<HandOver> {
        self.hand_over.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn wake(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    /// Wakes the writer if it is idle. A busy writer looks by itself, so that hardly any exchange pays for
    /// waking it.
    fn wake_if_idle(&self) {
        if self.idle.load(Ordering::SeqCst) && self.idle.swap(false, Ordering::SeqCst) {
            self.wake();
        }
    }
}

/// Takes records from workers. Cheap to clone; no call waits for the disk.
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
            confirmed_before: AtomicU64::new(0),
            segments_awaited: AtomicBool::new(false),
            role: watch::Sender::default(),
            hand_over: Mutex::default(),
            epochs: ArcSwap::default(),
            refusals: Mutex::default(),
            closing: AtomicBool::new(false),
            idle: AtomicBool::new(false),
            writer: OnceLock::new(),
            ended: AtomicBool::new(false),
        });
        (Self { shared: Arc::clone(&shared) }, shared)
    }

    /// Reserves the place of a record for an exchange that is about to begin.
    ///
    /// Fails if no record can be kept and `access_log.when_full` is `refuse`; the request then gets 503. With
    /// `drop` it never fails.
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

    /// Keeps the record of a refused connection, by itself or, in a flood, as part of a count.
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

    /// Applies the retention, the reserve and `when_full` of `log` from now on.
    pub fn configure(&self, log: &AccessLog) {
        self.shared.policy.store(Arc::new(log.clone()));
    }

    /// Counters and state of the store.
    pub fn stats(&self) -> &StoreStats {
        &self.shared.stats
    }
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("stats", &self.shared.stats).finish_non_exhaustive()
    }
}

/// The reserved place of one record. Dropped without a record, it is free again.
#[must_use = "the exchange's record is kept through its slot"]
pub struct Slot<'r> {
    shared: &'r Shared,
    /// False only if `when_full` is `drop` and no slot was free.
    claimed: bool,
}

impl Slot<'_> {
    /// Hands over the record with the texts of its request. It is written within 24 ms.
    pub fn keep(mut self, record: AccessRecord, sent: &RequestTexts<'_>) {
        if is_unrecorded() {
            return;
        }
        self.claimed = self.claimed || self.shared.stats.claim().is_ok();
        if !self.claimed || self.shared.ended.load(Ordering::Acquire) {
            self.shared.stats.lose(1);
            return;
        }
        // The writer releases it.
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
