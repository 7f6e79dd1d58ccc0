//! Request body and answer body flow independently of each other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::HOST;
use crate::support::client::{Target, head_of, next_data};
use crate::support::edge::{Builder, Edge};
use crate::support::http2_origin::{Exchange, Http2Origin, send_all};
use crate::support::message::Wire;
use crate::support::origin::Gate;
use crate::support::{PATIENCE, eventually};

/// More bytes than all buffers on the path hold.
const MUCH: usize = 32 * 1024 * 1024;
/// Bytes per read and write.
const PART: usize = 64 * 1024;
/// The byte that answer bodies consist of; no head contains it.
const DOWN: u8 = 0xdd;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Speaks {
    Http1,
    Http2,
}

/// A server that answers at once, and reads the request body once the gate `reads` is open.
#[derive(Clone, Default)]
struct Server {
    reads: Gate,
    read: Arc<AtomicUsize>,
}

impl Server {
    async fn start(&self, speaks: Speaks, status: &'static str) -> Http2Origin {
        let server = self.clone();
        match speaks {
            Speaks::Http2 => Http2Origin::start(move |exchange| server.clone().over_http2(exchange)).await,
            Speaks::Http1 => {
                Http2Origin::raw(None, move |stream, _| {
                    let server = server.clone();
                    Box::pin(async move {
                        let mut wire = Wire::new(stream);
                        let Ok(Some(_)) = wire.head().await else { return };
                        server.read.fetch_add(wire.ahead.len(), Ordering::Relaxed);
                        let (mut reader, mut writer) = tokio::io::split(wire.stream);
                        let answers = async {
                            let head = format!("HTTP/1.1 {status}\r\n\r\n");
                            writer.write_all(head.as_bytes()).await?;
                            for _ in 0..MUCH / PART {
                                writer.write_all(&[DOWN; PART]).await?;
                            }
                            std::io::Result::Ok(())
                        };
                        let reads = async {
                            server.reads.passed().await;
                            let mut part = vec![0; PART];
                            while let Ok(read @ 1..) = reader.read(&mut part).await {
                                server.read.fetch_add(read, Ordering::Relaxed);
                            }
                        };
                        // The client may have left.
                        let _ = tokio::join!(answers, reads);
                    })
                })
                .await
            }
        }
    }

    async fn over_http2(self, mut exchange: Exchange) {
        let mut answer = exchange.head(StatusCode::OK, &[], false);
        let answers = async {
            send_all(&mut answer, Bytes::from(vec![DOWN; MUCH])).await?;
            answer.send_data(Bytes::new(), true)
        };
        let reads = async {
            self.reads.passed().await;
            while let Some(Ok(bytes)) = exchange.body.data().await {
                self.read.fetch_add(bytes.len(), Ordering::Relaxed);
                let _ = exchange.body.flow_control().release_capacity(bytes.len());
            }
        };
        let _ = tokio::join!(answers, reads);
    }

    async fn has_read(&self) {
        let much = || (self.read.load(Ordering::Relaxed) >= MUCH).then_some(());
        eventually("the server has the whole body", PATIENCE, async || much()).await;
    }
}

fn edge_to(server: SocketAddr, speaks: Speaks) -> Builder {
    let scheme = if speaks == Speaks::Http2 { "h2c" } else { "http" };
    let origins = format!(
        "  - {{name: main, region: mainland, scheme: {scheme}, servers: [\"$ORIGIN\"], timeouts: {{first_byte: 20s}}}}\n"
    );
    Edge::builder().origins(&origins).origin(server)
}

/// Sends [`MUCH`] as a request body. The answer is read once the returned gate is open.
async fn request(edge: &Edge, speaks: Speaks, head: &str) -> (JoinHandle<()>, JoinHandle<usize>, Gate) {
    let reads = Gate::default();
    let gate = reads.clone();
    match speaks {
        Speaks::Http1 => {
            let tls = Target::https(edge).tls(HOST, b"http/1.1").await.expect("a connection");
            let (reader, mut writer) = tokio::io::split(tls);
            let head = head.to_owned();
            let sending = tokio::spawn(async move {
                writer.write_all(head.as_bytes()).await.expect("sent");
                for _ in 0..MUCH / PART {
                    if writer.write_all(&[b'u'; PART]).await.is_err() {
                        return;
                    }
                }
                // Closing would end the tunnel.
                let _ = writer.flush().await;
                std::future::pending().await
            });
            let reading = tokio::spawn(async move {
                gate.passed().await;
                let mut reader = reader;
                let (mut came, mut part) = (0, vec![0; PART]);
                while came < MUCH {
                    match reader.read(&mut part).await {
                        Ok(read @ 1..) => came += part[..read].iter().filter(|byte| **byte == DOWN).count(),
                        _ => break,
                    }
                }
                came
            });
            (sending, reading, reads)
        }
        Speaks::Http2 => {
            let mut client = Target::https(edge).http2(HOST).await;
            let (response, mut body) = client.begin(Method::POST, HOST, "/", &[], false).await;
            let sending = tokio::spawn(async move {
                if send_all(&mut body, Bytes::from(vec![b'u'; MUCH])).await.is_ok() {
                    let _ = body.send_data(Bytes::new(), true);
                }
            });
            let reading = tokio::spawn(async move {
                let _connection = client;
                gate.passed().await;
                let (_, mut answer) = head_of(response).await.expect("a head");
                let mut came = 0;
                while let Some(Ok(bytes)) = next_data(&mut answer).await {
                    came += bytes.len();
                }
                came
            });
            (sending, reading, reads)
        }
    }
}

const POST: &str = "POST / HTTP/1.1\r\nHost: www.example.cn\r\nContent-Length: 33554432\r\n\r\n";
const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: www.example.cn\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const LENGTH: &str = "200 OK\r\ncontent-length: 33554432";
const SWITCHED: &str = "101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket";

/// Every pair of protocols of client and server, and a tunnel.
const WAYS: [(Speaks, Speaks, &str, &str); 5] = [
    (Speaks::Http1, Speaks::Http1, POST, LENGTH),
    (Speaks::Http1, Speaks::Http2, POST, LENGTH),
    (Speaks::Http2, Speaks::Http1, POST, LENGTH),
    (Speaks::Http2, Speaks::Http2, POST, LENGTH),
    (Speaks::Http1, Speaks::Http1, UPGRADE, SWITCHED),
];

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_may_send_its_body() {
    for (client, server, head, answer) in WAYS {
        let side = Server::default();
        side.reads.open();
        let origin = side.start(server, answer).await;
        let edge = edge_to(origin.address, server).start().await;
        let (sending, reading, reads) = request(&edge, client, head).await;
        side.has_read().await;
        reads.open();
        assert_eq!(reading.await.expect("an answer"), MUCH, "{client:?} {server:?} {head}");
        sending.abort();
    }
}

#[tokio::test]
async fn a_server_that_does_not_read_the_body_may_send_its_answer() {
    for (client, server, head, answer) in WAYS {
        let side = Server::default();
        let origin = side.start(server, answer).await;
        let edge = edge_to(origin.address, server).start().await;
        let (sending, reading, reads) = request(&edge, client, head).await;
        reads.open();
        assert_eq!(reading.await.expect("an answer"), MUCH, "{client:?} {server:?} {head}");
        assert!(side.read.load(Ordering::Relaxed) < MUCH, "it has not read on");
        sending.abort();
    }
}
