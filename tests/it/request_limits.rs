//! A site's limits: the size of a body (`max_body`) and the rate of requests (`rate_limit`).

use bytes::Bytes;
use http::Method;

use crate::support::client::{Answer, Http1, Target, answer, head_of, next_data};
use crate::support::edge::Edge;
use crate::support::origin::{Origin, Step, head, ok, raw};
use crate::support::{HOST, PATIENCE, eventually};

const LISTENERS: &str = r#"  - {name: https, addresses: ["$HTTPS"], protocol: https, trusted_proxies: [127.0.0.0/8]}
  - {name: http, addresses: ["$HTTP"], protocol: http}
"#;

/// The edge in front of `origin`, with these keys of its site.
async fn edge(origin: &Origin, keys: &str) -> Edge {
    Edge::builder().listeners(LISTENERS).sites(&site(keys)).origin(origin.address).start().await
}

fn site(keys: &str) -> String {
    format!(
        "  - name: shop\n    hosts: [www.example.cn]\n    certificate: {{chain: site.pem, key: site.key}}\n    {keys}\n    \
         routes: [{{match: {{path: /fixed}}, respond: {{body: fixed}}}}, {{match: {{path: /main}}, origins: [main]}}]\n"
    )
}

/// An origin that reads bodies whole.
async fn reader() -> Origin {
    Origin::start(|_| [vec![Step::ReadBody], ok("taken")].concat()).await
}

async fn get_as(http1: &mut Http1, client: &str, path: &str) -> Answer {
    http1.send(format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-For: {client}\r\n\r\n")).await;
    http1.answer("GET").await
}

#[tokio::test]
async fn a_body_that_declares_too_much_is_refused_before_a_byte_is_forwarded() {
    let origin = reader().await;
    let edge = edge(&origin, "max_body: 10").await;
    let mut http1 = Target::https(&edge).http1(HOST).await;
    assert_eq!(http1.post(HOST, "/main", "0123456789").await.text(), "taken", "just as much is taken");
    // The client waits for 100, and sends nothing.
    let fields = "Content-Length: 11\r\nExpect: 100-continue";
    http1.send(format!("POST /main HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n\r\n")).await;
    let refused = http1.head().await;
    assert!(refused.start.starts_with("HTTP/1.1 413 "), "{refused:?}");
    assert_eq!(refused.get("connection"), Some("close"));

    let mut http2 = Target::https(&edge).http2(HOST).await;
    let (response, _body) =
        http2.begin(Method::POST, HOST, "/main", &[("content-length", "11")], false).await;
    let refused = answer(response).await.expect("an answer");
    let id = refused.field("x-request-id").expect("an id");
    assert!(refused.status == 413 && refused.text().contains(id), "{refused:?}");
    assert_eq!(origin.seen_count(), 1);

    let records = edge.records_where(2, |record| record["status"] == 413).await;
    for record in records {
        assert_eq!((&record["reason"], &record["site"]), (&"max_body".into(), &"shop".into()));
        assert!(record.get("origin").is_none(), "{record}");
    }
}

#[tokio::test]
async fn a_body_without_a_length_is_cut_at_the_limit() {
    let origin = reader().await;
    let edge = edge(&origin, "max_body: 10").await;
    let mut http1 = Target::https(&edge).http1(HOST).await;
    let head = format!("POST /main HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n");
    http1.send(format!("{head}5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n")).await;
    assert_eq!(http1.answer("POST").await.text(), "taken");
    http1.send(format!("{head}5\r\n01234\r\n")).await;
    origin.until("the beginning is there", |seen| seen.len() == 2 && seen[1].body.len() == 5).await;
    http1.send("6\r\n567890\r\n").await;
    assert_eq!(http1.answer("POST").await.status, 413);

    let mut http2 = Target::https(&edge).http2(HOST).await;
    let (response, mut body) = http2.begin(Method::POST, HOST, "/main", &[], false).await;
    body.send_data(Bytes::from_static(b"01234"), false).expect("sent");
    origin.until("the beginning is there", |seen| seen.len() == 3 && seen[2].body.len() == 5).await;
    body.send_data(Bytes::from_static(b"567890"), false).expect("sent");
    assert_eq!(answer(response).await.expect("an answer").status, 413);
    // The origin sees that the rest is missing: the connections are closed.
    eventually("the origin is left", PATIENCE, async || (origin.open() == 0).then_some(())).await;
    for cut in &origin.seen()[1..] {
        assert!(!cut.whole && cut.body.len() <= 10, "{cut:?}");
    }
    edge.records_where(2, |record| record["status"] == 413 && record["reason"] == "max_body").await;
}

#[tokio::test]
async fn an_answer_that_has_begun_is_cut_with_the_body() {
    let origin =
        Origin::start(|_| vec![head("200 OK", &["content-length: 100"]), raw("begun"), Step::ReadBody]).await;
    let edge = edge(&origin, "max_body: 10").await;
    let mut http1 = Target::https(&edge).http1(HOST).await;
    http1.send(format!("POST /main HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n")).await;
    assert!(http1.head().await.start.contains("200"));
    assert_eq!(http1.read(5).await, b"begun");
    http1.send("b\r\n01234567890\r\n").await;
    http1.end().await;

    let mut http2 = Target::https(&edge).http2(HOST).await;
    let (response, mut body) = http2.begin(Method::POST, HOST, "/main", &[], false).await;
    let (_, mut answer) = head_of(response).await.expect("a head");
    assert_eq!(next_data(&mut answer).await.expect("a part").expect("bytes"), "begun");
    body.send_data(Bytes::from_static(b"01234567890"), false).expect("sent");
    assert!(next_data(&mut answer).await.expect("an end").is_err(), "the stream is reset");
    let records = edge.records_where(2, |record| record["reason"] == "max_body").await;
    assert!(records.iter().all(|record| record["status"] == 200), "{records:?}");
}

#[tokio::test]
async fn requests_beyond_the_rate_get_429_and_cost_the_origin_nothing() {
    let origin = Origin::text("main").await;
    let edge = edge(&origin, "rate_limit: {requests: 1/m, burst: 3}").await;
    edge.metric_becomes("icpgate_rate_limited_total{site=\"shop\"}", 0.0).await;
    let mut http1 = Target::https(&edge).http1(HOST).await;
    let mut http2 = Target::https(&edge).http2(HOST).await;
    assert_eq!(http1.get(HOST, "/main").await.status, 200);
    assert_eq!(http2.get(HOST, "/fixed").await.status, 200, "what needs no origin counts");
    assert_eq!(http1.get(HOST, "/nowhere").await.status, 404, "so does what is not there");
    for _ in 0..2 {
        for refused in [http1.get(HOST, "/main").await, http2.get(HOST, "/main").await] {
            assert_eq!(refused.status, 429);
            let wait: u64 = refused.field("retry-after").expect("seconds").parse().expect("a number");
            assert!((1..=60).contains(&wait), "{wait}");
            assert!(refused.text().contains(refused.field("x-request-id").expect("an id")));
        }
    }
    assert_eq!(origin.seen_count(), 1);
    // Another client, and a network of 64 bits, have their own.
    for (client, status) in [
        ("192.0.2.1", 200),
        ("2001:db8::1", 200),
        ("2001:db8::2", 200),
        ("2001:db8::3", 200),
        ("2001:db8::4", 429),
        ("2001:db8:0:1::1", 200),
    ] {
        assert_eq!(get_as(&mut http1, client, "/main").await.status, status, "{client}");
    }
    edge.metric_becomes("icpgate_rate_limited_total{site=\"shop\"}", 5.0).await;
    let records = edge.records_where(5, |record| record["status"] == 429).await;
    for record in records {
        assert_eq!((&record["reason"], &record["site"]), (&"rate_limit".into(), &"shop".into()));
        assert!(record.get("origin").is_none(), "{record}");
    }
}

#[tokio::test]
async fn what_was_counted_outlives_a_reload_that_keeps_the_limit() {
    let origin = Origin::text("main").await;
    let limit = "rate_limit: {requests: 1/m, burst: 2, per: site}";
    let edge = edge(&origin, limit).await;
    let mut http1 = Target::https(&edge).http1(HOST).await;
    for (client, status) in [("192.0.2.1", 200), ("192.0.2.2", 200), ("192.0.2.3", 429)] {
        assert_eq!(get_as(&mut http1, client, "/main").await.status, status, "all clients count as one");
    }
    for (change, status) in [("body: fixed", 429), ("burst: 2", 200)] {
        let generation = edge.metric("icpgate_snapshot_generation").await;
        let text = fs_err::read_to_string(edge.path("icpgate.yaml")).expect("UTF-8");
        let changed = match change {
            "burst: 2" => text.replace("burst: 2", "burst: 4"),
            other => text.replace(other, "body: other"),
        };
        edge.replace("icpgate.yaml", changed);
        edge.metric_becomes("icpgate_snapshot_generation", generation + 1.0).await;
        assert_eq!(http1.get(HOST, "/main").await.status, status, "{change}");
    }
}
