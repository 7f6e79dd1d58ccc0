//! Trouble: a failed write or sync, or a disk that runs low.
//!
//! Workers and the log are told once per change.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::{DISK_EVERY, RETRY_AFTER, Spool};
use crate::retention::write::StoreFull;
use crate::retention::write::emergency::is_full;
use crate::retention::write::kernel_clock;

impl Spool {
    /// Abandons the open segment after `error`; what is not synced is written again.
    pub(super) fn abandon(&mut self, error: &io::Error, now: Instant) {
        let shorter = self.appender.abandon(now);
        self.shared.stats.bytes.fetch_sub(shorter, Ordering::Relaxed);
        self.shared.stats.publish_progress(self.appender.progress());
        self.shared.stats.failures.fetch_add(1, Ordering::Relaxed);
        let kind = match error.kind() {
            _ if is_full(error) => StoreFull::NoSpace,
            io::ErrorKind::ReadOnlyFilesystem => StoreFull::ReadOnly,
            _ => StoreFull::Failing,
        };
        self.failing = Some((kind, now + RETRY_AFTER));
        self.publish(Some(error));
    }

    pub(super) fn check_disk(&mut self, now: Instant) {
        self.disk_due = now + DISK_EVERY;
        self.clock = kernel_clock::state();
        self.shared.stats.clock_synchronized.store(self.clock.synchronized, Ordering::Relaxed);
        let retries = now >= self.retry_due;
        if retries {
            self.retry_due = now + RETRY_AFTER;
            self.appender.cut_abandoned();
            let prepared = self.appender.prepare_emergency();
            if let Err(error) = &prepared
                && !self.no_emergency
            {
                tracing::error!("Cannot allocate the emergency file for a full disk: {error}");
            }
            self.no_emergency = prepared.is_err();
        }
        match rustix::fs::fstatvfs(self.appender.directory()) {
            Ok(disk) => {
                let free = disk.f_bavail.saturating_mul(disk.f_frsize);
                self.shared.stats.free_bytes.store(free, Ordering::Relaxed);
                let reserve = self.shared.policy.load().reserve;
                self.below_reserve = free < reserve;
                if self.below_reserve && retries {
                    self.free_confirmed(free, reserve, now);
                }
                self.publish(None);
            }
            Err(error) => {
                self.below_reserve = true;
                self.publish(Some(&error.into()));
            }
        }
    }

    /// Tells workers and the log, once per change, whether records can be kept.
    pub(super) fn publish(&mut self, error: Option<&io::Error>) {
        let reserve = self.below_reserve.then_some(StoreFull::Reserve);
        let space = self.no_emergency.then_some(StoreFull::NoSpace);
        let trouble = self.failing.map(|(kind, _)| kind).or(reserve).or(space);
        self.shared.stats.set_trouble(trouble);
        if trouble == self.trouble {
            return;
        }
        self.trouble = trouble;
        let directory = self.appender.directory().path().display();
        match (trouble, error) {
            (Some(full), Some(error)) => tracing::error!(%directory, "{full}: {error}"),
            (Some(full), None) => tracing::error!(%directory, "{full}"),
            (None, _) => tracing::info!(%directory, "Access records can be kept again"),
        }
    }
}
