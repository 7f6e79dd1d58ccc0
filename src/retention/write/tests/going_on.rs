//! Recovery: what a previous writer left, and how the next one continues.

use std::path::{Path, PathBuf};

use crate::clock::Clock;
use crate::retention::format::Frame;
use crate::retention::format::frames::{Frames, Step};
use crate::retention::format::note::CHECKPOINT_FILE;
use crate::retention::format::segment::SegmentName;
use crate::retention::tests::{Folder, eventually, keep, seqs};
use crate::retention::write::recovery::{Ended, resume};
use crate::retention::{Against, Item, Reader, Reason, Selection, verify};

#[test]
fn numbers_go_on_after_a_restart() {
    let folder = Folder::new();
    for _ in 0..3 {
        let store = folder.open();
        keep(&store, "/a");
        keep(&store, "/b");
        store.close().expect("closed");
    }
    // A start without records adds no segment.
    folder.open().close().expect("closed");
    assert_eq!(seqs(&folder.records()), [1, 2, 3, 4, 5, 6]);
    assert_eq!(folder.segments().len(), 3);
    assert_eq!(folder.records()[0]["node"], "bj-edge-1");
}

#[test]
fn wherever_the_end_is_torn_only_whole_blocks_are_left_and_a_record_says_so() {
    let (folder, segment, whole) = three_blocks();
    let ends = ends_of_frames(&segment);
    for cut in 0..whole.len() as u64 {
        fs_err::write(&segment, &whole[..cut as usize]).expect("torn");
        let read = seqs(&folder.records());
        let left = resume(&folder.log().directory).expect("resumed");
        let kept = ends.iter().filter(|(end, _)| *end <= cut).map(|(_, seq)| *seq).max().unwrap_or(1);
        assert_eq!(left.position.next_seq, kept, "cut at {cut}");
        assert!(read.into_iter().eq(1..kept), "a reader takes what is whole, cut at {cut}");
        let torn = !ends.iter().any(|(end, _)| *end == cut);
        match left.ended {
            // A segment without a whole block is removed.
            Ended::Killed { .. } if kept == 1 => assert!(!segment.exists()),
            Ended::Killed { cut, .. } => assert_eq!(cut > 0, torn),
            Ended::Never => panic!("a writer was there, cut at {cut}"),
            // Only the checkpoint after the end is missing.
            Ended::InOrder { .. } => assert!(!torn && kept == 4),
        }
        if kept > 1 {
            let end = ends.iter().map(|(end, _)| *end).filter(|end| *end <= cut).max();
            assert_eq!(fs_err::metadata(&segment).ok().map(|file| file.len()), end);
        }
    }
    fs_err::write(&segment, &whole[..whole.len() - 200]).expect("torn");
    fs_err::remove_file(folder.log().directory.join(CHECKPOINT_FILE)).expect("removed");
    let store = folder.open();
    keep(&store, "/after");
    store.close().expect("closed");
    let records = folder.records();
    assert_eq!(seqs(&records), [1, 2, 3, 4, 5]);
    assert_eq!((&records[3]["event"], &records[3]["reason"]), (&"gap".into(), &"torn_tail".into()));
    assert_eq!(records[4]["path"], "/after");
}

/// A closed store with three records in three blocks of one segment, and the bytes of that segment.
fn three_blocks() -> (Folder, PathBuf, Vec<u8>) {
    let folder = Folder::new();
    let store = folder.open();
    for seq in 1..=3 {
        keep(&store, "/");
        eventually(|| folder.records().len() == seq);
    }
    store.close().expect("closed");
    let segment = folder.segments().remove(0);
    let whole = fs_err::read(&segment).expect("read");
    (folder, segment, whole)
}

/// The ends of the frames of a segment, and the next record number at each.
fn ends_of_frames(segment: &Path) -> Vec<(u64, u64)> {
    let mut frames = Frames::open(segment).expect("opened");
    let (mut ends, mut next_seq) = (Vec::new(), 1);
    while let Step::Frame(frame, _) = frames.next_step().expect("read") {
        if let Frame::Block(head) = frame {
            next_seq = head.next_seq();
        }
        ends.push((frames.at(), next_seq));
    }
    ends
}

#[test]
fn a_killed_writer_leaves_a_gap_on_record() {
    let folder = Folder::new();
    let store = folder.open();
    keep(&store, "/a");
    eventually(|| folder.records().len() == 1);
    // The file now is what a kill would leave.
    let segment = folder.segments().remove(0);
    let left = fs_err::read(&segment).expect("read");
    store.close().expect("closed");
    fs_err::write(&segment, left).expect("written");
    fs_err::remove_file(folder.log().directory.join(CHECKPOINT_FILE)).expect("removed");
    folder.open().close().expect("closed");
    let records = folder.records();
    assert_eq!(seqs(&records), [1, 2]);
    assert_eq!((&records[1]["event"], &records[1]["reason"]), (&"gap".into(), &"unclean_stop".into()));
    assert!(records[1]["since"].is_string());
}

#[test]
fn nothing_but_the_segments_is_needed_to_go_on() {
    let folder = Folder::new();
    let store = folder.open();
    keep(&store, "/before");
    store.close().expect("closed");
    let segments = folder.segments();
    for entry in fs_err::read_dir(folder.log().directory).expect("listed") {
        let path = entry.expect("listed").path();
        if !segments.contains(&path) {
            fs_err::remove_file(path).expect("removed");
        }
    }
    let store = folder.open();
    keep(&store, "/after");
    store.close().expect("closed");
    let records = folder.records();
    let paths: Vec<_> = records.iter().filter_map(|record| record["path"].as_str()).collect();
    assert_eq!((seqs(&records), paths), (vec![1, 2], vec!["/before", "/after"]));
}

#[test]
fn a_store_that_is_shorter_than_its_checkpoint_says_so_for_good() {
    let folder = Folder::new();
    let directory = folder.log().directory;
    for path in ["/a", "/b"] {
        let store = folder.open();
        keep(&store, path);
        store.close().expect("closed");
    }
    let shown = fs_err::read(directory.join(CHECKPOINT_FILE)).expect("read");
    fs_err::remove_file(folder.segments().pop().expect("a segment")).expect("removed");
    let store = folder.open();
    keep(&store, "/c");
    store.close().expect("closed");
    let records = folder.records();
    assert_eq!((&records[1]["event"], &records[1]["reason"]), (&"gap".into(), &"shortened".into()));
    // The old checkpoint is kept, and no restart makes the store intact.
    assert_eq!(fs_err::read(directory.join(format!("{CHECKPOINT_FILE}.4"))).expect("kept"), shown);
    folder.open().close().expect("closed");
    let found = |since: Option<&[u8]>| {
        let since = since.map(<[u8]>::to_vec);
        let against = Against { keys: Vec::new(), since, clock: Clock::system() };
        verify(&directory, &against).expect("verified").first_break.map(|found| found.reason)
    };
    assert_eq!(found(None), Some(Reason::Shortened));
    assert_eq!(found(Some(&shown)), Some(Reason::OtherThanSince));
    // A checkpoint from afterwards accepts the gap.
    let known = fs_err::read(directory.join(CHECKPOINT_FILE)).expect("read");
    assert_eq!(found(Some(&known)), None);
}

#[test]
fn a_segment_that_was_begun_before_the_end_is_a_gap() {
    let (folder, segment, _) = three_blocks();
    let begun = SegmentName::new(Clock::system().now(), 4).to_string();
    for bytes in [&b""[..], b"icpS", &fs_err::read(&segment).expect("read")[..72]] {
        let path = folder.log().directory.join(&begun);
        fs_err::write(&path, bytes).expect("begun");
        let left = resume(&folder.log().directory).expect("resumed");
        assert!(matches!(left.ended, Ended::Killed { .. }), "{:?}", left.ended);
        assert_eq!((left.position.next_seq, path.exists()), (4, false));
    }
}

#[test]
fn what_is_signed_or_can_be_read_is_never_deleted() {
    let (folder, segment, whole) = three_blocks();
    let directory = folder.log().directory;
    let ends = ends_of_frames(&segment);
    let aside = |extension| segment.with_extension(extension);
    // Signed data stays, however damaged, and numbers continue.
    for at in (0..ends[3].0).step_by(5) {
        let mut bytes = whole.clone();
        bytes[at as usize] ^= 1;
        fs_err::write(&segment, &bytes).expect("damaged");
        let left = resume(&directory).expect("resumed");
        assert_eq!(fs_err::read(&segment).expect("there"), bytes, "byte {at}");
        assert_eq!(left.position.next_seq, 4, "byte {at}");
    }
    // Of unsigned data, the blocks that can be read are set aside.
    let unsigned = &whole[..ends[3].0 as usize];
    for at in [20, ends[0].0 + 4, ends[1].0 - 1] {
        let mut bytes = unsigned.to_vec();
        bytes[at as usize] ^= 1;
        fs_err::write(&segment, &bytes).expect("damaged");
        let left = resume(&directory).expect("resumed");
        assert!(matches!(left.ended, Ended::Killed { cut, .. } if cut == bytes.len() as u64), "byte {at}");
        assert!(!segment.exists(), "byte {at}");
        let mut reader = Reader::open(&aside("seg.cut"), Selection::default()).expect("opened");
        let mut readable = 0;
        while let Some(item) = reader.next_item().expect("read") {
            readable += u64::from(matches!(item, Item::Record(_)));
        }
        assert_eq!(readable, if at == 20 { 3 } else { 2 }, "byte {at}");
        fs_err::remove_file(aside("seg.cut")).expect("removed");
    }
}

#[test]
fn what_a_failed_write_left_is_cut_off_where_the_writer_of_then_could_not() {
    let folder = Folder::new();
    for path in ["/a", "/b"] {
        let store = folder.open();
        keep(&store, path);
        store.close().expect("closed");
    }
    let [first, second] = &folder.segments()[..] else { panic!("two segments") };
    let (whole, next) = (fs_err::read(first).expect("read"), fs_err::read(second).expect("read"));
    let head = ends_of_frames(second)[0].0 as usize;
    let block = ends_of_frames(second)[1].0 as usize;
    // The second writer was killed: its segment has no orderly end.
    fs_err::write(second, &next[..block]).expect("written");
    fs_err::remove_file(folder.log().directory.join(CHECKPOINT_FILE)).expect("removed");
    for remains in [&next[head..block], &next[head..block - 1], &next[head..head + 20]] {
        fs_err::write(first, [&whole, remains].concat()).expect("written");
        resume(&folder.log().directory).expect("resumed");
        assert_eq!(fs_err::read(first).expect("read"), whole);
    }
    // Data before a checkpoint is not cut off.
    let signed = [&whole, &next[head..]].concat();
    fs_err::write(first, &signed).expect("written");
    resume(&folder.log().directory).expect("resumed");
    assert_eq!(fs_err::read(first).expect("read"), signed);
}

#[test]
fn a_damaged_block_costs_its_records_and_no_others() {
    let (folder, segment, whole) = three_blocks();
    let ends = ends_of_frames(&segment);
    // The second block: its head first, then its payload.
    for at in (ends[1].0..ends[2].0).step_by(7) {
        let mut bytes = whole.clone();
        bytes[at as usize] ^= 1;
        fs_err::write(&segment, bytes).expect("damaged");
        let mut reader = Reader::open(&folder.log().directory, Selection::default()).expect("readable");
        let mut seen = Vec::new();
        while let Some(item) = reader.next_item().expect("readable") {
            seen.push(match item {
                Item::Record(_) => (0, 0),
                Item::Damage { from, to, .. } | Item::Missing { from, to, .. } => (from, to),
            });
        }
        assert_eq!(seen, [(0, 0), (ends[1].0, ends[2].0), (0, 0)], "byte {at}");
        let left = resume(&folder.log().directory).expect("resumed");
        assert_eq!(left.position.next_seq, 4);
    }
}
