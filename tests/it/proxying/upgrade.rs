//! WebSocket: after 101 there are only bytes, both ways, until either side ends.

use super::HOST;
use crate::support::client::Target;
use crate::support::edge::Edge;
use crate::support::origin::{Origin, Step, head, ok, raw};

const HANDSHAKE: &str = "GET /chat?room=1 HTTP/1.1\r\nHost: www.example.cn\r\nConnection: keep-alive, Upgrade\r\n\
                         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const ACCEPTED: [&str; 3] =
    ["connection: Upgrade", "upgrade: websocket", "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="];

#[tokio::test]
async fn a_websocket_carries_bytes_both_ways_until_a_side_ends_it() {
    let origin = Origin::start(|_| vec![head("101 Switching Protocols", &ACCEPTED), Step::Echo]).await;
    let edge = Edge::builder().origin(origin.address).start().await;
    let mut client = Target::https(&edge).http1(HOST).await;
    // Frames may be sent with the handshake's last byte: some clients do not wait.
    client.send(HANDSHAKE).await;
    let head = client.head().await;
    assert_eq!(head.start, "HTTP/1.1 101 Switching Protocols");
    assert_eq!(head.get("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(head.get("upgrade"), Some("websocket"));

    let frames: Vec<Vec<u8>> = (1..40_u8).map(|n| vec![n; usize::from(n) * 997]).collect();
    for frame in &frames {
        client.send(frame).await;
        assert_eq!(&client.read(frame.len()).await, frame);
    }
    let sent = origin.only();
    assert_eq!(sent.head.start, "GET /chat?room=1 HTTP/1.1");
    assert_eq!(sent.head.get("connection"), Some("upgrade"));
    assert_eq!(sent.head.get("upgrade"), Some("websocket"));
    assert_eq!(sent.head.get("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));

    drop(client);
    let record = edge.records_where(1, |record| record["status"] == 101).await.remove(0);
    let bytes: usize = frames.iter().map(Vec::len).sum();
    assert_eq!(
        (record["bytes_in"].as_u64(), record["bytes_out"].as_u64()),
        (Some(bytes as u64), Some(bytes as u64))
    );
}

#[tokio::test]
async fn the_origin_may_speak_first_and_end_first() {
    let origin =
        Origin::start(|_| vec![head("101 Switching Protocols", &ACCEPTED), raw("welcome"), Step::Close])
            .await;
    let edge = Edge::builder().origin(origin.address).start().await;
    let mut client = Target::https(&edge).http1(HOST).await;
    client.send(HANDSHAKE).await;
    client.head().await;
    let (bytes, _) = client.end().await;
    assert_eq!(bytes, b"welcome");
}

#[tokio::test]
async fn an_origin_that_does_not_upgrade_answers_as_usual() {
    let origin = Origin::text("no sockets here").await;
    let edge = Edge::builder().origin(origin.address).start().await;
    let mut client = Target::https(&edge).http1(HOST).await;
    for _ in 0..2 {
        client.send(HANDSHAKE).await;
        assert_eq!(client.answer("GET").await.text(), "no sockets here");
    }
    assert_eq!(client.get(HOST, "/").await.text(), "no sockets here");
}

#[tokio::test]
async fn an_upgrade_that_nobody_asked_for_is_no_answer() {
    let origin = Origin::start(|request| match request.target() {
        "/" => vec![head("101 Switching Protocols", &ACCEPTED), Step::Echo],
        _ => ok("fine"),
    })
    .await;
    let edge = Edge::builder().origin(origin.address).start().await;
    let mut client = Target::https(&edge).http1(HOST).await;
    client
        .send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"))
        .await;
    let outcome = client.try_answer("GET").await;
    assert!(outcome.as_ref().map_or(true, |answer| answer.status >= 500), "{outcome:?}");
    let sent = origin.only();
    assert_eq!((sent.head.get("upgrade"), sent.head.get("connection")), (None, None));
    assert_eq!(Target::https(&edge).get(HOST, "/fine").await.text(), "fine");
}
