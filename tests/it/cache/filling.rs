//! One fetch for everybody who waits, whoever leaves.

use std::time::Duration;

use http::Method;

use super::{cached, fresh, get, in_front_of, series, status, text};
use crate::support::HOST;
use crate::support::client::{Target, answer};
use crate::support::origin::{Gate, Origin, Request, Script, Step, chunk, head, raw};
use crate::support::time::{PATIENCE, eventually, holds};

/// Waits for the gate, then answers.
fn held(gate: &Gate, script: Script) -> Script {
    [vec![Step::Wait(gate.clone())], script].concat()
}

/// Requests that wait, over HTTP/2 connections of `STREAMS` streams.
const CONNECTIONS: usize = 10;
const STREAMS: usize = 100;

#[tokio::test]
async fn a_stampede_is_one_fetch_also_when_its_first_client_leaves() {
    for first_leaves in [false, true] {
        let gate = Gate::default();
        let passed = gate.clone();
        let origin = Origin::start(move |_: &Request| held(&passed, fresh("hello"))).await;
        let edge = in_front_of(&origin).await;
        let target = Target::https(&edge);
        let mut first = target.http2(HOST).await;
        let (leading, _) = first.begin(Method::GET, HOST, "/", &[], true).await;
        origin.until("the fetch", |seen| seen.len() == 1).await;
        let mut waiting = Vec::new();
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut client = target.http2(HOST).await;
            for _ in 0..STREAMS {
                let (response, _) = client.begin(Method::GET, HOST, "/", &[], true).await;
                waiting.push(tokio::spawn(answer(response)));
            }
            connections.push(client);
        }
        if first_leaves {
            drop((leading, first));
            edge.metric_becomes("icpgate_connections_open{listener=\"https\"}", CONNECTIONS as f64).await;
        } else {
            tokio::spawn(async move {
                let _kept = first;
                assert_eq!(answer(leading).await.expect("an answer").text(), "hello");
            });
        }
        gate.open();
        for one in waiting {
            let answer = one.await.expect("no panic").expect("an answer");
            assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
        }
        assert_eq!(origin.seen_count(), 1, "the first leaves: {first_leaves}");
        edge.metric_becomes(&series("hit"), (CONNECTIONS * STREAMS) as f64).await;
    }
}

#[tokio::test]
async fn the_fetch_goes_on_when_its_http1_client_resets_in_the_middle_of_the_body() {
    let gate = Gate::default();
    let passed = gate.clone();
    let origin = Origin::start(move |_: &Request| {
        let fields = ["cache-control: max-age=3600", "transfer-encoding: chunked"];
        vec![head("200 OK", &fields), chunk("half"), Step::Wait(passed.clone()), chunk(" whole"), chunk("")]
    })
    .await;
    let edge = in_front_of(&origin).await;
    let mut leader = Target::https(&edge).http1(HOST).await;
    leader.ask("GET", HOST, "/").await;
    assert_eq!(leader.head().await.get("cache-status"), Some("icpgate; fwd=uri-miss; stored"));
    drop(leader);
    edge.metric_becomes("icpgate_connections_open{listener=\"https\"}", 1.0).await;
    let target = Target::https(&edge);
    let waiting = tokio::spawn(async move { target.get(HOST, "/").await });
    gate.open();
    let answer = waiting.await.expect("no panic");
    assert_eq!((answer.text().as_str(), status(&answer)), ("half whole", "icpgate; hit"));
    assert_eq!(origin.seen_count(), 1);
}

#[tokio::test]
async fn a_slow_first_client_does_not_slow_the_others() {
    const LENGTH: usize = 4 << 20;
    let origin = Origin::start(|_| {
        let length = format!("content-length: {LENGTH}");
        vec![head("200 OK", &["cache-control: max-age=3600", &length]), raw(vec![b'x'; LENGTH])]
    })
    .await;
    let edge = in_front_of(&origin).await;
    let mut slow = Target::https(&edge).http1(HOST).await;
    slow.ask("GET", HOST, "/").await;
    let first = slow.head().await;
    let answer = get(&edge, "/").await;
    assert_eq!((answer.body.len(), status(&answer)), (LENGTH, "icpgate; hit"));
    assert_eq!(first.get("content-length"), Some(LENGTH.to_string().as_str()));
    assert_eq!(slow.read(LENGTH).await.len(), LENGTH, "the slow one gets all of it");
    assert_eq!(origin.seen_count(), 1);
}

#[tokio::test]
async fn what_cannot_be_stored_is_fetched_by_each_at_once() {
    let gate = Gate::default();
    let passed = gate.clone();
    let origin =
        Origin::start(move |_: &Request| held(&passed, text(&["cache-control: no-store"], "mine"))).await;
    let edge = in_front_of(&origin).await;
    let ask = |target: Target| tokio::spawn(async move { target.get(HOST, "/").await });
    let waiting: Vec<_> = (0..8).map(|_| ask(Target::https(&edge))).collect();
    origin.until("one fetch", |seen| seen.len() == 1).await;
    gate.open();
    for one in waiting {
        let answer = one.await.expect("no panic");
        assert_eq!((answer.text().as_str(), status(&answer)), ("mine", "icpgate; fwd=uri-miss"));
    }
    gate.close();
    // It is known now, so that nobody waits.
    let waiting: Vec<_> = (0..4).map(|_| ask(Target::https(&edge))).collect();
    origin.until("all fetches", |seen| seen.len() == 12).await;
    gate.open();
    for one in waiting {
        assert_eq!(one.await.expect("no panic").status, 200);
    }
}

#[tokio::test]
async fn a_fetch_that_breaks_off_is_not_stored() {
    let origin = Origin::start(|_| {
        let fields = ["cache-control: max-age=3600", "content-length: 100"];
        vec![head("200 OK", &fields), raw("half"), Step::Close]
    })
    .await;
    let edge = in_front_of(&origin).await;
    for count in 1..=2 {
        let mut client = Target::https(&edge).http1(HOST).await;
        client.ask("GET", HOST, "/").await;
        assert!(client.try_answer("GET").await.is_err(), "it is not whole");
        assert_eq!(origin.seen_count(), count);
    }
}

#[tokio::test]
async fn ten_gibibytes_pass_without_being_kept() {
    let origin = Origin::start(|_| {
        let fields = ["cache-control: max-age=3600", "content-length: 10737418240"];
        vec![head("200 OK", &fields), Step::Flood]
    })
    .await;
    let edge = in_front_of(&origin).await;
    let mut client = Target::https(&edge).http1(HOST).await;
    client.ask("GET", HOST, "/").await;
    let head = client.head().await;
    assert_eq!(head.get("cache-status"), Some("icpgate; fwd=uri-miss"));
    let before = edge.resident();
    for _ in 0..8 {
        client.read(16 << 20).await;
    }
    assert!(edge.resident() < before + 32, "{before} MiB, then {}", edge.resident());
    drop(client);
    eventually("the fetch ends", PATIENCE, async || (origin.open() == 0).then_some(())).await;
}

#[tokio::test]
async fn an_endless_answer_is_not_kept_beyond_the_largest_object() {
    let origin = Origin::start(|_| {
        let fields = ["cache-control: max-age=3600", "connection: close"];
        vec![head("200 OK", &fields), Step::Flood]
    })
    .await;
    let edge = cached().origin(origin.address).start().await;
    let mut client = Target::https(&edge).http1(HOST).await;
    client.ask("GET", HOST, "/").await;
    let head = client.head().await;
    assert_eq!(head.get("cache-status"), Some("icpgate; fwd=uri-miss; stored"));
    let mut body = crate::support::message::Body::of_answer(&head, "GET");
    let mut read = 0;
    while read < 64 << 20 {
        read += body.next(&mut client.wire).await.expect("bytes").expect("more").len();
    }
    let resident = edge.resident();
    holds("the memory is bounded", Duration::from_millis(200), || edge.resident() < resident + 32).await;
    drop(client);
    eventually("the fetch ends", PATIENCE, async || (origin.open() == 0).then_some(())).await;
}
