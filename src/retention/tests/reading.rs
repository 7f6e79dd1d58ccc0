//! Reading: which segments and blocks a reader uses, and what it reports.

use super::*;
use crate::retention::format::frames::{Frames, Step};
use crate::retention::format::{BlockHead, Frame};

#[test]
fn a_segment_is_chosen_by_the_day_in_its_name_whenever_its_file_was_changed() {
    let folder = Folder::new();
    fs_err::create_dir(folder.log().directory).expect("created");
    let (before, after) = ("2026-03-02T23:59:59+08:00", "2026-03-03T03:00:00+08:00");
    let record = |time| [(time, "a.cn", "192.0.2.1")];
    written(&folder.log().directory, &[(before, &record(before)), (after, &record(after))]);
    let from = |time: &str| folder.select(Selection { from: time.parse().ok(), ..Selection::default() });
    for changed in ["2001-09-09T00:00:00Z", "2099-01-01T00:00:00Z"] {
        for segment in folder.segments() {
            let time: jiff::Timestamp = changed.parse().expect("a time");
            let time = std::time::SystemTime::try_from(time).expect("a time");
            let file = fs_err::OpenOptions::new().append(true).open(segment).expect("opened");
            file.file().set_modified(time).expect("changed");
        }
        assert_eq!(seqs(&from(before)), [1, 2], "{changed}");
        assert_eq!(seqs(&from("2026-03-03T00:30:00+08:00")), [2], "{changed}");
    }
    // A segment whose day ended more than an hour before is not read at all.
    fs_err::write(&folder.segments()[0], "nonsense").expect("written");
    assert_eq!(seqs(&from("2026-03-03T01:00:01+08:00")), [2]);
}

/// A store of one segment with one block of three records, whose head `forge` changes.
fn forged(forge: impl Fn(BlockHead) -> BlockHead) -> Folder {
    let folder = Folder::new();
    fs_err::create_dir(folder.log().directory).expect("created");
    let time = "2026-03-02T10:00:00+08:00";
    written(&folder.log().directory, &[(time, &[(time, "a.cn", "192.0.2.1"); 3])]);
    let segment = folder.segments().remove(0);
    let mut frames = Frames::open(&segment).expect("opened");
    let mut bytes = fs_err::read(&segment).expect("read");
    while let Step::Frame(frame, at) = frames.next_step().expect("read") {
        if let Frame::Block(head) = frame {
            let head = forge(head).to_bytes();
            bytes[at as usize..at as usize + head.len()].copy_from_slice(&head);
        }
    }
    fs_err::write(segment, bytes).expect("written");
    folder
}

/// The number of records and of damaged places that a reader finds.
fn read(store: &Path) -> (usize, usize) {
    let mut reader = Reader::open(store, Selection::default()).expect("readable");
    let (mut records, mut damaged) = (0, 0);
    while let Some(item) = reader.next_item().expect("readable") {
        match item {
            Item::Record(_) => records += 1,
            Item::Damage { .. } | Item::Missing { .. } => damaged += 1,
        }
    }
    (records, damaged)
}

#[test]
fn a_block_gives_no_more_records_than_its_head_says_and_one_with_fewer_is_damaged() {
    for (count, records, damaged) in [(1, 1, 1), (2, 2, 1), (3, 3, 0), (4, 3, 1), (u32::MAX, 3, 1)] {
        let folder = forged(|head| BlockHead { count, ..head });
        assert_eq!(read(&folder.log().directory), (records, damaged), "{count}");
    }
}

#[test]
fn a_block_that_cannot_be_unpacked_is_one_damaged_place() {
    let folder = forged(|head| BlockHead { raw_length: head.raw_length - 1, ..head });
    assert_eq!(read(&folder.log().directory), (0, 1));
}

#[test]
fn blocks_that_are_missing_between_two_segments_that_are_read_are_named() {
    let folder = Folder::new();
    fs_err::create_dir(folder.log().directory).expect("created");
    let days = [2, 3, 4, 5].map(|day| format!("2026-03-0{day}T10:00:00+08:00"));
    let records = days.each_ref().map(|time| [(time.as_str(), "a.cn", "192.0.2.1")]);
    let segments: Vec<_> = records.iter().map(|records| (records[0].0, &records[..])).collect();
    written(&folder.log().directory, &segments);
    let segments = folder.segments();
    fs_err::remove_file(&segments[1]).expect("removed");
    let mut reader = Reader::open(&folder.log().directory, Selection::default()).expect("readable");
    let first = reader.next_item().expect("readable").expect("a record");
    assert!(matches!(first, Item::Record(_)), "{first:?}");
    let missing = Item::Missing { segment: &segments[2], from: 1, to: 1 };
    assert_eq!(reader.next_item().expect("readable"), Some(missing));
    assert_eq!(read(&folder.log().directory), (3, 1));
    // The beginning of a store may be deleted, and segments that are not searched may hold anything.
    let from = |time: &String| Selection { from: time.parse().ok(), ..Selection::default() };
    assert_eq!(seqs(&folder.select(from(&days[2]))), [3, 4]);
    fs_err::remove_file(&segments[0]).expect("removed");
    assert_eq!(seqs(&folder.records()), [3, 4]);
}
