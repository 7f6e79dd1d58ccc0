//! Anchored checkpoints: a history that was rewritten before its segments left is found by any of them.

use std::path::PathBuf;

use super::Spool;
use crate::support::edge::icpgate;
use crate::support::{PATIENCE, eventually};

const SINK: &str = "{name: nas, type: directory, path: copy}";
/// Starts of the program. All but the first anchor the checkpoint of the end before.
const STARTS: usize = 4;

/// Records requests over several starts and ends of the program.
async fn write_history(spool: &mut Spool, records: u64) {
    let config = spool.configure(SINK);
    let before = files(spool, "copy/checkpoints", "").len();
    for earlier in 0..STARTS {
        spool.start(&config);
        spool.record(records).await;
        eventually("the checkpoint of the end before is anchored", PATIENCE, async || {
            (files(spool, "copy/checkpoints", "").len() == before + earlier).then_some(())
        })
        .await;
        spool.close().await;
    }
}

/// The files in `directory` of the spool whose names begin with `start`, at any depth.
fn files(spool: &Spool, directory: &str, start: &str) -> Vec<PathBuf> {
    let (mut folders, mut found) = (vec![spool.path(directory)], Vec::new());
    while let Some(folder) = folders.pop() {
        // There is none before the first file.
        for entry in fs_err::read_dir(folder).into_iter().flatten() {
            let entry = entry.expect("listed");
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else if entry.file_name().to_str().expect("UTF-8").starts_with(start) {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewritten_history_is_found_by_every_checkpoint_that_was_anchored() {
    let mut spool = Spool::new();
    write_history(&mut spool, 100).await;
    let anchored = files(&spool, "copy/checkpoints", "");
    assert_eq!(anchored.len(), STARTS - 1, "{anchored:?}");
    assert_eq!(spool.verify("nas").await.code, 0);

    // Somebody on the machine has the key and writes another history. No segment of the first one has left yet.
    for segment in files(&spool, "access", "access-").iter().chain(&files(&spool, "copy", "access-")) {
        fs_err::remove_file(segment).expect("removed");
    }
    for checkpoint in ["access/checkpoint", "copy/checkpoint"] {
        fs_err::remove_file(spool.path(checkpoint)).expect("removed");
    }
    fs_err::remove_dir_all(spool.path("access/sinks")).expect("removed");
    write_history(&mut spool, 200).await;
    assert_eq!(files(&spool, "copy/checkpoints", "").len(), 2 * (STARTS - 1));

    let store = spool.path("access").display().to_string();
    assert_eq!(icpgate(["logs", "verify", &store]).await.code, 0, "the store by itself is intact");
    let rewritten = |run: &crate::support::edge::Run| {
        let reason = run.json()["first_break"]["reason"].as_str().expect("a break").to_owned();
        assert!(run.code == 1 && reason.contains("histor"), "{run:?}");
    };
    rewritten(&spool.verify("nas").await);
    for checkpoint in &anchored {
        let since = checkpoint.display().to_string();
        rewritten(&icpgate(["logs", "verify", &store, "--since", &since, "--json"]).await);
    }
    // Any single one of them is enough.
    for checkpoint in &anchored[1..] {
        fs_err::remove_file(checkpoint).expect("removed");
    }
    rewritten(&spool.verify("nas").await);
    fs_err::remove_file(&anchored[0]).expect("removed");
    let verified = spool.verify("nas").await;
    assert_eq!(verified.code, 0, "nothing else tells: {verified:?}");
}
