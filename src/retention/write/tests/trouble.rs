//! Directories, disks and memory that have no room or fail.

use crate::clock::Clock;
use crate::config::{AccessLog, WhenFull};
use crate::gate::Refusal;
use crate::retention::tests::{Folder, eventually, keep, refusal, request, sent};
use crate::retention::write::lanes::Enough;
use crate::retention::{Recorder, SLOTS, Slot, Store, StoreFull};

#[test]
fn a_directory_that_cannot_be_used_is_named() {
    let folder = Folder::new();
    fs_err::write(folder.log().directory, "a file").expect("written");
    let told = |what| {
        let error = Store::open(&folder.log(), "n".into(), Clock::system()).expect_err(what);
        format!("{:#}", anyhow::Error::from(error))
    };
    let file = told("a file");
    assert!(file.contains("access: ") && file.ends_with("a directory that this user may write to"), "{file}");
    assert_eq!(file.matches("File exists").count(), 1, "{file}");
    // For a malformed key, the hint about the directory would be wrong.
    fs_err::remove_file(folder.log().directory).expect("removed");
    fs_err::create_dir(folder.log().directory).expect("created");
    fs_err::write(folder.log().directory.join("signer.key"), "nonsense").expect("written");
    let key = told("no key");
    assert_eq!(key.matches("is not a signer key").count(), 1, "{key}");
    assert!(!key.contains("a directory that"), "{key}");
}

#[test]
fn below_the_reserve_requests_are_refused_and_refusals_wait() {
    let folder = Folder::new();
    let store = folder.open_with(&AccessLog { reserve: u64::MAX, ..folder.log() });
    let recorder = store.recorder();
    assert_eq!(recorder.reserve().expect_err("full"), StoreFull::Reserve);
    assert_eq!(recorder.stats().full(), Some(StoreFull::Reserve));
    recorder.refused(refusal("198.51.100.7", Refusal::NotFiled));
    store.close().expect("closed");
    let events: Vec<_> = folder.records().iter().map(|record| record["event"].clone()).collect();
    assert_eq!(events, ["refused", "gap"], "nothing counted is lost");
    assert_eq!(
        (&folder.records()[1]["reason"], &folder.records()[1]["count"]),
        (&"refused".into(), &1.into())
    );
}

#[test]
fn below_the_reserve_requests_are_served_and_counted_when_told_to_drop() {
    let folder = Folder::new();
    let log = AccessLog { reserve: u64::MAX, when_full: WhenFull::Drop, ..folder.log() };
    let store = folder.open_with(&log);
    for _ in 0..3 {
        keep(&store, "/");
    }
    assert_eq!(store.recorder().stats().lost(), 3);
    store.close().expect("closed");
    let records = folder.records();
    assert_eq!(records.len(), 1);
    assert_eq!((&records[0]["reason"], &records[0]["count"]), (&"dropped".into(), &3.into()));
}

#[test]
fn every_slot_taken_refuses_until_one_is_free() {
    let folder = Folder::new();
    let store = folder.open();
    let recorder = store.recorder();
    let mut slots: Vec<Slot<'_>> = (0..SLOTS).map(|_| recorder.reserve().expect("a slot")).collect();
    assert_eq!(recorder.reserve().expect_err("full"), StoreFull::Queue);
    for _ in 0..1_000 {
        recorder.refused(refusal("198.51.100.7", Refusal::NotFiled));
    }
    drop(slots.pop());
    slots.push(recorder.reserve().expect("free again"));
    for slot in slots {
        slot.keep(request(), &sent("/"));
    }
    assert_eq!(recorder.stats().lost(), 0, "who has a slot has a place");
    store.close().expect("closed");
    let count: u64 = folder
        .records()
        .iter()
        .filter(|record| record["event"] == "refused")
        .map(|record| record["count"].as_u64().unwrap_or(1))
        .sum();
    assert_eq!(count, 1_000);
    assert!(folder.records().len() < SLOTS + 500, "the flood shares a record");
}

#[test]
fn records_that_wait_are_bounded_in_bytes_and_those_with_a_slot_have_room() {
    let (recorder, shared) = Recorder::new(&Folder::new().log());
    let path = "x".repeat(8_000);
    let slot = recorder.reserve().expect("a slot");
    let mut kept = 0;
    while let Ok(slot) = recorder.reserve() {
        slot.keep(request(), &sent(&format!("{path}{kept}")));
        kept += 1;
    }
    assert_eq!(recorder.reserve().expect_err("full"), StoreFull::Queue);
    assert!((64..=256).contains(&((kept * path.len()) >> 20)), "{kept}");
    slot.keep(request(), &sent(&format!("{path}{kept}")));
    let (mut lanes, mut arrived) = (Vec::new(), 0);
    shared.lanes.take_new(&mut lanes);
    for lane in &mut lanes {
        let (missing, _) = lane.drain(u64::MAX, |_, sent| {
            assert_eq!(sent.path, format!("{path}{arrived}").as_bytes());
            arrived += 1;
            Enough::No
        });
        assert_eq!(missing, 0);
    }
    assert_eq!((arrived, lanes.len() > 100), (kept + 1, true));
    assert_eq!(shared.lanes.settle(&mut lanes), 0);
    assert_eq!((lanes.len(), recorder.stats().full()), (1, None), "one lane is in use, and there is room");
}

#[test]
fn a_write_that_fails_is_made_again_in_a_fresh_segment_when_the_directory_is_back() {
    let folder = Folder::new();
    let store = folder.open();
    let recorder = store.recorder();
    let (directory, away) = (folder.log().directory, folder.0.path().join("away"));
    fs_err::rename(&directory, &away).expect("moved");
    keep(&store, "/during");
    eventually(|| recorder.stats().full() == Some(StoreFull::Failing));
    assert_eq!(recorder.reserve().expect_err("refused"), StoreFull::Failing);
    fs_err::rename(&away, &directory).expect("moved back");
    eventually(|| recorder.stats().full().is_none());
    eventually(|| folder.records().len() == 2);
    keep(&store, "/after");
    store.close().expect("closed");
    let records = folder.records();
    let paths: Vec<_> = records.iter().map(|record| record["path"].as_str()).collect();
    assert_eq!(paths, [Some("/during"), None, Some("/after")], "a refusal in between is on record");
    assert_eq!(recorder.stats().records(), 3);
}

#[test]
fn a_store_that_cannot_be_written_to_the_end_says_how_many_are_lost() {
    let folder = Folder::new();
    let store = folder.open();
    let recorder = store.recorder();
    fs_err::rename(folder.log().directory, folder.0.path().join("away")).expect("moved");
    keep(&store, "/a");
    keep(&store, "/b");
    recorder.refused(refusal("198.51.100.7", Refusal::NotFiled));
    let error = store.close().expect_err("nowhere to write");
    assert_eq!((error.lost, recorder.stats().lost()), (3, 3));
    assert_eq!(recorder.reserve().expect_err("closed"), StoreFull::Closed);
}

#[test]
fn a_start_waits_for_no_pipe_that_stands_in_place_of_a_file() {
    for name in [".lock", "signer.key", "verifier.key"] {
        let folder = Folder::new();
        let directory = folder.log().directory;
        fs_err::create_dir_all(&directory).expect("made");
        let made = std::process::Command::new("mkfifo").arg(directory.join(name)).status().expect("mkfifo");
        assert!(made.success());
        let error = Store::open(&folder.log(), "n".into(), Clock::system()).expect_err("a pipe");
        assert!(format!("{error:?}").contains(name), "{error:?}");
    }
}
