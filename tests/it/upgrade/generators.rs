//! Upgrades under wrk and h2load, which know nothing of them: every request that they send is answered and recorded.

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;
use tokio::process::{Child, Command};

use super::open::{Open, answer};
use super::{ended, proved, signal, upgrade, upgrades};
use crate::support::client::Target;
use crate::support::edge::{Edge, run};
use crate::support::origin::{Gate, Origin};
use crate::support::time::within;
use crate::support::{HOST, PATIENCE, eventually};

const LISTENERS: &str = r#"  - {name: https, addresses: ["$HTTPS"], protocol: https}
  - {name: http, addresses: ["$HTTP"], protocol: http, redirect: none}
"#;

/// wrk over four kept connections in clear text, until it is told to stop.
fn wrk(edge: &Edge) -> Child {
    let (host, url) = (format!("Host: {HOST}"), format!("http://{}/wrk", edge.http()));
    let mut command = Command::new("wrk");
    command.args(["-t", "1", "-c", "4", "-d", "1h", "-H", &host, &url]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    command.spawn().unwrap_or_else(|error| panic!("wrk: {error}; scripts/setup installs it"))
}

/// The requests that wrk counts, if none of them failed.
async fn stopped(wrk: Child) -> u64 {
    signal(wrk.id().expect("it runs"), Signal::INT);
    let output = within("wrk ends", wrk.wait_with_output()).await.expect("its output");
    let told = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(!told.contains("Socket errors") && !told.contains("Non-2xx"), "{told}");
    let count = told.lines().find_map(|line| line.trim().split_once(" requests in "));
    count.and_then(|(count, _)| count.parse().ok()).unwrap_or_else(|| panic!("no count: {told}"))
}

/// Runs of h2load one after the other, until `over`; the number of answers. h2load counts as errors the requests that it
/// had planned or queued when the edge announced the end of a connection: those never leave it.
async fn h2load(edge: &Edge, over: &AtomicBool) -> u64 {
    let (url, to) = (format!("https://{HOST}:{}/h2load", edge.https().port()), edge.https().to_string());
    let connect = format!("--connect-to={to}");
    let mut count = 0;
    while !over.load(Ordering::Relaxed) {
        let load = run("h2load", ["-n", "400", "-c", "2", "-m", "4", &connect, &url]).await;
        let line = load.stdout.lines().find(|line| line.starts_with("requests: "));
        let line = line.unwrap_or_else(|| panic!("no result: {load:?}"));
        let number = |word: &str| -> u64 {
            let of_word =
                |part: &str| part.trim().strip_suffix(word).and_then(|count| count.trim().parse().ok());
            let parts = line.trim_start_matches("requests: ").split(',');
            parts.clone().find_map(of_word).unwrap_or_else(|| panic!("{word}: {line}"))
        };
        let answered = number("succeeded");
        assert_eq!((number("errored"), number("timeout")), (400 - answered, 0), "{load:?}");
        assert!(load.stdout.contains("0 3xx, 0 4xx, 0 5xx"), "{load:?}");
        count += answered;
    }
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrk_and_h2load_get_every_answer_with_a_websocket_and_a_download_open() {
    let gate = Gate::default();
    let by_name = gate.clone();
    let origin = Origin::start(move |request| answer(request, &by_name)).await;
    let builder = Edge::builder().origin(origin.address).listeners(LISTENERS);
    let mut edge = builder.limit("drain_timeout", "60s").start().await;
    let wrk = wrk(&edge);
    let over = AtomicBool::new(false);
    let mut last = 0;
    let rounds = async {
        let mut open = Open::begin(&Target::https(&edge), 0).await;
        for _ in 0..upgrades() {
            let before = origin.seen().len();
            last = upgrade(&edge).await;
            open.speak().await;
            eventually("requests after the upgrade", PATIENCE, async || {
                (origin.seen().len() > before + 100).then_some(())
            })
            .await;
        }
        gate.open();
        open.finish().await;
        over.store(true, Ordering::Relaxed);
    };
    let ((), over_http2) = tokio::join!(rounds, h2load(&edge, &over));
    let over_http1 = stopped(wrk).await;
    assert_eq!(edge.wait_replaced().await, Some(0), "{}", edge.log());
    signal(last, Signal::TERM);
    ended(last).await;
    proved(&edge).await;
    let records = edge.records().await;
    let of = |path: &str| records.iter().filter(|record| record["path"] == path).count() as u64;
    // What reached the edge has a record, so nothing that did is without its answer.
    assert_eq!(of("/h2load"), over_http2);
    // wrk does not count what was under way when it was stopped.
    assert!((over_http1..=over_http1 + 4).contains(&of("/wrk")), "{} of {over_http1}", of("/wrk"));
    println!("{} upgrades, {over_http1} requests of wrk, {over_http2} of h2load", upgrades());
}
