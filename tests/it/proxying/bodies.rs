//! Bodies arrive as sent, and answers without a body stay without one.

use bytes::Bytes;
use http::Method;

use super::HOST;
use crate::support::client::{Http2, Target, answer, status_of};
use crate::support::edge::Edge;
use crate::support::origin::{Origin, Step, chunk, head, ok, raw};

/// Random bytes, the same for the same length.
fn noise(length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(length as u64);
    std::iter::repeat_with(|| random.u8(..)).take(length).collect()
}

const LARGE: usize = 5_000_011;

/// Answers with the noise of [`LARGE`]: in chunks for `/chunked`, else by length.
async fn mirror() -> Origin {
    Origin::start(|request| {
        let body = noise(LARGE);
        match request.target() {
            "/chunked" => {
                let begin = [head("200 OK", &["transfer-encoding: chunked"])];
                begin.into_iter().chain(body.chunks(70_001).map(chunk)).chain([chunk("")]).collect()
            }
            _ => ok(body),
        }
    })
    .await
}

#[tokio::test]
async fn large_bodies_arrive_intact_over_http1() {
    let origin = mirror().await;
    let edge = Edge::in_front_of(&origin).await;
    let mut client = Target::https(&edge).http1(HOST).await;
    let body = noise(LARGE);

    client.send(format!("PUT /length HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {LARGE}\r\n\r\n")).await;
    client.send(&body).await;
    let answer = client.answer("PUT").await;
    assert!(answer.body == body, "{:?}", answer.head);
    assert_eq!(answer.field("content-length"), Some(LARGE.to_string().as_str()));

    client.send(format!("PUT /chunked HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n")).await;
    for part in body.chunks(100_003) {
        client.send([format!("{:X}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat()).await;
    }
    client.send("0\r\n\r\n").await;
    let answer = client.answer("PUT").await;
    assert!(answer.body == body, "{:?}", answer.head);
    assert_eq!(answer.field("transfer-encoding"), Some("chunked"));

    let seen = origin.seen();
    assert_eq!(seen[0].head.get("content-length"), Some(LARGE.to_string().as_str()));
    assert_eq!(seen[1].head.get("transfer-encoding"), Some("chunked"));
    assert!(seen.iter().all(|request| request.whole && request.body == body));
}

#[tokio::test]
async fn large_bodies_arrive_intact_over_http2() {
    let origin = mirror().await;
    let edge = Edge::in_front_of(&origin).await;
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(1 << 20).initial_connection_window_size(1 << 20);
    let mut client = Http2::over(Target::https(&edge).tls(HOST, b"h2").await.unwrap(), builder).await;
    let body = noise(LARGE);
    let length = LARGE.to_string();
    let lengths: [&[(&str, &str)]; 2] = [&[("content-length", &length)], &[]];
    for (path, fields) in ["/length", "/chunked"].into_iter().zip(lengths) {
        let (response, mut sender) = client.begin(Method::PUT, HOST, path, fields, false).await;
        sender.send_data(Bytes::from(body.clone()), true).unwrap();
        let answer = answer(response).await.unwrap();
        assert!(answer.body == body, "{:?}", answer.head);
    }
    let seen = origin.seen();
    assert_eq!(seen[0].head.get("content-length"), Some(length.as_str()));
    assert_eq!(seen[1].head.get("transfer-encoding"), Some("chunked"));
    assert!(seen.iter().all(|request| request.whole && request.body == body));
}

/// Answers without a body: to HEAD, 204 and 304.
async fn bodiless() -> Origin {
    Origin::start(|request| match (request.method(), request.target()) {
        ("HEAD", _) => vec![head("200 OK", &["content-length: 1234"])],
        (_, "/204") => vec![head("204 No Content", &["x-kind: empty"])],
        (_, "/304") => vec![head("304 Not Modified", &["etag: \"a\"", "content-length: 99"])],
        _ => ok("after"),
    })
    .await
}

#[tokio::test]
async fn answers_without_a_body_keep_the_connection_usable() {
    let origin = bodiless().await;
    let edge = Edge::in_front_of(&origin).await;
    let mut http1 = Target::https(&edge).http1(HOST).await;
    let mut http2 = Target::https(&edge).http2(HOST).await;
    for (method, path, status) in [("HEAD", "/x", 200), ("GET", "/204", 204), ("GET", "/304", 304)] {
        http1.ask(method, HOST, path).await;
        let answer = http1.answer(method).await;
        assert_eq!((answer.status, answer.body.len()), (status, 0), "{method} {path}");
        assert_eq!(http1.get(HOST, "/after").await.text(), "after", "after {method} {path}");

        let answer = http2.request(method.parse().unwrap(), HOST, path, &[]).await.unwrap();
        assert_eq!((answer.status, answer.body.len()), (status, 0), "{method} {path}");
        assert_eq!(http2.get(HOST, "/after").await.text(), "after", "after {method} {path}");
    }
    http1.ask("HEAD", HOST, "/x").await;
    assert_eq!(http1.answer("HEAD").await.field("content-length"), Some("1234"));
    assert_eq!(origin.connections(), 1, "none of these ends a connection to the origin");
}

#[tokio::test]
async fn a_client_that_expects_100_gets_it_and_sends_its_body_then() {
    let origin = Origin::text("thanks").await;
    let edge = Edge::in_front_of(&origin).await;
    let mut client = Target::https(&edge).http1(HOST).await;
    let expecting =
        format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    for _ in 0..2 {
        client.send(&expecting).await;
        assert_eq!(client.head().await.start, "HTTP/1.1 100 Continue");
        client.send("body").await;
        assert_eq!(client.answer("POST").await.text(), "thanks");
    }
    assert!(origin.seen().iter().all(|request| request.body == b"body"));
    assert!(origin.seen().iter().all(|request| request.head.get("expect").is_none()));
}

#[tokio::test]
async fn early_hints_reach_http1_clients() {
    let origin = Origin::start(|_| {
        let hints = head("103 Early Hints", &["link: </a.css>; rel=preload"]);
        [vec![hints], ok("page")].concat()
    })
    .await;
    let edge = Edge::in_front_of(&origin).await;
    let mut client = Target::https(&edge).http1(HOST).await;
    client.ask("GET", HOST, "/").await;
    let hints = client.head().await;
    assert_eq!((status_of(&hints), hints.get("link")), (103, Some("</a.css>; rel=preload")));
    assert_eq!(client.answer("GET").await.text(), "page");
    assert_eq!(Target::https(&edge).http2(HOST).await.get(HOST, "/").await.text(), "page");
}

#[tokio::test]
async fn an_http10_client_gets_the_body_to_the_end_of_its_connection() {
    let origin =
        Origin::start(|_| vec![head("200 OK", &["transfer-encoding: chunked"]), chunk("hello"), chunk("")])
            .await;
    let edge = Edge::in_front_of(&origin).await;
    let mut client = Target::https(&edge).http1(HOST).await;
    client.send(format!("GET / HTTP/1.0\r\nHost: {HOST}\r\n\r\n")).await;
    let answer = client.answer("GET").await;
    assert_eq!((answer.text().as_str(), answer.field("transfer-encoding")), ("hello", None));
    assert!(client.wire.ahead.is_empty());
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_body_is_delivered() {
    let origin = Origin::start(|_| {
        let answer =
            [head("413 Content Too Large", &["connection: close", "content-length: 3"]), raw("no\n")];
        // Reading the body first would be unnecessary; reading it later avoids a reset.
        answer.into_iter().chain([Step::ReadBody]).collect()
    })
    .await;
    let edge = Edge::in_front_of(&origin).await;
    let mut client = Target::https(&edge).http1(HOST).await;
    client.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1000000\r\n\r\nbegin")).await;
    let answer = client.answer("POST").await;
    assert_eq!((answer.status, answer.text().as_str()), (413, "no\n"));
    assert_eq!(Target::https(&edge).get(HOST, "/").await.status, 413, "others are served on");
}

#[tokio::test]
async fn a_truncated_answer_body_ends_with_an_error() {
    let origin = Origin::start(|request| match request.target() {
        "/length" => vec![head("200 OK", &["content-length: 100"]), raw("part"), Step::Close],
        "/reset" => vec![head("200 OK", &["content-length: 100"]), raw("part"), Step::Reset],
        _ => vec![head("200 OK", &["transfer-encoding: chunked"]), chunk("part"), Step::Close],
    })
    .await;
    let edge = Edge::in_front_of(&origin).await;
    for path in ["/length", "/reset", "/chunked"] {
        let mut http1 = Target::https(&edge).http1(HOST).await;
        http1.ask("GET", HOST, path).await;
        let outcome = http1.try_answer("GET").await;
        assert!(outcome.is_err(), "{path}: {outcome:?}");
        let mut http2 = Target::https(&edge).http2(HOST).await;
        let outcome = http2.request(Method::GET, HOST, path, &[]).await;
        assert!(outcome.is_err(), "{path}: {outcome:?}");
    }
}
