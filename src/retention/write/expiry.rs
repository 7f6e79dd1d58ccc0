//! Which segments may be deleted: those past their retention, oldest first, and none in doubt.
//!
//! A wrong clock must not delete young records:
//!
//! - Set forward while the store is open: the store's time does not pass faster than the monotonic clock.
//! - Set back, then corrected: deletion stops at the first segment that must stay, so nothing after it is judged.
//! - Wrong from the start: segments recorded under a synchronized clock are not deleted under one that is not.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::clock::Moment;
use crate::retention::format::Frame;
use crate::retention::format::block::Unpacker;
use crate::retention::format::frames::{Frames, Step};
use crate::retention::format::rows::reader::RowReader;
use crate::retention::format::segment::{self, Segment};

/// 24 hours: a record this far ahead was not made by a clock that merely drifts.
const AHEAD: SignedDuration = SignedDuration::from_hours(24);

/// The time that ages are measured by: never ahead of the wall clock, nor of the time that has really passed.
#[derive(Clone, Copy, Debug)]
pub(super) struct StoreTime {
    anchor: Timestamp,
    since: Instant,
}

impl StoreTime {
    /// Starts at the time of the newest record, or at the wall clock if there is none.
    pub(super) fn start(moment: Moment, newest_record: Option<Timestamp>, since: Instant) -> Self {
        Self { anchor: newest_record.unwrap_or(moment.now), since }
    }

    /// The time at `moment`, which is `now` on the monotonic clock.
    pub(super) fn at(self, moment: Moment, now: Instant) -> Timestamp {
        let passed = SignedDuration::try_from(now.saturating_duration_since(self.since)).unwrap_or_default();
        self.anchor.checked_add(passed).map_or(self.anchor, |reached| reached.min(moment.now))
    }
}

/// The segments that are older than `retention` at `time`, oldest first, and the number of the first record
/// after them. The newest segment stays.
///
/// A segment is old if the time in its name, its latest record and its last modification are all older, and
/// so is every segment before it. While the clock is not `synchronized`, a segment begun under a synchronized
/// clock stays.
pub(super) fn expired(
    directory: &Path,
    time: Timestamp,
    retention: Duration,
    synchronized: bool,
) -> io::Result<Option<(Vec<Segment>, u64)>> {
    let Some(limit) = SignedDuration::try_from(retention).ok().and_then(|age| time.checked_sub(age).ok())
    else {
        return Ok(None);
    };
    let segments = segment::list(directory)?;
    let mut old = 0;
    while old + 1 < segments.len() {
        let segment = &segments[old];
        let newest = newest_until(segment, limit)?;
        if newest >= limit {
            if newest > time + AHEAD {
                tracing::warn!(
                    segment = %segment.path.display(), %newest,
                    "A segment has records from the future, made under a wrong clock: it and all segments after it \
                     stay until that time is past its retention"
                );
            }
            break;
        }
        if !synchronized && was_synchronized(segment)? {
            tracing::warn!(
                "Access records past their retention stay until the clock is synchronized again, as it was when they \
                 were made"
            );
            break;
        }
        old += 1;
    }
    deletable(segments, old)
}

/// The oldest segments whose blocks are all before `confirmed_before`, up to a total of `bytes`, and the
/// number of the first record after them. The newest segment stays.
pub(super) fn confirmed(
    directory: &Path,
    confirmed_before: u64,
    bytes: u64,
) -> io::Result<Option<(Vec<Segment>, u64)>> {
    let segments = segment::list(directory)?;
    let (mut count, mut found) = (0, 0);
    for pair in segments.windows(2).take_while(|pair| pair[1].name.first_block <= confirmed_before) {
        if found >= bytes {
            break;
        }
        found += fs_err::metadata(&pair[0].path)?.len();
        count += 1;
    }
    deletable(segments, count)
}

/// The first `count` segments, or fewer: the head of the first one left must be readable.
fn deletable(mut segments: Vec<Segment>, mut count: usize) -> io::Result<Option<(Vec<Segment>, u64)>> {
    while count > 0 {
        let first = Frames::open_for_heads(&segments[count].path)?.next_step()?;
        if let Step::Frame(Frame::Head(head), _) = first {
            segments.truncate(count);
            return Ok(Some((segments, head.first_seq)));
        }
        count -= 1;
    }
    Ok(None)
}

pub(super) fn oldest(directory: &Path) -> Option<Timestamp> {
    segment::list(directory).ok()?.first()?.name.opened_at()
}

/// Deletes segments; returns their size in bytes.
pub(super) fn delete(segments: &[Segment]) -> io::Result<u64> {
    let mut deleted = 0;
    for segment in segments {
        let bytes = fs_err::metadata(&segment.path)?.len();
        fs_err::remove_file(&segment.path)?;
        tracing::info!(segment = %segment.path.display(), "Deleted a segment of access records");
        deleted += bytes;
    }
    Ok(deleted)
}

/// The latest time of a segment: opened, modified or recorded. Stops at any time that is not before `limit`.
fn newest_until(segment: &Segment, limit: Timestamp) -> io::Result<Timestamp> {
    let opened = segment.name.opened_at().unwrap_or(Timestamp::MAX);
    let mut newest = opened.max(segment.modified()?);
    // Blocks are read only if name and modification are old.
    let mut frames = Frames::open_for_heads(&segment.path)?;
    while newest < limit {
        match frames.next_step()? {
            Step::Frame(Frame::Block(head), _) => {
                newest = head.latest_time().map_or(newest, |latest| latest.max(newest));
            }
            Step::Frame(..) | Step::Damage { .. } => {}
            Step::End { .. } => break,
        }
    }
    Ok(newest)
}

/// Whether the clock was synchronized when a segment was begun, by its first readable block.
fn was_synchronized(segment: &Segment) -> io::Result<bool> {
    let (mut frames, mut unpacker, mut rows) = (Frames::open(&segment.path)?, Unpacker::new()?, Vec::new());
    loop {
        match frames.next_step()? {
            Step::Frame(Frame::Block(head), at) => {
                let payload = frames.payload(at, &head)?;
                if unpacker.unpack(head, payload, &mut rows)
                    && let Some(Ok(fields)) = RowReader::new(head.first_seq).next(&rows)
                {
                    return Ok(fields.clock.synchronized);
                }
            }
            Step::Frame(..) | Step::Damage { .. } => {}
            Step::End { .. } => return Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use tlog_tiles::Hash;

    use super::*;
    use crate::access::AccessRecord;
    use crate::access::fields::ClockState;
    use crate::retention::format::SegmentHead;
    use crate::retention::format::block::{Packer, Place};
    use crate::retention::format::rows::Rows;
    use crate::retention::format::segment::SegmentName;
    use crate::retention::format::tree::Tree;
    use crate::retention::tests::{push, request};

    const DAY: SignedDuration = SignedDuration::from_hours(24);
    const RETENTION: Duration = Duration::from_secs(190 * 24 * 60 * 60);

    fn today() -> Timestamp {
        "2026-11-01T00:00:00Z".parse().expect("a time")
    }

    /// A store with a segment of one record for each `(days old by record, days old by mtime)`.
    fn store(ages: &[(i32, i32)], synchronized: bool) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (number, &(record, modified)) in (0_u64..).zip(ages) {
            let time = today() - DAY * record;
            let path = folder.path().join(SegmentName::new(time, number).to_string());
            let mut rows = Rows::new("n".into());
            rows.set_clock(ClockState { synchronized, ..ClockState::default() });
            push(&mut rows, &AccessRecord { time, ..request() }, "/");
            let (previous, sealed) = (Hash([0; 32]), time.as_millisecond());
            let place = Place { number, first_seq: number + 1, previous, signed: 0, sealed };
            let mut bytes = Vec::new();
            let mut tree = Tree::default();
            (0..number).for_each(|_| tree.push(Hash([0; 32])));
            SegmentHead { first_seq: number + 1, opened: sealed, previous, tree }.write(&mut bytes);
            Packer::new().and_then(|mut packer| packer.pack(&mut rows, place, &mut bytes)).expect("packed");
            fs_err::write(&path, bytes).expect("written");
            let file = std::fs::File::options().write(true).open(&path).expect("opened");
            file.set_modified(SystemTime::try_from(today() - DAY * modified).expect("a time")).expect("aged");
        }
        folder
    }

    #[track_caller]
    fn check(ages: &[(i32, i32)], time: Timestamp, left: usize) {
        let store = store(ages, false);
        if let Some((old, first_left)) = expired(store.path(), time, RETENTION, false).expect("found") {
            assert_eq!(first_left as usize, old.len() + 1);
            delete(&old).expect("deleted");
        }
        assert_eq!(segment::list(store.path()).expect("listed").len(), left);
    }

    #[test]
    fn what_a_synchronized_clock_has_recorded_no_other_deletes() {
        let ages = [(200, 200), (0, 0)];
        for (then, now, goes) in
            [(true, true, true), (true, false, false), (false, true, true), (false, false, true)]
        {
            let found = expired(store(&ages, then).path(), today(), RETENTION, now).expect("found");
            assert_eq!(found.is_some(), goes, "synchronized then: {then}, now: {now}");
        }
    }

    #[test]
    fn a_clock_that_was_behind_at_the_start_does_not_hold_the_store_back() {
        let start = Instant::now();
        let year = DAY * 365;
        let time = StoreTime::start(Moment::at(today() - year), Some(today()), start);
        assert_eq!(time.at(Moment::at(today() - year), start), today() - year);
        let minute = start + Duration::from_secs(60);
        assert_eq!(
            time.at(Moment::at(today() + SignedDuration::from_secs(60)), minute),
            today() + SignedDuration::from_secs(60)
        );
    }

    #[test]
    fn what_is_past_its_retention_goes_and_the_rest_stays() {
        check(&[(200, 200), (191, 191), (189, 189), (0, 0)], today(), 2);
        check(&[(200, 200), (200, 200)], today(), 1);
        check(&[], today(), 0);
    }

    #[test]
    fn a_record_or_a_change_that_is_young_keeps_its_segment_and_all_after_it() {
        check(&[(200, 10), (200, 200), (0, 0)], today(), 3);
        check(&[(10, 200), (200, 200), (0, 0)], today(), 3);
        // Written while the clock was a year behind.
        check(&[(100, 100), (99 + 365, 99 + 365), (0, 0)], today(), 3);
    }

    #[test]
    fn a_clock_that_jumps_ahead_does_not_make_the_store_older() {
        let start = Instant::now();
        let year = DAY * 365;
        let time = StoreTime::start(Moment::at(today()), Some(today() - SignedDuration::from_secs(5)), start);
        let hour = start + Duration::from_secs(3600);
        let ahead = time.at(Moment::at(today() + year), hour);
        assert!(ahead < today() + SignedDuration::from_hours(1));
        check(&[(189, 189), (0, 0)], ahead, 2);
        assert_eq!(time.at(Moment::at(today() - year), hour), today() - year);
        // Started with the clock already ahead.
        let time = StoreTime::start(Moment::at(today() + year), Some(today()), start);
        assert_eq!(time.at(Moment::at(today() + year), start), today());
    }
}
