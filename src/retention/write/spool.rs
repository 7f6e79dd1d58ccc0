//! The spool: the one writer, a thread that turns records into blocks and gets them onto the disk.
//!
//! It decides when: records are written within 24 ms, as one or more blocks of up to about 256 KiB; a sync of
//! them begins within 48 ms, and they are signed within a minute. After a failure the writer tries again
//! every second.

mod deletion;
mod trouble;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fs_err::File;

use crate::access::Gap;
use crate::access::fields::ClockState;
use crate::retention::format::epoch::Epochs;
use crate::retention::format::rows::RowBlock;
use crate::retention::write::appender::Appender;
use crate::retention::write::expiry::StoreTime;
use crate::retention::write::forwarder::{Forwarder, Unacknowledged};
use crate::retention::write::intake::{Intake, Load};
use crate::retention::write::notary::Notary;
use crate::retention::write::predecessor::{Arrival, Predecessor};
use crate::retention::write::premises::{IDLE, Premises, TICK};
use crate::retention::write::recorder::{HandOver, Role, Shared};
use crate::retention::write::recovery::resume;
use crate::retention::write::{CloseError, Now, StoreFull, gaps, kernel_clock};

/// The minimum age of a block when it is synced: the disk is asked at every second tick.
const SYNC_AFTER: Duration = Duration::from_millis(20);
/// Unsynced bytes at which a sync begins at once.
const SYNC_BYTES: usize = 4 * 1024 * 1024;
/// Unsynced bytes at which the writer waits for the disk.
const UNSYNCED_LIMIT: usize = 64 * 1024 * 1024;
const DISK_EVERY: Duration = Duration::from_millis(100);
/// Blocks of a predecessor between two looks at this process's own records.
const BLOCKS_A_TURN: usize = 16;
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How writing ends.
pub(super) enum SpoolEnd {
    /// The store was closed.
    Closed,
    /// Another process writes it now.
    HandedOver(Box<Forwarder>),
}

pub(super) struct Spool {
    shared: Arc<Shared>,
    intake: Intake,
    premises: Premises,
    appender: Appender,
    time: StoreTime,
    /// The number of blocks at the start.
    begun: u64,
    ended: bool,
    clock: ClockState,
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
    expiry_due: Instant,
    unacknowledged: VecDeque<Unacknowledged>,
    /// The process that wrote the store before, while it finishes its last exchanges. Dropped after the lock.
    predecessor: Option<Predecessor>,
}

impl Spool {
    /// Opens the store where the last writer left off; an unfinished block at the end is cut off.
    pub(super) fn open(
        shared: &Arc<Shared>,
        intake: Intake,
        premises: Premises,
        predecessor: Option<Predecessor>,
    ) -> Result<Self, (io::Error, Box<(Intake, Premises)>)> {
        match Opened::at(&premises) {
            Ok(opened) => Ok(Self::new(Arc::clone(shared), intake, premises, opened, predecessor)),
            Err(error) => Err((error, Box::new((intake, premises)))),
        }
    }

    fn new(
        shared: Arc<Shared>,
        intake: Intake,
        premises: Premises,
        opened: Opened,
        predecessor: Option<Predecessor>,
    ) -> Self {
        let now = Instant::now();
        let Opened { appender, time, gap, epochs, bytes } = opened;
        shared.stats.bytes.store(bytes, Ordering::Relaxed);
        shared.stats.publish_progress(appender.progress());
        shared.epochs.store(Arc::new(epochs));
        shared.role.send_replace(Role::Writes);
        let mut spool = Self {
            shared,
            intake,
            premises,
            begun: appender.blocks(),
            appender,
            time,
            ended: false,
            clock: kernel_clock::state(),
            packed: Load::default(),
            syncing: 0,
            failing: None,
            below_reserve: false,
            no_emergency: false,
            retry_due: now,
            trouble: None,
            write_due: now,
            disk_due: now,
            expiry_due: now,
            unacknowledged: VecDeque::new(),
            predecessor,
        };
        if let Some(gap) = gap {
            spool.intake.push_gap(&mut spool.appender.rows, &gap);
        }
        spool.check_disk(now);
        spool
    }

    /// Writes until the store is closed or handed over, then writes what is left.
    pub(super) fn run(mut self) -> Result<SpoolEnd, CloseError> {
        while !self.shared.is_closing() {
            if let Some(hand_over) = self.shared.take_hand_over() {
                match self.hand_over(hand_over) {
                    Ok(forwarder) => return Ok(SpoolEnd::HandedOver(Box::new(forwarder))),
                    Err(spool) => self = *spool,
                }
            }
            let now = Instant::now();
            if !self.turn(now) {
                let tick = self.write_due.checked_duration_since(now).filter(|wait| !wait.is_zero());
                let tick = tick.unwrap_or(TICK);
                self.shared.rest(tick, if self.is_at_rest() { IDLE } else { tick });
            }
        }
        self.finish().map(|()| SpoolEnd::Closed)
    }

    /// Closes the store as at a stop, and forwards from then on. Writes on if the store cannot be closed.
    fn hand_over(mut self, HandOver { link, taken }: HandOver) -> Result<Forwarder, Box<Self>> {
        let closed = self.finish_once().and_then(|()| self.premises.lock.hand_over());
        let lock = match closed {
            Ok(lock) => lock,
            Err(error) => {
                self.ended = false;
                self.abandon(&error, Instant::now());
                let _ = taken.send(Err(error));
                return Err(Box::new(self));
            }
        };
        self.shared.role.send_replace(Role::Forwards);
        // If nobody waits for the lock any more, the link is closed, and the store is taken back.
        let _ = taken.send(Ok(lock));
        Ok(Forwarder::new(self.shared, (self.intake, self.premises), link, self.predecessor))
    }

    /// Writes these blocks first: the process to which the store was handed over did not acknowledge them.
    pub(super) fn unacknowledged(&mut self, blocks: VecDeque<Unacknowledged>) {
        self.unacknowledged = blocks;
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
        let now = Now { monotonic, wall: self.premises.clock.now() };
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
        while let Some(Unacknowledged { block, is_predecessors }) = self.unacknowledged.pop_front() {
            self.adopt(block, is_predecessors, now)?;
        }
        self.take_from_predecessor(now)?;
        let rows = &mut self.appender.rows;
        if rows.count() == 0 || self.clock.differs(rows.clock()) {
            self.seal(now)?;
            self.appender.rows.set_clock(self.clock);
        }
        let more = self.intake.gather(&mut self.appender.rows, now, !self.below_reserve);
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

    /// Takes the blocks that the predecessor has sent.
    fn take_from_predecessor(&mut self, now: Now) -> io::Result<()> {
        for _ in 0..BLOCKS_A_TURN {
            let next = self.predecessor.as_mut().and_then(|predecessor| predecessor.next(now.wall));
            match next {
                Some(Arrival::Block(block)) => self.adopt(block, true, now)?,
                Some(Arrival::Gap(gap)) => self.intake.push_gap(&mut self.appender.rows, &gap),
                None => break,
            }
        }
        self.predecessor.take_if(|predecessor| predecessor.is_done());
        Ok(())
    }

    /// Seals another process's rows as a block of this store.
    fn adopt(&mut self, block: RowBlock, is_predecessors: bool, now: Now) -> io::Result<()> {
        self.seal(now)?;
        let count = u64::from(block.count);
        self.appender.rows.adopt(block);
        self.intake.loose.records += count;
        self.intake.loose.exchanges += count;
        self.seal(now)?;
        if is_predecessors && let Some(predecessor) = &mut self.predecessor {
            predecessor.written_before(self.appender.next_seq());
        }
        Ok(())
    }

    fn seal(&mut self, now: Now) -> io::Result<()> {
        self.appender.seal(now)?;
        let loose = std::mem::take(&mut self.intake.loose);
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

    fn publish_synced(&mut self, written: u64) {
        let (stats, progress) = (&self.shared.stats, self.appender.progress());
        stats.bytes.fetch_add(written, Ordering::Relaxed);
        stats.publish_progress(progress);
        if let Some(predecessor) = &mut self.predecessor {
            predecessor.synced_before(progress.synced_before);
        }
    }

    /// Accepts no more records, writes and syncs the rest; tries once more with a new segment if that fails.
    fn finish(mut self) -> Result<(), CloseError> {
        self.shared.stats.set_trouble(Some(StoreFull::Closed));
        let Err(error) = self.finish_once() else { return Ok(()) };
        self.abandon(&error, Instant::now());
        self.shared.stats.set_trouble(Some(StoreFull::Closed));
        let Err(error) = self.finish_once() else { return Ok(()) };
        let queued = self.intake.drop_waiting();
        let lost = self.intake.loose.exchanges
            + self.packed.exchanges
            + self.syncing
            + queued
            + self.shared.refusals().waiting();
        self.shared.stats.lost.fetch_add(lost, Ordering::Relaxed);
        Err(CloseError { directory: self.premises.log.directory.clone(), lost, cause: error })
    }

    fn finish_once(&mut self) -> io::Result<()> {
        self.intake.gather_refusals(&mut self.appender.rows, true, true);
        while self.write_waiting(Instant::now())? {}
        let now = Now { monotonic: Instant::now(), wall: self.premises.clock.now() };
        self.intake.gather_gaps(&mut self.appender.rows, true, now);
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

/// The files of a store, ready to be written.
struct Opened {
    appender: Appender,
    time: StoreTime,
    /// The gap that the previous writer left.
    gap: Option<Gap>,
    epochs: Epochs,
    bytes: u64,
}

impl Opened {
    fn at(Premises { log, node, clock, .. }: &Premises) -> io::Result<Self> {
        let directory = File::open(&log.directory)?;
        let notary = Notary::open(&log.directory, node)?;
        tracing::info!(verifier_key = notary.verifier_key(), "Access records are signed with this key");
        let left = resume(&log.directory)?;
        Ok(Self {
            gap: gaps::left(left.ended, left.shortened, clock.now()),
            time: StoreTime::start(clock.moment(), left.newest, Instant::now()),
            epochs: left.epochs,
            bytes: left.bytes,
            appender: Appender::new(directory, notary, Arc::clone(node), left.position)?,
        })
    }
}
