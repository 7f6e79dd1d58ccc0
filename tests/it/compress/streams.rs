//! What is encoded is passed on while the origin is still making the rest, and is complete or visibly cut off.

use bytes::Bytes;
use http::{Method, StatusCode};

use super::{CODINGS, builder, edge, page, site};
use crate::support::HOST;
use crate::support::client::{Target, head_of, next_data};
use crate::support::coding::{decode, decode_begun, encode};
use crate::support::edge::Edge;
use crate::support::http2_origin::Http2Origin;
use crate::support::message::Body;
use crate::support::origin::{Gate, Origin, Script, Step, answer, chunk, head, raw};
use crate::support::time::{settled, within};

const EVENTS: &str = "compress: {types: [text/event-stream, text/plain]}\n";

/// Two parts with a gate between them.
fn in_two_parts(kind: &str, gate: &Gate) -> Script {
    let kind = format!("content-type: {kind}");
    vec![
        head("200 OK", &[&kind, "transfer-encoding: chunked"]),
        chunk("data: 1\n\n"),
        chunk("data: 2\n\n"),
        Step::Wait(gate.clone()),
        chunk("data: 3\n\n"),
        chunk(""),
    ]
}

#[tokio::test]
async fn nothing_is_held_back_while_the_origin_pauses() {
    for kind in ["text/event-stream", "text/plain"] {
        for coding in CODINGS {
            let gate = Gate::default();
            let held = gate.clone();
            let origin = Origin::start(move |_| in_two_parts(kind, &held)).await;
            let edge = builder("on", &origin).more(EVENTS).start().await;
            let fields = [("accept-encoding", coding)];
            let target = Target::https(&edge);

            let mut http1 = target.http1(HOST).await;
            http1.send(format!("GET /a HTTP/1.1\r\nhost: {HOST}\r\naccept-encoding: {coding}\r\n\r\n")).await;
            let first = http1.head().await;
            assert_eq!(first.get("content-encoding"), Some(coding));
            let mut body = Body::of_answer(&first, "GET");
            let mut bytes = Vec::new();
            while decode_begun(coding, &bytes) != b"data: 1\n\ndata: 2\n\n" {
                let more = within("two events", body.next(&mut http1.wire)).await.unwrap();
                bytes.extend_from_slice(&more.expect("not the end"));
            }
            let mut http2 = target.http2(HOST).await;
            let (response, _) = http2.begin(Method::GET, HOST, "/a", &fields, true).await;
            let (_, mut stream) = head_of(response).await.expect("a head");
            let mut of_stream = Vec::new();
            while decode_begun(coding, &of_stream) != b"data: 1\n\ndata: 2\n\n" {
                of_stream
                    .extend_from_slice(&next_data(&mut stream).await.expect("not the end").expect("data"));
            }
            gate.open();
            while let Some(more) = within("the rest", body.next(&mut http1.wire)).await.unwrap() {
                bytes.extend_from_slice(&more);
            }
            while let Some(more) = next_data(&mut stream).await {
                of_stream.extend_from_slice(&more.expect("data"));
            }
            for bytes in [bytes, of_stream] {
                assert_eq!(decode(coding, &bytes), b"data: 1\n\ndata: 2\n\ndata: 3\n\n", "{kind} {coding}");
            }
        }
    }
}

#[tokio::test]
async fn trailers_follow_an_encoded_body() {
    let (_origin, edge) = edge("on", |_| {
        let fields = ["content-type: text/css", "transfer-encoding: chunked", "trailer: x-sum"];
        vec![head("200 OK", &fields), chunk(page()), raw("0\r\nx-sum: 7\r\n\r\n")]
    })
    .await;
    let target = Target::https(&edge);
    let mut http2 = target.http2(HOST).await;
    let fields = [("accept-encoding", "br"), ("te", "trailers")];
    let (response, _) = http2.begin(Method::GET, HOST, "/a.css", &fields, true).await;
    let (_, mut body) = head_of(response).await.expect("a head");
    let mut bytes = Vec::new();
    while let Some(more) = next_data(&mut body).await {
        bytes.extend_from_slice(&more.expect("data"));
    }
    assert!(decode("br", &bytes) == page().as_bytes());
    let trailers = within("trailers", body.trailers()).await.expect("well").expect("trailers");
    assert_eq!(trailers["x-sum"], "7");

    let mut http1 = target.http1(HOST).await;
    let lines = "accept-encoding: gzip\r\nte: trailers\r\nconnection: te, close\r\n";
    http1.send(format!("GET /a.css HTTP/1.1\r\nhost: {HOST}\r\n{lines}\r\n")).await;
    let (bytes, _) = http1.end().await;
    assert!(bytes.ends_with(b"\r\n0\r\nx-sum: 7\r\n\r\n"));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_never_completed() {
    let (_origin, edge) = edge("on", |request| {
        let coded = encode("gzip", page().as_bytes());
        let fields = ["content-type: text/html", "content-encoding: gzip"];
        match request.target() {
            "/damaged" => answer("200 OK", &fields, &coded[..coded.len() - 3]),
            "/coded" => {
                vec![
                    head("200 OK", &[&fields[..], &["content-length: 99999"]].concat()),
                    raw(coded),
                    Step::Close,
                ]
            }
            _ => {
                let fields = ["content-type: text/html", "content-length: 99999"];
                vec![head("200 OK", &fields), raw(page()), Step::Close]
            }
        }
    })
    .await;
    let target = Target::https(&edge);
    for path in ["/damaged", "/coded", "/plain"] {
        for coding in CODINGS {
            let mut http1 = target.http1(HOST).await;
            http1
                .send(format!("GET {path} HTTP/1.1\r\nhost: {HOST}\r\naccept-encoding: {coding}\r\n\r\n"))
                .await;
            let (bytes, _) = http1.end().await;
            assert!(!bytes.ends_with(b"\r\n0\r\n\r\n"), "{path} {coding}");
            // What came before the fault is sent, unless the origin is gone before the head is.
            let begins = bytes.starts_with(b"HTTP/1.1 200 OK\r\n");
            assert!(begins || path != "/damaged", "{path} {coding}");
            let mut http2 = target.http2(HOST).await;
            let fields = [("accept-encoding", coding)];
            let failed =
                http2.request(Method::GET, HOST, path, &fields).await.expect_err("an incomplete answer");
            assert!(failed.is_reset(), "{path} {coding}: {failed}");
        }
    }
}

/// A client that reads nothing holds back the origin, not the edge's memory.
#[tokio::test]
async fn a_slow_client_holds_no_more_than_one_piece() {
    let (origin, edge) = edge("on", |_| {
        let noise: Vec<u8> = (0..8u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
        answer("200 OK", &["content-type: text/css"], noise)
    })
    .await;
    let target = Target::https(&edge);
    let asked =
        |coding: &str| format!("GET /a.css HTTP/1.1\r\nhost: {HOST}\r\naccept-encoding: {coding}\r\n\r\n");
    // The code of the encoders, and what the allocator keeps, is in memory after a first answer.
    for coding in CODINGS {
        let mut http1 = target.http1(HOST).await;
        http1.send(asked(coding)).await;
        http1.answer("GET").await;
    }
    let before = edge.resident();
    let mut waiting = Vec::new();
    for coding in [CODINGS, CODINGS, CODINGS].concat() {
        let mut http1 = target.http1(HOST).await;
        http1.send(asked(coding)).await;
        waiting.push((http1, coding));
        origin.until("the request", |seen| seen.len() == CODINGS.len() + waiting.len()).await;
    }
    let held = settled("it holds no more", || edge.resident()).await.saturating_sub(before);
    assert!(held < 30, "{held} MiB for 9 answers of 8 MiB");
    for (mut http1, coding) in waiting {
        let answer = http1.answer("GET").await;
        assert_eq!(decode(coding, &answer.body).len(), 8 << 20, "{coding}");
    }
}

#[tokio::test]
async fn an_http2_origin_that_pauses_is_followed_too() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Http2Origin::start(move |mut exchange| {
        let held = held.clone();
        async move {
            let mut body = exchange.head(StatusCode::OK, &[("content-type", "text/css")], false);
            body.send_data(Bytes::from_static(b"first"), false).expect("sent");
            held.passed().await;
            body.send_data(Bytes::from_static(b" last"), true).expect("sent");
        }
    })
    .await;
    let origins = "  - {name: main, region: mainland, scheme: h2c, servers: [\"$ORIGIN\"]}\n";
    let edge = Edge::builder().origin(origin.address).origins(origins).sites(&site("on")).start().await;
    let mut http2 = Target::https(&edge).http2(HOST).await;
    let fields = [("accept-encoding", "zstd")];
    let (response, _) = http2.begin(Method::GET, HOST, "/a.css", &fields, true).await;
    let (_, mut body) = head_of(response).await.expect("a head");
    let mut bytes = Vec::new();
    while decode_begun("zstd", &bytes) != b"first" {
        bytes.extend_from_slice(&next_data(&mut body).await.expect("not the end").expect("data"));
    }
    gate.open();
    while let Some(more) = next_data(&mut body).await {
        bytes.extend_from_slice(&more.expect("data"));
    }
    assert_eq!(decode("zstd", &bytes), b"first last");
}
