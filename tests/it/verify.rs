//! The proof of the records, met from outside: by the command line, and by a reader in another
//! language that was written from the document.

use rustix::process::Signal;

use crate::support::client::Target;
use crate::support::edge::{Edge, HOSTS, Run, icpgate, run};

/// A program that was asked `count` times and ended, twice.
async fn served(count: usize) -> Edge {
    let mut edge = Edge::builder().start().await;
    for life in 0..2 {
        if life > 0 {
            edge.restart().await;
        }
        for number in 0..count {
            Target::http(&edge).get(HOSTS[0], &format!("/{number}")).await;
        }
        edge.signal(Signal::TERM);
        assert_eq!(edge.wait_exit().await, 0);
    }
    edge
}

async fn verify(edge: &Edge, more: &[&str]) -> Run {
    let directory = edge.path("access").display().to_string();
    let words = ["logs", "verify", &directory].into_iter().chain(more.iter().copied());
    icpgate(words).await
}

#[tokio::test]
async fn a_store_is_proved_with_its_key_and_an_older_checkpoint() {
    let mut edge = served(5).await;
    let key = fs_err::read_to_string(edge.path("access/verifier.key")).expect("a key");
    assert!(edge.log().contains(key.trim_end()), "the key is in the log");
    let since = edge.path("since").display().to_string();
    fs_err::copy(edge.path("access/checkpoint"), &since).expect("copied");
    edge.restart().await;
    Target::http(&edge).get(HOSTS[0], "/more").await;
    edge.records_where(11, |record| record["event"] == "request").await;
    // While it is written to, and after.
    assert_eq!(verify(&edge, &["--key", key.trim_end(), "--since", &since]).await.code, 0);
    edge.signal(Signal::TERM);
    assert_eq!(edge.wait_exit().await, 0);
    let verified = verify(&edge, &["--key", key.trim_end(), "--since", &since, "--json"]).await;
    assert_eq!(verified.code, 0, "{verified:?}");
    let document = verified.json();
    assert_eq!((&document["ok"], &document["records"]), (&true.into(), &11.into()));
    assert!(document["first_break"].is_null() && document["from"].is_string() && document["to"].is_string());
    let shown = fs_err::read_to_string(edge.path("access/checkpoint")).expect("a checkpoint");
    assert_eq!(document["checkpoint"], shown);
    let told = verify(&edge, &[]).await;
    assert!(told.stdout.starts_with("intact: 11 records, from ") && told.stdout.contains(&shown), "{told:?}");
}

#[tokio::test]
async fn a_changed_byte_is_a_no_and_named() {
    let edge = served(3).await;
    let segment = fs_err::read_dir(edge.path("access"))
        .expect("listed")
        .map(|entry| entry.expect("listed").path())
        .find(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .expect("a segment");
    let mut bytes = fs_err::read(&segment).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs_err::write(&segment, bytes).expect("written");
    let verified = verify(&edge, &["--json"]).await;
    assert_eq!(verified.code, 1, "{verified:?}");
    let document = verified.json();
    assert_eq!(document["ok"], false);
    assert_eq!(document["first_break"]["segment"], segment.display().to_string());
    let told = verify(&edge, &[]).await;
    assert!(told.stdout.starts_with("broken: "), "{told:?}");
    let nowhere = icpgate(["logs", "verify", "/nowhere/at/all"]).await;
    assert_eq!(nowhere.code, 2, "{nowhere:?}");
}

#[tokio::test]
async fn the_reference_implementation_agrees() {
    const MODULES: &str = "/usr/share/gocode/src/golang.org/x/mod/sumdb/tlog";
    if !std::path::Path::new(MODULES).exists() || run("go", ["version"]).await.code != 0 {
        println!(
            "NOT CHECKED against Go's own tlog and note: golang-go and golang-golang-x-mod-dev are not installed"
        );
        return;
    }
    let edge = served(20).await;
    let binary = edge.path("reader").display().to_string();
    let cache = edge.path("go-cache").display().to_string();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/reader/main.go");
    let environment =
        [format!("GOCACHE={cache}"), "GO111MODULE=off".to_owned(), "GOPATH=/usr/share/gocode".to_owned()];
    let command = ["go", "build", "-o", &binary, source].map(str::to_owned);
    let built = run("env", environment.iter().chain(&command)).await;
    assert_eq!(built.code, 0, "{built:?}");
    let directory = edge.path("access").display().to_string();
    let read = run(&binary, [&directory]).await;
    assert_eq!(read.code, 0, "{read:?}");
    assert!(read.stdout.starts_with("40 records in "), "{read:?}");
}

#[tokio::test]
async fn a_proof_of_one_day_and_host_is_one_file_that_needs_no_store() {
    let edge = served(5).await;
    let key = fs_err::read_to_string(edge.path("access/verifier.key")).expect("a key");
    let (directory, file) = (edge.path("access"), edge.path("day.proof"));
    let (directory, file) = (directory.display().to_string(), file.display().to_string());
    let words = ["logs", "export", &directory, "--host", HOSTS[0], "--proof", &file];
    let exported = icpgate(words).await;
    assert_eq!((exported.code, exported.stdout.as_str()), (0, ""), "{exported:?}");
    assert!(exported.stderr.starts_with("10 records proved"), "{exported:?}");
    fs_err::remove_dir_all(&directory).expect("removed");
    let verified = icpgate(["logs", "verify", &file, "--key", key.trim_end(), "--json"]).await;
    assert_eq!(verified.code, 0, "{verified:?}");
    assert_eq!(verified.json()["records"], 10);
    let read = icpgate(["logs", "export", &file, "--host", HOSTS[0]]).await;
    assert_eq!((read.code, read.stdout.lines().count()), (0, 10), "{read:?}");
    let stranger = "icpgate/test+3ed7d6bd+AfSpWiO/NEyMfHYVIRzvXKNvZvMGR9iHKVZtrCaWbTxB";
    let refused = icpgate(["logs", "verify", &file, "--key", stranger]).await;
    assert_eq!(refused.code, 1, "{refused:?}");
}

#[tokio::test]
async fn for_how_long_the_disk_lasts_is_told_before_it_is_full() {
    let folder = Edge::builder().write();
    let checked = folder.check(&["--rate", "100", "--json"]).await;
    assert_eq!(checked.code, 0, "{checked:?}");
    let capacity = checked.json()["capacity"].clone();
    assert!(capacity["days"].as_f64().expect("days") > 0.0 && capacity["measured"] == false, "{capacity}");
    let told = folder.check(&["--rate", "1e12"]).await;
    assert!(told.stdout.contains("too few for the retention of 190 days") && told.code == 0, "{told:?}");
    assert_eq!(folder.check(&["--rate", "0"]).await.code, 2);
    assert!(folder.check(&["--json"]).await.json().get("capacity").is_none());
}
