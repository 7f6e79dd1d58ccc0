//! The feed of a store: epochs, the watermark, sealed segments, and following records.

use std::os::unix::fs::FileExt;

use crate::access::fields::Detail;
use crate::clock::Clock;
use crate::config::AccessLog;
use crate::retention::tests::{Folder, eventually, keep};
use crate::retention::{Against, Epoch, Follower, Found, Missing, Store, StoreFeed, verify};

const LAST: u64 = u64::MAX;

fn synced_before(store: &Store) -> u64 {
    store.feed().progress().borrow().synced_before
}

/// Keeps records one by one, each in its own block, until `store` has `count`.
fn keep_synced(store: &Store, count: u64) {
    while synced_before(store) <= count {
        let before = synced_before(store);
        keep(store, "/");
        eventually(|| synced_before(store) > before);
    }
}

fn epochs(store: &Store, seqs: &[u64]) -> Vec<Epoch> {
    let feed = store.feed();
    seqs.iter().map(|seq| feed.epochs().of(*seq).expect("an epoch")).collect()
}

/// Follows as far as possible: the numbers of the records, and what is missing.
fn follow(follower: &mut Follower, synced_before: u64) -> (Vec<u64>, Vec<Missing>) {
    let (mut seqs, mut missing) = (Vec::new(), Vec::new());
    while let Some(found) = follower.next(synced_before).expect("readable") {
        match found {
            Found::Missing(range) => missing.push(range),
            Found::Records(records) => {
                for record in records {
                    match record {
                        Ok(fields) => seqs.push(fields.seq),
                        Err(range) => missing.push(range),
                    }
                }
            }
        }
    }
    (seqs, missing)
}

fn follow_from(feed: &StoreFeed, seq: u64) -> (Vec<u64>, Vec<Missing>) {
    let synced = feed.progress().borrow().synced_before;
    follow(&mut feed.follow(seq).expect("followed"), synced)
}

#[test]
fn records_that_are_not_taken_come_again() {
    let folder = Folder::new();
    let store = folder.open();
    (0..100).for_each(|_| keep(&store, "/"));
    store.close().expect("closed");
    let mut follower = Follower::new(&folder.log().directory, 1).expect("followed");
    let mut seqs = Vec::new();
    while let Some(found) = follower.next(LAST).expect("readable") {
        let Found::Records(mut records) = found else { panic!("{found:?}") };
        // One at a time, of a block that holds many.
        seqs.extend(records.next().map(|fields| fields.expect("intact").seq));
        assert_eq!(follower.next_seq(), seqs.len() as u64 + 1);
    }
    assert_eq!(seqs, (1..=100).collect::<Vec<_>>());
}

#[test]
fn a_clean_restart_keeps_the_epoch() {
    let folder = Folder::new();
    let store = folder.open();
    keep(&store, "/");
    let before = epochs(&store, &[1, LAST]);
    store.close().expect("closed");
    assert_eq!(before[0], before[1]);
    assert_eq!(epochs(&folder.open(), &[1, LAST]), before);
    // Two stores of one node have different epochs.
    assert_ne!(epochs(&Folder::new().open(), &[1]), before[..1]);
}

#[test]
fn a_recovery_that_cuts_records_off_begins_an_epoch_at_the_first_number_that_is_given_again() {
    let folder = Folder::new();
    let store = folder.open();
    keep_synced(&store, 3);
    let before = epochs(&store, &[LAST])[0];
    // The file that a killed process leaves: no orderly end, and the last block torn.
    let segment = folder.segments().pop().expect("a segment");
    let killed = fs_err::read(&segment).expect("read");
    store.close().expect("closed");
    fs_err::write(&segment, &killed[..killed.len() - 1]).expect("torn");
    fs_err::remove_file(folder.log().directory.join("checkpoint")).expect("removed");
    let store = folder.open();
    let found = epochs(&store, &[1, 2, 3, LAST]);
    assert_eq!(found[..2], [before, before], "these are what they were");
    assert!(found[2] != before && found[2] == found[3], "this number is given again");
    store.close().expect("closed");
    assert_eq!(epochs(&folder.open(), &[1, 2, 3, LAST]), found);
}

#[test]
fn a_process_that_is_killed_and_leaves_whole_blocks_keeps_the_epoch() {
    let folder = Folder::new();
    let store = folder.open();
    keep_synced(&store, 3);
    let before = epochs(&store, &[LAST]);
    let segment = folder.segments().pop().expect("a segment");
    let killed = fs_err::read(&segment).expect("read");
    store.close().expect("closed");
    fs_err::write(&segment, killed).expect("written");
    fs_err::remove_file(folder.log().directory.join("checkpoint")).expect("removed");
    assert_eq!(epochs(&folder.open(), &[LAST]), before);
}

#[test]
fn a_store_that_was_cut_begins_an_epoch() {
    let folder = Folder::new();
    for _ in 0..2 {
        let store = folder.open();
        keep(&store, "/");
        store.close().expect("closed");
    }
    let before = epochs(&folder.open(), &[1, 2]);
    fs_err::remove_file(folder.segments().pop().expect("a segment")).expect("removed");
    let after = epochs(&folder.open(), &[1, 2]);
    assert_eq!(after[0], before[0]);
    assert_ne!(after[1], before[1]);
}

#[tokio::test]
async fn whoever_waits_for_the_watermark_is_woken_when_a_record_is_synced() {
    let folder = Folder::new();
    let store = folder.open();
    let mut progress = store.feed().progress();
    assert_eq!(progress.borrow_and_update().synced_before, 1);
    keep(&store, "/");
    let woken = progress.wait_for(|progress| progress.synced_before > 1);
    woken.await.expect("the store is open");
}

#[test]
fn records_are_followed_in_order_from_any_number_over_restarts_and_only_to_the_watermark() {
    let folder = Folder::new();
    let store = folder.open();
    let mut follower = store.feed().follow(1).expect("followed");
    assert_eq!(follow(&mut follower, 1), (vec![], vec![]));
    keep_synced(&store, 3);
    assert_eq!(follow(&mut follower, 3), (vec![1, 2], vec![]));
    assert_eq!(follow(&mut follower, 3), (vec![], vec![]), "no more is synced");
    store.close().expect("closed");
    for _ in 0..3 {
        let store = folder.open();
        keep_synced(&store, synced_before(&store) + 1);
        store.close().expect("closed");
    }
    let store = folder.open();
    let all = synced_before(&store);
    assert_eq!(follow(&mut follower, all), ((3..all).collect(), vec![]));
    for seq in 1..=all {
        assert_eq!(follow_from(&store.feed(), seq), ((seq..all).collect(), vec![]));
    }
    // It continues into new segments.
    keep_synced(&store, all);
    assert_eq!(follow(&mut follower, synced_before(&store)).0[0], all);
}

#[test]
fn records_that_are_damaged_or_deleted_are_named_by_their_numbers() {
    let folder = Folder::new();
    let store = folder.open();
    keep_synced(&store, 3);
    store.close().expect("closed");
    let store = folder.open();
    keep_synced(&store, 5);
    store.close().expect("closed");
    let segments = folder.segments();
    let whole = fs_err::read(&segments[0]).expect("read");
    // In the payload of the second block, then in its head.
    let second = memchr::memmem::find_iter(&whole, b"icpB").nth(1).expect("a block");
    for at in [second + 140, second + 20] {
        let file = fs_err::OpenOptions::new().write(true).open(&segments[0]).expect("opened");
        file.file().write_all_at(&[whole[at] ^ 1], at as u64).expect("damaged");
        let store = folder.open();
        let (seqs, missing) = follow_from(&store.feed(), 1);
        assert_eq!((&seqs[..4], missing), (&[1, 3, 4, 5][..], vec![Missing { from: 2, to: 3 }]), "byte {at}");
        store.close().expect("closed");
        fs_err::write(&segments[0], &whole).expect("mended");
    }
    fs_err::remove_file(&segments[0]).expect("deleted");
    let store = folder.open();
    let (seqs, missing) = follow_from(&store.feed(), 2);
    assert_eq!((seqs[0], missing), (4, vec![Missing { from: 2, to: 4 }]));
}

#[test]
fn a_segment_is_sealed_once_it_never_changes_again() {
    let folder = Folder::new();
    let store = folder.open();
    keep_synced(&store, 1);
    assert!(store.feed().sealed_segments().expect("listed").is_empty(), "it is written to");
    store.close().expect("closed");
    let store = folder.open();
    let sealed = |store: &Store| store.feed().sealed_segments().expect("listed");
    assert_eq!(sealed(&store).len(), 1);
    keep_synced(&store, synced_before(&store));
    assert_eq!((sealed(&store).len(), folder.segments().len()), (1, 2));
    assert!(store.feed().checkpoint().expect("read").is_some());
}

#[test]
fn below_the_reserve_segments_that_are_confirmed_elsewhere_go_and_no_others() {
    let folder = Folder::new();
    for _ in 0..4 {
        let store = folder.open();
        keep(&store, "/");
        store.close().expect("closed");
    }
    let low = AccessLog { reserve: u64::MAX, ..folder.log() };
    folder.open_with(&low).close().expect("closed");
    assert_eq!(folder.segments().len(), 4, "nothing is freed that was not allowed to be");
    let store = folder.open_with(&low);
    let segments = store.feed().sealed_segments().expect("listed");
    // All blocks of the first two segments, and the first block of the third.
    store.feed().free_confirmed(segments[2].name.first_block + 1);
    eventually(|| !segments[1].path.exists());
    store.close().expect("closed");
    assert!(!segments[0].path.exists() && segments[2].path.exists());
    let against = Against { keys: Vec::new(), since: None, clock: Clock::system() };
    assert_eq!(verify(&folder.log().directory, &against).expect("verified").first_break, None);
    let mut follower = Follower::new(&folder.log().directory, 1).expect("followed");
    let mut expired = None;
    while let Some(found) = follower.next(LAST).expect("readable") {
        let Found::Records(records) = found else { continue };
        for fields in records.flatten() {
            if let Detail::Expired { before_seq } = fields.detail {
                expired = Some(before_seq);
            }
        }
    }
    assert_eq!(expired, folder.records()[0]["seq"].as_u64(), "a record says what is gone");
}
