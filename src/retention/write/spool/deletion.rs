//! Deletion: the writer deletes segments, and keeps a record of it.

use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Spool;
use crate::access::Expired;
use crate::retention::format::segment::Segment;
use crate::retention::write::Now;
use crate::retention::write::expiry::{confirmed, delete, expired, oldest};

const EVERY: Duration = Duration::from_secs(60 * 60);
/// Freed beyond the reserve, so that the disk is not below it again at once: a segment's size.
const SPARE: u64 = 64 * 1024 * 1024;

impl Spool {
    /// Deletes the segments that are past their retention.
    pub(super) fn expire(&mut self, now: Instant) {
        self.expiry_due = now + EVERY;
        let time = self.time.at(self.premises.clock.moment(), now);
        let retention = self.shared.policy.load().retention;
        let oldest = oldest(self.appender.directory().path()).map_or(0, |oldest| oldest.as_millisecond());
        self.shared.stats.oldest.store(oldest, Ordering::Relaxed);
        let found = expired(self.appender.directory().path(), time, retention, self.clock.synchronized);
        if let Err(error) = self.delete(found, now) {
            tracing::warn!("Access records past their retention were not deleted: {error}");
        }
    }

    /// Frees the oldest segments that are confirmed elsewhere, as many as bring `free` bytes above `reserve`.
    pub(super) fn free_confirmed(&mut self, free: u64, reserve: u64, now: Instant) {
        let before = self.shared.confirmed_before.load(Ordering::Relaxed);
        if before == 0 || self.failing.is_some() {
            return;
        }
        let missing = reserve.saturating_sub(free).saturating_add(SPARE);
        let found = confirmed(self.appender.directory().path(), before, missing);
        if found.as_ref().is_ok_and(Option::is_some) {
            tracing::warn!("The disk runs low: freeing access records that are confirmed elsewhere");
        }
        if let Err(error) = self.delete(found, now) {
            tracing::warn!("Access records that are confirmed elsewhere were not freed: {error}");
        }
    }

    /// Deletes segments, once a record that says so is synced.
    fn delete(&mut self, found: io::Result<Option<(Vec<Segment>, u64)>>, now: Instant) -> io::Result<()> {
        let Some((segments, before_seq)) = found? else { return Ok(()) };
        self.keep_expired(before_seq, now).inspect_err(|error| self.abandon(error, now))?;
        let deleted = delete(&segments)?;
        self.shared.stats.bytes.fetch_sub(deleted, Ordering::Relaxed);
        Ok(())
    }

    /// Keeps a record of a deletion. It is in a block of its own, where verification finds it fast, and that block
    /// is signed before this returns: an unsigned record of a deletion proves nothing.
    fn keep_expired(&mut self, before_seq: u64, monotonic: Instant) -> io::Result<()> {
        let now = Now { monotonic, wall: self.premises.clock.now() };
        self.seal(now)?;
        let expired = Expired { time: now.wall, before_seq };
        self.appender.rows.push_expired(&expired);
        self.intake.loose.records += 1;
        self.seal(now)?;
        self.write(now)?;
        self.sync()?;
        self.appender.sign()?;
        self.write(now)?;
        self.sync()
    }
}
