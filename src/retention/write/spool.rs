//! The spool: the one writer, a thread that turns records into blocks and gets them onto the disk.
//!
//! It decides when: records are written within 24 ms, as one or more blocks of up to about 256 KiB; a sync of
//! them begins within 48 ms, and they are signed within a minute. After a failure the writer tries again
//! every second.

mod deletion;
mod gather;
mod trouble;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::access::Gap;
use crate::access::fields::ClockState;
use crate::clock::Clock;
use crate::config::AccessLog;
use crate::retention::write::appender::Appender;
use crate::retention::write::client_budget::ClientBudget;
use crate::retention::write::expiry::StoreTime;
use crate::retention::write::gaps::Gaps;
use crate::retention::write::lanes::{Enough, LaneEnd};
use crate::retention::write::recorder::Shared;
use crate::retention::write::{CloseError, Now, StoreFull, kernel_clock};

/// How often records are written: a killed process loses no more than this.
const TICK: Duration = Duration::from_millis(24);
/// How long the writer sleeps when no slot is taken and nobody wakes it.
const IDLE: Duration = Duration::from_millis(250);
/// The minimum age of a block when it is synced: the disk is asked at every second tick.
const SYNC_AFTER: Duration = Duration::from_millis(20);
/// Unsynced bytes at which a sync begins at once.
const SYNC_BYTES: usize = 4 * 1024 * 1024;
/// Unsynced bytes at which the writer waits for the disk.
const UNSYNCED_LIMIT: usize = 64 * 1024 * 1024;
/// Bytes of rows at which a block is sealed at once.
const BLOCK_BYTES: usize = 256 * 1024;
const DISK_EVERY: Duration = Duration::from_millis(100);
const RETRY_AFTER: Duration = Duration::from_secs(1);
const SECOND: Duration = Duration::from_secs(1);

pub(super) struct Setting {
    pub(super) log: AccessLog,
    pub(super) clock: Clock,
    pub(super) lock: fs_err::File,
    pub(super) time: StoreTime,
    /// The gap that the previous writer left.
    pub(super) gap: Option<Gap>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Load {
    records: u64,
    /// Slots to release.
    slots: usize,
    /// Exchanges and refusals, counted as lost if these are lost.
    exchanges: u64,
}

pub(super) struct Spool {
    shared: Arc<Shared>,
    lanes: Vec<LaneEnd>,
    setting: Setting,
    appender: Appender,
    gaps: Gaps,
    budget: ClientBudget,
    /// The number of blocks at the start.
    begun: u64,
    ended: bool,
    clock: ClockState,
    /// For rows that are not in a block yet.
    loose: Load,
    /// For blocks that are not written yet; `exchanges`: not in a sync yet.
    packed: Load,
    /// Exchanges in the blocks of the pending sync.
    syncing: u64,
    /// Set while writes fail: the reason, and when to try again.
    failing: Option<(StoreFull, Instant)>,
    below_reserve: bool,
    /// The emergency file is used up, or cannot be allocated.
    no_emergency: bool,
    retry_due: Instant,
    trouble: Option<StoreFull>,
    write_due: Instant,
    disk_due: Instant,
    second_ends: Instant,
    expiry_due: Instant,
}

impl Spool {
    pub(super) fn new(shared: Arc<Shared>, setting: Setting, appender: Appender) -> Self {
        let now = Instant::now();
        let mut spool = Self {
            shared,
            lanes: Vec::new(),
            setting,
            begun: appender.blocks(),
            appender,
            gaps: Gaps::new(),
            budget: ClientBudget::new(now),
            ended: false,
            clock: kernel_clock::state(),
            loose: Load::default(),
            packed: Load::default(),
            syncing: 0,
            failing: None,
            below_reserve: false,
            no_emergency: false,
            retry_due: now,
            trouble: None,
            write_due: now,
            disk_due: now,
            second_ends: now + SECOND,
            expiry_due: now,
        };
        if let Some(gap) = spool.setting.gap.take() {
            spool.encode_gap(&gap);
        }
        spool.check_disk(now);
        spool
    }

    /// Writes until the store is closed, then writes what is left.
    pub(super) fn run(mut self) -> Result<(), CloseError> {
        while !self.shared.is_closing() {
            let now = Instant::now();
            if !self.turn(now) {
                let tick = self.write_due.checked_duration_since(now).filter(|wait| !wait.is_zero());
                let tick = tick.unwrap_or(TICK);
                self.shared.rest(tick, if self.is_at_rest() { IDLE } else { tick });
            }
        }
        self.finish()
    }

    fn is_at_rest(&self) -> bool {
        self.appender.rows.count() == 0 && self.appender.unsynced_bytes() == 0 && self.failing.is_none()
    }

    /// Does what is due; returns whether more records wait than one turn takes.
    fn turn(&mut self, now: Instant) -> bool {
        if now >= self.disk_due {
            self.check_disk(now);
        }
        if self.failing.is_some_and(|(_, due)| now < due) {
            return false;
        }
        if now >= self.expiry_due && self.failing.is_none() {
            self.expire(now);
        }
        match self.write_waiting(now) {
            Ok(more) => {
                if self.failing.take().is_some() {
                    self.publish(None);
                }
                more
            }
            Err(error) => {
                self.abandon(&error, now);
                false
            }
        }
    }

    fn write_waiting(&mut self, monotonic: Instant) -> io::Result<bool> {
        let now = Now { monotonic, wall: self.setting.clock.now() };
        if self.failing.is_some() {
            self.write(now)?;
            self.sync()?;
        }
        if self.appender.roll_due(now, self.shared.segments_awaited.load(Ordering::Relaxed)) {
            self.seal(now)?;
            self.write(now)?;
            let written = self.appender.roll(now)?;
            self.synced(written);
            self.expiry_due = monotonic;
        }
        if self.appender.poll_sync()? {
            self.syncing = 0;
            self.publish_synced(0);
        }
        let rows = &mut self.appender.rows;
        if rows.count() == 0 || self.clock.differs(rows.clock()) {
            self.seal(now)?;
            self.appender.rows.set_clock(self.clock);
        }
        let more = self.gather(now);
        if !more && monotonic < self.write_due {
            // Woken early by a full lane, which is empty now.
            return Ok(false);
        }
        self.write_due = monotonic + TICK;
        self.seal(now)?;
        self.write(now)?;
        if self.appender.sign_due(monotonic) {
            self.sync()?;
            self.appender.sign()?;
            self.write(now)?;
        }
        let since = self.appender.unsynced_since();
        let sync_due = since.is_some_and(|since| monotonic.saturating_duration_since(since) >= SYNC_AFTER);
        if self.appender.unsynced_bytes() >= UNSYNCED_LIMIT {
            self.sync()?;
        } else if (sync_due || self.appender.unsynced_bytes() >= SYNC_BYTES) && self.appender.begin_sync()? {
            self.syncing = std::mem::take(&mut self.packed.exchanges);
        }
        Ok(more)
    }

    fn seal(&mut self, now: Now) -> io::Result<()> {
        self.appender.seal(now)?;
        let loose = std::mem::take(&mut self.loose);
        self.packed.records += loose.records;
        self.packed.slots += loose.slots;
        self.packed.exchanges += loose.exchanges;
        Ok(())
    }

    fn write(&mut self, now: Now) -> io::Result<()> {
        let written = self.appender.write(now)?;
        let stats = &self.shared.stats;
        stats.bytes.fetch_add(written, Ordering::Relaxed);
        stats.records.fetch_add(std::mem::take(&mut self.packed.records), Ordering::Relaxed);
        stats.release(std::mem::take(&mut self.packed.slots));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.appender.sync()?;
        self.synced(0);
        Ok(())
    }

    /// Records that everything is synced, and that the store grew by `written` bytes.
    fn synced(&mut self, written: u64) {
        (self.packed.exchanges, self.syncing) = (0, 0);
        self.publish_synced(written);
    }

    fn publish_synced(&self, written: u64) {
        let stats = &self.shared.stats;
        stats.bytes.fetch_add(written, Ordering::Relaxed);
        stats.publish_progress(self.appender.progress());
    }

    /// Accepts no more records, writes and syncs the rest; tries once more with a new segment if that fails.
    fn finish(mut self) -> Result<(), CloseError> {
        self.shared.stats.set_trouble(Some(StoreFull::Closed));
        let Err(error) = self.finish_once() else { return Ok(()) };
        self.abandon(&error, Instant::now());
        self.shared.stats.set_trouble(Some(StoreFull::Closed));
        let Err(error) = self.finish_once() else { return Ok(()) };
        let queued = self.drop_waiting();
        let lost = self.loose.exchanges
            + self.packed.exchanges
            + self.syncing
            + queued
            + self.shared.refusals().waiting();
        self.shared.stats.lost.fetch_add(lost, Ordering::Relaxed);
        Err(CloseError { directory: self.setting.log.directory.clone(), lost, cause: error })
    }

    /// Drops all records on the lanes; returns how many.
    fn drop_waiting(&mut self) -> u64 {
        self.shared.ended.store(true, Ordering::Release);
        self.shared.lanes.take_new(&mut self.lanes);
        let mut dropped = 0;
        for lane in &mut self.lanes {
            let (missing, _) = lane.drain(u64::MAX, |_, _| {
                dropped += 1;
                Enough::No
            });
            dropped += missing;
        }
        dropped
    }

    fn finish_once(&mut self) -> io::Result<()> {
        self.gather_refusals(true, true);
        while self.write_waiting(Instant::now())? {}
        let now = Now { monotonic: Instant::now(), wall: self.setting.clock.now() };
        for gap in self.gaps.due(&self.shared.stats, true, now) {
            self.encode_gap(&gap);
        }
        self.seal(now)?;
        if self.appender.blocks() > self.begun && !self.ended {
            self.appender.seal_end(now)?;
            self.write(now)?;
            self.sync()?;
            self.appender.sign()?;
            self.ended = true;
        }
        self.write(now)?;
        self.sync()?;
        self.appender.end_segment()?;
        self.publish_synced(0);
        Ok(())
    }
}

impl Drop for Spool {
    /// However the writer ends, workers must learn that records can no longer be kept.
    fn drop(&mut self) {
        self.shared.stats.set_trouble(Some(StoreFull::Closed));
        let dropped = self.drop_waiting();
        self.shared.stats.lost.fetch_add(dropped, Ordering::Relaxed);
        let _ = rustix::fs::flock(&self.setting.lock, rustix::fs::FlockOperation::Unlock);
    }
}
