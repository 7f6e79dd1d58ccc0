//! The proof of the records, checked from outside: by the command line, and by a reader in Go
//! that was written from the document of the format.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::client::Target;
use crate::support::edge::{Edge, HOSTS, Run, icpgate, run, run_within};
use crate::support::hello::client_hello;
use crate::support::machine::{Need, require};
use crate::support::origin::{Origin, answer, html};
use crate::support::probe::probe;
use crate::support::{PATIENCE, eventually};

/// A program that was started twice, served `count` requests each time and stopped.
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

/// The segments of a program's store, oldest first.
fn segments(edge: &Edge) -> Vec<PathBuf> {
    let files = fs_err::read_dir(edge.path("access")).expect("listed");
    let files = files.map(|entry| entry.expect("listed").path());
    let mut segments: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|end| end == "seg")).collect();
    segments.sort();
    segments
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
    // While the store is written to, and after.
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
async fn a_changed_byte_fails_verification_and_is_located() {
    let edge = served(3).await;
    let segment = segments(&edge).remove(0);
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
    // The exit code is 1 even if nobody reads the output.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut unread = tokio::process::Command::new(env!("CARGO_BIN_EXE_icpgate"));
    let unread = unread.args(["logs", "verify"]).arg(edge.path("access")).stdout(writer).status().await;
    assert_eq!(unread.expect("it runs").code(), Some(1));
    let nowhere = icpgate(["logs", "verify", "/nowhere/at/all"]).await;
    assert_eq!(nowhere.code, 2, "{nowhere:?}");
}

/// A store with every kind of record: pages and bodies over HTTP/1.1 and HTTP/2 from
/// several connections, clients named by a proxy, single and summarised refusals, a
/// kill, a clean stop.
async fn of_all_kinds() -> Edge {
    let origin = Origin::start(|request| match request.target() {
        "/missing" => answer("404 Not Found", &[], "none"),
        _ => html("<html><body>hello</body></html>"),
    })
    .await;
    let listeners = r#"  - {name: https, addresses: ["$HTTPS"], protocol: https, trusted_proxies: [127.0.0.0/8]}
  - {name: http, addresses: ["$HTTP"], protocol: http}
"#;
    let access_log = "{directory: access, reserve: 1MiB, client_budget: 1KiB}";
    let sites = format!(
        "  - {{name: shop, hosts: [{}], cache: on, certificate: {{chain: site.pem, key: site.key}}, routes: [{{match: {{path: /}}, origins: [main]}}]}}\n",
        HOSTS.join(", ")
    );
    let builder = Edge::builder().origin(origin.address).listeners(listeners).access_log(access_log);
    let builder = builder.sites(&sites).more("cache: {memory: 1MiB, max_object: 64KiB}\n");
    let mut edge = builder.start().await;
    let mut first = Target::https(&edge).http1(HOSTS[0]).await;
    let mut second = Target::https(&edge).http1(HOSTS[1]).await;
    let mut third = Target::https(&edge).http2(HOSTS[0]).await;
    for number in 0..20 {
        let (host, path) = (HOSTS[number % 2], ["/", "/missing", "/page?a=b&token=c"][number % 3]);
        let told = [
            "referer: https://www.example.cn/from?token=secret\r\nuser-agent: curl/8\r\n",
            "x-forwarded-for: 2001:db8::7\r\nx-request-id: given-by-a-proxy\r\n",
            "x-forwarded-for: 192.0.2.7\r\nuser-agent: \"猫\"\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n",
        ][number / 2 % 3];
        for client in [&mut first, &mut second] {
            client.send(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{told}\r\n")).await;
            client.answer("GET").await;
        }
        third.get(HOSTS[0], path).await;
    }
    second.send(format!("POST / HTTP/1.1\r\nhost: {}\r\ncontent-length: 4\r\n\r\nbody", HOSTS[0])).await;
    assert_eq!(second.answer("POST").await.status, 200);
    let long = format!("/{}?{}", "p".repeat(4_000), "q".repeat(4_000));
    for _ in 0..10 {
        second.get(HOSTS[1], &long).await;
    }
    probe(edge.http(), b"GET / HTTP/1.1\r\nHost: www.example.org\r\n\r\n").await;
    eventually("refusals that share a record", PATIENCE, async || {
        let hello = client_hello("www.example.net");
        for _ in 0..120 {
            probe(edge.https(), &hello).await;
        }
        edge.records().await.iter().any(|record| record["count"].is_u64()).then_some(())
    })
    .await;
    edge.signal(Signal::KILL);
    edge.wait_exit().await;
    edge.restart().await;
    Target::http(&edge).get(HOSTS[0], "/after").await;
    edge.signal(Signal::TERM);
    assert_eq!(edge.wait_exit().await, 0);
    edge
}

#[tokio::test]
async fn an_independent_reader_in_go_reads_and_verifies_every_record() {
    const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/reader");
    const DICTIONARY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/retention/format/dictionary.txt");
    require([Need::Go, Need::GoTlog, Need::Zstd]).await;
    let edge = of_all_kinds().await;
    let binary = edge.path("reader").display().to_string();
    let cache = edge.path("go-cache").display().to_string();
    let environment =
        [format!("GOCACHE={cache}"), "GO111MODULE=off".to_owned(), "GOPATH=/usr/share/gocode".to_owned()];
    let files = ["main.go", "rows.go"].map(|file| format!("{SOURCE}/{file}"));
    let command = ["go", "build", "-o", &binary].map(str::to_owned).into_iter().chain(files);
    // A compiler on a busy machine.
    let built = run_within(PATIENCE * 15, "env", environment.into_iter().chain(command)).await;
    assert_eq!(built.code, 0, "{built:?}");
    let directory = edge.path("access").display().to_string();
    let read = run(&binary, [&*directory, DICTIONARY]).await;
    assert_eq!(read.code, 0, "{read:?}");
    let lines = |run: &Run| -> Vec<Value> {
        run.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let exported = icpgate(["logs", "export", &directory]).await;
    let (strangers, ours) = (lines(&read), lines(&exported));
    for (stranger, own) in strangers.iter().zip(&ours) {
        assert_eq!(stranger, own);
    }
    assert_eq!(strangers.len(), ours.len());
    assert!(ours.iter().any(|record| record["truncated"] == true), "no record with shortened texts");
    for (field, value) in [
        ("event", "request"),
        ("event", "refused"),
        ("event", "gap"),
        ("protocol", "h2"),
        ("cache", "miss"),
        ("trace_id", "0af7651916cd43dd8448eb211c80319c"),
    ] {
        assert!(ours.iter().any(|record| record[field] == value), "no record of {field} {value}");
    }
}

#[tokio::test]
async fn a_proof_is_one_file_that_verifies_without_the_store() {
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
    let mode = fs_err::metadata(&file).expect("there").permissions().mode();
    assert_eq!(mode & 0o027, 0, "records name people");
    for (option, value) in [("--since", &file), ("--at", &"2026-03-02T00:00:00+08:00".to_owned())] {
        let refused = icpgate(["logs", "verify", &file, option, value]).await;
        assert_eq!((refused.code, refused.stdout.as_str()), (2, ""), "{refused:?}");
        assert!(refused.stderr.contains("--since and --at are for stores"), "{refused:?}");
    }
    let stranger = "icpgate/test+3ed7d6bd+AfSpWiO/NEyMfHYVIRzvXKNvZvMGR9iHKVZtrCaWbTxB";
    let refused = icpgate(["logs", "verify", &file, "--key", stranger]).await;
    assert_eq!(refused.code, 1, "{refused:?}");
}

#[tokio::test]
async fn single_segments_can_be_exported_and_other_files_are_refused() {
    let edge = served(3).await;
    let segment = segments(&edge).remove(0).display().to_string();
    let verified = icpgate(["logs", "verify", &segment]).await;
    assert_eq!(verified.code, 2, "{verified:?}");
    assert!(
        verified.stderr.contains("a segment of a store; verify the directory of the store"),
        "{verified:?}"
    );
    // What a start sets aside.
    for aside in ["cut", "unreadable"] {
        let aside = format!("{segment}.{aside}");
        fs_err::copy(&segment, &aside).expect("copied");
        let read = icpgate(["logs", "export", &aside]).await;
        assert_eq!((read.code, read.stdout.lines().count()), (0, 3), "{read:?}");
    }
    for (name, content) in [("empty", String::new()), ("nonsense", "icpS nonsense".repeat(1_000))] {
        let file = edge.path(name).display().to_string();
        fs_err::write(&file, content).expect("written");
        for command in ["export", "verify"] {
            let read = icpgate(["logs", command, &file]).await;
            assert_eq!((read.code, read.stdout.as_str()), (2, ""), "{read:?}");
            assert!(read.stderr.contains("the file holds no frame of a store or of a proof"), "{read:?}");
        }
    }
    let directory = edge.path("access").display().to_string();
    let (time, later) = ("2026-03-02T00:00:00+08:00", "2026-03-03T00:00:00+08:00");
    for (from, to) in [(time, time), (later, time)] {
        let read = icpgate(["logs", "export", &directory, "--from", from, "--to", to]).await;
        assert_eq!((read.code, read.stdout.as_str()), (2, ""), "{read:?}");
        assert!(read.stderr.contains(&format!("--from {from} is not before --to {to}")), "{read:?}");
    }
}

#[tokio::test]
async fn a_store_whose_end_is_missing_gives_no_proof() {
    let edge = served(3).await;
    let (directory, file) = (edge.path("access").display().to_string(), edge.path("all.proof"));
    fs_err::remove_file(segments(&edge).pop().expect("a segment")).expect("removed");
    let exported = icpgate(["logs", "export", &directory, "--proof", &file.display().to_string()]).await;
    assert_eq!((exported.code, exported.stdout.as_str()), (2, ""), "{exported:?}");
    assert!(exported.stderr.contains("the end is missing"), "{exported:?}");
    assert!(exported.stderr.contains("`icpgate logs verify "), "{exported:?}");
    assert!(!file.exists(), "half a proof is none");
}

#[tokio::test]
async fn check_estimates_how_long_the_disk_lasts() {
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
