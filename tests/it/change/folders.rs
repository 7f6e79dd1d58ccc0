//! Files change by the folders and links on the way to them.

use std::time::{Duration, Instant};

use crate::support::edge::{APPROVED, Edge, Folder, SUSPENDED, run};
use crate::support::time::best_within;

/// The contract's bound, from the change to the closed ports.
const FOLLOWING: Duration = Duration::from_millis(250);

/// Publishes `filings` with a script, which finds it as `new.yaml`.
async fn publish(folder: &Folder, filings: &str, script: &str) {
    folder.overwrite("new.yaml", filings);
    let script = format!("set -e; cd {}; {script}", folder.path("").display());
    let done = run("sh", ["-c", &script]).await;
    assert_eq!(done.code, 0, "{script}: {done:?}");
}

/// Fails unless a revocation in the allowlist `file` is in force soon after `script` has published it.
async fn revokes(file: &str, script: &str) {
    let folder = Edge::builder().write();
    folder.replace(
        "icpgate.yaml",
        folder.configuration().replace("filings: filings.yaml", &format!("filings: {file}")),
    );
    publish(&folder, APPROVED, script).await;
    let edge = folder.start().await;
    best_within(FOLLOWING, 10, async |_| {
        edge.ports_open().await;
        publish(&edge, SUSPENDED, script).await;
        let published = Instant::now();
        edge.ports_closed().await;
        let took = published.elapsed();
        publish(&edge, APPROVED, script).await;
        took
    })
    .await;
    let warnings = edge.log().lines().filter(|line| line.contains("cannot be watched")).count();
    assert_eq!(warnings, 0, "{}", edge.log());
}

#[tokio::test]
async fn a_folder_may_be_removed_and_another_moved_in() {
    let script = "mkdir next; cp new.yaml next/filings.yaml; rm -rf etc; sleep .5; mv next etc";
    revokes("etc/filings.yaml", script).await;
}

#[tokio::test]
async fn a_folder_may_be_made_again_step_by_step() {
    let script =
        "rm -rf etc; sleep .3; mkdir etc; sleep .3; mkdir etc/a; sleep .3; cp new.yaml etc/a/filings.yaml";
    revokes("etc/a/filings.yaml", script).await;
}

#[tokio::test]
async fn a_folder_above_may_be_renamed() {
    let script = "mkdir -p next/etc; cp new.yaml next/etc/filings.yaml; rm -rf old; test ! -e a || mv a old; mv next a";
    revokes("a/etc/filings.yaml", script).await;
}

#[tokio::test]
async fn a_folder_further_up_may_be_replaced() {
    let script = "mkdir -p next/b/c; cp new.yaml next/b/c/filings.yaml; rm -rf a; sleep .5; mv next a";
    revokes("a/b/c/filings.yaml", script).await;
}

#[tokio::test]
async fn a_link_on_the_way_may_be_turned() {
    let script = "rm -rf old; test ! -e now || mv now old; mkdir now; cp new.yaml now/filings.yaml; \
                  ln -s now link; mv -T link live";
    revokes("live/filings.yaml", script).await;
    let script = "v=v$$; mkdir $v; cp new.yaml $v/filings.yaml; ln -s $v link; mv -T link live";
    revokes("live/filings.yaml", script).await;
}

#[tokio::test]
async fn what_a_link_leads_to_may_be_replaced() {
    let script = "mkdir -p next/etc; cp new.yaml next/etc/filings.yaml; rm -rf store; sleep .5; mv next store; \
                  ln -sfn store/etc live";
    revokes("live/filings.yaml", script).await;
}
