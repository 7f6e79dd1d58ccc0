//! WebSocket: a tunnel of bytes after 101, until either side closes.

use std::time::Duration;

use bytes::Bytes;
use h2::server::Builder;
use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::HOST;
use crate::support::client::{End, Http2, Target, head_of, next_data};
use crate::support::edge::Edge;
use crate::support::http2_origin::{Exchange, Http2Origin, send_all};
use crate::support::origin::{Origin, Step, head, ok, raw};
use crate::support::python::{PythonServer, client};
use crate::support::time::within;

const HANDSHAKE: &str = "GET /chat?room=1 HTTP/1.1\r\nHost: www.example.cn\r\nConnection: keep-alive, Upgrade\r\n\
                         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const ACCEPTED: [&str; 3] =
    ["connection: Upgrade", "upgrade: websocket", "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="];

#[tokio::test]
async fn a_websocket_carries_bytes_both_ways_until_a_side_ends_it() {
    let origin = Origin::start(|_| vec![head("101 Switching Protocols", &ACCEPTED), Step::Echo]).await;
    let edge = Edge::in_front_of(&origin).await;
    let mut client = Target::https(&edge).http1(HOST).await;
    // Some clients send frames right behind the handshake.
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
    let edge = Edge::in_front_of(&origin).await;
    let mut client = Target::https(&edge).http1(HOST).await;
    client.send(HANDSHAKE).await;
    client.head().await;
    let (bytes, _) = client.end().await;
    assert_eq!(bytes, b"welcome");
}

#[tokio::test]
async fn an_origin_that_does_not_upgrade_answers_as_usual() {
    let origin = Origin::text("no sockets here").await;
    let edge = Edge::in_front_of(&origin).await;
    let mut client = Target::https(&edge).http1(HOST).await;
    for _ in 0..2 {
        client.send(HANDSHAKE).await;
        assert_eq!(client.answer("GET").await.text(), "no sockets here");
    }
    assert_eq!(client.get(HOST, "/").await.text(), "no sockets here");
}

#[tokio::test]
async fn an_unrequested_101_is_refused() {
    let origin = Origin::start(|request| match request.target() {
        "/" => vec![head("101 Switching Protocols", &ACCEPTED), Step::Echo],
        _ => ok("fine"),
    })
    .await;
    let edge = Edge::in_front_of(&origin).await;
    let mut client = Target::https(&edge).http1(HOST).await;
    client
        .send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"))
        .await;
    assert_eq!(client.answer("GET").await.status, 502);
    let sent = origin.only();
    assert_eq!((sent.head.get("upgrade"), sent.head.get("connection")), (None, None));
    assert_eq!(Target::https(&edge).get(HOST, "/fine").await.text(), "fine");
}

/// Sends frames over a WebSocket that echoes them.
async fn talk(client: &mut Http2) {
    let (response, mut upload) = client.websocket(HOST, "/chat?room=1").await;
    let (answer, mut data) = head_of(response).await.expect("an answer");
    assert_eq!(answer.status, 200);
    for name in ["upgrade", "connection", "sec-websocket-accept", "content-length"] {
        assert_eq!(answer.field(name), None, "{name}");
    }
    for length in [1, 1000, 100_000] {
        send_all(&mut upload, Bytes::from(vec![b'x'; length])).await.expect("sent");
        let mut came = 0;
        while came < length {
            came += next_data(&mut data).await.expect("more").expect("bytes").len();
        }
        assert_eq!(came, length);
    }
    upload.send_data(Bytes::new(), true).expect("ended");
    while let Some(rest) = next_data(&mut data).await {
        assert!(rest.expect("the end").is_empty());
    }
}

#[tokio::test]
async fn a_websocket_over_http2_is_an_upgrade_for_a_server_that_speaks_http1() {
    let origin = Origin::start(|_| vec![head("101 Switching Protocols", &ACCEPTED), Step::Echo]).await;
    let edge = Edge::in_front_of(&origin).await;
    talk(&mut Target::https(&edge).http2(HOST).await).await;
    let sent = origin.only();
    assert_eq!(sent.head.start, "GET /chat?room=1 HTTP/1.1");
    assert_eq!(sent.head.get("upgrade"), Some("websocket"));
    assert_eq!(sent.head.get("sec-websocket-version"), Some("13"));
    assert_eq!(sent.head.get("sec-websocket-key").map(str::len), Some(24));
}

#[tokio::test]
async fn a_websocket_reaches_a_server_that_speaks_only_http2() {
    let mut builder = Builder::new();
    builder.enable_connect_protocol();
    let origin = Http2Origin::configured(builder, None, |mut exchange: Exchange| async move {
        assert_eq!(exchange.head.method, http::Method::CONNECT);
        assert!(exchange.head.headers.get("sec-websocket-key").is_none());
        let mut answer = exchange.head(StatusCode::OK, &[], false);
        while let Some(Ok(bytes)) = exchange.data().await {
            if send_all(&mut answer, bytes).await.is_err() {
                return;
            }
        }
        // The client may be gone.
        let _ = answer.send_data(Bytes::new(), true);
    })
    .await;
    let origins = r#"  - {name: main, region: mainland, scheme: h2c, servers: ["$ORIGIN"]}
"#;
    let edge = Edge::builder().origins(origins).origin(origin.address).start().await;
    talk(&mut Target::https(&edge).http2(HOST).await).await;
    let mut client = Target::https(&edge).http1(HOST).await;
    client.send(HANDSHAKE).await;
    let head = client.head().await;
    assert_eq!(head.start, "HTTP/1.1 101 Switching Protocols");
    assert_eq!(head.get("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    client.send("frames").await;
    assert_eq!(client.read(6).await, b"frames");
    assert_eq!(origin.requests(), 2);
}

/// An origin that says goodbye once the client has ended its side.
async fn polite() -> Origin {
    Origin::start(|_| {
        let goodbye = Step::Drip(b"goodbye".to_vec(), Duration::from_millis(30));
        vec![head("101 Switching Protocols", &ACCEPTED), Step::AwaitEnd, goodbye, Step::Close]
    })
    .await
}

#[tokio::test]
async fn a_client_that_ends_its_side_still_gets_what_the_server_has_to_say() {
    let origin = polite().await;
    let edge = Edge::builder().origin(origin.address).start().await;
    let mut client = Target::https(&edge).http1(HOST).await;
    client.send(HANDSHAKE).await;
    client.head().await;
    client.send("close").await;
    client.wire.stream.shutdown().await.expect("ended");
    let (bytes, end) = client.end().await;
    assert_eq!((&bytes[..], end), (&b"goodbye"[..], End::Closed));

    // END_STREAM from the client: browsers put it on the frame that closes a WebSocket.
    let mut client = Target::https(&edge).http2(HOST).await;
    let (response, mut upload) = client.websocket(HOST, "/chat").await;
    let (_, mut data) = head_of(response).await.expect("an answer");
    upload.send_data("close".into(), true).expect("sent");
    let mut came = Vec::new();
    while let Some(bytes) = next_data(&mut data).await {
        came.extend_from_slice(&bytes.expect("no reset"));
    }
    assert_eq!(came, b"goodbye");
    let records = edge.records_where(2, |record| record["status"] == 101).await;
    for record in records {
        assert_eq!((&record["bytes_in"], &record["bytes_out"]), (&5.into(), &7.into()), "{record}");
    }
}

#[tokio::test]
async fn a_server_that_ends_its_side_still_gets_what_the_client_has_to_say() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let edge = Edge::builder().origin(listener.local_addr().expect("an address")).start().await;
    let serve = async || {
        let (mut socket, _) = listener.accept().await.expect("a connection");
        let mut all = Vec::new();
        while !all.ends_with(b"\r\n\r\n") {
            assert!(socket.read_buf(&mut all).await.expect("a head") > 0);
        }
        let answer = format!("HTTP/1.1 101 Switching Protocols\r\n{}\r\n\r\nbye", ACCEPTED.join("\r\n"));
        socket.write_all(answer.as_bytes()).await.expect("sent");
        socket.shutdown().await.expect("ended");
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).await.expect("the rest");
        rest
    };
    let mut client = Target::https(&edge).http1(HOST).await;
    client.send(HANDSHAKE).await;
    let over_http1 = async {
        client.head().await;
        assert_eq!(client.end().await, (b"bye".to_vec(), End::Closed));
        client.send("late").await;
        client.wire.stream.shutdown().await.expect("ended");
    };
    let (rest, ()) = within("both ends", async { tokio::join!(serve(), over_http1) }).await;
    assert_eq!(rest, b"late");

    let mut client = Target::https(&edge).http2(HOST).await;
    let over_http2 = async {
        let (response, mut upload) = client.websocket(HOST, "/chat").await;
        let (_, mut data) = head_of(response).await.expect("an answer");
        let mut came = Vec::new();
        while let Some(bytes) = next_data(&mut data).await {
            came.extend_from_slice(&bytes.expect("no reset"));
        }
        assert_eq!(came, b"bye");
        upload.send_data("late".into(), true).expect("sent");
    };
    let (rest, ()) = within("both ends", async { tokio::join!(serve(), over_http2) }).await;
    assert_eq!(rest, b"late");
}

#[tokio::test]
async fn the_second_side_of_a_tunnel_has_a_deadline() {
    let origin = Origin::start(|_| {
        // It talks on for ever.
        let chatter = Step::Drip(vec![b'x'; 100_000], Duration::from_millis(10));
        vec![head("101 Switching Protocols", &ACCEPTED), Step::AwaitEnd, chatter]
    })
    .await;
    let edge = Edge::builder().origin(origin.address).limit("idle_timeout", "1s").start().await;
    let mut client = Target::https(&edge).http1(HOST).await;
    client.send(HANDSHAKE).await;
    client.head().await;
    client.wire.stream.shutdown().await.expect("ended");
    assert_eq!(client.end().await.1, End::Closed);
    let record = edge.records_where(1, |record| record["status"] == 101).await.remove(0);
    assert!(record["duration_ms"].as_f64() >= Some(1000.0), "{record}");
}

#[tokio::test]
async fn the_python_websockets_library_works_on_both_sides() {
    let server = PythonServer::start("websocket.py").await;
    let edge = Edge::builder().origin(([127, 0, 0, 1], server.port).into()).start().await;
    let (address, ca) = (edge.https().to_string(), edge.path("ca.pem").display().to_string());
    client("websocket.py", &[&format!("wss://{HOST}/chat"), &address, &ca]).await;
}
