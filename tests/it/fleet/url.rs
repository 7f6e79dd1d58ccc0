//! An allowlist behind a URL.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use rustix::process::Signal;

use super::{AGE, Fault, REJECTED, Source, builder, fetches};
use crate::support::edge::{APPROVED, Edge, SUSPENDED};
use crate::support::pki::Authority;
use crate::support::{PATIENCE, eventually};

#[tokio::test]
async fn hosts_open_and_close_as_the_source_says_and_an_unchanged_allowlist_is_not_sent_again() {
    let source = Source::start(APPROVED).await;
    let edge = builder(&source.filings("")).start().await;
    edge.ports_open().await;
    source
        .server
        .until("the version is named", |seen| {
            seen.iter().any(|request| request.head.get("if-none-match").is_some())
        })
        .await;
    eventually("304 counts as unchanged", PATIENCE, async || {
        (edge.metric(&fetches("unchanged")).await > 0.0).then_some(())
    })
    .await;
    source.hold(SUSPENDED);
    edge.ports_closed().await;
    source.hold(APPROVED);
    edge.ports_open().await;
    assert!(edge.metric(&fetches("changed")).await >= 3.0);
    assert!(edge.metric(AGE).await < 10.0);
    let status = edge.status().await;
    assert!(status["filings_source"]["name"].as_str().unwrap().ends_with("/filings.yaml"), "{status}");
    assert_eq!(status["filings_source"]["failure"], serde_json::Value::Null);
}

#[tokio::test]
async fn the_last_good_copy_is_used_at_a_start_without_the_source() {
    let mut source = Source::start(APPROVED).await;
    let mut edge = builder(&source.filings("")).start().await;
    edge.ports_open().await;
    edge.signal(Signal::TERM);
    assert_eq!(edge.wait_exit().await, 0);
    let folder = edge.path("access/filings");
    let copies: Vec<_> = fs_err::read_dir(&folder)
        .expect("the folder of copies")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    assert_eq!(copies.len(), 1);
    let mode = fs_err::metadata(&copies[0]).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o640);

    let checked = edge.check(&["--json"]).await;
    assert_eq!(checked.code, 0, "{checked:?}");
    assert_eq!(checked.json()["listeners"][0]["would_bind"], true);
    assert_eq!(edge.explain(&["www.example.cn"]).await.code, 0);

    source.server.stop().await;
    edge.restart().await;
    edge.ports_open().await;
    edge.logged("the allowlist's source does not answer").await;
    source.hold(SUSPENDED);
    source.server.up();
    edge.ports_closed().await;
}

#[tokio::test]
async fn a_damaged_copy_is_not_used() {
    let mut source = Source::start(APPROVED).await;
    let mut edge = builder(&source.filings("")).start().await;
    edge.ports_open().await;
    edge.signal(Signal::TERM);
    edge.wait_exit().await;
    for entry in fs_err::read_dir(edge.path("access/filings")).expect("the folder of copies") {
        let path = entry.expect("an entry").path();
        let text = fs_err::read_to_string(&path).expect("there");
        fs_err::write(&path, text.replace("example.cn,", "example.com,")).expect("written");
    }
    source.server.stop().await;
    edge.restart().await;
    edge.logged("its content is not what its first line says").await;
    edge.ports_closed().await;
    source.server.up();
    edge.ports_open().await;
}

#[tokio::test]
async fn without_source_and_copy_nothing_is_bound_and_the_source_is_asked_again() {
    let mut source = Source::down(APPROVED, None);
    let folder = builder(&source.filings("")).write();
    let checked = folder.check(&["--json"]).await;
    assert_eq!(checked.code, 0, "{checked:?}");
    let warnings = checked.json()["warnings"].to_string();
    assert!(warnings.contains("there is no allowlist of http://"), "{warnings}");
    assert!(warnings.contains("in clear text"), "{warnings}");
    let edge = folder.start().await;
    edge.logged("the allowlist's source does not answer").await;
    assert!(edge.log().contains(&source.server.address.to_string()), "the log names it");
    edge.ports_closed().await;
    assert_eq!(edge.get("/readyz").await.expect("an answer").0, 503);
    source.server.up();
    edge.ports_open().await;
}

#[tokio::test]
async fn a_source_that_fails_or_gives_something_wrong_changes_nothing() {
    let source = Source::start(APPROVED).await;
    let edge = builder(&source.filings("")).start().await;
    edge.ports_open().await;
    let kept = async |count: f64| {
        edge.metric_becomes(REJECTED, count).await;
        let (status, _) = edge.get("/readyz").await.expect("an answer");
        assert_eq!(status, 200);
    };
    source.hold("filings: [{domain: example.cn, status: aproved}]\n");
    kept(1.0).await;
    edge.logged("is not one of").await;
    source.hold("");
    kept(2.0).await;
    source.hold(SUSPENDED);
    source.fault(Some(Fault::CutOff));
    kept(3.0).await;
    source.fault(Some(Fault::Fails));
    edge.logged("it answered 500").await;
    kept(3.0).await;
    source.fault(None);
    edge.ports_closed().await;
    edge.logged("gives a good allowlist again").await;
}

#[tokio::test]
async fn everything_closes_when_the_source_is_away_for_too_long_and_opens_when_it_is_back() {
    let mut source = Source::start(APPROVED).await;
    let mut edge = builder(&source.filings("")).limit("filings_stale_after", "1s").start().await;
    edge.ports_open().await;
    source.server.stop().await;
    edge.ports_closed().await;
    edge.logged("everything closes").await;
    // A reload for another reason does not open them: the allowlist is still not confirmed.
    let generation = edge.metric("icpgate_snapshot_generation").await;
    edge.replace("icpgate.yaml", edge.configuration() + "log: {level: debug}\n");
    eventually("reloaded", PATIENCE, async || {
        (edge.metric("icpgate_snapshot_generation").await > generation).then_some(())
    })
    .await;
    edge.ports_closed().await;
    source.server.up();
    edge.ports_open().await;

    edge.signal(Signal::TERM);
    edge.wait_exit().await;
    source.server.stop().await;
    crate::support::time::pause(std::time::Duration::from_secs(1)).await;
    age_copies(&edge);
    edge.restart().await;
    edge.logged("is older than filings_stale_after").await;
    edge.ports_closed().await;
    source.server.up();
    edge.ports_open().await;
}

/// Moves the last confirmation of every copy an hour back.
fn age_copies(edge: &Edge) {
    for entry in fs_err::read_dir(edge.path("access/filings")).expect("the folder of copies") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "confirmed") {
            fs_err::write(&path, "2020-01-01T00:00:00Z").expect("written");
        }
    }
}

#[tokio::test]
async fn the_source_itself_may_change_and_the_old_one_stays_until_the_new_one_answers() {
    let (first, mut second) = (Source::start(APPROVED).await, Source::down(SUSPENDED, None));
    let edge = builder(&first.filings("")).start().await;
    edge.ports_open().await;
    let moved = edge.configuration().replace(&first.filings(""), &second.filings(""));
    edge.replace("icpgate.yaml", &moved);
    edge.logged("there is no allowlist of http://").await;
    edge.ports_open().await;
    second.server.up();
    edge.ports_closed().await;
    let named = edge.status().await["filings_source"]["name"].to_string();
    assert!(named.contains(&second.server.address.to_string()), "{named}");

    edge.replace("icpgate.yaml", moved.replace(&second.filings(""), "filings.yaml"));
    edge.ports_open().await;
    assert_eq!(edge.metric(AGE).await, 0.0);
}

#[tokio::test]
async fn over_tls_only_a_server_that_the_roots_verify_is_believed() {
    let (authority, other) = (Authority::new(), Authority::new());
    let tls = authority.pair(&["127.0.0.1"]).server_config(&[]);
    let mut source = Source::down(APPROVED, Some(Arc::new(tls)));
    source.server.up();
    let filings = source.filings(", trust: source.pem").replace("http://", "https://");
    let folder = builder(&filings).write();
    folder.overwrite("source.pem", &other.pem);
    let edge = folder.start().await;
    edge.logged("invalid peer certificate").await;
    edge.ports_closed().await;
    assert!(source.server.seen().is_empty(), "nothing is asked of a server that is not verified");
    edge.overwrite("source.pem", &authority.pem);
    edge.ports_open().await;
    source.hold(SUSPENDED);
    edge.ports_closed().await;
}

#[tokio::test]
async fn clear_text_is_for_private_addresses() {
    for (filings, reason) in [
        ("{url: \"http://config.example.com/filings.yaml\"}", "the allowlist would come in clear text"),
        ("{url: \"http://203.0.113.9/filings.yaml\"}", "the allowlist would come in clear text"),
        ("{url: \"ftp://10.0.0.1/filings.yaml\"}", "neither https:// nor http://"),
        ("{url: \"https://a:b@10.0.0.1/filings.yaml\"}", "it holds a user"),
        ("{url: \"http://10.0.0.1/a\", trust: ca.pem}", "trust has no effect here"),
        ("{url: \"https://10.0.0.1/a\", public_key: ca.pem}", "is not a public key of minisign"),
        ("{url: \"https://10.0.0.1/a\", interval: 10ms}", "100ms to 1h"),
        ("{url: \"https://10.0.0.1/a\", every: 1s}", "unknown key"),
        ("{etcd: {endpoints: [\"https://10.0.0.1:2379/x\"], key: a}}", "it has a path"),
        (
            "{etcd: {endpoints: [\"https://10.0.0.1:2379\"], key: a, password_file: b}}",
            "there is no username",
        ),
        ("{etcd: {endpoints: [], key: a}}", "the list is empty"),
    ] {
        let checked = builder(filings).write().check(&[]).await;
        assert_eq!(checked.code, 1, "{filings}: {checked:?}");
        assert!(checked.stdout.contains(reason), "{filings}: {checked:?}");
    }
}
