//! Reloads affect the next request and disturb no other.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{BLOG, SHOP, builder, filings, site, write};
use crate::support::client::{End, Target};
use crate::support::edge::{APPROVED, Edge, SUSPENDED};
use crate::support::origin::{Origin, html, ok};
use crate::support::probe::is_refused;
use crate::support::time::{best_within, pause};
use crate::support::{PATIENCE, eventually};

const GENERATION: &str = "icpgate_snapshot_generation";
const REJECTED: &str = "icpgate_reloads_total{result=\"rejected\"}";

#[tokio::test]
async fn routes_and_filings_change_for_the_next_request_of_an_open_connection() {
    let origin = Origin::start(|_| html("<html><body></body></html>")).await;
    let edge = write(builder(&origin)).start().await;
    let mut http1 = Target::https(&edge).http1(SHOP).await;
    let mut http2 = Target::https(&edge).http2(SHOP).await;
    assert!(http1.get(SHOP, "/").await.text().contains("2024012345号-1"));
    assert!(http2.get(SHOP, "/").await.text().contains("2024012345号-1"));

    edge.replace("filings.yaml", filings("approved", "approved").replace("号-1", "号-7"));
    edge.metric_becomes(GENERATION, 2.0).await;
    assert!(http1.get(SHOP, "/").await.text().contains("2024012345号-7"));
    assert!(http2.get(SHOP, "/").await.text().contains("2024012345号-7"));

    let narrow = edge.configuration().replace(&site("shop", SHOP, "/"), &site("shop", SHOP, "/a"));
    edge.replace("icpgate.yaml", narrow);
    edge.metric_becomes(GENERATION, 3.0).await;
    assert_eq!((http1.get(SHOP, "/").await.status, http1.get(SHOP, "/a").await.status), (404, 200));
    assert_eq!((http2.get(SHOP, "/").await.status, http2.get(SHOP, "/a").await.status), (404, 200));
    let records = edge.records_where(8, |_| true).await;
    let generations: Vec<_> = records.iter().map(|record| record["generation"].as_u64().unwrap()).collect();
    assert_eq!(generations, [1, 1, 2, 2, 3, 3, 3, 3]);
}

#[tokio::test]
async fn a_reload_keeps_connections_to_unchanged_origins_and_closes_the_others() {
    let (one, two) = (Origin::text("one").await, Origin::text("two").await);
    let edge = write(builder(&one)).start().await;
    let mut client = Target::https(&edge).http1(SHOP).await;
    assert_eq!(client.get(SHOP, "/").await.text(), "one");
    edge.replace("icpgate.yaml", edge.configuration() + "log: {level: debug}\n");
    edge.metric_becomes(GENERATION, 2.0).await;
    assert_eq!(client.get(SHOP, "/").await.text(), "one");
    assert_eq!((one.connections(), one.open()), (1, 1));
    edge.replace(
        "icpgate.yaml",
        edge.configuration().replace(&one.address.to_string(), &two.address.to_string()),
    );
    edge.metric_becomes(GENERATION, 3.0).await;
    assert_eq!(client.get(SHOP, "/").await.text(), "two");
    eventually("the other one is let go", PATIENCE, async || (one.open() == 0).then_some(())).await;
}

#[tokio::test]
async fn records_use_the_current_names_of_a_server_on_older_connections() {
    let origin = Origin::text("one").await;
    let edge = write(builder(&origin)).start().await;
    let mut client = Target::https(&edge).http1(SHOP).await;
    client.get(SHOP, "/").await;
    let server = format!("[\"{}\"]", origin.address);
    let linked = format!("[{{address: \"{}\", link: cn2-gia}}]", origin.address);
    let (old, before) = (edge.configuration(), "region: mainland");
    assert!(old.contains(&server) && old.contains(before), "{old}");
    edge.replace("icpgate.yaml", old.replace(&server, &linked).replace(before, "region: offshore"));
    edge.metric_becomes(GENERATION, 2.0).await;
    client.get(SHOP, "/").await;
    client.get(SHOP, "/").await;
    assert_eq!(origin.connections(), 1, "it is the same connection");
    let records = edge.records_where(3, |_| true).await;
    let named: Vec<_> = records.iter().map(|record| (&record["link"], &record["region"])).collect();
    let (then, now) = ((&"default".into(), &"mainland".into()), (&"cn2-gia".into(), &"offshore".into()));
    assert_eq!(named, [then, now, now]);
    let local = |place: usize| &records[place]["upstream_local_address"];
    assert!(local(0).is_string() && local(0) == local(1) && local(1) == local(2), "{records:?}");
}

/// Clients that send requests back to back, each on one connection.
struct Load {
    ends: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
    clients: tokio::task::JoinSet<()>,
}

impl Load {
    fn start(edge: &Edge) -> Self {
        let mut load = Self {
            ends: Arc::default(),
            asked: Arc::default(),
            failed: Arc::default(),
            clients: Default::default(),
        };
        for client in 0..6 {
            let target = Target::https(edge);
            let (ends, asked, failed) =
                (Arc::clone(&load.ends), Arc::clone(&load.asked), Arc::clone(&load.failed));
            let host = if client % 2 == 0 { SHOP } else { BLOG };
            load.clients.spawn(async move {
                let count = |fine: bool| {
                    asked.fetch_add(1, Ordering::Relaxed);
                    failed.fetch_add(usize::from(!fine), Ordering::Relaxed);
                };
                let (mut http1, mut http2) = (target.http1(host).await, target.http2(host).await);
                while !ends.load(Ordering::Relaxed) {
                    if client < 4 {
                        http1.ask("GET", host, "/").await;
                        count(http1.try_answer("GET").await.is_ok_and(|answer| answer.status == 200));
                    } else {
                        let answer = http2.request(http::Method::GET, host, "/", &[]).await;
                        count(answer.is_ok_and(|answer| answer.status == 200));
                    }
                }
            });
        }
        load
    }

    /// The number of requests, and of failures.
    async fn end(mut self) -> (usize, usize) {
        self.ends.store(true, Ordering::Relaxed);
        while let Some(client) = self.clients.join_next().await {
            client.expect("every client has kept its connection");
        }
        (self.asked.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_reloads_under_load_fail_no_request() {
    let (one, two) = (Origin::text("one").await, Origin::text("two").await);
    let edge = write(builder(&one)).start().await;
    let to_one = edge.configuration();
    let to_two = to_one.replace(&one.address.to_string(), &two.address.to_string());
    let load = Load::start(&edge);
    let mut witness = Target::https(&edge).http1(SHOP).await;
    for round in 1..=200 {
        let (expected, configuration) = if round % 2 == 0 { ("one", &to_one) } else { ("two", &to_two) };
        edge.replace("icpgate.yaml", configuration);
        edge.signal(Signal::HUP);
        eventually("the reload", PATIENCE, async || {
            (witness.get(SHOP, "/").await.text() == expected).then_some(())
        })
        .await;
    }
    let (asked, failed) = load.end().await;
    println!("{asked} requests under 200 reloads, {failed} failed");
    assert_eq!(failed, 0, "of {asked}");
    assert!(asked > 1000, "{asked} requests are no load");
    assert!(edge.metric(GENERATION).await > 200.0);
    assert_eq!(edge.metric(REJECTED).await, 0.0);
}

#[tokio::test]
async fn a_broken_allowlist_is_counted_and_changes_nothing_else() {
    let origin = Origin::text("hello").await;
    let edge = write(builder(&origin)).start().await;
    let mut client = Target::https(&edge).http1(SHOP).await;
    assert_eq!(client.get(SHOP, "/").await.text(), "hello");
    edge.replace("filings.yaml", "filings: [{domain: example.cn, status: approved}]\n");
    edge.metric_becomes(REJECTED, 1.0).await;
    assert!(edge.log().contains("filings.yaml") && edge.log().contains("ERROR"), "{}", edge.log());
    assert_eq!(edge.get("/readyz").await.map(|(status, _)| status), Some(200));
    assert_eq!(client.get(SHOP, "/").await.text(), "hello");
    assert_eq!(Target::https(&edge).get(BLOG, "/").await.text(), "hello");
    assert_eq!(edge.metric(GENERATION).await, 1.0);

    edge.replace("filings.yaml", filings("approved", "suspended"));
    edge.metric_becomes(GENERATION, 2.0).await;
    assert_eq!(client.get(SHOP, "/").await.text(), "hello");
    assert!(Target::https(&edge).tls(BLOG, b"http/1.1").await.is_err());
}

#[tokio::test]
async fn an_allowlist_that_stays_broken_closes_everything_in_time() {
    let origin = Origin::text("hello").await;
    let edge = write(builder(&origin).limit("filings_stale_after", "2s")).start().await;
    let mut idle = Target::https(&edge).http1(SHOP).await;
    assert_eq!(idle.get(SHOP, "/").await.text(), "hello");
    let broken = Instant::now();
    edge.replace("filings.yaml", "filings: 7\n");
    edge.metric_becomes(REJECTED, 1.0).await;
    assert_eq!(idle.get(SHOP, "/").await.text(), "hello", "the last good one is in force for a while");
    // Further faults do not restart the time.
    let mut faults = (8..).map(|fault| format!("filings: {fault}\n"));
    eventually("the ports are closed", PATIENCE, async || {
        edge.replace("filings.yaml", faults.next()?);
        pause(Duration::from_millis(500)).await;
        (is_refused(edge.https()).await && is_refused(edge.http()).await).then_some(())
    })
    .await;
    let took = broken.elapsed();
    assert!(took >= Duration::from_secs(2), "{took:?}");
    assert_eq!(idle.end().await, (Vec::new(), End::Closed));
    edge.readyz_becomes(503).await;

    edge.replace("filings.yaml", filings("approved", "approved"));
    edge.ports_open().await;
    assert_eq!(Target::https(&edge).get(SHOP, "/").await.text(), "hello");
}

#[tokio::test]
async fn filings_stale_after_0s_closes_everything_when_the_file_is_removed() {
    let edge = Edge::builder().limit("filings_stale_after", "0s").start().await;
    assert!(!is_refused(edge.https()).await);
    fs_err::remove_file(edge.path("filings.yaml")).unwrap();
    edge.ports_closed().await;
    edge.replace("filings.yaml", APPROVED);
    edge.ports_open().await;
}

/// Ten thousand filings and `last`.
fn many(last: &str) -> String {
    let mut text = String::from("filings:\n");
    for number in 0..10_000 {
        let number_of_it = 123_457 + 13 * number;
        let filing =
            format!("number: 京ICP备2019{number_of_it}号-1, status: approved, approved_on: 2020-01-02");
        writeln!(text, "  - {{domain: domain{number}.cn, {filing}}}").unwrap();
    }
    text + last.strip_prefix("filings:\n").unwrap()
}

#[tokio::test]
async fn ten_thousand_filings_are_in_effect_soon_after_the_rename() {
    let origin = Origin::start(|_| ok("hello")).await;
    let edge = Edge::builder().origin(origin.address).filings(&many(SUSPENDED)).start().await;
    assert!(is_refused(edge.https()).await);
    best_within(Duration::from_secs(1), 10, async |_| {
        edge.replace("filings.yaml", many(APPROVED));
        let renamed = Instant::now();
        edge.ports_open().await;
        let approved = renamed.elapsed();
        assert_eq!(edge.metric("icpgate_filings{status=\"approved\"}").await, 10_001.0);
        assert_eq!(Target::https(&edge).get(SHOP, "/").await.text(), "hello");
        edge.replace("filings.yaml", many(SUSPENDED));
        let renamed = Instant::now();
        edge.ports_closed().await;
        approved.max(renamed.elapsed())
    })
    .await;
}
