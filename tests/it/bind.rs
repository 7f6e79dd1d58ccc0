//! An address is bound while a filing permits a host on it, and only then.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::support::edge::{APPROVED, Edge, SUSPENDED};
use crate::support::faketime::Wall;
use crate::support::probe::is_refused;
use crate::support::time::best_within;
use crate::support::{PATIENCE, eventually};

/// The contract's bound, from the rename to the open or closed port.
const FOLLOWING: Duration = Duration::from_millis(250);

#[tokio::test]
async fn ports_follow_the_allowlist_within_250_ms_of_the_rename() {
    let edge = Edge::builder().filings("filings: []\n").start().await;
    best_within(FOLLOWING, 10, async |_| {
        assert!(is_refused(edge.https()).await && is_refused(edge.http()).await, "open before an approval");
        assert_eq!(edge.get("/readyz").await.expect("admin is open").0, 503);

        edge.replace("filings.yaml", APPROVED);
        let renamed = Instant::now();
        edge.ports_open().await;
        let bound = renamed.elapsed();
        edge.metric_becomes("icpgate_listener_bound{listener=\"https\"}", 1.0).await;
        edge.readyz_becomes(200).await;

        edge.replace("filings.yaml", SUSPENDED);
        let renamed = Instant::now();
        edge.ports_closed().await;
        let closed = renamed.elapsed();
        edge.metric_becomes("icpgate_listener_bound{listener=\"https\"}", 0.0).await;
        bound.max(closed)
    })
    .await;
}

#[tokio::test]
async fn an_approval_opens_only_the_listeners_that_serve_its_hosts() {
    let edge = Edge::builder()
        .listeners(
            "  - {name: one, addresses: [\"$IP:8443\"], protocol: https}\n  \
             - {name: two, addresses: [\"$IP:8444\"], protocol: https}\n",
        )
        .sites(
            "  - {hosts: [www.example.cn], listeners: [one], certificate: {chain: site.pem, key: site.key}}\n  \
             - {hosts: [www.example.com.cn], listeners: [two], certificate: {chain: two.pem, key: two.key}}\n",
        )
        .origins("  []\n")
        .write();
    edge.authority
        .pair(&["www.example.com.cn"])
        .write(edge.path("two.pem").parent().expect("a folder"), "two");
    let edge = edge.start().await;

    assert!(!is_refused((edge.ip(), 8443).into()).await);
    assert!(is_refused((edge.ip(), 8444).into()).await);
    let status = edge.status().await;
    assert_eq!(status["listeners"][0]["reason"], serde_json::Value::Null);
    assert_eq!(status["listeners"][1]["reason"], "not_filed");
    // Every permitted listener is bound: ready.
    assert_eq!(edge.get("/readyz").await.expect("admin is open").0, 200);
}

/// The first instants of days in Asia/Shanghai.
const BEGINS: &str = "2026-03-01T16:00:00Z";
const ENDS: &str = "2031-03-01T16:00:00Z";
const DATED: &str = "filings:\n  - {domain: example.cn, number: 京ICP备2024012345号-1, status: approved, \
                     approved_on: 2026-03-02, valid_until: 2031-03-01}\n";

fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

#[tokio::test]
async fn ports_open_and_close_at_midnight_in_shanghai_without_a_file_event() {
    let before = time(BEGINS) - SignedDuration::from_hours(1);
    let wall = Wall::showing(before);
    let edge = wall.of(Edge::builder().filings(DATED)).start().await;
    Wall::check(&edge, before).await;
    assert!(is_refused(edge.https()).await, "open before the first day");

    let mut followed = Vec::new();
    for (midnight, refused_before) in [(time(BEGINS), true), (time(ENDS), false)] {
        let ahead = Duration::from_secs(3);
        let at_midnight = Instant::now() + ahead;
        wall.set(midnight - SignedDuration::try_from(ahead).expect("a span"));
        eventually("the date passes", PATIENCE, async || {
            let changed = is_refused(edge.https()).await != refused_before;
            assert!(!changed || Instant::now() >= at_midnight, "changed before {midnight}");
            changed.then_some(())
        })
        .await;
        followed.push(at_midnight.elapsed());
    }
    // A timer is set for the date; the look at the clock that is taken every second mostly comes later.
    assert!(followed.iter().min() <= Some(&FOLLOWING), "{followed:?}");
}

#[tokio::test]
async fn a_clock_set_forward_closes_ports_and_set_back_reopens_none() {
    let (within, after) = (time("2030-01-01T00:00:00Z"), time("2032-01-01T00:00:00Z"));
    let wall = Wall::showing(within);
    let edge = wall.of(Edge::builder().filings(DATED)).start().await;
    Wall::check(&edge, within).await;
    assert!(!is_refused(edge.https()).await);

    wall.set(after);
    edge.ports_closed().await;

    wall.set(within);
    eventually("the clock is back", PATIENCE, async || {
        edge.status().await["time"].as_str()?.starts_with("2030-").then_some(())
    })
    .await;
    // Every reload asks the gate again; an expired filing stays expired.
    edge.replace("filings.yaml", format!("{DATED}# again\n"));
    edge.metric_becomes("icpgate_snapshot_generation", 2.0).await;
    assert!(is_refused(edge.https()).await, "a clock set back has revived the filing");
    assert_eq!(edge.status().await["listeners"][0]["reason"], "expired");
}

#[tokio::test]
async fn an_address_in_use_is_reported_and_bound_once_it_is_free() {
    let folder = Edge::builder().write();
    let occupant = TcpListener::bind(folder.https()).expect("free so far");
    let edge = folder.start().await;

    let (status, reason) = edge.get("/readyz").await.expect("admin is open");
    assert_eq!(status, 503);
    let address = edge.https().to_string();
    assert!(reason.contains("listener https") && reason.contains(&address), "{reason}");
    assert!(reason.contains("Address already in use"), "{reason}");
    edge.logged(&format!("address={address}")).await;
    let status = edge.status().await;
    assert_eq!(status["listeners"][0]["failed"][0]["address"], *address);
    assert_eq!(edge.metric("icpgate_listener_bound{listener=\"https\"}").await, 0.0);
    // The other listener is bound.
    assert!(!is_refused(edge.http()).await);

    drop(occupant);
    edge.ports_open().await;
    edge.readyz_becomes(200).await;
    assert_eq!(edge.log().matches("cannot be bound").count(), 1, "said once, not at every attempt");
}

#[tokio::test]
async fn an_empty_allowlist_leaves_only_the_admin_port_open() {
    let edge = Edge::builder().filings("filings: []\n").start().await;
    for port in [8443, 8080] {
        assert!(is_refused((edge.ip(), port).into()).await);
    }
    assert_eq!(edge.get("/livez").await.expect("admin is open").0, 200);
    let (status, reason) = edge.get("/readyz").await.expect("admin is open");
    assert_eq!((status, reason.contains("nothing approved")), (503, true), "{reason}");
}

#[tokio::test]
async fn a_start_with_broken_files_binds_nothing_and_exits_with_2() {
    type Breaking = fn(&crate::support::edge::Folder);
    let breakings: [(&str, Breaking); 6] = [
        ("filings.yaml", |folder| folder.replace("filings.yaml", "filings:\n  - {domain: example.cn")),
        ("filings.yaml", |folder| folder.replace("filings.yaml", "")),
        ("filings.yaml", |folder| fs_err::remove_file(folder.path("filings.yaml")).expect("removed")),
        ("filings[0].number", |folder| {
            folder.replace(
                "filings.yaml",
                "filings: [{domain: example.cn, status: approved, approved_on: 2020-01-02}]",
            );
        }),
        ("icpgate.yaml", |folder| fs_err::remove_file(folder.path("icpgate.yaml")).expect("removed")),
        ("listenres", |folder| folder.replace("icpgate.yaml", "filings: filings.yaml\nlistenres: []\n")),
    ];
    for (named, breaking) in breakings {
        let folder = Edge::builder().write();
        breaking(&folder);
        let mut edge = folder.spawn();
        assert_eq!(edge.wait_exit().await, 2, "{named}");
        let log = edge.log();
        assert!(log.contains(named) && log.contains("not started"), "{named}: {log}");
        assert!(!log.contains("panicked") && !log.contains(" bound"), "{named}: {log}");
    }
}

#[tokio::test]
async fn without_its_admin_address_the_program_does_not_start() {
    let folder = Edge::builder().write();
    let _occupant = TcpListener::bind(folder.admin()).expect("free so far");
    let address = folder.admin().to_string();
    let mut edge = folder.spawn();
    assert_eq!(edge.wait_exit().await, 2);
    let log = edge.log();
    assert!(log.contains(&address) && log.contains("cannot be bound"), "{log}");
    assert!(is_refused(edge.https()).await);
}

#[tokio::test]
async fn listeners_that_overlap_are_refused_before_anything_is_bound() {
    let overlaps = [
        ("[\"$IP:8443\"]", "[\"$IP:8443\"]", "listeners[1].addresses[0]"),
        ("[\"0.0.0.0:8443\"]", "[\"$IP:8443\"]", "listeners[1].addresses[0]"),
        ("[\"$IP:8443\"]", "[\"$IP:8444\", \"0.0.0.0:8443\"]", "listeners[1].addresses[1]"),
        ("[\"[::]:8443\"]", "[\"[::1]:8443\"]", "listeners[1].addresses[0]"),
        ("[\"$IP:8443\"]", "[\"$ADMIN\"]", "listeners[1].addresses[0]"),
    ];
    for (one, two, place) in overlaps {
        let listeners = format!(
            "  - {{name: one, addresses: {one}, protocol: https}}\n  - {{name: two, addresses: {two}, protocol: http}}\n"
        );
        let folder = Edge::builder().listeners(&listeners).write();
        let check = folder.check(&["--json"]).await;
        assert_eq!(check.code, 1, "{one} {two}: {check:?}");
        let problems = check.json()["problems"].clone();
        assert_eq!(problems.as_array().map(Vec::len), Some(1), "{one} {two}: {problems}");
        assert_eq!(problems[0]["place"], place);
        assert!(problems[0]["message"].as_str().expect("text").contains("overlaps"), "{problems}");
        let mut edge = folder.spawn();
        assert_eq!(edge.wait_exit().await, 2);
    }
    // `[::]` does not include IPv4.
    let apart = "  - {name: one, addresses: [\"0.0.0.0:8443\", \"[::]:8443\"], protocol: https}\n";
    let check = Edge::builder().listeners(apart).write().check(&[]).await;
    assert_eq!(check.code, 0, "{check:?}");
}
