//! Handovers between processes: one writer at a time, no record lost, numbers without a gap.

use std::os::unix::net::UnixStream;

use crate::clock::Clock;
use crate::retention::tests::{Folder, eventually, keep, request, sent, seqs};
use crate::retention::{Against, HandedStore, Store, verify};

fn take_over(folder: &Folder, handed: HandedStore) -> Store {
    Store::take_over(&folder.log(), "bj-edge-1".into(), Clock::system(), handed).expect("taken over")
}

/// The paths of all records; their numbers have no gap, and the store verifies.
fn paths(folder: &Folder) -> Vec<String> {
    let records = folder.records();
    assert!(seqs(&records).into_iter().eq(1..=records.len() as u64));
    let verdict =
        verify(&folder.log().directory, &Against { keys: Vec::new(), since: None, clock: Clock::system() })
            .expect("readable");
    assert!(verdict.first_break.is_none(), "{verdict:?}");
    let mut paths: Vec<String> =
        records.iter().map(|record| record["path"].as_str().unwrap_or("gap").to_owned()).collect();
    paths.sort();
    paths
}

#[tokio::test]
async fn the_last_records_of_the_old_process_are_written_by_the_new_one() {
    let folder = Folder::new();
    let old = folder.open();
    keep(&old, "/a");
    let under_way = old.recorder();
    let slot = under_way.reserve().expect("a slot");
    let handed = old.hand_over().await.expect("handed over");
    keep(&old, "/b");
    let new = take_over(&folder, handed);
    keep(&new, "/c");
    slot.keep(request(), &sent("/d"));
    old.close().expect("everything is acknowledged");
    keep(&new, "/e");
    new.close().expect("closed");
    assert_eq!(paths(&folder), ["/a", "/b", "/c", "/d", "/e"]);
}

#[tokio::test]
async fn the_old_process_takes_the_store_back_if_the_new_one_fails() {
    let folder = Folder::new();
    let old = folder.open();
    keep(&old, "/a");
    let handed = old.hand_over().await.expect("handed over");
    keep(&old, "/b");
    drop(handed);
    old.taken_back().await;
    keep(&old, "/c");
    // A second attempt succeeds. Then the new process ends before the old one.
    let new = take_over(&folder, old.hand_over().await.expect("handed over"));
    keep(&old, "/d");
    keep(&new, "/e");
    new.close().expect("closed");
    keep(&old, "/f");
    old.taken_back().await;
    keep(&old, "/g");
    old.close().expect("closed");
    assert_eq!(paths(&folder), ["/a", "/b", "/c", "/d", "/e", "/f", "/g"]);
}

#[tokio::test]
async fn a_process_passes_on_what_its_predecessor_still_sends() {
    let folder = Folder::new();
    let first = folder.open();
    keep(&first, "/a");
    let second = take_over(&folder, first.hand_over().await.expect("handed over"));
    keep(&second, "/b");
    keep(&first, "/c");
    let third = take_over(&folder, second.hand_over().await.expect("handed over"));
    keep(&first, "/d");
    keep(&second, "/e");
    keep(&third, "/f");
    // The second process ends only after the first.
    let second = std::thread::spawn(move || second.close());
    first.close().expect("acknowledged through the second");
    second.join().expect("no panic").expect("acknowledged");
    third.close().expect("closed");
    assert_eq!(paths(&folder), ["/a", "/b", "/c", "/d", "/e", "/f"]);
}

#[tokio::test]
async fn a_predecessor_that_is_killed_leaves_a_gap_record() {
    let folder = Folder::new();
    let old = folder.open();
    keep(&old, "/a");
    let HandedStore { directory, lock, records: _link } = old.hand_over().await.expect("handed over");
    let (killed, records) = UnixStream::pair().expect("a pair");
    let new = take_over(&folder, HandedStore { directory, lock, records: records.into() });
    drop(killed);
    eventually(|| folder.records().iter().any(|record| record["reason"] == "unclean_stop"));
    new.close().expect("closed");
    assert_eq!(paths(&folder), ["/a", "gap"]);
    drop(old);
}
