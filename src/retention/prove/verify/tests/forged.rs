//! Forgeries by somebody who can write to the directory and knows the format, but not the key.

use std::time::Duration;

use jiff::SignedDuration;

use super::*;
use crate::access::Expired;
use crate::config::{AccessLog, WhenFull};
use crate::retention::Store;
use crate::retention::tests::{eventually, sent};
use crate::retention::write::recovery::Ended;

/// An appender with which a forger continues a store; it cannot sign with the key.
fn forger(directory: &Path) -> Appender {
    let left = resume(directory).expect("resumed");
    assert!(matches!(left.ended, Ended::InOrder { .. }));
    let notary = Notary::open(directory, "edge-1").expect("a key");
    let file = File::open(directory).expect("opened");
    Appender::new(file, notary, "edge-1".into(), left.position).expect("an appender")
}

fn put(appender: &mut Appender, wall: Timestamp) {
    let now = Now { monotonic: Instant::now(), wall };
    appender.seal(now).expect("sealed");
    appender.write(now).expect("written");
    appender.sync().expect("synced");
}

#[test]
fn a_block_of_the_future_is_not_young() {
    let (folder, copies) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let since = write_store(folder.path(), "a").pop();
    let at = time(10 * 3_600_000);
    let unsigned = Reason::Unsigned { from: 21, to: 21 };
    for (ahead, expected) in [(-61, Some(unsigned.clone())), (-59, None), (59, None), (61, Some(unsigned))] {
        let copied = copies.path().join(format!("copy{ahead}"));
        copy(folder.path(), &copied);
        let mut appender = forger(&copied);
        push(&mut appender.rows, &request(), "/forged");
        put(&mut appender, at + SignedDuration::from_secs(ahead));
        let keys = vec![key_of(&copied)];
        check(&copied, &Against { keys, since: since.clone(), ..against_at(at) }, expected);
    }
}

#[test]
fn a_deletion_counts_once_it_is_signed() {
    let folder = tempfile::tempdir().expect("a folder");
    let directory = folder.path();
    write_store(directory, "a");
    fs_err::remove_file(&segments(directory)[0]).expect("removed");
    let first_seq = 1 + BLOCKS as u64 * RECORDS;
    let mut appender = forger(directory);
    let at = time(10 * 3_600_000);
    appender.rows.push_expired(&Expired { time: at, before_seq: first_seq });
    put(&mut appender, at);
    check(directory, &against_at(at), Some(Reason::Deleted { first_seq }));
    appender.sign().expect("signed");
    put(&mut appender, at);
    check(directory, &against_at(at), None);
}

#[test]
fn a_segment_without_a_block_was_put_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let directory = folder.path();
    write_store(directory, "a");
    let mut segments = segments(directory);
    let last = segments.pop().expect("a segment");
    let head = fs_err::read(&last).expect("read")[..frames_of(&last)[0].1].to_vec();
    // A copy of a head, under an older name.
    let name = SegmentName::new(time(2 * 3_600_000), 15);
    let mut older = head.clone();
    older[32..40].copy_from_slice(&time(2 * 3_600_000).as_millisecond().to_le_bytes());
    mend(&mut older, &[(0, head.len(), false)]);
    fs_err::write(directory.join(name.to_string()), older).expect("written");
    check(directory, &against(), Some(Reason::Empty));
}

#[test]
fn a_name_that_is_nearly_one_is_none() {
    let folder = tempfile::tempdir().expect("a folder");
    write_store(folder.path(), "a");
    let last = segments(folder.path()).pop().expect("a segment");
    let name = last.file_name().and_then(|name| name.to_str()).expect("a name");
    fs_err::rename(&last, folder.path().join(name.replace("access-", "access-+"))).expect("renamed");
    check(folder.path(), &against(), Some(Reason::ShorterThanShown));
}

#[test]
fn what_a_failed_write_left_is_the_same_as_what_was_written_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let directory = folder.path();
    write_store(directory, "a");
    let segments = segments(directory);
    let (whole, next) =
        (fs_err::read(&segments[0]).expect("read"), fs_err::read(&segments[1]).expect("read"));
    // Head, block 5, checkpoint of 6, block 6, block 7, checkpoint of 8.
    let frames = frames_of(&segments[1]);
    let frame = |place: usize| &next[frames[place].0..frames[place].1];
    let changed = |place: usize, at: usize| {
        let mut bytes = frame(place).to_vec();
        bytes[at] ^= 1;
        let length = bytes.len();
        mend(&mut bytes, &[(0, length, frames[place].2)]);
        bytes
    };
    let nonsense = {
        let mut bytes = Vec::new();
        crate::retention::format::codec::write_checkpoint(&[b'x'; 500], &mut bytes);
        bytes
    };
    for (what, remains, expected) in [
        ("as they are", [frame(1), frame(2), frame(3), frame(4)].concat(), None),
        ("another time", [frame(1), frame(2), &changed(3, 40)].concat(), Some(Reason::Foreign)),
        ("in another order", [frame(3), frame(1)].concat(), Some(Reason::Foreign)),
        ("one twice", [frame(1), frame(1)].concat(), Some(Reason::Missing { from: 6, to: 5 })),
        ("one left out", [frame(1), frame(4)].concat(), Some(Reason::Foreign)),
        ("nonsense for a checkpoint", [frame(1), &nonsense].concat(), Some(Reason::BadSignature)),
        ("a checkpoint elsewhere", [frame(1), frame(3), frame(2)].concat(), Some(Reason::OtherTree)),
    ] {
        fs_err::write(&segments[0], [&whole[..], &remains].concat()).expect("written");
        let found = verify(directory, &against()).expect("verified").first_break;
        assert_eq!(found.map(|found| found.reason), expected, "{what}");
    }
}

#[test]
fn a_writer_s_own_deletion_is_signed_before_anything_goes() {
    let folder = tempfile::tempdir().expect("a folder");
    write_store(folder.path(), "a");
    for (path, age) in segments(folder.path()).iter().zip([300, 300, 0, 0]) {
        let modified = time(0) + SignedDuration::from_hours(24 * (300 - age));
        let file = std::fs::File::options().append(true).open(path).expect("opened");
        file.set_modified(std::time::SystemTime::try_from(modified).expect("a time")).expect("aged");
    }
    let now = time(0) + SignedDuration::from_hours(24 * 300);
    let log = AccessLog {
        directory: folder.path().to_owned(),
        retention: Duration::from_secs(190 * 24 * 60 * 60),
        reserve: 0,
        when_full: WhenFull::Refuse,
        redact_query: Vec::new(),
        client_budget: 64 << 10,
    };
    // The second start expires: the first one goes by the time of the newest record.
    for left in [5, 4] {
        let store = Store::open(&log, "edge-1".into(), Clock::from_fn(move || now)).expect("opened");
        let record = AccessRecord { time: now, ..request() };
        store.recorder().reserve().expect("a slot").keep(record, &sent("/"));
        eventually(|| segments(folder.path()).len() == left);
        store.close().expect("closed");
    }
    check(folder.path(), &against_at(now), None);
}
