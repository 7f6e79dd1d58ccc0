//! Answers that break the grammar of HTTP/1.1: what can be read in one way passes, and only the rest is refused.

use http::Method;

use super::HOST;
use crate::support::client::Target;
use crate::support::edge::Edge;
use crate::support::origin::{Origin, Step, ok, raw};

const DROPPED: &str = "icpgate_upstream_fields_dropped_total{origin=\"main\"}";

#[tokio::test]
async fn a_field_that_is_none_is_dropped_and_the_answer_goes_on() {
    let origin = Origin::start(|request| {
        let fields = match request.target() {
            "/blank" => "X-Kept : yes\r\nContent-Length\t : 5\r\n",
            "/name" => "<b>Warning</b>: x\r\nX-Kept: yes\r\nContent-Length: 5\r\n",
            "/colon" => "PHP Notice\r\nX-Kept: yes\r\nContent-Length: 5\r\n",
            "/control" => "X-Bad: a\x01b\r\nX-Kept: yes\r\nX-Nul: \0\r\nContent-Length: 5\r\n",
            "/bare" => "X-Kept: yes\r\nX-Bare: a\rb\r\nContent-Length: 5\r\n",
            _ => "X-Kept: ye\r\n s\r\nContent-Length: 5\r\n",
        };
        vec![raw(format!("HTTP/1.1 200 OK\r\n{fields}\r\nhello"))]
    })
    .await;
    let edge = Edge::builder().origin(origin.address).start().await;
    assert_eq!(edge.metric(DROPPED).await, 0.0);
    let mut http1 = Target::https(&edge).http1(HOST).await;
    let mut http2 = Target::https(&edge).http2(HOST).await;
    for (path, kept) in [
        ("/blank", "yes"),
        ("/name", "yes"),
        ("/colon", "yes"),
        ("/control", "yes"),
        ("/bare", "yes"),
        ("/folded", "ye s"),
    ] {
        for answer in [http1.get(HOST, path).await, http2.get(HOST, path).await] {
            assert_eq!((answer.status, answer.text().as_str()), (200, "hello"), "{path}");
            assert_eq!(answer.field("x-kept"), Some(kept), "{path}");
            assert!(answer.field("x-bad").is_none() && answer.field("x-bare").is_none(), "{answer:?}");
        }
    }
    edge.metric_becomes(DROPPED, 10.0).await;
    assert_eq!(origin.connections(), 1, "none of them costs the connection");
}

#[tokio::test]
async fn padded_chunk_sizes_and_trailers_that_are_none_are_read() {
    let origin = Origin::start(|_| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n";
        vec![raw(format!("{head}5   \r\nhello\r\n1\t;a=b\r\n!\r\n0 \r\nno colon\r\nX-Sum : 1\r\n\r\n"))]
    })
    .await;
    let edge = Edge::builder().origin(origin.address).start().await;
    let mut http1 = Target::https(&edge).http1(HOST).await;
    assert_eq!(http1.get(HOST, "/").await.text(), "hello!");
    assert_eq!(Target::https(&edge).http2(HOST).await.get(HOST, "/").await.text(), "hello!");
    edge.metric_becomes(DROPPED, 2.0).await;
}

#[tokio::test]
async fn an_answer_that_could_be_framed_in_two_ways_is_502_and_told_once() {
    const CASES: [(&str, &str, &str); 8] = [
        ("/lengths", "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", "answer_length"),
        ("/both", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "answer_coding"),
        ("/coding", "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "answer_coding"),
        ("/control", "Transfer-Encoding\x0b: chunked\r\n\r\nhello", "answer_coding"),
        ("/bare", "X: a\rContent-Length: 2\r\n\r\nhello", "answer_coding"),
        ("/folded", "X: a\r\n Content-Length: 2\r\n\r\nhello", "answer_coding"),
        ("/chunk", "Transfer-Encoding: chunked\r\n\r\n5 x\r\nhello\r\n0\r\n\r\n", "answer_chunk"),
        ("/name", "Content-Length\0: 2\r\n\r\nhello", "answer_coding"),
    ];
    let origin = Origin::start(|request| {
        let case = CASES.iter().find(|(path, ..)| *path == request.target());
        match case {
            Some((_, rest, _)) => vec![raw(format!("HTTP/1.1 200 OK\r\n{rest}")), Step::Close],
            None if request.target() == "/upgrade" => {
                vec![raw("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n"), Step::Close]
            }
            None => ok("fine"),
        }
    })
    .await;
    let edge = Edge::builder().origin(origin.address).start().await;
    let mut http1 = Target::https(&edge).http1(HOST).await;
    let mut http2 = Target::https(&edge).http2(HOST).await;
    let reasons =
        CASES.iter().map(|(path, _, reason)| (*path, *reason)).chain([("/upgrade", "answer_upgrade")]);
    for (path, reason) in reasons {
        let over_http1 = http1.get(HOST, path).await;
        let over_http2 = http2.request(Method::GET, HOST, path, &[]).await.expect("an answer");
        for answer in [over_http1, over_http2] {
            assert_eq!(answer.status, 502, "{path}: {answer:?}");
            let id = answer.field("x-request-id").expect("an id");
            let record = edge.records_where(1, |record| record["request_id"] == id).await.remove(0);
            assert_eq!((&record["status"], &record["reason"]), (&502.into(), &reason.into()), "{record}");
            assert_eq!((&record["origin"], &record["path"]), (&"main".into(), &path.into()), "{record}");
            edge.logged(id).await;
            let log = edge.log();
            let told: Vec<&str> = log.lines().filter(|line| line.contains(id)).collect();
            assert_eq!(told.len(), 1, "{told:?}");
            for word in ["WARN", reason, "main", path, &origin.address.to_string()] {
                assert!(told[0].contains(word), "{word}: {told:?}");
            }
        }
    }
    assert_eq!(http1.get(HOST, "/").await.text(), "fine");
}
