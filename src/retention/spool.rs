//! The spool: the one writer, a thread that turns records into lines of segments.
//!
//! A line leaves memory only after it was synced: when a write or a sync fails, the segment is
//! abandoned at its last synced byte and everything after it goes into a fresh one, a second later.
//! Nothing is ever synced twice on one file, since a failed sync may have dropped its pages.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use fs_err::File;
use jiff::civil::Date;

use crate::access::AccessRecord;
use crate::access::export::{Clients, Keeping, write_line};
use crate::clock::{Clock, day_of};
use crate::config::AccessLog;
use crate::retention::expiry::{StoreTime, delete_expired};
use crate::retention::recorder::{Shared, StoreFull};
use crate::retention::{CloseError, segment};

/// How often the writer looks for records: what a killed process can lose.
const TICK: Duration = Duration::from_millis(10);
/// The age of a written line at which it is synced; with the tick, at most 50 ms.
const SYNC_AFTER: Duration = Duration::from_millis(30);
/// Unsynced bytes at which the writer syncs at once.
const SYNC_BYTES: usize = 4 * 1024 * 1024;
/// Lines are written in batches of about so many bytes.
const BATCH_BYTES: usize = 1024 * 1024;
/// The size at which a segment ends.
const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
/// The age at which a segment ends.
const SEGMENT_AGE: Duration = Duration::from_secs(60 * 60);
const EXPIRY_EVERY: Duration = Duration::from_secs(60 * 60);
const DISK_EVERY: Duration = Duration::from_millis(100);
const RETRY_AFTER: Duration = Duration::from_secs(1);
const SECOND: Duration = Duration::from_secs(1);
/// What systemd-timesyncd leaves behind once the clock was set from the network.
const SYNCHRONIZED: &str = "/run/systemd/timesync/synchronized";

/// What the writer works with from the start.
pub(super) struct Setting {
    pub(super) log: AccessLog,
    pub(super) node: Arc<str>,
    pub(super) clock: Clock,
    pub(super) directory: File,
    /// Locked while the store is open.
    pub(super) lock: File,
    pub(super) next_seq: u64,
    pub(super) time: StoreTime,
}

/// The segment that is written to.
struct OpenSegment {
    file: File,
    opened: Instant,
    day: Date,
    synced: u64,
    written: u64,
}

/// Lines from the first unsynced one on.
#[derive(Default)]
struct Tail {
    bytes: Vec<u8>,
    /// How much of it the open segment has; none without one.
    written: usize,
    /// The number of its first line.
    first_seq: u64,
    /// Exchanges it stands for, for the count of what is lost with it.
    exchanges: u64,
    /// Lines that were never written to any segment.
    new_lines: u64,
    /// Slots that its new lines hold.
    slots: usize,
}

/// The writer.
pub(super) struct Spool {
    shared: Arc<Shared>,
    records: Receiver<Box<AccessRecord>>,
    setting: Setting,
    next_seq: u64,
    segment: Option<OpenSegment>,
    tail: Tail,
    unsynced_since: Option<Instant>,
    /// Set while writes fail: what kind, and when to try again.
    failing: Option<(StoreFull, Instant)>,
    below_reserve: bool,
    trouble: Option<StoreFull>,
    disk_due: Instant,
    second_ends: Instant,
    expiry_due: Instant,
}

impl Spool {
    pub(super) fn new(shared: Arc<Shared>, records: Receiver<Box<AccessRecord>>, setting: Setting) -> Self {
        let now = Instant::now();
        let next_seq = setting.next_seq;
        let mut spool = Self {
            shared,
            records,
            setting,
            next_seq,
            segment: None,
            tail: Tail { first_seq: next_seq, ..Tail::default() },
            unsynced_since: None,
            failing: None,
            below_reserve: false,
            trouble: None,
            disk_due: now,
            second_ends: now + SECOND,
            expiry_due: now,
        };
        spool.look_at_disk(now);
        spool
    }

    /// Writes until the store is closed, then what is left.
    pub(super) fn run(mut self) -> Result<(), CloseError> {
        let mut more = false;
        while !self.shared.wait(if more { Duration::ZERO } else { TICK }) {
            more = self.turn(Instant::now());
        }
        self.finish()
    }

    /// Does what is due; whether more records wait than one turn takes.
    fn turn(&mut self, now: Instant) -> bool {
        if now >= self.disk_due {
            self.look_at_disk(now);
        }
        if now >= self.expiry_due {
            self.expire(now);
        }
        if self.failing.is_some_and(|(_, due)| now < due) {
            return false;
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

    fn write_waiting(&mut self, now: Instant) -> io::Result<bool> {
        if self.failing.is_some() {
            self.flush(now)?;
            self.sync()?;
        }
        if self.roll_due(now) {
            self.sync()?;
            self.segment = None;
            self.expiry_due = now;
        }
        let more = self.gather(now);
        self.flush(now)?;
        let sync_due = self.unsynced_since.is_some_and(|since| now.duration_since(since) >= SYNC_AFTER);
        if sync_due || self.tail.written >= SYNC_BYTES {
            self.sync()?;
        }
        Ok(more)
    }

    /// Turns a batch of waiting records into lines; whether the batch was full.
    fn gather(&mut self, now: Instant) -> bool {
        self.gather_refusals(now >= self.second_ends && !self.below_reserve, !self.below_reserve);
        if now >= self.second_ends {
            self.second_ends = now + SECOND;
        }
        while self.tail.bytes.len() - self.tail.written < BATCH_BYTES {
            let Ok(record) = self.records.try_recv() else { return false };
            self.tail.slots += 1;
            self.shared.stats.dequeued(&record);
            self.encode(&record, Clients::One);
        }
        true
    }

    /// Below the reserve, refusals go on being counted in memory: what is left of the disk is for the
    /// requests that were accepted.
    fn gather_refusals(&mut self, second_ended: bool, singles: bool) {
        let (singles, shared) = {
            let mut refusals = self.shared.refusals();
            let singles = if singles { refusals.take_singles() } else { Vec::new() };
            (singles, second_ended.then(|| refusals.end_second()))
        };
        for record in &singles {
            self.encode(record, Clients::One);
        }
        for (record, clients) in shared.into_iter().flatten() {
            self.encode(&record, clients);
        }
    }

    fn encode(&mut self, record: &AccessRecord, clients: Clients) {
        let keeping = Keeping {
            seq: self.next_seq,
            node: &self.setting.node,
            clock_synchronized: self.shared.stats.clock_synchronized(),
            clients,
        };
        write_line(record, keeping, &mut self.tail.bytes);
        self.next_seq += 1;
        self.tail.new_lines += 1;
        self.tail.exchanges += record.count.unwrap_or(1);
    }

    /// Writes the lines that no segment has yet.
    fn flush(&mut self, now: Instant) -> io::Result<()> {
        let lines = &self.tail.bytes[self.tail.written..];
        if lines.is_empty() {
            return Ok(());
        }
        let segment = match &mut self.segment {
            Some(segment) => segment,
            none => {
                let wall = self.setting.clock.now();
                let file = segment::create(&self.setting.directory, wall, self.tail.first_seq)?;
                none.insert(OpenSegment { file, opened: now, day: day_of(wall), synced: 0, written: 0 })
            }
        };
        segment.file.write_all(lines)?;
        let length = lines.len() as u64;
        segment.written += length;
        self.tail.written = self.tail.bytes.len();
        self.unsynced_since.get_or_insert(now);
        let stats = &self.shared.stats;
        stats.bytes.fetch_add(length, Ordering::Relaxed);
        stats.records.fetch_add(std::mem::take(&mut self.tail.new_lines), Ordering::Relaxed);
        stats.release(std::mem::take(&mut self.tail.slots));
        Ok(())
    }

    /// Syncs the lines, all of them written, and forgets them.
    fn sync(&mut self) -> io::Result<()> {
        if let (Some(segment), Some(_)) = (&mut self.segment, self.unsynced_since) {
            segment.file.sync_data()?;
            segment.synced = segment.written;
        }
        self.unsynced_since = None;
        self.tail.bytes.clear();
        self.tail.written = 0;
        self.tail.first_seq = self.next_seq;
        self.tail.exchanges = 0;
        Ok(())
    }

    fn roll_due(&self, now: Instant) -> bool {
        self.segment.as_ref().is_some_and(|segment| {
            segment.written >= SEGMENT_BYTES
                || now.saturating_duration_since(segment.opened) >= SEGMENT_AGE
                || segment.day != day_of(self.setting.clock.now())
        })
    }

    /// Gives the open segment up at its last synced byte; what came after stays in the tail.
    fn abandon(&mut self, error: &io::Error, now: Instant) {
        if let Some(segment) = self.segment.take() {
            let left = if segment.synced == 0 {
                fs_err::remove_file(segment.file.path())
            } else {
                segment.file.set_len(segment.synced)
            };
            if let Err(error) = left {
                tracing::warn!("an abandoned segment keeps lines that will be written again: {error}");
            }
            self.shared.stats.bytes.fetch_sub(segment.written - segment.synced, Ordering::Relaxed);
        }
        self.tail.written = 0;
        self.unsynced_since = None;
        let no_space = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let kind = if no_space { StoreFull::NoSpace } else { StoreFull::Failing };
        self.failing = Some((kind, now + RETRY_AFTER));
        self.publish(Some(error));
    }

    fn look_at_disk(&mut self, now: Instant) {
        self.disk_due = now + DISK_EVERY;
        let synchronized = Path::new(SYNCHRONIZED).exists();
        self.shared.stats.clock_synchronized.store(synchronized, Ordering::Relaxed);
        match rustix::fs::fstatvfs(&self.setting.directory) {
            Ok(disk) => {
                self.below_reserve =
                    disk.f_bavail.saturating_mul(disk.f_frsize) < self.shared.policy.load().reserve;
                self.publish(None);
            }
            Err(error) => {
                self.below_reserve = true;
                self.publish(Some(&error.into()));
            }
        }
    }

    /// Tells workers and the log, once for each change, whether records can be kept.
    fn publish(&mut self, error: Option<&io::Error>) {
        let reserve = self.below_reserve.then_some(StoreFull::Reserve);
        let trouble = self.failing.map(|(kind, _)| kind).or(reserve);
        self.shared.stats.set_trouble(trouble);
        if trouble == self.trouble {
            return;
        }
        self.trouble = trouble;
        let directory = self.setting.directory.path().display();
        match (trouble, error) {
            (Some(full), Some(error)) => tracing::error!(%directory, "{full}: {error}"),
            (Some(full), None) => tracing::error!(%directory, "{full}"),
            (None, _) => tracing::info!(%directory, "access records can be kept again"),
        }
    }

    fn expire(&mut self, now: Instant) {
        self.expiry_due = now + EXPIRY_EVERY;
        let time = self.setting.time.at(self.setting.clock.moment(), now);
        match delete_expired(self.setting.directory.path(), time, self.shared.policy.load().retention) {
            Ok(bytes) => {
                self.shared.stats.bytes.fetch_sub(bytes, Ordering::Relaxed);
            }
            Err(error) => tracing::warn!("access records past their retention stay: {error}"),
        }
    }

    /// Takes no more, writes and syncs what is left; once more into a fresh segment if that fails.
    fn finish(mut self) -> Result<(), CloseError> {
        self.shared.stats.set_trouble(Some(StoreFull::Closed));
        let Err(error) = self.finish_once() else { return Ok(()) };
        self.abandon(&error, Instant::now());
        self.shared.stats.set_trouble(Some(StoreFull::Closed));
        let Err(error) = self.finish_once() else { return Ok(()) };
        let queued = self.records.try_iter().count() as u64;
        let lost = self.tail.exchanges + queued + self.shared.refusals().waiting();
        self.shared.stats.lost.fetch_add(lost, Ordering::Relaxed);
        Err(CloseError { directory: self.setting.log.directory.clone(), lost, source: error })
    }

    fn finish_once(&mut self) -> io::Result<()> {
        self.gather_refusals(true, true);
        while self.write_waiting(Instant::now())? {}
        self.sync()
    }
}

impl Drop for Spool {
    /// However the writer ends, nobody is told that a record could be kept.
    fn drop(&mut self) {
        self.shared.stats.set_trouble(Some(StoreFull::Closed));
        let _ = rustix::fs::flock(&self.setting.lock, rustix::fs::FlockOperation::Unlock);
    }
}
