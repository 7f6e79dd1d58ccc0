//! Sharing of upstream HTTP/2 connections, and what happens to requests when one ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use h2::Reason;
use h2::server::Builder;
use http::{Method, StatusCode};
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;

use super::{HOST, h2c};
use crate::support::client::{DATA, Frames, GOAWAY, HEADERS, RST_STREAM, Target, answer, frame};
use crate::support::http2_origin::{Exchange, Http2Origin};
use crate::support::message::Wire;
use crate::support::origin::Gate;
use crate::support::time::{not_before, pause, within};
use crate::support::{PATIENCE, eventually};

#[tokio::test]
async fn requests_share_a_connection() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Http2Origin::start(move |mut exchange: Exchange| {
        let held = held.clone();
        async move {
            held.passed().await;
            exchange.text("shared");
        }
    })
    .await;
    let edge = h2c().origin(origin.address).start().await;
    let all_are_there = async |count| {
        eventually("all are there", PATIENCE, async || (origin.requests() == count).then_some(())).await;
    };
    let mut clients = Vec::new();
    for _ in 0..50 {
        let mut client = Target::https(&edge).http1(HOST).await;
        client.ask("GET", HOST, "/").await;
        clients.push(client);
    }
    all_are_there(50).await;
    assert_eq!(origin.connections(), 1);

    // Many requests of one client have smaller windows, on two connections more.
    let mut client = Target::https(&edge).http2(HOST).await;
    let mut responses = Vec::new();
    for _ in 0..40 {
        responses.push(client.begin(Method::GET, HOST, "/", &[], true).await.0);
    }
    all_are_there(90).await;
    assert_eq!(origin.connections(), 3);
    gate.open();
    for mut client in clients {
        assert_eq!(client.answer("GET").await.text(), "shared");
    }
    for response in responses {
        assert_eq!(answer(response).await.expect("an answer").text(), "shared");
    }
}

#[tokio::test]
async fn another_connection_is_made_when_one_is_full() {
    let most = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&most);
    let mut builder = Builder::new();
    builder.max_concurrent_streams(1);
    let origin = Http2Origin::configured(builder, None, move |mut exchange: Exchange| {
        counted.fetch_max(exchange.connection + 1, Ordering::Relaxed);
        async move {
            pause(Duration::from_millis(20)).await;
            exchange.text("one at a time");
        }
    })
    .await;
    let edge = h2c().origin(origin.address).start().await;
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        let target = Target::https(&edge);
        clients.spawn(async move {
            let mut client = target.http2(HOST).await;
            for _ in 0..10 {
                let answer = client.get(HOST, "/").await;
                assert_eq!((answer.status, answer.text().as_str()), (200, "one at a time"));
            }
        });
    }
    while let Some(outcome) = clients.join_next().await {
        outcome.expect("answers");
    }
    let most = most.load(Ordering::Relaxed);
    assert!((2..=16).contains(&most), "{most} connections for eight requests at once");
    assert_eq!(origin.requests(), 80);
}

#[tokio::test]
async fn a_refused_stream_is_retried_whatever_its_method() {
    let refusals = AtomicUsize::new(0);
    let origin = Http2Origin::start(move |mut exchange: Exchange| {
        let refuse = refusals.fetch_add(1, Ordering::Relaxed) % 3 < 2;
        async move {
            match refuse {
                true => exchange.respond.send_reset(Reason::REFUSED_STREAM),
                false => exchange.text("taken"),
            }
        }
    })
    .await;
    let edge = h2c().origin(origin.address).start().await;
    let mut client = Target::https(&edge).http2(HOST).await;
    for method in [Method::GET, Method::POST, Method::PATCH] {
        let answer = client.request(method, HOST, "/", &[]).await.expect("an answer");
        assert_eq!((answer.status, answer.text().as_str()), (200, "taken"));
    }
    assert_eq!(origin.requests(), 9);
}

#[tokio::test]
async fn a_refused_stream_is_tried_three_times() {
    let origin = Http2Origin::start(|mut exchange: Exchange| async move {
        exchange.respond.send_reset(Reason::REFUSED_STREAM);
    })
    .await;
    let edge = h2c().origin(origin.address).start().await;
    let mut client = Target::https(&edge).http1(HOST).await;
    assert_eq!(client.post(HOST, "/", "").await.status, 502);
    assert_eq!(origin.requests(), 3);
}

#[tokio::test]
async fn a_connection_after_goaway_finishes_its_streams_and_gets_no_more() {
    let (came, gate) = (Gate::default(), Gate::default());
    let (tell, held) = (came.clone(), gate.clone());
    let origin = Http2Origin::connected(Builder::new(), None, move |mut connection, number| {
        let (tell, held) = (tell.clone(), held.clone());
        Box::pin(async move {
            let mut exchanges = JoinSet::new();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                if number == 0 {
                    connection.graceful_shutdown();
                }
                tell.open();
                let (held, slow) = (held.clone(), request.uri().path() == "/slow");
                exchanges.spawn(async move {
                    if slow {
                        held.passed().await;
                    }
                    let mut body = respond.send_response(http::Response::new(()), false).expect("sent");
                    body.send_data(format!("from {number}").into(), true).expect("sent");
                });
            }
            while exchanges.join_next().await.is_some() {}
        })
    })
    .await;
    let edge = h2c().origin(origin.address).start().await;
    let mut client = Target::https(&edge).http2(HOST).await;
    let (slow, _) = client.begin(Method::GET, HOST, "/slow", &[], true).await;
    within("the slow request", came.passed()).await;
    crate::support::eventually("another connection", crate::support::PATIENCE, async || {
        let answer = client.get(HOST, "/quick").await;
        (answer.text() == "from 1").then_some(())
    })
    .await;
    gate.open();
    assert_eq!(answer(slow).await.expect("an answer").text(), "from 0");
}

#[tokio::test]
async fn streams_above_the_last_stream_of_goaway_are_retried() {
    // The first connection answers one request and sends GOAWAY at the second.
    let origin = Http2Origin::raw(None, |stream, number| {
        Box::pin(async move {
            let mut wire = Frames { wire: Wire::new(stream) };
            let mut preface = [0; 24];
            if tokio::io::AsyncReadExt::read_exact(&mut wire.wire.stream, &mut preface).await.is_err() {
                return;
            }
            wire.send(&frame(4, 0, 0, &[])).await.expect("sent");
            let mut requests = 0;
            while let Some(came) = wire.next().await {
                if came.kind == 4 && came.flags == 0 {
                    wire.send(&frame(4, 1, 0, &[])).await.expect("sent");
                }
                if came.kind != HEADERS {
                    continue;
                }
                requests += 1;
                if number == 0 && requests == 2 {
                    let last = [1_u32.to_be_bytes(), 0_u32.to_be_bytes()].concat();
                    wire.send(&frame(GOAWAY, 0, 0, &last)).await.expect("sent");
                    // `:status: 200` for the first request.
                    wire.send(&frame(HEADERS, 5, 1, &[0x88])).await.expect("sent");
                    let _ = wire.wire.stream.shutdown().await;
                    // Unread bytes would turn the close into a reset.
                    while wire.next().await.is_some() {}
                    return;
                }
                if number > 0 {
                    wire.send(&frame(HEADERS, 5, came.stream, &[0x88])).await.expect("sent");
                }
            }
        })
    })
    .await;
    let edge = h2c().origin(origin.address).start().await;
    let (mut one, mut other) =
        (Target::https(&edge).http2(HOST).await, Target::https(&edge).http2(HOST).await);
    let (first, _) = one.begin(Method::POST, HOST, "/", &[], true).await;
    let (second, _) = other.begin(Method::POST, HOST, "/", &[], true).await;
    assert_eq!(answer(first).await.expect("an answer").status, 200);
    assert_eq!(answer(second).await.expect("an answer").status, 200);
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn a_connection_that_is_idle_is_closed() {
    let closed = Gate::default();
    let tell = closed.clone();
    let origin = Http2Origin::connected(Builder::new(), None, move |mut connection, _| {
        let tell = tell.clone();
        Box::pin(async move {
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let mut head = http::Response::new(());
                *head.status_mut() = StatusCode::NO_CONTENT;
                respond.send_response(head, true).expect("sent");
            }
            tell.open();
        })
    })
    .await;
    let origins = r#"  - {name: main, region: mainland, scheme: h2c, servers: ["$ORIGIN"], timeouts: {idle: 500ms}}
"#;
    let edge = h2c().origins(origins).origin(origin.address).start().await;
    assert_eq!(Target::https(&edge).get(HOST, "/").await.status, 204);
    within("the end of the connection", closed.passed()).await;
    assert_eq!(Target::https(&edge).get(HOST, "/").await.status, 204);
}

#[tokio::test]
async fn a_connection_that_answers_no_ping_is_given_up_and_the_request_sent_again() {
    // The first connection accepts a request and never sends a byte again.
    let origin = Http2Origin::raw(None, |stream, number| {
        Box::pin(async move {
            if number == 0 {
                let mut wire = Frames { wire: Wire::new(stream) };
                wire.send(&frame(4, 0, 0, &[])).await.expect("sent");
                while wire.wire.read().await.is_ok_and(|more| more) {}
                return;
            }
            let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                respond.send_response(http::Response::new(()), true).expect("sent");
            }
        })
    })
    .await;
    let edge = h2c().origin(origin.address).start().await;
    let answer = not_before(Duration::from_secs(5), async { Target::https(&edge).get(HOST, "/").await });
    assert_eq!(answer.await.status, 200);
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn a_slow_server_that_answers_pings_is_waited_for() {
    let origin = Http2Origin::start(|mut exchange: Exchange| async move {
        pause(Duration::from_secs(7)).await;
        exchange.text("at last");
    })
    .await;
    let edge = h2c().origin(origin.address).start().await;
    assert_eq!(Target::https(&edge).get(HOST, "/").await.text(), "at last");
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_stream_reset_by_the_server_is_no_complete_answer() {
    let begun = Gate::default();
    let held = begun.clone();
    let origin = Http2Origin::start(move |mut exchange: Exchange| {
        let held = held.clone();
        async move {
            let mut body = exchange.head(StatusCode::OK, &[], false);
            body.send_data("the beginning".into(), false).expect("sent");
            held.passed().await;
            body.send_reset(Reason::INTERNAL_ERROR);
        }
    })
    .await;
    let edge = h2c().origin(origin.address).start().await;
    let mut frames = Target::https(&edge).frames(HOST).await;
    let request = frame(HEADERS, 5, 1, &crate::support::client::get_block(HOST, "/"));
    frames.send(&[crate::support::client::PREFACE, &request].concat()).await.expect("sent");
    let data = frames.next_of(DATA).await.expect("a part of the body");
    assert_eq!(data.payload, "the beginning");
    begun.open();
    assert!(frames.next_of(RST_STREAM).await.is_some(), "not taken for whole");
}
