//! Many clients at once: hostile ones do not starve the others, and honest ones are not taken for hostile.

use http::Method;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::connect_from;
use crate::support::HOST;
use crate::support::client::{Http1, Target};
use crate::support::edge::{Builder, Edge};
use crate::support::hello::Handmade;
use crate::support::origin::{Origin, Step, head, ok};

const CLEAR: &str = r#"  - {name: https, addresses: ["$HTTPS"], protocol: https}
  - {name: http, addresses: ["$HTTP"], protocol: http, redirect: none}
"#;

/// An edge that serves in clear text too, so that the test is not busy with handshakes.
fn in_clear() -> Builder {
    // Sockets of both sides, those of the origin included.
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("a limit");
    Edge::builder().listeners(CLEAR)
}

async fn origin() -> Origin {
    Origin::start(|request| match request.target() {
        "/flood" => vec![head("200 OK", &["content-length: 1000000000000"]), Step::Flood],
        "/upload" => [vec![Step::ReadBody], ok("taken")].concat(),
        _ => ok("hello"),
    })
    .await
}

/// Sends these bytes and nothing more, from the address with this number.
async fn stuck(number: u16, address: std::net::SocketAddr, bytes: &[u8]) -> TcpStream {
    let [high, low] = number.to_be_bytes();
    let mut tcp = connect_from([127, 1, high, low.max(1)], address).await.expect("a connection");
    // It may have been closed already.
    let _ = tcp.write_all(bytes).await;
    tcp
}

#[tokio::test]
async fn one_ten_and_a_thousand_hostile_clients_starve_nobody() {
    let origin = origin().await;
    let edge = in_clear()
        .limit("client_hello_timeout", "60s")
        .limit("request_head_timeout", "60s")
        .origin(origin.address)
        .start()
        .await;
    let hello = Handmade::named(HOST).bytes();
    let flood = format!("GET /flood HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let upload = format!("POST /upload HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 100000\r\n\r\n.");
    let kinds: [(_, &[u8]); 5] = [
        (edge.https(), &hello[..hello.len() / 2]),
        (edge.http(), b"GET / HTTP/1.1\r\nHost: "),
        (edge.http(), flood.as_bytes()),
        (edge.http(), upload.as_bytes()),
        (edge.https(), b"\x16\x03\x01\x40\x00"),
    ];
    let mut hostile = Vec::new();
    for crowd in [1, 10, 1000] {
        while hostile.len() < crowd {
            let (address, bytes) = kinds[hostile.len() % kinds.len()];
            hostile.push(stuck(u16::try_from(hostile.len()).expect("few"), address, bytes).await);
        }
        let mut http1 = Target::http(&edge).http1(HOST).await;
        let mut http2 = Target::https(&edge).http2(HOST).await;
        for _ in 0..20 {
            assert_eq!(http1.get(HOST, "/").await.text(), "hello", "beside {crowd}");
            assert_eq!(http2.get(HOST, "/").await.text(), "hello", "beside {crowd}");
        }
        assert_eq!(Target::https(&edge).get(HOST, "/").await.text(), "hello", "beside {crowd}");
    }
}

#[tokio::test]
async fn five_hundred_users_behind_one_address_and_a_crawler_are_served() {
    let origin = origin().await;
    let edge = in_clear().origin(origin.address).start().await;
    let mut users = JoinSet::new();
    for _ in 0..500 {
        let tcp = connect_from([127, 0, 0, 51], edge.http()).await.expect("a connection");
        users.spawn(async move {
            let mut http1 = Http1::over(Box::new(tcp));
            // A slow upload, and a page.
            let begin = format!("POST /upload HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 20000\r\n\r\n");
            http1.send(begin).await;
            for _ in 0..20 {
                http1.send("x".repeat(1000)).await;
            }
            assert_eq!(http1.answer("POST").await.text(), "taken");
            assert_eq!(http1.get(HOST, "/").await.text(), "hello");
            http1
        });
    }
    // They stay connected to the end.
    let users = users.join_all().await;
    let mut crawler = Target::https(&edge).http2(HOST).await;
    let mut asked = Vec::new();
    for number in 0..1000 {
        asked.push(crawler.begin(Method::GET, HOST, &format!("/{number}"), &[], true).await.0);
        if asked.len() == 50 {
            for response in asked.drain(..) {
                assert_eq!(
                    crate::support::client::answer(response).await.expect("an answer").text(),
                    "hello"
                );
            }
        }
    }
    assert_eq!(users.len(), 500);
}
