//! Requests go to an origin over HTTP/1.1, and answers come back over whatever the client speaks.

mod answering;
mod answers;
mod bodies;
mod duplex;
mod framing;
mod headers;
mod integrity;
mod refusals;
mod requests;
mod rewriting;
mod routes;
mod upgrade;
mod upstream_tls;

use std::time::Duration;

use http::Method;

use crate::support::HOST;
use crate::support::client::{Target, answer, head_of, next_data};
use crate::support::edge::Edge;
use crate::support::message::Body;
use crate::support::origin::{Gate, Origin, Step, chunk, head, ok, raw};
use crate::support::time::within;

#[tokio::test]
async fn http1_and_http2_clients_get_the_answer_of_the_origin() {
    let origin = Origin::start(|_| {
        let fields = ["content-type: text/plain", "x-colour: blue", "x-colour: green", "content-length: 5"];
        vec![head("203 Whatever", &fields), raw("hello")]
    })
    .await;
    let edge = Edge::in_front_of(&origin).await;

    let over_http1 = Target::https(&edge).get(HOST, "/a/b?c=d&e").await;
    let over_http2 = Target::https(&edge).http2(HOST).await.get(HOST, "/a/b?c=d&e").await;
    for answer in [over_http1, over_http2] {
        assert_eq!((answer.status, answer.text().as_str()), (203, "hello"));
        assert_eq!(answer.head.all("x-colour"), ["blue", "green"]);
        assert_eq!(answer.field("content-length"), Some("5"));
    }
    for request in origin.seen() {
        assert_eq!(request.head.start, "GET /a/b?c=d&e HTTP/1.1");
        assert_eq!(request.head.get("host"), Some(HOST));
    }
}

#[tokio::test]
async fn curl_is_served_over_http1_and_http2() {
    let origin = Origin::text("hello\n").await;
    let edge = Edge::in_front_of(&origin).await;
    let resolve = format!("{HOST}:{}:{}", edge.https().port(), edge.ip());
    let (ca, url) = (edge.path("ca.pem"), format!("https://{HOST}:{}/", edge.https().port()));
    for (flag, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let ca = ca.display().to_string();
        let words = ["-sS", flag, "--cacert", &ca, "--resolve", &resolve, "-w", "%{http_version}", &url];
        let run = crate::support::edge::run("curl", words).await;
        assert_eq!((run.code, run.stdout), (0, format!("hello\n{version}")), "{}", run.stderr);
    }
}

#[tokio::test]
async fn connections_to_the_origin_are_kept_for_all_clients() {
    let origin = Origin::text("hello").await;
    let edge = Edge::in_front_of(&origin).await;
    let mut http1 = Target::https(&edge).http1(HOST).await;
    let mut http2 = Target::https(&edge).http2(HOST).await;
    for _ in 0..5 {
        assert_eq!(http1.get(HOST, "/").await.text(), "hello");
        assert_eq!(http2.get(HOST, "/").await.text(), "hello");
    }
    assert_eq!((origin.seen().len(), origin.connections()), (10, 1));
}

#[tokio::test]
async fn a_connection_that_the_origin_ends_is_not_kept() {
    let origin = Origin::start(|request| match request.target() {
        "/close" => vec![head("200 OK", &["connection: close", "content-length: 2"]), raw("ok"), Step::Close],
        _ => vec![head("200 OK", &[]), raw("to the end"), Step::Close],
    })
    .await;
    let edge = Edge::in_front_of(&origin).await;
    let mut client = Target::https(&edge).http1(HOST).await;
    assert_eq!(client.get(HOST, "/close").await.text(), "ok");
    assert_eq!(client.get(HOST, "/end").await.text(), "to the end");
    assert_eq!(client.get(HOST, "/close").await.text(), "ok");
    assert_eq!(origin.connections(), 3);
}

#[tokio::test]
async fn an_answer_is_streamed() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        let fields = ["content-type: text/plain", "transfer-encoding: chunked"];
        vec![head("200 OK", &fields), chunk("first"), Step::Wait(held.clone()), chunk("last"), chunk("")]
    })
    .await;
    let edge = Edge::in_front_of(&origin).await;

    let mut http1 = Target::https(&edge).http1(HOST).await;
    http1.ask("GET", HOST, "/").await;
    let head = http1.head().await;
    let mut body = Body::of_answer(&head, "GET");
    assert_eq!(body.next(&mut http1.wire).await.unwrap().unwrap(), "first");

    let mut http2 = Target::https(&edge).http2(HOST).await;
    let (response, _) = http2.begin(Method::GET, HOST, "/", &[], true).await;
    let (_, mut data) = head_of(response).await.unwrap();
    assert_eq!(next_data(&mut data).await.unwrap().unwrap(), "first");

    gate.open();
    assert_eq!(body.next(&mut http1.wire).await.unwrap().unwrap(), "last");
    assert!(body.next(&mut http1.wire).await.unwrap().is_none());
    assert_eq!(next_data(&mut data).await.unwrap().unwrap(), "last");
    while let Some(rest) = next_data(&mut data).await {
        assert!(rest.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_request_body_is_streamed() {
    let origin = Origin::text("thanks").await;
    let edge = Edge::in_front_of(&origin).await;

    let mut http1 = Target::https(&edge).http1(HOST).await;
    http1
        .send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"))
        .await;
    origin.until("the first chunk", |seen| seen.first().is_some_and(|one| one.body == b"first")).await;
    http1.send("4\r\nlast\r\n0\r\n\r\n").await;
    assert_eq!(http1.answer("POST").await.text(), "thanks");

    let mut http2 = Target::https(&edge).http2(HOST).await;
    let (response, mut body) = http2.begin(Method::POST, HOST, "/", &[], false).await;
    body.send_data("first".into(), false).unwrap();
    origin.until("the first part", |seen| seen.get(1).is_some_and(|one| one.body == b"first")).await;
    body.send_data("last".into(), true).unwrap();
    assert_eq!(answer(response).await.unwrap().text(), "thanks");

    for request in origin.seen() {
        assert_eq!((request.body.as_slice(), request.whole), (&b"firstlast"[..], true));
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let origin = Origin::start(|request| ok(request.target())).await;
    let edge = Edge::in_front_of(&origin).await;
    let mut client = Target::https(&edge).http1(HOST).await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let post = format!("POST /2 HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 4\r\n\r\nbody");
    client.send([get("/1"), post, get("/3"), get("/4")].concat()).await;
    for path in ["/1", "/2", "/3", "/4"] {
        assert_eq!(client.answer("GET").await.text(), path);
    }
    assert_eq!(origin.seen()[1].body, b"body");
}

#[tokio::test]
async fn an_answer_is_streamed_while_the_next_request_is_pending() {
    let origin = Origin::start(move |request| match request.target() {
        "/1" => {
            // The next request arrives meanwhile; the answer has no end.
            let chunks = b"1\r\nx\r\n".repeat(20);
            let begin = [head("200 OK", &["transfer-encoding: chunked"]), chunk("first")];
            begin
                .into_iter()
                .chain([Step::Drip(chunks, Duration::from_millis(5)), Step::Wait(Gate::default())])
                .collect()
        }
        _ => ok("next"),
    })
    .await;
    let edge = Edge::in_front_of(&origin).await;
    let mut client = Target::https(&edge).http1(HOST).await;
    client.ask("GET", HOST, "/1").await;
    let head = client.head().await;
    let mut body = Body::of_answer(&head, "GET");
    assert_eq!(body.next(&mut client.wire).await.unwrap().unwrap(), "first");
    client.ask("GET", HOST, "/2").await;
    for _ in 0..20 {
        let part = within("a part", body.next(&mut client.wire)).await;
        assert_eq!(part.unwrap().unwrap(), "x");
    }
}

#[tokio::test]
async fn streams_of_one_connection_do_not_wait_for_each_other() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |request| match request.target() {
        "/slow" => [vec![Step::Wait(held.clone())], ok("slow")].concat(),
        _ => ok("quick"),
    })
    .await;
    let edge = Edge::in_front_of(&origin).await;
    let mut client = Target::https(&edge).http2(HOST).await;
    let (slow, _) = client.begin(Method::GET, HOST, "/slow", &[], true).await;
    origin.until("the slow request", |seen| seen.len() == 1).await;
    assert_eq!(client.get(HOST, "/quick").await.text(), "quick");
    gate.open();
    assert_eq!(answer(slow).await.unwrap().text(), "slow");
}
