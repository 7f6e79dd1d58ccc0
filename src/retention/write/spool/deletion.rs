//! The writer deletes what is past its retention, and keeps a record of that.

use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Spool;
use crate::access::Expired;
use crate::retention::write::Now;
use crate::retention::write::expiry::{delete, expired, oldest};

const EVERY: Duration = Duration::from_secs(60 * 60);

impl Spool {
    /// Deletes what is past its retention, once a record that says so is synced.
    pub(super) fn expire(&mut self, now: Instant) {
        self.expiry_due = now + EVERY;
        let time = self.setting.time.at(self.setting.clock.moment(), now);
        let retention = self.shared.policy.load().retention;
        let oldest = oldest(self.appender.directory().path()).map_or(0, |oldest| oldest.as_millisecond());
        self.shared.stats.oldest.store(oldest, Ordering::Relaxed);
        let found = expired(self.appender.directory().path(), time, retention, self.clock.synchronized);
        let deleted = found.and_then(|found| {
            let Some((segments, before_seq)) = found else { return Ok(0) };
            self.keep_expired(before_seq, now).inspect_err(|error| self.abandon(error, now))?;
            delete(&segments)
        });
        match deleted {
            Ok(bytes) => {
                self.shared.stats.bytes.fetch_sub(bytes, Ordering::Relaxed);
            }
            Err(error) => tracing::warn!("access records past their retention stay: {error}"),
        }
    }

    /// Keeps a record of deletion, in a block of its own, so that it is found fast, and signs it: only so it
    /// counts.
    fn keep_expired(&mut self, before_seq: u64, monotonic: Instant) -> io::Result<()> {
        let now = Now { monotonic, wall: self.setting.clock.now() };
        self.seal(now)?;
        let expired = Expired { time: now.wall, before_seq };
        self.appender.rows.push_expired(&expired);
        self.loose.records += 1;
        self.seal(now)?;
        self.write(now)?;
        self.sync()?;
        self.appender.sign()?;
        self.write(now)?;
        self.sync()
    }
}
