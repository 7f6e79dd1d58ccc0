//! The record store of a running edge: on time, without gaps, and explicit about what it cannot keep.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::client::{Http1, Target};
use crate::support::edge::{Edge, Folder, run};
use crate::support::faketime::Wall;
use crate::support::hello::client_hello;
use crate::support::machine::{Mounted, Need, require};
use crate::support::origin::Origin;
use crate::support::probe::{Answer, probe};
use crate::support::time::best_within;
use crate::support::{HOST, PATIENCE, eventually};

const KEPT: &str = "icpgate_access_records_total";
const LOST: &str = "icpgate_access_records_lost_total";

#[tokio::test]
async fn a_record_is_kept_within_100_ms() {
    let origin = Origin::text("hello").await;
    let edge = Edge::in_front_of(&origin).await;
    let mut client = Target::https(&edge).http1(HOST).await;
    // Other tests use the same disk.
    best_within(Duration::from_millis(100), 10, async |attempt| {
        assert_eq!(client.get(HOST, "/").await.text(), "hello");
        let answered = Instant::now();
        eventually("the record is synced", PATIENCE, async || {
            let synced_before = edge.status().await["retention"]["synced_before"].as_u64();
            (synced_before > Some(attempt as u64 + 1)).then_some(())
        })
        .await;
        answered.elapsed()
    })
    .await;
    assert!(!edge.records().await.is_empty());
}

/// Fails unless the sequence numbers are 1, 2, 3, …
#[track_caller]
fn assert_no_gap(records: &[Value]) {
    let numbers: Vec<u64> = records.iter().map(|record| record["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
}

#[tokio::test]
async fn sequence_numbers_continue_after_any_stop() {
    let origin = Origin::text("hello").await;
    let mut edge = Edge::in_front_of(&origin).await;
    let ask = async |edge: &Edge, path: &str| {
        let mut client = Target::https(edge).http1(HOST).await;
        for _ in 0..20 {
            assert_eq!(client.get(HOST, path).await.text(), "hello");
        }
    };
    ask(&edge, "/first").await;
    edge.signal(Signal::TERM);
    assert_eq!(edge.wait_exit().await, 0);
    assert_eq!(edge.records().await.len(), 20, "all of it is flushed");

    edge.restart().await;
    ask(&edge, "/second").await;
    edge.records_where(20, |record| record["path"] == "/second").await;
    edge.signal(Signal::KILL);
    assert_ne!(edge.wait_exit().await, 0);

    edge.restart().await;
    ask(&edge, "/third").await;
    edge.records_where(20, |record| record["path"] == "/third").await;
    let records = edge.records().await;
    assert_no_gap(&records);
    for path in ["/first", "/second", "/third"] {
        assert_eq!(records.iter().filter(|record| record["path"] == path).count(), 20, "{path}");
    }
    let others: Vec<&Value> = records.iter().filter(|record| record["path"].is_null()).collect();
    assert!(others.len() == 1 && others[0]["event"] == "gap", "that it was killed is told: {others:?}");
}

#[tokio::test]
async fn the_store_continues_after_a_kill_under_load() {
    let origin = Origin::text("hello").await;
    let mut edge = Edge::in_front_of(&origin).await;
    for _ in 0..3 {
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let target = Target::https(&edge);
            clients.spawn(async move {
                let mut client = target.http1(HOST).await;
                while client.try_send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await.is_ok() {
                    if client.try_answer("GET").await.is_err() {
                        return;
                    }
                }
            });
        }
        eventually("records", PATIENCE, async || (edge.metric(KEPT).await > 100.0).then_some(())).await;
        edge.signal(Signal::KILL);
        edge.wait_exit().await;
        while clients.join_next().await.is_some() {}
        edge.restart().await;
    }
    let records = edge.records().await;
    assert!(records.len() > 300, "{}", records.len());
    assert_no_gap(&records);
}

#[tokio::test]
async fn a_flood_of_refusals_adds_up() {
    const FLOOD: usize = 1500;
    let edge = Edge::builder().start().await;
    let hello = client_hello("www.example.net");
    for _ in 0..FLOOD / 10 {
        let ten = std::array::from_fn::<_, 10, _>(|_| probe(edge.https(), &hello));
        for answer in futures(ten).await {
            assert_eq!(answer, Answer::RESET);
        }
    }
    let series = "icpgate_connections_refused_total{listener=\"https\",reason=\"not_filed\"}";
    assert_eq!(edge.metric(series).await, FLOOD as f64);
    let standing_for = |record: &Value| record["count"].as_u64().unwrap_or(1);
    let records = eventually("every one is kept", PATIENCE, async || {
        let records = edge.records().await;
        (records.iter().map(standing_for).sum::<u64>() >= FLOOD as u64).then_some(records)
    })
    .await;
    assert_eq!(records.iter().map(standing_for).sum::<u64>(), FLOOD as u64);
    assert!(records.iter().all(|record| record["reason"] == "not_filed" && record["peer_ip"] == "127.0.0.1"));
    assert_no_gap(&records);
}

/// Polls all of `waits` concurrently; their outcomes.
async fn futures<T, const N: usize>(waits: [impl Future<Output = T>; N]) -> Vec<T> {
    let mut waits = waits.map(Box::pin);
    let mut outcomes: Vec<Option<T>> = (0..N).map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (wait, outcome) in waits.iter_mut().zip(&mut outcomes) {
            if outcome.is_none()
                && let std::task::Poll::Ready(value) = wait.as_mut().poll(cx)
            {
                *outcome = Some(value);
            }
        }
        if outcomes.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    outcomes.into_iter().flatten().collect()
}

/// Writes the files, with `more` keys of the store.
fn with_store(origin: &Origin, more: &str) -> Folder {
    let folder = Edge::builder().origin(origin.address).write();
    folder.replace("icpgate.yaml", say(&folder, more));
    folder
}

/// The configuration with `more` keys of the store.
fn say(folder: &Folder, more: &str) -> String {
    let before = folder.configuration();
    let after = before.replace("reserve: 1MiB", more);
    assert_ne!(before, after);
    after
}

async fn status(client: &mut Http1, path: &str) -> u16 {
    client.get(HOST, path).await.status
}

/// More free space than any disk has.
const BEYOND: &str = "reserve: 1000TiB";

#[tokio::test]
async fn a_full_store_refuses_requests_until_there_is_room() {
    let origin = Origin::text("hello").await;
    let edge = with_store(&origin, "reserve: 0").start().await;
    let target = Target::https(&edge);
    let mut client = target.http1(HOST).await;
    assert_eq!(status(&mut client, "/before").await, 200);
    edge.replace("icpgate.yaml", say(&edge, BEYOND));
    eventually("503", PATIENCE, async || (status(&mut client, "/filling").await == 503).then_some(())).await;
    let answer = client.get(HOST, "/full").await;
    assert!(answer.status == 503 && answer.text().contains("request id: "), "{answer:?}");
    assert_eq!(target.http2(HOST).await.get(HOST, "/full").await.status, 503);
    // Refusals of connections are still recorded.
    assert_eq!(probe(edge.https(), &client_hello("www.example.net")).await, Answer::RESET);
    let full = edge.status().await["retention"]["full"].clone();
    assert_eq!(full, "reserve");
    assert!(!origin.seen().iter().any(|request| request.target() == "/full"), "it never got there");
    let refused = 3;

    edge.replace("icpgate.yaml", say(&edge, "reserve: 0"));
    eventually("200", PATIENCE, async || (status(&mut client, "/after").await == 200).then_some(())).await;
    assert_eq!(edge.metric(LOST).await, 0.0);
    let records = edge.records_where(1, |record| record["event"] == "gap").await;
    assert_eq!(records[0]["reason"], "refused");
    assert!(records[0]["count"].as_u64().unwrap() >= refused, "{}", records[0]);
    edge.records_where(1, |record| record["event"] == "refused").await;
    let records = edge.records_where(1, |record| record["path"] == "/after").await;
    assert_eq!(records[0]["status"], 200);
    assert_no_gap(&edge.records().await);
}

#[tokio::test]
async fn when_full_drop_serves_requests_and_counts_lost_records() {
    let origin = Origin::text("hello").await;
    let edge = with_store(&origin, "when_full: drop, reserve: 0").start().await;
    let mut client = Target::https(&edge).http1(HOST).await;
    assert_eq!(status(&mut client, "/before").await, 200);
    edge.replace("icpgate.yaml", say(&edge, "when_full: drop, reserve: 1000TiB"));
    eventually("the store is full", PATIENCE, async || {
        (edge.status().await["retention"]["full"] == "reserve").then_some(())
    })
    .await;
    for _ in 0..7 {
        assert_eq!(status(&mut client, "/dropped").await, 200);
    }
    edge.metric_becomes(LOST, 7.0).await;
    edge.replace("icpgate.yaml", say(&edge, "when_full: drop, reserve: 0"));
    let gap = edge.records_where(1, |record| record["event"] == "gap").await.remove(0);
    assert_eq!((gap["reason"].as_str(), gap["count"].as_u64()), (Some("dropped"), Some(7)));
    assert_eq!(status(&mut client, "/after").await, 200);
    edge.records_where(1, |record| record["path"] == "/after").await;
    let records = edge.records().await;
    assert!(!records.iter().any(|record| record["path"] == "/dropped"));
    assert_no_gap(&records);
}

#[tokio::test]
async fn a_disk_too_small_for_the_retention_is_warned_about() {
    let origin = Origin::text("hello").await;
    let began: Timestamp = "2026-03-02T10:00:00+08:00".parse().unwrap();
    let wall = Wall::showing(began);
    let edge = wall.of_folder(with_store(&origin, "reserve: 0")).start().await;
    Wall::check(&edge, began).await;
    assert_eq!(Target::http(&edge).get(HOST, "/").await.status, 308);
    edge.records_where(1, |_| true).await;
    let retention = edge.status().await["retention"].clone();
    assert!(retention["warning"].is_null() && retention["days_held"].is_null(), "too early: {retention}");
    // The store was written in forty hours (two days when rounded), and the disk has no room for more.
    wall.set(began + SignedDuration::from_hours(40));
    edge.replace("icpgate.yaml", say(&edge, BEYOND));
    let retention = eventually("a warning", PATIENCE, async || {
        let retention = edge.status().await["retention"].clone();
        retention["warning"].is_string().then_some(retention)
    })
    .await;
    assert_eq!((&retention["days_held"], &retention["retention_days"]), (&2.0.into(), &190.into()));
    assert_eq!(edge.metric("icpgate_access_store_days").await.round(), 2.0);
}

#[tokio::test]
async fn a_full_disk_refuses_requests_until_there_is_room() {
    let origin = Origin::text("hello").await;
    let folder = with_store(&origin, "reserve: 0");
    let disk = Mounted::at(&folder.path("access"), &["-t", "tmpfs", "-o", "size=16m", "tmpfs"]).await;
    let edge = folder.start().await;
    let mut client = Target::https(&edge).http1(HOST).await;
    assert_eq!(status(&mut client, "/before").await, 200);
    edge.records_where(1, |record| record["path"] == "/before").await;
    // Fills the disk.
    let filler = disk.path("filler");
    let full = fs_err::write(&filler, vec![0; 17 << 20]).expect_err("full");
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);

    eventually("503", PATIENCE, async || (status(&mut client, "/filling").await == 503).then_some(())).await;
    assert_eq!(edge.status().await["retention"]["full"], "no_space");
    fs_err::remove_file(&filler).unwrap();
    eventually("200", PATIENCE, async || (status(&mut client, "/after").await == 200).then_some(())).await;
    edge.records_where(1, |record| record["path"] == "/after").await;
    // Every request that reached the origin has a record, if late.
    let served = |path| origin.seen().iter().filter(|request| request.target() == path).count();
    edge.records_where(served("/filling"), |record| record["path"] == "/filling").await;
    assert_eq!(edge.metric(LOST).await, 0.0);
    assert_no_gap(&edge.records().await);
    drop(edge);
    drop(disk);
}

/// A file system that turns read-only, as after a disk error, and is mounted again.
#[tokio::test]
async fn a_file_system_that_turns_read_only_loses_no_synced_record() {
    let origin = Origin::text("hello").await;
    let folder = with_store(&origin, "reserve: 0");
    let (image, access) = (folder.path("disk"), folder.path("access"));
    fs_err::File::create(&image).unwrap().set_len(16 << 20).unwrap();
    let image = image.display().to_string();
    require([Need::Mkfs]).await;
    let made = run("sh", ["-c", "PATH=$PATH:/usr/sbin mkfs.ext4 -q \"$1\"", "sh", &image]).await;
    assert_eq!(made.code, 0, "{made:?}");
    let mount = ["-o", "loop", &image];
    let disk = Mounted::at(&access, &mount).await;
    let mut edge = folder.start().await;
    let mut client = Target::https(&edge).http1(HOST).await;
    assert_eq!(status(&mut client, "/before").await, 200);
    let before = edge.records_where(1, |record| record["path"] == "/before").await;
    // Aborting the file system loses what is not synced.
    let synced = async || {
        let synced_before = edge.status().await["retention"]["synced_before"].as_u64();
        (synced_before > before[0]["seq"].as_u64()).then_some(())
    };
    eventually("the record is synced", PATIENCE, synced).await;
    disk.change("remount,abort").await;
    eventually("503", PATIENCE, async || (status(&mut client, "/during").await == 503).then_some(())).await;
    edge.logged("the file system of the access records is read-only").await;
    assert_eq!(edge.status().await["retention"]["full"], "read_only");
    assert!(edge.metric("icpgate_access_store_failures_total").await >= 1.0);
    edge.signal(Signal::KILL);
    edge.wait_exit().await;
    drop(disk);
    let _mended = Mounted::at(&access, &mount).await;
    edge.restart().await;
    let mut client = Target::https(&edge).http1(HOST).await;
    assert_eq!(status(&mut client, "/after").await, 200);
    edge.records_where(1, |record| record["path"] == "/after").await;
    edge.records_where(1, |record| record["path"] == "/before").await;
    assert_no_gap(&edge.records().await);
    edge.signal(Signal::TERM);
    assert_eq!(edge.wait_exit().await, 0);
}

#[tokio::test]
async fn a_stop_that_loses_records_exits_with_2_and_says_so() {
    let origin = Origin::text("hello").await;
    let mut edge = Edge::in_front_of(&origin).await;
    let store = edge.path("access");
    std::fs::rename(&store, edge.path("away")).unwrap();
    assert_eq!(Target::https(&edge).http1(HOST).await.get(HOST, "/").await.text(), "hello");
    edge.signal(Signal::TERM);
    assert_eq!(edge.wait_exit().await, 2);
    let log = edge.log();
    assert!(log.contains("not ended well: ") && log.contains("1 access records are lost"), "{log}");
    assert!(!log.contains("not started"), "{log}");
}

#[tokio::test]
async fn a_failure_to_reserve_emergency_space_is_named() {
    let origin = Origin::text("hello").await;
    let mut edge = Edge::in_front_of(&origin).await;
    edge.signal(Signal::TERM);
    assert_eq!(edge.wait_exit().await, 0);
    let room = edge.path("access/.emergency");
    std::fs::remove_file(&room).unwrap();
    std::fs::create_dir(&room).unwrap();
    edge.restart().await;
    let named = format!(
        "Cannot allocate the emergency file for a full disk: failed to open file `{}`",
        room.display()
    );
    eventually("the reason", PATIENCE, async || edge.log().contains(&named).then_some(())).await;
    let mut client = Target::https(&edge).http1(HOST).await;
    assert_eq!(client.get(HOST, "/").await.status, 503);
    std::fs::remove_dir(&room).unwrap();
    eventually("room", PATIENCE, async || (status(&mut client, "/").await == 200).then_some(())).await;
}

#[tokio::test]
async fn a_client_beyond_its_budget_gets_short_records_and_others_whole_ones() {
    const SENT: usize = 200;
    let origin = Origin::text("hello").await;
    let listeners = r#"  - {name: https, addresses: ["$HTTPS"], protocol: https, trusted_proxies: [127.0.0.0/8]}
  - {name: http, addresses: ["$HTTP"], protocol: http}
"#;
    let edge = Edge::builder().origin(origin.address).listeners(listeners).start().await;
    let mut client = Target::https(&edge).http1(HOST).await;
    let random =
        |length: usize| std::iter::repeat_with(fastrand::alphanumeric).take(length).collect::<String>();
    for _ in 0..SENT {
        let (path, query, referer, agent) = (random(8_000), random(8_000), random(8_000), random(8_000));
        let head = format!(
            "GET /{path}?{query} HTTP/1.1\r\nhost: {HOST}\r\nreferer: {referer}\r\nuser-agent: {agent}\r\n\
             x-forwarded-for: 192.0.2.1\r\n\r\n"
        );
        client.send(head).await;
        assert_eq!(client.answer("GET").await.text(), "hello");
    }
    let honest = format!("/{}", random(1_000));
    client.send(format!("GET {honest} HTTP/1.1\r\nhost: {HOST}\r\nx-forwarded-for: 192.0.2.2\r\n\r\n")).await;
    client.answer("GET").await;
    let records = edge.records_where(SENT + 1, |record| record["event"] == "request").await;
    let of = |ip: &str| records.iter().filter(move |record| record["client_ip"] == ip).collect::<Vec<_>>();
    let (hostile, honest_ones) = (of("192.0.2.1"), of("192.0.2.2"));
    let cut = hostile.iter().filter(|record| record["truncated"] == true);
    for record in cut.clone() {
        for text in ["path", "query", "referer", "user_agent"] {
            assert!(record[text].as_str().is_some_and(|text| text.len() <= 64), "{record:#}");
        }
        assert_eq!((&record["host"], &record["status"]), (&HOST.into(), &200.into()));
    }
    // 16 seconds' worth of 64 KiB at once: 33 records of 32 KB, and two more in each second.
    assert!(hostile.len() == SENT && cut.count() > 0, "{} records", hostile.len());
    assert!(hostile[0]["truncated"].is_null() && hostile[0]["path"].as_str().unwrap().len() > 8_000);
    assert_eq!((&honest_ones[0]["path"], &honest_ones[0]["truncated"]), (&honest.into(), &Value::Null));
    assert!(edge.metric("icpgate_access_records_truncated_total").await > 0.0);
    let cost = edge.status().await["retention"]["client_cost"].clone();
    assert_eq!(cost["bytes_a_day"], 65_536_u64 * 86_400);
    let checked = edge.check(&[]).await;
    assert!(
        checked.stdout.contains("one hostile client can add 5.3 GiB of access records a day"),
        "{checked:?}"
    );
    assert_eq!(edge.check(&["--json"]).await.json()["client_cost"]["bytes_a_day"], cost["bytes_a_day"]);
}
