//! A revocation closes the connections and exchanges of its host, and no others.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{BLOG, SHOP, builder, filings, site, write};
use crate::support::client::{
    End, Frames, GOAWAY, HEADERS, Http1, PREFACE, Target, frame, get_block, next_data,
};
use crate::support::edge::Edge;
use crate::support::message::Wire;
use crate::support::origin::{Gate, Origin, Step, head};
use crate::support::slow::{download, slow, stream};
use crate::support::time::within;
use crate::support::{PATIENCE, eventually};

/// The builder's `revocation_grace`.
const GRACE: Duration = Duration::from_secs(1);
/// A grace beyond the tests' patience: what ends earlier ends at once.
const LONG_GRACE: &str = "60s";

/// `/chat` is a WebSocket, `/slow` waits for the gate.
async fn origin(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::start(move |request| match request.target() {
        "/chat" => {
            vec![head("101 Switching Protocols", &["connection: upgrade", "upgrade: websocket"]), Step::Echo]
        }
        _ => slow(request, &gate),
    })
    .await
}

/// A WebSocket that carries bytes.
async fn websocket(edge: &Edge, host: &str) -> Http1 {
    let mut client = Target::https(edge).http1(host).await;
    let fields = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n";
    client.send(format!("GET /chat HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n")).await;
    assert!(client.head().await.start.contains("101"));
    client.send("ping").await;
    assert_eq!(client.read(4).await, b"ping");
    client
}

/// Fails if less than the grace has passed since `since`.
#[track_caller]
fn assert_after_grace(since: Instant) {
    assert!(since.elapsed() >= GRACE, "{:?}", since.elapsed());
}

#[tokio::test]
async fn idle_connections_of_the_host_close_at_once() {
    let gate = Gate::default();
    let origin = origin(&gate).await;
    let edge = write(builder(&origin).limit("revocation_grace", LONG_GRACE)).start().await;
    let target = Target::https(&edge);
    let mut fresh = target.http1(SHOP).await;
    let mut used = target.http1(SHOP).await;
    assert_eq!(used.get(SHOP, "/").await.text(), "hello");
    let mut http2 = target.frames(SHOP).await;
    http2.send(PREFACE).await.unwrap();
    http2.send(&frame(HEADERS, 5, 1, &get_block(SHOP, "/"))).await.unwrap();
    assert!(http2.next_of(HEADERS).await.is_some());
    let mut other = (target.http1(BLOG).await, target.http2(BLOG).await);
    assert_eq!(other.0.get(BLOG, "/").await.text(), "hello");
    assert_eq!(other.1.get(BLOG, "/").await.text(), "hello");

    edge.replace("filings.yaml", filings("suspended", "approved"));
    assert_eq!(used.end().await, (Vec::new(), End::Closed));
    assert_eq!(fresh.end().await, (Vec::new(), End::Closed));
    let goaway = http2.next_of(GOAWAY).await.expect("GOAWAY");
    assert_eq!(goaway.payload[4..8], [0; 4], "no error");
    while http2.next().await.is_some() {}

    assert!(target.tls(SHOP, b"http/1.1").await.is_err(), "the host is refused");
    assert_eq!(other.0.get(BLOG, "/").await.text(), "hello");
    assert_eq!(other.1.get(BLOG, "/").await.text(), "hello");
    let answer = other.1.get(SHOP, "/").await;
    assert_eq!(answer.status, 421, "nor is it served on another host's connection");
}

#[tokio::test]
async fn exchanges_in_flight_are_cut_after_the_grace_and_no_others() {
    let gate = Gate::default();
    let origin = origin(&gate).await;
    let edge = write(builder(&origin)).start().await;
    let (mut download, mut websocket, mut others, mut chat) = (
        download(&edge, SHOP).await,
        websocket(&edge, SHOP).await,
        download(&edge, BLOG).await,
        websocket(&edge, BLOG).await,
    );

    let renamed = Instant::now();
    edge.replace("filings.yaml", filings("suspended", "approved"));
    let (ended, (bytes, end)) = tokio::join!(download.1.next(&mut download.0.wire), websocket.end());
    assert_after_grace(renamed);
    assert!(ended.is_err(), "{ended:?}");
    assert!(bytes.is_empty() && end != End::Closed, "a cut is no proper end: {bytes:?} {end:?}");
    eventually("the origin's connections end too", PATIENCE, async || (origin.open() == 2).then_some(()))
        .await;

    chat.send("still here").await;
    assert_eq!(chat.read(10).await, b"still here");
    gate.open();
    assert_eq!(others.1.next(&mut others.0.wire).await.unwrap().unwrap(), "ended");
    assert!(others.1.is_done());
    assert_eq!(others.0.get(BLOG, "/").await.text(), "hello");

    let cut = edge.records_where(2, |record| record["host"] == SHOP).await;
    let mut of_paths: Vec<(&str, u64)> = Vec::new();
    for record in &cut {
        of_paths.push((record["path"].as_str().unwrap(), record["bytes_out"].as_u64().unwrap()));
    }
    of_paths.sort_unstable();
    assert_eq!(of_paths, [("/chat", 4), ("/slow", 5)]);
}

#[tokio::test]
async fn a_revocation_cuts_only_the_streams_of_its_host() {
    let gate = Gate::default();
    let origin = origin(&gate).await;
    let edge = write(builder(&origin)).start().await;
    let mut opened_for_shop = Target::https(&edge).http2(SHOP).await;
    let mut opened_for_blog = Target::https(&edge).http2(BLOG).await;
    let mut cut = (stream(&mut opened_for_shop, SHOP).await, stream(&mut opened_for_blog, SHOP).await);
    let mut kept = (stream(&mut opened_for_shop, BLOG).await, stream(&mut opened_for_blog, BLOG).await);

    let renamed = Instant::now();
    edge.replace("filings.yaml", filings("cancelled", "approved"));
    let ends = tokio::join!(next_data(&mut cut.0), next_data(&mut cut.1));
    assert_after_grace(renamed);
    assert!(matches!(ends, (Some(Err(_)), Some(Err(_)))), "{ends:?}");
    assert_eq!(opened_for_blog.get(BLOG, "/").await.text(), "hello", "it takes new requests");
    gate.open();
    for body in [&mut kept.0, &mut kept.1] {
        assert_eq!(next_data(body).await.unwrap().unwrap(), "ended");
        assert!(next_data(body).await.is_none_or(|rest| rest.unwrap().is_empty()));
    }
    // Opened for the revoked host, the connection ends with its last stream.
    drop(kept);
    opened_for_shop.end().await;
}

#[tokio::test]
async fn without_a_grace_exchanges_are_cut_at_once() {
    let gate = Gate::default();
    let origin = origin(&gate).await;
    let edge = write(builder(&origin).limit("revocation_grace", "0s")).start().await;
    let (mut client, mut body) = download(&edge, SHOP).await;
    edge.replace("filings.yaml", "filings: []\n");
    assert!(within("the cut", body.next(&mut client.wire)).await.is_err());
    edge.ports_closed().await;
}

#[tokio::test]
async fn an_exchange_may_finish_within_the_grace_before_its_connection_closes() {
    let gate = Gate::default();
    let origin = origin(&gate).await;
    let edge = write(builder(&origin).limit("revocation_grace", LONG_GRACE)).start().await;
    let (mut http1, mut body) = download(&edge, SHOP).await;
    let mut http2 = Target::https(&edge).http2(SHOP).await;
    let mut data = stream(&mut http2, SHOP).await;
    edge.replace("filings.yaml", filings("suspended", "approved"));
    let refused = async || Target::https(&edge).tls(SHOP, b"http/1.1").await.is_err().then_some(());
    eventually("the host is refused", PATIENCE, refused).await;
    gate.open();
    assert_eq!(body.next(&mut http1.wire).await.unwrap().unwrap(), "ended");
    assert_eq!(next_data(&mut data).await.unwrap().unwrap(), "ended");
    drop(data);
    assert_eq!(http1.end().await, (Vec::new(), End::Closed));
    http2.end().await;

    edge.replace("filings.yaml", filings("approved", "approved"));
    let served = async || Target::https(&edge).tls(SHOP, b"http/1.1").await.is_ok().then_some(());
    eventually("the host is permitted", PATIENCE, served).await;
    assert_eq!(Target::https(&edge).get(SHOP, "/").await.text(), "hello");
}

/// A socket that delays the client's second flight until a gate opens.
struct Held {
    socket: TcpStream,
    /// Opened by the first bytes received.
    answered: Gate,
    passed: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl AsyncRead for Held {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let outcome = ready!(Pin::new(&mut self.socket).poll_read(cx, buffer));
        self.answered.open();
        Poll::Ready(outcome)
    }
}

impl AsyncWrite for Held {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.answered.is_open()
            && let Some(passed) = &mut self.passed
        {
            ready!(passed.as_mut().poll(cx));
            self.passed = None;
        }
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn a_handshake_that_a_revocation_overtakes_serves_nothing() {
    let origin = Origin::text("hello").await;
    let edge = write(builder(&origin).limit("revocation_grace", LONG_GRACE)).start().await;
    for protocol in ["http/1.1", "h2"] {
        edge.replace("filings.yaml", filings("approved", "approved"));
        let served = async || Target::https(&edge).tls(SHOP, b"http/1.1").await.is_ok().then_some(());
        eventually("the host is permitted", PATIENCE, served).await;
        let (answered, gate) = (Gate::default(), Gate::default());
        let socket = TcpStream::connect(edge.https()).await.unwrap();
        let passing = gate.clone();
        let passed: Pin<Box<dyn Future<Output = ()> + Send>> =
            Box::pin(async move { passing.passed().await });
        let held = Held { socket, answered: answered.clone(), passed: Some(passed) };
        let connector = TlsConnector::from(Arc::new(edge.authority.client_config(&[protocol])));
        let handshake = tokio::spawn(connector.connect(SHOP.try_into().unwrap(), held));
        answered.passed().await;

        edge.replace("filings.yaml", filings("suspended", "approved"));
        let refused = async || Target::https(&edge).tls(SHOP, b"http/1.1").await.is_err().then_some(());
        eventually("the host is refused", PATIENCE, refused).await;
        gate.open();
        let stream = handshake.await.unwrap().unwrap();
        if protocol == "h2" {
            let mut frames = Frames { wire: Wire::new(Box::new(stream)) };
            frames.send(PREFACE).await.unwrap();
            assert!(frames.next_of(GOAWAY).await.is_some());
        } else {
            Http1::over(Box::new(stream)).end().await;
        }
    }
}

#[tokio::test]
async fn removing_a_site_closes_its_connections_like_a_revocation() {
    let gate = Gate::default();
    let origin = origin(&gate).await;
    let edge = write(builder(&origin).limit("revocation_grace", "3s")).start().await;
    let mut idle = Target::https(&edge).http1(SHOP).await;
    assert_eq!(idle.get(SHOP, "/").await.text(), "hello");
    let (mut cut, mut body) = download(&edge, SHOP).await;
    let mut kept = download(&edge, BLOG).await;

    let renamed = Instant::now();
    edge.replace("icpgate.yaml", edge.configuration().replace(&site("shop", SHOP, "/"), ""));
    let mut next = std::pin::pin!(body.next(&mut cut.wire));
    tokio::select! {
        biased;
        cut = &mut next => panic!("what is in flight ends before what is idle: {cut:?}"),
        end = idle.end() => assert_eq!(end, (Vec::new(), End::Closed)),
    }
    assert!(next.await.is_err());
    assert_after_grace(renamed);
    gate.open();
    assert_eq!(kept.1.next(&mut kept.0.wire).await.unwrap().unwrap(), "ended");
}
