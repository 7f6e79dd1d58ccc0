//! Graceful shutdown: ports close first, then idle connections, then exchanges in flight; the record store last.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::Method;
use rustix::process::Signal;

use crate::support::client::{End, GOAWAY, HEADERS, PREFACE, Target, frame, get_block, next_data};
use crate::support::edge::{Edge, icpgate};
use crate::support::origin::{Gate, Origin};
use crate::support::slow::{download, slow_origin, stream};
use crate::support::time::{best_within, not_before, pause};
use crate::support::{HOST, PATIENCE, eventually};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_stop_closes_idle_connections_and_finishes_exchanges_in_flight() {
    let gate = Gate::default();
    let origin = slow_origin(&gate).await;
    let mut edge = Edge::builder().origin(origin.address).limit("drain_timeout", "60s").start().await;
    let target = Target::https(&edge);
    let mut idle = target.http1(HOST).await;
    assert_eq!(idle.get(HOST, "/").await.text(), "hello");
    let mut idle_http2 = target.frames(HOST).await;
    idle_http2.send(PREFACE).await.unwrap();
    idle_http2.send(&frame(HEADERS, 5, 1, &get_block(HOST, "/"))).await.unwrap();
    assert!(idle_http2.next_of(HEADERS).await.is_some());

    let (mut http1, mut body) = download(&edge, HOST).await;
    let mut http2 = target.http2(HOST).await;
    let mut data = stream(&mut http2, HOST).await;
    let mut upload = target.http1(HOST).await;
    let chunked = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n");
    upload.send(format!("{chunked}2\r\nbo\r\n")).await;
    origin.until("the upload", |seen| seen.iter().any(|request| request.body == b"bo")).await;

    edge.signal(Signal::TERM);
    // All of this happens while exchanges are in flight.
    assert_eq!(idle.end().await, (Vec::new(), End::Closed));
    let goaway = idle_http2.next_of(GOAWAY).await.expect("GOAWAY");
    assert_eq!(goaway.payload[4..8], [0; 4], "no error");
    edge.ports_closed().await;
    let (status, reason) = edge.get("/readyz").await.unwrap();
    assert_eq!((status, reason.contains("draining")), (503, true), "{reason}");
    assert_eq!(edge.get("/livez").await.unwrap().0, 200);

    upload.send("2\r\ndy\r\n0\r\n\r\n").await;
    let answer = upload.answer("POST").await;
    assert_eq!((answer.text().as_str(), answer.field("connection")), ("hello", Some("close")));
    gate.open();
    assert_eq!(body.next(&mut http1.wire).await.unwrap().unwrap(), "ended");
    assert_eq!(next_data(&mut data).await.unwrap().unwrap(), "ended");
    assert!(next_data(&mut data).await.is_none_or(|rest| rest.unwrap().is_empty()));
    drop(data);
    assert_eq!(http1.end().await, (Vec::new(), End::Closed));
    http2.end().await;
    // The drain timeout is beyond the test's patience.
    assert_eq!(edge.wait_exit().await, 0, "{}", edge.log());
    let records = edge.records().await;
    assert_eq!(records.len(), 5, "{records:?}");
    assert!(records.iter().all(|record| record["status"] == 200));
}

#[tokio::test]
async fn an_idle_program_stops_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut edge = Edge::builder().limit("drain_timeout", "60s").start().await;
        edge.signal(signal);
        assert_eq!(edge.wait_exit().await, 0);
    }
}

#[tokio::test]
async fn a_connection_just_made_has_a_second_for_its_first_request() {
    // A busy machine may send the request too late, hence several attempts.
    best_within(SECOND, 5, async |_| first_request_while_draining().await).await;
}

/// Sends first requests while the program drains; the time from the signal to their answers.
async fn first_request_while_draining() -> Duration {
    let origin = Origin::text("hello").await;
    let mut edge = Edge::builder().origin(origin.address).limit("drain_timeout", "60s").start().await;
    let target = Target::https(&edge);
    let (mut late, mut silent) = (target.http1(HOST).await, target.http1(HOST).await);
    let mut http2 = target.http2(HOST).await;
    let mut silent_http2 = target.frames(HOST).await;
    silent_http2.send(PREFACE).await.unwrap();
    assert!(silent_http2.next().await.is_some());
    let clear = Target::http(&edge).http1(HOST).await;

    edge.signal(Signal::TERM);
    let told = Instant::now();
    edge.ports_closed().await;
    pause(SECOND / 4).await;
    late.ask("GET", HOST, "/").await;
    let (over_http1, over_http2) =
        (late.try_answer("GET").await, http2.request(Method::GET, HOST, "/", &[]).await);
    let took = told.elapsed();
    if took > SECOND {
        return took;
    }
    let answer = over_http1.expect("an answer");
    assert_eq!((answer.text().as_str(), answer.field("connection")), ("hello", Some("close")));
    assert_eq!(over_http2.expect("an answer").text(), "hello");

    assert_eq!(silent.end().await, (Vec::new(), End::Closed));
    assert!(told.elapsed() >= SECOND - SECOND / 10, "{:?}", told.elapsed());
    assert!(silent_http2.next_of(GOAWAY).await.is_some());
    assert_eq!(edge.wait_exit().await, 0);
    drop(clear);
    assert_eq!(edge.records().await.len(), 2);
    took
}

#[tokio::test]
async fn an_exchange_that_does_not_finish_is_cut_at_drain_timeout() {
    let gate = Gate::default();
    let origin = slow_origin(&gate).await;
    let mut edge = Edge::builder().origin(origin.address).limit("drain_timeout", "1s").start().await;
    let (mut client, mut body) = download(&edge, HOST).await;
    let cut = not_before(SECOND, async {
        edge.signal(Signal::TERM);
        body.next(&mut client.wire).await
    });
    assert!(cut.await.is_err());
    assert_eq!(edge.wait_exit().await, 0);
    let record = edge.records().await.remove(0);
    assert_eq!((record["path"].as_str(), record["bytes_out"].as_u64()), (Some("/slow"), Some(5)));
}

#[tokio::test]
async fn a_second_signal_stops_at_once() {
    let gate = Gate::default();
    let origin = slow_origin(&gate).await;
    let mut edge = Edge::builder().origin(origin.address).limit("drain_timeout", "60s").start().await;
    let mut client = Target::https(&edge).http1(HOST).await;
    client.ask("GET", HOST, "/slow").await;
    client.head().await;
    edge.signal(Signal::TERM);
    edge.ports_closed().await;
    edge.signal(Signal::INT);
    assert_eq!(edge.wait_exit().await, 0);
    assert_eq!(edge.records().await.len(), 1, "what was cut is recorded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_under_load_answers_every_connection_with_a_finished_handshake() {
    let origin = Origin::text("hello").await;
    let mut edge = Edge::in_front_of(&origin).await;
    let served = Arc::new(AtomicUsize::new(0));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (target, served) = (Target::https(&edge), Arc::clone(&served));
        clients.spawn(async move {
            // Until connections are refused.
            while let Ok(tls) = target.tls(HOST, b"http/1.1").await {
                let answer = crate::support::client::Http1::over(tls).get(HOST, "/").await;
                assert_eq!(answer.text(), "hello");
                served.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    eventually("the load", PATIENCE, async || (served.load(Ordering::Relaxed) > 100).then_some(())).await;
    edge.signal(Signal::TERM);
    while let Some(client) = clients.join_next().await {
        client.expect("an answer on every connection");
    }
    assert_eq!(edge.wait_exit().await, 0);
    let served = served.load(Ordering::Relaxed);
    let directory = edge.path("access");
    let run = icpgate(["logs".as_ref(), "export".as_ref(), directory.as_os_str()]).await;
    assert_eq!(run.stdout.lines().count(), served, "every record is kept before the end");
}
