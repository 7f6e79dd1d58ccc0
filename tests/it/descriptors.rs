//! File descriptors run low: idle clients make room, requests under way go on, and a revocation takes its usual time.

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::client::{Http1, Target};
use crate::support::edge::{Builder, Edge, SUSPENDED};
use crate::support::origin::{Gate, Origin, Step, answer, head, raw};
use crate::support::probe::connect;
use crate::support::time::within;
use crate::support::{HOST, PATIENCE, eventually};

const MADE_ROOM: &str = "icpgate_connections_made_room_total";
const CLEAR: &str = "  - {name: https, addresses: [\"$HTTPS\"], protocol: https}\n  \
                     - {name: http, addresses: [\"$HTTP\"], protocol: http, redirect: none}\n";

fn limited(limit: &str) -> Builder {
    Edge::builder()
        .wrapper(&["prlimit", &format!("--nofile={limit}:{limit}")])
        .listeners(CLEAR)
        .limit("client_hello_timeout", "60s")
        .limit("request_head_timeout", "60s")
        .limit("idle_timeout", "60s")
}

/// An origin that answers `/slow` once the gate is open.
async fn slow_origin(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::start(move |request| match request.target() {
        "/slow" => vec![Step::Wait(gate.clone()), head("200 OK", &["content-length: 4"]), raw("late")],
        _ => answer("200 OK", &[], "hello"),
    })
    .await
}

/// What never happens, however many connections there are.
async fn assert_never_exhausted(edge: &Edge) {
    assert_eq!(edge.metric("icpgate_accept_pauses_total").await, 0.0);
    assert!(!edge.log().contains("Too many open files"), "{}", edge.log());
}

#[tokio::test]
async fn the_longest_idle_clients_make_room_and_requests_under_way_go_on() {
    let gate = Gate::default();
    let origin = slow_origin(&gate).await;
    let edge = limited("64").origin(origin.address).start().await;
    edge.logged("the limit of open files is 64").await;
    let mut slow = Target::https(&edge).http1(HOST).await;
    slow.ask("GET", HOST, "/slow").await;
    origin.until("the slow request", |seen| seen.len() == 1).await;
    let mut oldest = Target::https(&edge).http1(HOST).await;
    assert_eq!(oldest.get(HOST, "/").await.text(), "hello");

    let mut held = Vec::new();
    for _ in 0..10 {
        for _ in 0..20 {
            held.push(TcpStream::connect(edge.https()).await);
        }
        // It may be reset while closed connections are not gone yet.
        eventually("another client is served", PATIENCE, async || {
            let mut client = Http1::over(Target::https(&edge).tls(HOST, b"http/1.1").await.ok()?);
            client.try_send(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n")).await.ok()?;
            client.try_answer("GET").await.ok().filter(|answer| answer.text() == "hello")
        })
        .await;
    }
    within("the end of the connection that was idle the longest", oldest.end()).await;
    assert!(edge.metric(MADE_ROOM).await > 0.0);
    assert_never_exhausted(&edge).await;
    gate.open();
    assert_eq!(slow.answer("GET").await.text(), "late");
}

#[tokio::test]
async fn a_revocation_takes_effect_at_once_whatever_clients_hold() {
    let origin = Origin::text("hello").await;
    let edge = limited("256").origin(origin.address).start().await;
    let mut held = Vec::new();
    for number in 0..239 {
        if number % 2 == 0 {
            held.push(connect(edge.https()).await);
        } else {
            let mut client = Target::http(&edge).http1(HOST).await;
            assert_eq!(client.get(HOST, "/").await.text(), "hello");
            held.push(TcpStream::connect(edge.http()).await.expect("open"));
        }
    }
    edge.replace("filings.yaml", SUSPENDED);
    edge.ports_closed().await;
    assert!(!edge.log().contains("the reload is rejected"), "{}", edge.log());
    assert_never_exhausted(&edge).await;
}

#[tokio::test]
async fn while_every_client_has_a_request_under_way_new_ones_are_reset_and_files_are_read() {
    let gate = Gate::default();
    let origin = slow_origin(&gate).await;
    let edge = limited("64").origin(origin.address).limit("revocation_grace", "0s").start().await;
    let mut held = Vec::new();
    // Each waits for its request to be under way, so that none is idle.
    eventually("new clients are reset", PATIENCE, async || {
        let mut client = TcpStream::connect(edge.http()).await.ok()?;
        let _ = client.write_all(format!("GET /slow HTTP/1.1\r\nhost: {HOST}\r\n\r\n").as_bytes()).await;
        held.push(client);
        let refused = "icpgate_connections_refused_total{listener=\"http\",reason=\"too_many_connections\"}";
        (edge.metric(refused).await > 0.0).then_some(())
    })
    .await;
    edge.replace("filings.yaml", SUSPENDED);
    edge.ports_closed().await;
    assert!(!edge.log().contains("the reload is rejected"), "{}", edge.log());
    assert_never_exhausted(&edge).await;
}
