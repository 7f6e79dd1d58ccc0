//! Hedging: a slow request is also sent to a second server, and the first answer wins.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{HOST, ONE_ORIGIN, edge_of};
use crate::support::client::Target;
use crate::support::edge::Edge;
use crate::support::http2_origin::{Exchange, Http2Origin};
use crate::support::origin::{Gate, Origin, Step, ok};
use crate::support::relay::Relay;
use crate::support::time::holds;
use crate::support::{PATIENCE, eventually};

async fn hedges(edge: &Edge, winner: &str) -> f64 {
    edge.metric(&format!("icpgate_hedged_requests_total{{origin=\"first\",winner=\"{winner}\"}}")).await
}

/// Answers `/slow` once the gate is open, everything else at once.
async fn gated(name: &'static str, gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::start(move |request| match request.target() {
        "/slow" => [vec![Step::Wait(gate.clone())], ok(name)].concat(),
        _ => ok(name),
    })
    .await
}

#[tokio::test]
async fn the_first_answer_wins_and_the_other_request_is_cancelled() {
    let (stuck, open) = (Gate::default(), Gate::default());
    open.open();
    let (slow, fast) = (gated("slow", &stuck).await, gated("fast", &open).await);
    let edge = edge_of(&[slow.address, fast.address], "hedge_after: 100ms").await;
    let mut http1 = Target::https(&edge).http1(HOST).await;
    let mut http2 = Target::https(&edge).http2(HOST).await;
    for _ in 0..4 {
        for protocol in ["http/1.1", "h2"] {
            let answer = match protocol {
                "h2" => http2.get(HOST, "/slow").await,
                _ => http1.get(HOST, "/slow").await,
            };
            assert_eq!(answer.text(), "fast", "{protocol}");
            eventually("the slow server is let go", PATIENCE, async || (slow.open() == 0).then_some(()))
                .await;
        }
    }
    let met = slow.seen().len();
    assert!(met > 0, "the slow one was asked");
    assert!((hedges(&edge, "second").await - met as f64).abs() < 0.1);
    let records = edge.records_where(8, |record| record["path"] == "/slow").await;
    let fast = fast.address.to_string();
    assert!(records.iter().all(|record| record["upstream_address"] == *fast && record["status"] == 200));
}

#[tokio::test]
async fn unsafe_methods_and_requests_with_a_body_are_not_hedged() {
    let gate = Gate::default();
    let (one, two) = (gated("one", &gate).await, gated("two", &gate).await);
    const HEDGE_AFTER: Duration = Duration::from_millis(20);
    let edge = edge_of(&[one.address, two.address], "hedge_after: 20ms").await;
    let mut client = Target::https(&edge).http1(HOST).await;
    for (method, body) in [("POST", "body"), ("PUT", "body"), ("DELETE", ""), ("GET", "body")] {
        let before = one.seen().len() + two.seen().len();
        client
            .send(format!(
                "{method} /slow HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ))
            .await;
        let asked = || one.seen().len() + two.seen().len() - before;
        eventually("it is sent", PATIENCE, async || (asked() > 0).then_some(())).await;
        holds(&format!("{method} {body} is sent once"), HEDGE_AFTER * 5, || asked() == 1).await;
        gate.open();
        assert_eq!(client.answer(method).await.status, 200);
        gate.close();
    }
    assert!(hedges(&edge, "first").await + hedges(&edge, "second").await < 0.1);
}

#[tokio::test]
async fn a_failed_try_leaves_the_answer_to_the_hedge() {
    for which in ["first", "second"] {
        let gate = Gate::default();
        let (waiting, order) = (gate.clone(), Arc::new(AtomicUsize::new(0)));
        let script = move |_: &crate::support::origin::Request| {
            let turn = order.fetch_add(1, Ordering::Relaxed);
            let breaks_off = (turn == 0) == (which == "first");
            let end = if breaks_off { vec![Step::Reset] } else { ok("fine") };
            // Neither answers before both have the request.
            if turn == 1 && breaks_off { end } else { [vec![Step::Wait(waiting.clone())], end].concat() }
        };
        let server = Origin::start(script).await;
        let edge = edge_of(&[server.address], "hedge_after: 50ms").await;
        let mut client = Target::https(&edge).http1(HOST).await;
        client.ask("GET", HOST, "/").await;
        server.until("both are asked", |seen| seen.len() == 2).await;
        gate.open();
        assert_eq!(client.answer("GET").await.text(), "fine", "{which} breaks off");
        assert_eq!(server.seen().len(), 2);
        assert_eq!(server.connections(), 2, "over a connection of its own");
    }
}

#[tokio::test]
async fn a_single_server_is_hedged_over_a_second_connection() {
    let gate = Gate::default();
    let server = gated("fine", &gate).await;
    let edge = edge_of(&[server.address], "hedge_after: 100ms").await;
    let (mut one, mut two) = (Target::https(&edge).http1(HOST).await, Target::https(&edge).http1(HOST).await);
    for client in [&mut one, &mut two] {
        client.ask("GET", HOST, "/slow").await;
    }
    server.until("both are asked twice", |seen| seen.len() == 4).await;
    gate.open();
    for client in [&mut one, &mut two] {
        assert_eq!(client.answer("GET").await.text(), "fine");
    }
    eventually("the losers are let go", PATIENCE, async || (server.open() == 2).then_some(())).await;
    gate.close();
    one.ask("GET", HOST, "/slow").await;
    server.until("it is asked twice", |seen| seen.len() == 6).await;
    gate.open();
    assert_eq!(one.answer("GET").await.text(), "fine");
    assert_eq!(server.connections(), 4, "no connection was made for it");
}

#[tokio::test]
async fn hedge_after_p95_hedges_requests_slower_than_the_95th_percentile() {
    let (stuck, open) = (Gate::default(), Gate::default());
    open.open();
    let (slow, fast) = (gated("slow", &stuck).await, gated("fast", &open).await);
    let edge = edge_of(&[slow.address, fast.address], "hedge_after: p95").await;
    let mut client = Target::https(&edge).http1(HOST).await;
    for _ in 0..60 {
        assert_eq!(client.get(HOST, "/").await.status, 200);
    }
    for _ in 0..6 {
        // The slow one never answers.
        assert_eq!(client.get(HOST, "/slow").await.text(), "fast");
    }
    assert!(hedges(&edge, "second").await >= 1.0);
}

/// The duration of each of `requests` requests, sorted.
async fn over_loss(edge: &Edge, requests: usize) -> Vec<Duration> {
    const CLIENTS: usize = 8;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = Target::https(edge).http1(HOST).await;
        clients.push(tokio::spawn(async move {
            let mut took = Vec::new();
            for _ in 0..requests / CLIENTS {
                let asked = Instant::now();
                assert_eq!(client.get(HOST, "/").await.status, 200);
                took.push(asked.elapsed());
            }
            took
        }));
    }
    let mut all = Vec::new();
    for client in clients {
        all.extend(client.await.expect("answers"));
    }
    all.sort();
    all
}

#[tokio::test]
async fn hedging_cuts_the_tail_latency_of_a_lossy_path_within_the_budget() {
    const REQUESTS: usize = 400;
    let (one, two) = (Origin::text("one").await, Origin::text("two").await);
    let way = Duration::from_millis(10);
    let (near, far) = (Relay::to(one.address, way).await, Relay::to(two.address, way).await);
    for relay in [&near, &far] {
        relay.loses(50);
    }
    let servers = [near.address, far.address];
    let plain = over_loss(&edge_of(&servers, "retries: {budget: 20%}").await, REQUESTS).await;
    let before = one.seen_count() + two.seen_count();
    let edge = edge_of(&servers, "hedge_after: 60ms").await;
    let hedged = over_loss(&edge, REQUESTS).await;
    let sent = one.seen_count() + two.seen_count() - before;
    let (first, second) = (hedges(&edge, "first").await, hedges(&edge, "second").await);
    let at = |all: &[Duration], percent: usize| all[all.len() * percent / 100];
    println!(
        "5 % loss each way, {REQUESTS} requests: p50 {:?}, p95 {:?}, p99 {:?} alone; p50 {:?}, p95 {:?}, p99 {:?} hedged after 60 ms; \
         {} sent twice ({second} won by the second)",
        at(&plain, 50),
        at(&plain, 95),
        at(&plain, 99),
        at(&hedged, 50),
        at(&hedged, 95),
        at(&hedged, 99),
        first + second,
    );
    assert!(at(&plain, 95) >= Duration::from_millis(200), "{:?}", at(&plain, 95));
    assert!(at(&hedged, 95) < at(&plain, 95) / 3 * 2, "{:?} {:?}", at(&hedged, 95), at(&plain, 95));
    // The retry budget: 20 % of the traffic, plus ten.
    assert!(sent <= REQUESTS + REQUESTS / 5 + 10, "{sent}");
}

#[tokio::test]
async fn hedging_stops_when_the_budget_is_spent() {
    let (one, two) = (Origin::text("one").await, Origin::text("two").await);
    let way = Duration::from_millis(15);
    let (near, far) = (Relay::to(one.address, way).await, Relay::to(two.address, way).await);
    let edge = edge_of(&[near.address, far.address], "hedge_after: 1ms, retries: {budget: 5%}").await;
    over_loss(&edge, 200).await;
    let sent = hedges(&edge, "first").await + hedges(&edge, "second").await;
    println!("of 200 requests, all slow, {sent} were sent twice");
    assert!((10.0..=20.0).contains(&sent), "{sent}: ten, and one in twenty");
}

#[tokio::test]
async fn over_http2_the_losing_stream_is_reset_and_its_connection_stays() {
    let resets = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&resets);
    let slow = Http2Origin::start(move |mut exchange: Exchange| {
        let counted = Arc::clone(&counted);
        async move {
            if exchange.path() != "/slow" {
                return exchange.text("slow");
            }
            let reset = std::future::poll_fn(|cx| exchange.respond.poll_reset(cx)).await;
            assert_eq!(reset.expect("a reset"), h2::Reason::CANCEL);
            counted.fetch_add(1, Ordering::Relaxed);
        }
    })
    .await;
    let fast = Http2Origin::start(|mut exchange: Exchange| async move { exchange.text("fast") }).await;
    let origins = format!(
        "  - {{name: first, region: offshore, scheme: h2c, servers: [\"{}\", \"{}\"], hedge_after: 100ms}}\n",
        slow.address, fast.address
    );
    let edge = Edge::builder().sites(ONE_ORIGIN).origins(&origins).start().await;
    let (mut http1, mut http2) =
        (Target::https(&edge).http1(HOST).await, Target::https(&edge).http2(HOST).await);
    for _ in 0..6 {
        assert_eq!(http1.get(HOST, "/slow").await.text(), "fast");
        assert_eq!(http2.get(HOST, "/slow").await.text(), "fast");
    }
    let lost = hedges(&edge, "second").await;
    assert!(lost >= 1.0, "the slow one was asked");
    let told = || ((resets.load(Ordering::Relaxed) as f64 - lost).abs() < 0.1).then_some(());
    eventually("every loser is reset", PATIENCE, async || told()).await;
    for _ in 0..6 {
        assert!(["slow", "fast"].contains(&&*http2.get(HOST, "/").await.text()));
    }
    assert_eq!((slow.connections(), fast.connections()), (1, 1), "streams end, connections do not");
}
