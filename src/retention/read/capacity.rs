//! How long a disk lasts at a given rate of records, and at the budget of one client.

use std::io;
use std::path::Path;

use crate::config::AccessLog;
use crate::retention::read::summary::summarize;

/// Bytes of a record if the store has too few to measure: somewhat more than measured (docs/retention.md,
/// figures).
const RECORD_BYTES: f64 = 200.0;
/// Records from which the size of a record is measured.
const ENOUGH: u64 = 1_000;

/// How many days of records a disk holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Capacity {
    /// Records per second.
    pub rate: f64,
    /// Days until the disk is full but for the reserve.
    pub days: f64,
    /// Bytes of a record on disk.
    pub bytes_per_record: f64,
    /// Whether the size was measured in this store.
    pub measured: bool,
}

impl Capacity {
    /// The capacity of the disk of `log` at `rate` records per second, with the reserve left free. The
    /// directory need not exist yet.
    pub fn at_rate(log: &AccessLog, rate: f64) -> io::Result<Self> {
        let free = room(log)?;
        let store = if log.directory.is_dir() { Some(summarize(&log.directory)?) } else { None };
        let held = store.as_ref().map_or(0, |store| store.bytes);
        let enough = store.filter(|store| store.records >= ENOUGH);
        let bytes_per_record = enough.as_ref().map(|store| store.bytes as f64 / store.records as f64);
        let room = held + free;
        let a_day = rate * bytes_per_record.unwrap_or(RECORD_BYTES) * 24.0 * 60.0 * 60.0;
        Ok(Self {
            rate,
            days: room as f64 / a_day,
            bytes_per_record: bytes_per_record.unwrap_or(RECORD_BYTES),
            measured: bytes_per_record.is_some(),
        })
    }
}

/// What one client can add to a store: its budget, all day long. Records with texts that are short anyway come on top.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClientCost {
    /// Bytes a day.
    pub bytes_a_day: u64,
    /// Bytes that the disk has left, beyond the reserve.
    pub room: u64,
}

impl ClientCost {
    /// The cost at the budget of `log`.
    pub fn of(log: &AccessLog, room: u64) -> Self {
        Self { bytes_a_day: u64::from(log.client_budget) * 24 * 60 * 60, room }
    }

    /// The cost of one client to the disk of `log`. The directory need not exist yet.
    pub fn on_disk(log: &AccessLog) -> io::Result<Self> {
        Ok(Self::of(log, room(log)?))
    }

    /// Days until the disk is full but for the reserve.
    pub fn days(self) -> f64 {
        self.room as f64 / self.bytes_a_day as f64
    }
}

/// Bytes that the disk of `log` has left, beyond the reserve.
fn room(log: &AccessLog) -> io::Result<u64> {
    let there = log.directory.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("."));
    let disk = rustix::fs::statvfs(there)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize).saturating_sub(log.reserve))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::WhenFull;

    #[test]
    fn twice_the_rate_lasts_half_as_long_and_the_reserve_does_not_count() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut log = AccessLog {
            directory: folder.path().join("not/there/yet"),
            retention: std::time::Duration::ZERO,
            reserve: 0,
            when_full: WhenFull::Refuse,
            redact_query: Vec::new(),
            client_budget: 64 << 10,
        };
        let days = |log: &AccessLog, rate| Capacity::at_rate(log, rate).expect("told").days;
        let (one, two) = (days(&log, 100.0), days(&log, 200.0));
        assert!(one > 0.0 && (one / two - 2.0).abs() < 0.1, "{one} {two}");
        let cost = ClientCost::on_disk(&log).expect("told");
        assert_eq!(cost.bytes_a_day, (64 << 10) * 86_400);
        assert!(cost.days() > 0.0);
        log.reserve = u64::MAX;
        assert_eq!(days(&log, 100.0), 0.0);
        assert_eq!(ClientCost::on_disk(&log).expect("told").room, 0);
    }
}
