use std::path::PathBuf;
use std::time::Instant;

use fs_err::File;
use jiff::Timestamp;

use super::*;
use crate::access::AccessRecord;
use crate::retention::format::position::Position;
use crate::retention::tests::{push, request};
use crate::retention::write::Now;
use crate::retention::write::appender::Appender;
use crate::retention::write::notary::Notary;

const SEGMENTS: u64 = 4;
/// Not a power of two, so that subtrees span segments.
const BLOCKS: u64 = 5;
const RECORDS: u64 = 3;

/// When block `number` is sealed.
fn time(number: u64) -> Timestamp {
    Timestamp::from_millisecond(1_772_000_000_000 + number as i64 * 1_000).expect("a time")
}

/// A store that signs once at the end of each segment, and a file for proofs.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().expect("a folder"));
        let directory = folder.0.path();
        let notary = Notary::open(directory, "edge-1").expect("a key");
        let file = File::open(directory).expect("opened");
        let mut appender =
            Appender::new(file, notary, "edge-1".into(), Position::default()).expect("an appender");
        for number in 0..SEGMENTS * BLOCKS {
            let now = Now { monotonic: Instant::now(), wall: time(number) };
            for _ in 0..RECORDS {
                push(&mut appender.rows, &AccessRecord { time: now.wall, ..request() }, "/");
            }
            appender.seal(now).expect("sealed");
            if (number + 1).is_multiple_of(BLOCKS) {
                appender.roll(now).expect("rolled");
            }
        }
        folder
    }

    fn segments(&self) -> Vec<PathBuf> {
        let segments = segment::list(self.0.path()).expect("listed");
        segments.into_iter().map(|segment| segment.path).collect()
    }

    /// The offset of the head of block `number`.
    fn block(&self, number: u64) -> (PathBuf, BlockHead, usize) {
        let segment = self.segments().swap_remove((number / BLOCKS) as usize);
        let mut frames = Frames::open(&segment).expect("opened");
        loop {
            match frames.next_step().expect("read") {
                Step::Frame(Frame::Block(head), at) if head.number == number => {
                    return (segment, head, at as usize);
                }
                Step::End { .. } => panic!("there is no block {number}"),
                _ => {}
            }
        }
    }

    /// Makes block `number` unreadable.
    fn damage(&self, number: u64) {
        let (segment, _, at) = self.block(number);
        let mut bytes = fs_err::read(&segment).expect("read");
        bytes[at + 40] ^= 1;
        fs_err::write(segment, bytes).expect("written");
    }

    fn proof(&self) -> PathBuf {
        self.0.path().join("one.proof")
    }

    /// Proves blocks `from..to` and checks the proof; returns what it contains.
    #[track_caller]
    fn prove(&self, from: u64, to: u64) -> Written {
        let written = self.try_prove(from, to).expect("written");
        let verdict = check::verify(&self.proof(), &[]).expect("verified");
        assert_eq!((verdict.first_break, verdict.records), (None, written.records));
        written
    }

    fn try_prove(&self, from: u64, to: u64) -> io::Result<Written> {
        let selection = Selection { from: Some(time(from)), to: Some(time(to)), ..Selection::default() };
        let mut file = fs_err::File::create(self.proof())?;
        write(self.0.path(), &selection, &mut file)
    }

    /// The error for blocks `from..to`; nothing may be written.
    #[track_caller]
    fn refuse(&self, from: u64, to: u64) -> String {
        let error = self.try_prove(from, to).expect_err("not proved").to_string();
        assert_eq!(fs_err::metadata(self.proof()).expect("there").len(), 0);
        assert!(error.contains("logs verify"), "{error}");
        error
    }
}

#[test]
fn a_block_that_cannot_be_read_is_left_out_and_told_and_the_rest_is_proved() {
    for number in 0..SEGMENTS * BLOCKS - 1 {
        let folder = Folder::new();
        folder.damage(number);
        let written = folder.prove(0, SEGMENTS * BLOCKS);
        assert_eq!((written.blocks, written.damaged), (SEGMENTS * BLOCKS - 1, 1), "block {number}");
        assert_eq!(written.records, (SEGMENTS * BLOCKS - 1) * RECORDS);
    }
}

#[test]
fn what_no_hash_stands_in_for_is_refused_and_its_place_is_named() {
    let folder = Folder::new();
    folder.damage(6);
    folder.damage(7);
    let error = folder.refuse(5, 10);
    assert!(error.contains(&folder.segments()[1].display().to_string()), "{error}");
    assert!(error.contains("block 6: ") && error.contains("the disk failed"), "{error}");
    // Only the tree holds the hash of the newest block.
    let folder = Folder::new();
    folder.damage(SEGMENTS * BLOCKS - 1);
    assert!(folder.refuse(0, 1).contains("block 19: "));
}

#[test]
fn beside_a_segment_that_is_missing_what_can_be_proved_is() {
    let folder = Folder::new();
    fs_err::remove_file(&folder.segments()[2]).expect("removed");
    // Blocks 0 to 7 are a subtree; blocks 8 and 9 share theirs with missing ones.
    assert_eq!(folder.prove(0, 8).blocks, 8);
    let after = folder.prove(15, SEGMENTS * BLOCKS);
    assert_eq!((after.blocks, after.damaged), (5, 1));
    let error = folder.refuse(0, 9);
    assert!(error.contains("block 10 is expected here, and this is block 15"), "{error}");
    folder.refuse(0, SEGMENTS * BLOCKS);
}

#[test]
fn a_store_whose_newest_segment_is_missing_proves_nothing() {
    let folder = Folder::new();
    fs_err::remove_file(&folder.segments()[3]).expect("removed");
    assert!(folder.refuse(0, 1).contains("the end is missing"));
}

#[test]
fn a_block_whose_head_is_not_the_one_that_was_signed_is_not_proved() {
    let folder = Folder::new();
    let (segment, head, at) = folder.block(10);
    let mut bytes = fs_err::read(&segment).expect("read");
    let forged = BlockHead { sealed: 0, ..head }.to_bytes();
    bytes[at..at + forged.len()].copy_from_slice(&forged);
    fs_err::write(&segment, bytes).expect("written");
    folder.refuse(10, 11);
    assert_eq!(folder.prove(0, 8).blocks, 8);
}

#[test]
fn a_proof_that_was_cut_or_added_to_is_called_that() {
    let folder = Folder::new();
    folder.prove(0, 2);
    let bytes = fs_err::read(folder.proof()).expect("read");
    let added = [&bytes[..], b"i"].concat();
    for changed in [&bytes[..bytes.len() - 1], &added] {
        fs_err::write(folder.proof(), changed).expect("written");
        let found = check::verify(&folder.proof(), &[]).expect("verified").first_break.expect("a break");
        assert_eq!(found.reason, Reason::CutProof);
    }
}
