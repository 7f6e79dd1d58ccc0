//! `directory`: a copy that is a store in itself.

use icpgate::ship::status::{SinkBoard, SinkLook};
use rustix::process::Signal;

use super::{RECORDS, Spool, records};
use super::{run, run_bytes};
use crate::support::client::Target;
use crate::support::edge::{Edge, HOSTS, icpgate};
use crate::support::machine::Mounted;
use crate::support::origin::Origin;
use crate::support::{PATIENCE, eventually};

const SINK: &str = "{name: nas, type: directory, path: copy}";

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_records_arrive_as_they_are_over_ends_and_starts() {
    let mut spool = Spool::new();
    let config = spool.configure(SINK);
    for _ in 0..5 {
        spool.start(&config);
        spool.record(RECORDS / 5).await;
        spool.close().await;
    }
    let kept = records(&spool.path("access"));
    assert_eq!(kept.len() as u64, RECORDS);
    assert_eq!(records(&spool.path("copy")), kept);
    let verified = spool.verify("nas").await;
    assert_eq!(verified.code, 0, "{verified:?}");
    assert_eq!(verified.json()["records"], RECORDS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_that_is_gone_costs_nothing_and_is_caught_up_with() {
    let mut spool = Spool::new();
    let config = spool.configure(SINK);
    // A file stands where the directory should be.
    fs_err::write(spool.path("copy"), "").expect("written");
    let board = spool.start(&config);
    spool.record(1000).await;
    let failed = eventually("the sink fails by name", PATIENCE, async || {
        board.look().into_iter().find(|look| look.last_error.is_some())
    })
    .await;
    assert!(failed.last_error.expect("an error").1.message.contains("copy"), "the path is named");
    spool.close().await;
    fs_err::remove_file(spool.path("copy")).expect("removed");
    spool.start(&config);
    spool.record(10).await;
    spool.close().await;
    assert_eq!(records(&spool.path("copy")), records(&spool.path("access")));
}

/// Waits until the sink has failed with this name.
async fn fails_by(board: &SinkBoard, name: &str) {
    let is_named = |look: &SinkLook| look.last_error.as_ref().is_some_and(|(_, one)| one.kind.name() == name);
    eventually(name, PATIENCE, async || board.look().iter().any(is_named).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_that_is_full_or_read_only_is_named_and_caught_up_with() {
    let mut spool = Spool::new();
    let config = spool.configure(SINK);
    let share = Mounted::at(&spool.path("copy"), &["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).await;
    let filler = share.path("filler");
    let full = fs_err::write(&filler, vec![0; 2 << 20]).expect_err("full");
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    let board = spool.start(&config);
    spool.record(1000).await;
    fails_by(&board, "full").await;
    spool.close().await;

    fs_err::remove_file(&filler).expect("removed");
    share.change("remount,ro").await;
    let board = spool.start(&config);
    spool.record(1000).await;
    fails_by(&board, "unauthorized").await;
    spool.close().await;

    share.change("remount,rw").await;
    spool.start(&config);
    spool.record(10).await;
    spool.close().await;
    assert_eq!(records(&spool.path("copy")), records(&spool.path("access")));
    assert_eq!(spool.verify("nas").await.json()["records"], 2010);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_whose_parent_is_missing_parks_the_sink() {
    let mut spool = Spool::new();
    let config = spool.configure("{name: nas, type: directory, path: nowhere/copy}");
    let board = spool.start(&config);
    fails_by(&board, "missing").await;
    assert!(board.look()[0].is_parked);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_or_changed_in_the_copy_is_found() {
    let mut spool = Spool::new();
    let config = spool.configure(SINK);
    for _ in 0..3 {
        spool.start(&config);
        spool.record(100).await;
        spool.close().await;
    }
    assert_eq!(spool.verify("nas").await.code, 0);
    let files = fs_err::read_dir(spool.path("copy")).expect("listed");
    let mut segments: Vec<_> = files.map(|entry| entry.expect("listed").path()).collect();
    segments.retain(|path| path.extension().is_some_and(|end| end == "seg"));
    segments.sort();
    assert_eq!(segments.len(), 3);
    let middle = fs_err::read(&segments[1]).expect("read");
    let mut changed = middle.clone();
    changed[middle.len() / 2] ^= 1;
    fs_err::write(&segments[1], changed).expect("written");
    assert_eq!(spool.verify("nas").await.code, 1, "a changed byte");
    fs_err::remove_file(&segments[1]).expect("removed");
    let verified = spool.verify("nas").await;
    assert_eq!(verified.code, 1, "a missing segment");
    assert!(verified.json()["first_break"]["reason"].as_str().is_some_and(|why| why.contains("missing")));
    assert_eq!(spool.verify("other").await.code, 2, "no such sink");
}

#[tokio::test(flavor = "multi_thread")]
async fn encrypted_segments_are_read_with_the_private_key_alone() {
    let mut spool = Spool::new();
    let keygen = spool.path("auditor.key").display().to_string();
    run("age-keygen", &["-o", &keygen]).await;
    let public = run("age-keygen", &["-y", &keygen]).await;
    spool.encrypt_to(public.trim());
    let config = spool.configure(SINK);
    for _ in 0..2 {
        spool.start(&config);
        spool.record(100).await;
        spool.close().await;
    }
    let copy = spool.path("copy");
    let files = fs_err::read_dir(&copy).expect("listed").map(|entry| entry.expect("listed").path());
    let segments: Vec<_> = files.filter(|path| path.display().to_string().contains("/access-")).collect();
    assert_eq!(segments.len(), 2);
    assert!(segments.iter().all(|path| path.extension().is_some_and(|end| end == "age")), "{segments:?}");
    // age itself decrypts to what the store has.
    let plain = run_bytes("age", &["--decrypt", "-i", &keygen, &segments[0].display().to_string()]).await;
    let name = segments[0].file_stem().expect("a name");
    assert_eq!(plain, fs_err::read(spool.path("access").join(name)).expect("read"));

    let copy = copy.display().to_string();
    let exported = icpgate(["logs", "export", &copy, "--identity", &keygen]).await;
    assert_eq!((exported.code, exported.stdout.lines().count()), (0, 200), "{exported:?}");
    let without = icpgate(["logs", "export", &copy]).await;
    assert!(without.stdout.is_empty() && without.stderr.contains("2 segments are encrypted"), "{without:?}");
    let verified = spool.logs("verify", &["--sink", "nas", "--json", "--identity", &keygen]).await;
    assert_eq!((verified.code, &verified.json()["records"]), (0, &200.into()), "{verified:?}");
    let without = spool.verify("nas").await;
    assert!(without.code == 2 && without.stderr.contains("--identity"), "{without:?}");

    // Shipped again without a cursor: what is there already is left as it is.
    let before = fs_err::read(&segments[0]).expect("read");
    fs_err::remove_dir_all(spool.path("access/sinks")).expect("removed");
    spool.start(&config);
    spool.record(1).await;
    spool.close().await;
    assert_eq!(fs_err::read(&segments[0]).expect("read"), before);
    let verified = spool.logs("verify", &["--sink", "nas", "--json", "--identity", &keygen]).await;
    assert_eq!((verified.code, &verified.json()["records"]), (0, &201.into()), "{verified:?}");
}

#[tokio::test]
async fn the_program_ships_and_tells_how_its_sinks_do() {
    let origin = Origin::html("<p>a").await;
    let log = "{directory: access, reserve: 1MiB, sinks: [{name: nas, type: directory, path: copy}]}";
    let mut edge = Edge::builder().access_log(log).origin(origin.address).start().await;
    let metrics = edge.metrics().await;
    for family in ["lag_seconds", "lag_bytes", "retention_ok", "acknowledged_seq"] {
        assert!(metrics.0.contains(&format!("icpgate_sink_{family}{{sink=\"nas\"}}")), "{family}");
    }
    for number in 0..20 {
        Target::http(&edge).get(HOSTS[0], &format!("/{number}")).await;
    }
    let config = edge.config_path().display().to_string();
    let told = icpgate(["logs", "sinks", "--json", "--config", &config]).await;
    assert_eq!(told.code, 0, "{told:?}");
    let sink = &told.json()["sinks"][0];
    assert_eq!(
        (&sink["name"], &sink["type"], &sink["retention_ok"]),
        (&"nas".into(), &"directory".into(), &true.into())
    );
    assert!(sink["promise"].as_str().is_some_and(|promise| promise.starts_with("nothing")), "{sink}");
    // Killed without a chance to ship: the rest is shipped after the next start.
    edge.signal(Signal::KILL);
    let _ = edge.wait_exit().await;
    edge.restart().await;
    edge.signal(Signal::TERM);
    assert_eq!(edge.wait_exit().await, 0);
    assert_eq!(records(&edge.path("copy")), records(&edge.path("access")));
}
