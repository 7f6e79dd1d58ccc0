//! Clients that keep the edge busy with frames that move no message, and those that only look like it.

use http::Method;

use crate::support::HOST;
use crate::support::client::{GOAWAY, HEADERS, PREFACE, Target, answer, frame, get_block};
use crate::support::edge::Edge;
use crate::support::origin::{Origin, ok};

const PRIORITY: u8 = 2;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const UNKNOWN: u8 = 0xbe;
const ACK: u8 = 1;
const ENHANCE_YOUR_CALM: [u8; 4] = [0, 0, 0, 11];
const FLOODS: &str = "icpgate_http2_refused_total{listener=\"https\",result=\"flood\"}";

/// SETTINGS with an initial window.
fn window(size: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&4_u16.to_be_bytes()[..], &size.to_be_bytes()].concat())
}

#[tokio::test]
async fn a_flood_of_frames_ends_the_connection() {
    let origin = Origin::text("hello").await;
    let edge = Edge::in_front_of(&origin).await;
    let floods = [
        frame(PING, 0, 0, &[0; 8]),
        frame(PING, ACK, 0, &[0; 8]),
        frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 16]),
        frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
        frame(UNKNOWN, 0, 0, b""),
        frame(UNKNOWN, 0, 0, &[0; 16_000]),
        [window(0), window(65_535)].concat(),
    ];
    for (number, flood) in (1_u8..).zip(&floods) {
        let mut frames = Target::https(&edge).frames(HOST).await;
        frames.send(PREFACE).await.expect("sent");
        // A request in flight saves nobody.
        frames.send(&frame(HEADERS, 5, 1, &get_block(HOST, "/"))).await.expect("sent");
        // It may end before all is sent.
        let _ = frames.send(&flood.repeat(if flood.len() > 1000 { 20 } else { 3000 })).await;
        let goaway = frames.next_of(GOAWAY).await.expect("GOAWAY");
        assert_eq!(goaway.payload[4..8], ENHANCE_YOUR_CALM, "{number}");
        edge.metric_becomes(FLOODS, number.into()).await;
    }
    edge.records_where(floods.len(), |record| record["reason"] == "http2_framing").await;
    assert_eq!(Target::https(&edge).http2(HOST).await.get(HOST, "/").await.text(), "hello");
}

#[tokio::test]
async fn frames_in_proportion_to_messages_are_served() {
    let origin = Origin::start(|_| ok("x".repeat(64 * 1024))).await;
    let edge = Edge::in_front_of(&origin).await;
    let mut frames = Target::https(&edge).frames(HOST).await;
    frames.send(PREFACE).await.expect("sent");
    frames.send(&window(1024 * 1024)).await.expect("sent");
    for request in 0..100 {
        let stream = 2 * request + 1;
        let update = |stream: u32| frame(WINDOW_UPDATE, 0, stream, &1024_u32.to_be_bytes());
        let ping = frame(PING, 0, 0, &[0; 8]);
        let asked = frame(HEADERS, 5, stream, &get_block(HOST, "/"));
        frames
            .send(&[asked, frame(PRIORITY, 0, stream, &[0, 0, 0, 0, 16]), ping].concat())
            .await
            .expect("sent");
        loop {
            let one = frames.next().await.expect("the connection goes on");
            assert_ne!(one.kind, GOAWAY, "request {request}");
            // Both windows for each KiB, as a client does that reads by small pieces.
            let read = one.payload.len().div_ceil(1024);
            if one.kind == 0 && read > 0 {
                frames.send(&[update(0), update(stream)].concat().repeat(read)).await.expect("sent");
            }
            if one.stream == stream && one.flags & 1 != 0 && matches!(one.kind, 0 | HEADERS) {
                break;
            }
        }
    }
    assert_eq!(edge.metric(FLOODS).await, 0.0);
}

#[tokio::test]
async fn a_page_of_100_streams_is_served_over_one_connection() {
    let origin = Origin::start(|_| ok("x".repeat(100 * 1024))).await;
    let edge = Edge::in_front_of(&origin).await;
    let mut client = Target::https(&edge).http2(HOST).await;
    let cookie = "c".repeat(4096);
    let fields = [("cookie", cookie.as_str()), ("referer", "https://www.example.cn/")];
    let mut asked = Vec::new();
    for number in 0..100 {
        asked.push(client.begin(Method::GET, HOST, &format!("/{number}"), &fields, true).await.0);
    }
    // All at once: they share the window of the connection.
    let answers = asked.into_iter().map(|response| tokio::spawn(answer(response)));
    for answered in answers.collect::<Vec<_>>() {
        assert_eq!(answered.await.expect("it ends").expect("an answer").body.len(), 100 * 1024);
    }
}

#[tokio::test]
async fn a_connection_field_with_a_long_list_is_refused() {
    let origin = Origin::text("hello").await;
    let edge = Edge::in_front_of(&origin).await;
    for (options, status) in [(100, 200), (20_000, 431)] {
        let mut client = Target::https(&edge).http1(HOST).await;
        let list = vec!["x"; options].join(",");
        client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: {list}\r\nX: 1\r\n\r\n")).await;
        assert_eq!(client.answer("GET").await.status, status, "{options}");
    }
    let seen = origin.seen();
    assert!(seen.len() == 1 && seen[0].head.get("x").is_none(), "{seen:?}");
}
