use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Instant;

use fs_err::File;
use jiff::Timestamp;

use super::*;
use crate::access::AccessRecord;
use crate::clock::Clock;
use crate::retention::format::BLOCK_HEAD;
use crate::retention::format::segment::SegmentName;
use crate::retention::tests::{push, request};
use crate::retention::write::Now;
use crate::retention::write::appender::Appender;
use crate::retention::write::notary::Notary;
use crate::retention::write::recovery::resume;
use crate::retention::{Item, Reader, Selection};

mod changed;
mod forged;

const SEGMENTS: i64 = 4;
const BLOCKS: i64 = 5;
const RECORDS: u64 = 3;

fn time(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(1_772_000_000_000 + milliseconds).expect("a time")
}

/// Writes a store whose segments are hours apart and which ended in good order; returns its checkpoints,
/// oldest first.
fn write_store(directory: &Path, word: &str) -> Vec<Vec<u8>> {
    let notary = Notary::open(directory, "edge-1").expect("a key");
    let file = File::open(directory).expect("opened");
    let mut appender =
        Appender::new(file, notary, "edge-1".into(), Position::default()).expect("an appender");
    let mut checkpoints = Vec::new();
    for segment in 0..SEGMENTS {
        for block in 0..BLOCKS {
            let at = segment * 3_600_000 + block * 1_000;
            let now = Now { monotonic: Instant::now(), wall: time(at) };
            for record in 0..RECORDS {
                let path = format!("/{word}/{record}");
                push(&mut appender.rows, &AccessRecord { time: now.wall, ..request() }, &path);
            }
            appender.seal(now).expect("sealed");
            if (segment, block) == (SEGMENTS - 1, BLOCKS - 1) {
                appender.seal_end(now).expect("sealed");
            }
            appender.write(now).expect("written");
            appender.sync().expect("synced");
            if block % 2 == 0 {
                appender.sign().expect("signed");
                appender.write(now).expect("written");
                appender.sync().expect("synced");
            }
            checkpoints.push(fs_err::read(directory.join(CHECKPOINT_FILE)).expect("a checkpoint"));
        }
        appender.roll(Now { monotonic: Instant::now(), wall: time(0) }).expect("rolled");
    }
    checkpoints
}

fn against() -> Against {
    against_at(time(100 * 3_600_000))
}

/// Judges at the time `at`.
fn against_at(at: Timestamp) -> Against {
    Against { keys: Vec::new(), since: None, clock: Clock::from_fn(move || at) }
}

fn key_of(directory: &Path) -> String {
    fs_err::read_to_string(directory.join(VERIFIER_FILE)).expect("a key").trim_end().to_owned()
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    segment::list(directory).expect("listed").into_iter().map(|segment| segment.path).collect()
}

#[track_caller]
fn check(directory: &Path, against: &Against, expected: Option<Reason>) {
    let verdict = verify(directory, against).expect("verified");
    assert_eq!(verdict.first_break.map(|found| found.reason), expected);
}

/// The ranges of the frames of a segment, and whether each is a block.
fn frames_of(path: &Path) -> Vec<(usize, usize, bool)> {
    let mut frames = Frames::open(path).expect("opened");
    let mut found = Vec::new();
    while let Step::Frame(frame, at) = frames.next_step().expect("read") {
        found.push((at as usize, frames.at() as usize, matches!(frame, Frame::Block(_))));
    }
    found
}

/// Corrects the CRC of every frame, as a forger would.
fn mend(bytes: &mut [u8], frames: &[(usize, usize, bool)]) {
    for &(from, to, is_block) in frames {
        let frame = &mut bytes[from..to];
        if is_block {
            let crc = crc32c::crc32c(&frame[BLOCK_HEAD..]);
            frame[12..16].copy_from_slice(&crc.to_le_bytes());
        }
        let end = if is_block { BLOCK_HEAD } else { frame.len() };
        let crc = crc32c::crc32c_append(crc32c::crc32c(&frame[..4]), &frame[8..end]);
        frame[4..8].copy_from_slice(&crc.to_le_bytes());
    }
}

#[test]
fn an_intact_store_is_verified_against_every_checkpoint_it_had() {
    let folder = tempfile::tempdir().expect("a folder");
    let checkpoints = write_store(folder.path(), "a");
    let keys = vec![key_of(folder.path())];
    for since in checkpoints {
        let against = Against { keys: keys.clone(), since: Some(since), ..against() };
        let verdict = verify(folder.path(), &against).expect("verified");
        assert_eq!(verdict.first_break, None);
        assert_eq!(verdict.records, (SEGMENTS * BLOCKS) as u64 * RECORDS);
        assert_eq!((verdict.from, verdict.to), (Some(time(0)), Some(time(3 * 3_600_000 + 4_000))));
        assert!(verdict.checkpoint.expect("a checkpoint").starts_with("icpgate/edge-1\n21\n"));
    }
}

#[test]
fn what_stands_in_place_of_a_file_of_the_store_is_neither_waited_for_nor_read_without_end() {
    for name in [CHECKPOINT_FILE, VERIFIER_FILE, LOCK_FILE] {
        let folder = tempfile::tempdir().expect("a folder");
        write_store(folder.path(), "a");
        let path = folder.path().join(name);
        let _ = fs_err::remove_file(&path);
        std::os::unix::fs::symlink("/dev/zero", &path).expect("a link");
        assert!(verify(folder.path(), &against()).is_err(), "{name}");
        fs_err::remove_file(&path).expect("removed");
        let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo");
        assert!(made.success());
        let error = verify(folder.path(), &against()).expect_err("nobody writes to it");
        assert!(error.to_string().contains(name), "{error}");
    }
}

/// A reader and a start must survive any bytes.
fn read_and_resume(directory: &Path) {
    let mut reader = Reader::open(directory, Selection::default()).expect("opened");
    while reader.next_item().expect("read").is_some() {}
    resume(directory).expect("resumed");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..2_000)) {
        let folder = tempfile::tempdir().expect("a folder");
        let name = SegmentName::new(time(0), 0).to_string();
        fs_err::write(folder.path().join(name), bytes).expect("written");
        read_and_resume(folder.path());
    }

    /// A disk that was synced up to some byte and kept any of the later sectors.
    #[test]
    fn after_a_power_failure_what_was_synced_is_there_and_the_rest_is_whole_or_gone(
        written in 0.0..=1.0_f64, synced in 0.0..=1.0_f64, kept in proptest::collection::vec(proptest::bool::ANY, 64),
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        write_store(folder.path(), &"a".repeat(600));
        let path = segments(folder.path()).pop().expect("a segment");
        fs_err::remove_file(folder.path().join(CHECKPOINT_FILE)).expect("removed");
        let mut bytes = fs_err::read(&path).expect("read");
        let frames = frames_of(&path);
        // Syncs cover whole blocks; writes end anywhere.
        let synced = frames[(synced * (frames.len() - 1) as f64) as usize];
        // A checkpoint is written after what it covers is synced.
        let checkpoint = frames.iter().find(|(from, _, is_block)| !is_block && *from > synced.1);
        let end = checkpoint.map_or(bytes.len(), |(from, ..)| *from);
        let length = synced.1 + (written * (end - synced.1) as f64) as usize;
        bytes.truncate(length);
        const SECTOR: usize = 512;
        for (sector, kept) in (synced.1.next_multiple_of(SECTOR)..length).step_by(SECTOR).zip(kept) {
            if !kept {
                let end = length.min(sector + SECTOR);
                bytes[sector..end].fill(0);
            }
        }
        fs_err::write(&path, bytes).expect("written");
        let left = resume(folder.path()).expect("resumed");
        let blocks = frames.iter().filter(|(_, to, is_block)| *is_block && *to <= synced.1).count() as u64;
        let before = (SEGMENTS - 1) * BLOCKS;
        proptest::prop_assert!(left.position.tree.size() >= before as u64 + blocks);
        // The store continues, and all of it is proved.
        let notary = Notary::open(folder.path(), "edge-1").expect("a key");
        let file = File::open(folder.path()).expect("opened");
        let mut appender = Appender::new(file, notary, "edge-1".into(), left.position).expect("an appender");
        let now = Now { monotonic: Instant::now(), wall: time(4 * 3_600_000) };
        appender.seal_end(now).expect("sealed");
        appender.roll(now).expect("rolled");
        check(folder.path(), &against(), None);
    }
}

fn copy(from: &Path, to: &Path) {
    fs_err::create_dir(to).expect("created");
    for entry in fs_err::read_dir(from).expect("listed") {
        let path = entry.expect("listed").path();
        fs_err::copy(&path, to.join(path.file_name().expect("a name"))).expect("copied");
    }
}

#[test]
fn a_proof_of_any_records_is_checked_without_the_store_and_every_changed_byte_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    write_store(folder.path(), "a");
    let keys = vec![key_of(folder.path())];
    let file = folder.path().join("one.proof");
    let prove = |selection: &Selection| {
        let mut bytes = Vec::new();
        let written = crate::retention::proof::write(folder.path(), selection, &mut bytes).expect("written");
        fs_err::write(&file, &bytes).expect("written");
        (written, bytes)
    };
    // Any span of time, from one block to all.
    for first in 0..BLOCKS * SEGMENTS {
        let at = |block: i64| Some(time(block / BLOCKS * 3_600_000 + block % BLOCKS * 1_000));
        for last in [first, first + 3, BLOCKS * SEGMENTS] {
            let selection = Selection { from: at(first), to: at(last + 1), ..Selection::default() };
            let (written, _) = prove(&selection);
            let blocks = (last.min(BLOCKS * SEGMENTS - 1) - first + 1) as u64;
            assert_eq!((written.blocks, written.records), (blocks, blocks * RECORDS));
            let verdict = verify(&file, &Against { keys: keys.clone(), ..against() }).expect("verified");
            assert_eq!((verdict.first_break, verdict.records), (None, blocks * RECORDS));
        }
    }
    let (_, bytes) = prove(&Selection { from: Some(time(0)), to: Some(time(1)), ..Selection::default() });
    let mut reader = Reader::open(&file, Selection::default()).expect("opened");
    let mut records = 0;
    while let Some(Item::Record(_)) = reader.next_item().expect("read") {
        records += 1;
    }
    assert_eq!(records, RECORDS);
    for bit in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs_err::write(&file, bytes).expect("written");
        assert!(!verify(&file, &against()).expect("verified").is_ok(), "bit {bit}");
    }
}

#[test]
fn a_flipped_bit_in_the_key_or_the_checkpoint_shown_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    write_store(folder.path(), "a");
    for name in [CHECKPOINT_FILE, VERIFIER_FILE] {
        let path = folder.path().join(name);
        let bytes = fs_err::read(&path).expect("read");
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs_err::write(&path, bytes).expect("written");
            assert!(!verify(folder.path(), &against()).expect("verified").is_ok(), "{name}: bit {bit}");
        }
        fs_err::write(&path, bytes).expect("written");
    }
}

#[test]
fn a_history_written_anew_with_the_key_is_found_by_any_older_checkpoint() {
    let folder = tempfile::tempdir().expect("a folder");
    let checkpoints = write_store(folder.path(), "a");
    for path in segments(folder.path()) {
        fs_err::remove_file(path).expect("removed");
    }
    write_store(folder.path(), "b");
    check(folder.path(), &against(), None);
    for since in checkpoints {
        check(folder.path(), &Against { since: Some(since), ..against() }, Some(Reason::OtherThanSince));
    }
}

#[test]
fn a_store_set_back_to_an_earlier_state_is_found_by_a_later_checkpoint() {
    let folder = tempfile::tempdir().expect("a folder");
    let checkpoints = write_store(folder.path(), "a");
    let last = segments(folder.path()).pop().expect("a segment");
    fs_err::remove_file(last).expect("removed");
    fs_err::write(folder.path().join(CHECKPOINT_FILE), &checkpoints[14]).expect("written");
    let since = checkpoints.last().cloned();
    check(folder.path(), &Against { since, ..against() }, Some(Reason::ShorterThanSince));
    check(folder.path(), &against(), Some(Reason::NotEnded));
}

#[test]
fn what_is_missing_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let directory = folder.path();
    write_store(directory, "a");
    let segments = segments(directory);
    let first_seq = 1 + BLOCKS as u64 * RECORDS;
    fs_err::rename(&segments[0], directory.join("aside")).expect("moved");
    check(directory, &against(), Some(Reason::Deleted { first_seq }));
    fs_err::rename(directory.join("aside"), &segments[0]).expect("moved back");
    fs_err::remove_file(directory.join(CHECKPOINT_FILE)).expect("removed");
    check(directory, &against(), Some(Reason::NoCheckpoint));
    fs_err::remove_file(directory.join(VERIFIER_FILE)).expect("removed");
    check(directory, &against(), Some(Reason::NoKey));
    let against = Against { keys: vec!["nonsense".to_owned()], ..against() };
    check(directory, &against, Some(Reason::BadKey("nonsense".to_owned())));
}

#[test]
fn a_tail_may_be_unsigned_for_a_minute() {
    let folder = tempfile::tempdir().expect("a folder");
    let notary = Notary::open(folder.path(), "edge-1").expect("a key");
    let file = File::open(folder.path()).expect("opened");
    let mut appender =
        Appender::new(file, notary, "edge-1".into(), Position::default()).expect("an appender");
    let now = Now { monotonic: Instant::now(), wall: time(0) };
    push(&mut appender.rows, &request(), "/");
    appender.seal(now).expect("sealed");
    appender.write(now).expect("written");
    appender.sync().expect("synced");
    check(folder.path(), &against_at(time(59_000)), None);
    let unsigned = Reason::Unsigned { from: 0, to: 0 };
    check(folder.path(), &against_at(time(61_000)), Some(unsigned));
    // Torn, without a writer.
    let segment = &segments(folder.path())[0];
    let length = fs_err::metadata(segment).expect("there").len();
    let file = std::fs::OpenOptions::new().write(true).open(segment).expect("opened");
    file.write_all_at(b"icpB", length).expect("written");
    check(folder.path(), &against_at(time(0)), Some(Reason::Unfinished));
}
