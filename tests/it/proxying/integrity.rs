//! A truncated message is never passed on as complete, and no message leaks into the next.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::HOST;
use crate::support::client::{Http1, Target, answer};
use crate::support::edge::Edge;
use crate::support::message::Body;
use crate::support::origin::{Gate, Origin, Step, chunk, head, ok, raw};
use crate::support::{PATIENCE, eventually};

/// An edge with one listener, in clear text.
async fn edge_in_clear(origin: &Origin) -> Edge {
    let listeners = "  - {name: http, addresses: [\"$HTTP\"], protocol: http, redirect: none}\n";
    let sites = "  - hosts: [www.example.cn]\n    routes: [{origins: [main]}]\n";
    Edge::builder().origin(origin.address).listeners(listeners).sites(sites).start().await
}

#[tokio::test]
async fn a_truncated_request_body_is_not_completed() {
    let origin = Origin::text("thanks").await;
    let edge = Edge::in_front_of(&origin).await;
    for framing in ["Content-Length: 99999\r\n\r\nbegin", "Transfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n"]
    {
        let before = origin.seen().len();
        let mut client = Target::https(&edge).http1(HOST).await;
        client.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\n{framing}")).await;
        origin.until("the beginning", |seen| seen.get(before).is_some_and(|one| one.body == b"begin")).await;
        // An orderly close with `close_notify`, in the middle of the body.
        client.wire.stream.shutdown().await.unwrap();
        eventually("the origin is let go", PATIENCE, async || (origin.open() == 0).then_some(())).await;
    }
    for fields in [&[("content-length", "99999")][..], &[]] {
        let before = origin.seen().len();
        let mut client = Target::https(&edge).http2(HOST).await;
        let (_response, mut body) = client.begin(Method::POST, HOST, "/", fields, false).await;
        body.send_data("begin".into(), false).unwrap();
        origin.until("the beginning", |seen| seen.get(before).is_some_and(|one| one.body == b"begin")).await;
        body.send_reset(h2::Reason::CANCEL);
        eventually("the origin is let go", PATIENCE, async || (origin.open() == 0).then_some(())).await;
    }
    let seen = origin.seen();
    assert!(seen.len() == 4 && seen.iter().all(|request| !request.whole), "{seen:?}");
}

#[tokio::test]
async fn an_http2_body_ends_with_data_an_empty_frame_or_trailers() {
    let origin = Origin::text("thanks").await;
    let edge = Edge::in_front_of(&origin).await;
    let mut client = Target::https(&edge).http2(HOST).await;
    for fields in [&[("content-length", "4")][..], &[]] {
        // END_STREAM on the last DATA, on an empty DATA, and on trailers.
        for end in 0..3 {
            let (response, mut body) = client.begin(Method::POST, HOST, "/", fields, false).await;
            body.send_data("bo".into(), false).unwrap();
            body.send_data(Bytes::new(), false).unwrap();
            body.send_data("dy".into(), end == 0).unwrap();
            match end {
                0 => {}
                1 => body.send_data(Bytes::new(), true).unwrap(),
                _ => {
                    let mut trailers = HeaderMap::new();
                    trailers.insert("x-sum", "1".parse().unwrap());
                    body.send_trailers(trailers).unwrap();
                }
            }
            assert_eq!(answer(response).await.unwrap().text(), "thanks", "{fields:?} {end}");
        }
    }
    let (response, mut body) = client.begin(Method::POST, HOST, "/empty", &[], false).await;
    body.send_data(Bytes::new(), true).unwrap();
    assert_eq!(answer(response).await.unwrap().text(), "thanks");
    let seen = origin.seen();
    assert!(seen[..6].iter().all(|request| request.whole && request.body == b"body"), "{seen:?}");
    assert!(seen[6].whole && seen[6].body.is_empty());
}

#[tokio::test]
async fn bytes_after_an_answer_reach_no_client() {
    let poison = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
    let origin = Origin::start(move |request| {
        let late = Step::Drip(poison.into(), Duration::from_micros(10));
        match (request.method(), request.target()) {
            (_, "/at-once") => vec![raw(format!("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine{poison}"))],
            (_, "/late") => [ok("fine"), vec![late]].concat(),
            (_, "/chunked") => vec![raw(format!(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n{poison}"
            ))],
            ("HEAD", "/head") => vec![raw(format!("HTTP/1.1 200 OK\r\ncontent-length: 43\r\n\r\n{poison}"))],
            (_, "/204") => vec![raw(format!("HTTP/1.1 204 No Content\r\n\r\n{poison}"))],
            (_, "/304") => vec![raw(format!("HTTP/1.1 304 Not Modified\r\n\r\n{poison}"))],
            (_, "/both") => vec![raw(format!(
                "HTTP/1.1 200 OK\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{poison}"
            ))],
            _ => ok("honest"),
        }
    })
    .await;
    let edge = Edge::in_front_of(&origin).await;
    let mut http1 = Target::https(&edge).http1(HOST).await;
    let mut http2 = Target::https(&edge).http2(HOST).await;
    for (method, path) in [
        ("GET", "/at-once"),
        ("GET", "/late"),
        ("GET", "/chunked"),
        ("HEAD", "/head"),
        ("GET", "/204"),
        ("GET", "/304"),
        ("GET", "/both"),
    ] {
        http1.ask(method, HOST, path).await;
        assert_ne!(http1.answer(method).await.text(), "poison", "{path}");
        assert_eq!(http2.get(HOST, "/honest").await.text(), "honest", "after {path}");
        assert_eq!(http1.get(HOST, "/honest").await.text(), "honest", "after {path}");
        assert_eq!(http1.get(HOST, "/honest").await.text(), "honest", "after {path}");
    }
}

#[tokio::test]
async fn odd_framing_of_an_origin_is_normalised() {
    let origin = Origin::start(|request| {
        vec![
            raw(match request.target() {
                "/list" => "HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n\r\nhello",
                "/twice" => "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 005\r\n\r\nhello",
                "/none" => "HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n",
                _ => "HTTP/1.0 200 OK\r\n\r\nhello",
            }),
            Step::Close,
        ]
    })
    .await;
    let edge = Edge::in_front_of(&origin).await;
    for (path, length, text) in [
        ("/list", Some("5"), "hello"),
        ("/twice", Some("5"), "hello"),
        ("/none", None, ""),
        ("/old", None, "hello"),
    ] {
        let answer = Target::https(&edge).get(HOST, path).await;
        assert_eq!((answer.field("content-length"), answer.text().as_str()), (length, text), "{path}");
        assert!(answer.head.start.starts_with("HTTP/1.1 "), "{path}: {:?}", answer.head);
        let answer = Target::https(&edge).http2(HOST).await.get(HOST, path).await;
        assert_eq!((answer.field("content-length"), answer.text().as_str()), (length, text), "{path}");
    }
}

#[tokio::test]
async fn malformed_chunks_end_the_answer_with_an_error() {
    let origin = Origin::start(|request| {
        let end = if request.target() == "/size" { "zz\r\nmore\r\n" } else { "4\r\nmoreXX0\r\n\r\n" };
        vec![head("200 OK", &["transfer-encoding: chunked"]), chunk("part"), raw(end)]
    })
    .await;
    let edge = Edge::in_front_of(&origin).await;
    for path in ["/size", "/end"] {
        let mut http1 = Target::https(&edge).http1(HOST).await;
        http1.ask("GET", HOST, path).await;
        assert!(http1.try_answer("GET").await.is_err(), "{path}");
        let mut http2 = Target::https(&edge).http2(HOST).await;
        assert!(http2.request(Method::GET, HOST, path, &[]).await.is_err(), "{path}");
    }
}

#[tokio::test]
async fn an_endless_answer_head_is_502() {
    let origin = Origin::start(|_| vec![raw("HTTP/1.1 200 OK\r\nx: "), Step::Flood]).await;
    let edge = Edge::in_front_of(&origin).await;
    assert_eq!(Target::https(&edge).get(HOST, "/").await.status, 502);
    eventually("the origin is let go", PATIENCE, async || (origin.open() == 0).then_some(())).await;
}

#[tokio::test]
async fn a_half_closed_client_gets_its_answer() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        let fields = ["transfer-encoding: chunked"];
        vec![head("200 OK", &fields), chunk("first"), Step::Wait(held.clone()), chunk("last"), chunk("")]
    })
    .await;
    let edge = edge_in_clear(&origin).await;
    let mut socket = TcpStream::connect(edge.http()).await.unwrap();
    socket.write_all(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await.unwrap();
    socket.shutdown().await.unwrap();
    let mut client = Http1::over(Box::new(socket));
    let head = client.head().await;
    let mut body = Body::of_answer(&head, "GET");
    assert_eq!(body.next(&mut client.wire).await.unwrap().unwrap(), "first");
    gate.open();
    assert_eq!(body.next(&mut client.wire).await.unwrap().unwrap(), "last");
    assert!(body.next(&mut client.wire).await.unwrap().is_none());
    assert!(client.end().await.0.is_empty());
}

#[tokio::test]
async fn connection_close_of_a_client_is_honoured() {
    let origin = Origin::text("hello").await;
    let edge = Edge::in_front_of(&origin).await;
    for request in [
        "GET / HTTP/1.1\r\nHost: www.example.cn\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: www.example.cn\r\n\r\n",
    ] {
        let mut client = Target::https(&edge).http1(HOST).await;
        client.send(request).await;
        let answer = client.answer("GET").await;
        assert_eq!((answer.text().as_str(), answer.field("connection")), ("hello", Some("close")));
        assert_eq!(client.end().await, (Vec::new(), crate::support::client::End::Closed));
    }
    assert_eq!(origin.connections(), 1, "that concerns the client's connection alone");
}

#[tokio::test]
async fn a_site_in_clear_text_is_proxied_alike() {
    let origin = Origin::text("hello").await;
    let edge = edge_in_clear(&origin).await;
    let mut client = Target::http(&edge).http1(HOST).await;
    for _ in 0..3 {
        assert_eq!(client.post(HOST, "/x", "body").await.text(), "hello");
    }
    assert_eq!(client.get("www.example.net", "/").await.status, 421);
    let request = origin.seen().remove(2);
    assert_eq!(
        (request.body.as_slice(), request.head.get("x-forwarded-proto")),
        (&b"body"[..], Some("http"))
    );
    let records = edge.records_where(4, |_| true).await;
    assert!(records[0]["tls_version"].is_null() && records[0]["server_name"].is_null(), "{}", records[0]);
}

#[tokio::test]
async fn a_server_may_be_a_name_with_several_addresses() {
    let origin = Origin::text("hello").await;
    let port = origin.address.port();
    let origins =
        format!("  - {{name: main, region: mainland, scheme: http, servers: [\"localhost:{port}\"]}}\n");
    let edge = Edge::builder().origins(&origins).start().await;
    assert_eq!(Target::https(&edge).get(HOST, "/").await.text(), "hello");
    let record = edge.records_where(1, |_| true).await.remove(0);
    assert_eq!(record["upstream_address"], origin.address.to_string());
}
