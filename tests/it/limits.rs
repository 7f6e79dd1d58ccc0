//! Limits of connections and time.

mod crowds;
mod floods;
mod memory;
mod shares;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::support::client::{HEADERS, PREFACE, RST_STREAM, Target, frame, get_block};
use crate::support::edge::Edge;
use crate::support::hello::Handmade;
use crate::support::origin::{Origin, Step, head};
use crate::support::probe::{Answer, Ending, probe, read_to_end};
use crate::support::time::{not_before, pause, settled, within};
use crate::support::{HOST, PATIENCE};

const OPEN: &str = "icpgate_connections_open{listener=\"https\"}";
const TOO_MANY: &str =
    "icpgate_connections_refused_total{listener=\"https\",reason=\"too_many_connections\"}";

/// A connection from another address of this machine.
async fn connect_from(client: [u8; 4], address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((IpAddr::from(Ipv4Addr::from(client)), 0).into())?;
    socket.connect(address).await
}

/// How a connection without a byte ends within `patience`.
async fn fate(client: [u8; 4], address: SocketAddr, patience: Duration) -> Answer {
    match connect_from(client, address).await {
        Ok(mut socket) => read_to_end(&mut socket, patience).await,
        // Reset before it was established.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Answer::RESET,
        Err(error) => panic!("{address}: {error}"),
    }
}

/// Long enough for a refusal to come.
const A_WHILE: Duration = Duration::from_millis(200);
const STAYS_OPEN: Answer = Answer { bytes: Vec::new(), ending: Ending::Open };

#[tokio::test]
async fn connections_beyond_the_total_limit_are_reset_until_one_closes() {
    let edge = Edge::builder().limit("connections", "3").start().await;
    // Over both listeners, from different clients.
    let held = [
        connect_from([127, 0, 0, 11], edge.https()).await.expect("open"),
        connect_from([127, 0, 0, 12], edge.https()).await.expect("open"),
        connect_from([127, 0, 0, 13], edge.http()).await.expect("open"),
    ];
    edge.metric_becomes(OPEN, 2.0).await;
    edge.metric_becomes("icpgate_connections_open{listener=\"http\"}", 1.0).await;

    assert_eq!(fate([127, 0, 0, 14], edge.https(), PATIENCE).await, Answer::RESET);
    assert_eq!(fate([127, 0, 0, 14], edge.http(), PATIENCE).await, Answer::RESET);
    edge.metric_becomes(TOO_MANY, 1.0).await;
    let records = edge.records_where(2, |record| record["reason"] == "too_many_connections").await;
    assert_eq!(records[0]["peer_ip"], "127.0.0.14");
    assert_eq!(edge.status().await["connections"], 3);

    drop(held);
    edge.metric_becomes(OPEN, 0.0).await;
    assert_eq!(fate([127, 0, 0, 14], edge.https(), A_WHILE).await, STAYS_OPEN);
}

#[tokio::test]
async fn the_limit_of_a_client_does_not_affect_others() {
    let edge = Edge::builder().limit("connections_per_client", "2").start().await;
    let one = [127, 0, 0, 21];
    let first = connect_from(one, edge.https()).await.expect("open");
    let _second = connect_from(one, edge.https()).await.expect("open");
    edge.metric_becomes(OPEN, 2.0).await;
    assert_eq!(fate(one, edge.https(), PATIENCE).await, Answer::RESET);
    assert_eq!(fate([127, 0, 0, 22], edge.https(), A_WHILE).await, STAYS_OPEN);
    edge.metric_becomes(TOO_MANY, 1.0).await;

    drop(first);
    edge.metric_becomes(OPEN, 1.0).await;
    assert_eq!(fate(one, edge.https(), A_WHILE).await, STAYS_OPEN);
}

#[tokio::test]
async fn an_unfinished_handshake_ends_at_handshake_timeout() {
    let edge = Edge::builder().limit("handshake_timeout", "300ms").start().await;
    // The client never answers the server's first flight.
    let hello = Handmade::named(HOST).bytes();
    let answer = not_before(Duration::from_millis(300), probe(edge.https(), &hello)).await;
    assert_eq!(answer.bytes.first(), Some(&22), "{answer:?}");
    assert_ne!(answer.ending, Ending::Open);
    edge.metric_becomes(OPEN, 0.0).await;
}

#[tokio::test]
async fn a_connection_without_a_request_ends_after_the_idle_time() {
    const IDLE: Duration = Duration::from_secs(1);
    let edge = Edge::builder().limit("idle_timeout", "1s").start().await;
    not_before(IDLE, async {
        let mut stream = Target::https(&edge).tls(HOST, b"http/1.1").await.expect("a handshake");
        // With `close_notify` or without.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;

    // Every answer restarts the time.
    let mut client = Target::http(&edge).http1(HOST).await;
    for _ in 0..3 {
        pause(IDLE / 2).await;
        assert_eq!(client.get(HOST, "/").await.status, 308);
    }
    not_before(IDLE, async {
        assert_eq!(client.get(HOST, "/").await.status, 308);
        client.end().await
    })
    .await;
    edge.metric_becomes(OPEN, 0.0).await;
}

#[tokio::test]
async fn an_idle_http2_connection_ends_and_one_without_a_preface_too() {
    let edge =
        Edge::builder().limit("idle_timeout", "300ms").limit("request_head_timeout", "600ms").start().await;
    not_before(Duration::from_millis(300), async { Target::https(&edge).http2(HOST).await.end().await })
        .await;
    edge.metric_becomes(OPEN, 0.0).await;

    // The preface has the same deadline as a request head.
    not_before(Duration::from_millis(600), async {
        let mut stream = Target::https(&edge).tls(HOST, b"h2").await.expect("a handshake");
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
}

#[tokio::test]
async fn resetting_a_stream_cancels_the_connection_being_made_for_it() {
    // Accepts connections and never finishes a handshake.
    let mute = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let origins = format!(
        "  - {{name: main, region: offshore, scheme: https, server_name: a.example.com, servers: [\"{}\"], timeouts: {{connect: 60s}}}}\n",
        mute.local_addr().expect("an address"),
    );
    let edge = Edge::builder().origins(&origins).start().await;
    let mut frames = Target::https(&edge).frames(HOST).await;
    frames.send(PREFACE).await.expect("sent");
    frames.send(&frame(HEADERS, 5, 1, &get_block(HOST, "/"))).await.expect("sent");
    let (mut server, _) = within("a connection", mute.accept()).await.expect("accepted");
    frames.send(&frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes())).await.expect("sent");
    let _ = within("its end", server.read_to_end(&mut Vec::new())).await;
    let records = edge.records_where(1, |record| record["path"] == "/").await;
    assert!(records.len() == 1 && records[0].get("status").is_none(), "{records:#?}");
}

#[tokio::test]
async fn answers_that_a_client_does_not_read_are_not_buffered() {
    let origin =
        Origin::start(|_| vec![head("200 OK", &["content-length: 1000000000000"]), Step::Flood]).await;
    let edge = Edge::in_front_of(&origin).await;
    let before = edge.resident();
    let mut clients = Vec::new();
    for asked in 1..=3 {
        let mut frames = Target::https(&edge).frames(HOST).await;
        frames.send(&PREFACE[..24]).await.expect("sent");
        // The largest windows: only the client's reading holds the edge back.
        let wide = [&4_u16.to_be_bytes()[..], &0x7fff_ffff_u32.to_be_bytes()].concat();
        frames.send(&frame(4, 0, 0, &wide)).await.expect("sent");
        frames.send(&frame(8, 0, 0, &0x7fff_0000_u32.to_be_bytes())).await.expect("sent");
        for stream in 0..100 {
            frames.send(&frame(HEADERS, 5, 2 * stream + 1, &get_block(HOST, "/"))).await.expect("sent");
        }
        origin.until("the requests", |seen| seen.len() == 100 * asked).await;
        clients.push(frames);
    }
    let held = settled("it holds no more", || edge.resident()).await - before;
    assert!(held < 110, "{held} MiB for 300 streams");
}
