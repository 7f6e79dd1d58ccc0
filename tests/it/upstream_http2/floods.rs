//! Origins that send frames or heads without end.

use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{HOST, h2c};
use crate::support::client::{HEADERS, Target, answer, frame};
use crate::support::edge::Edge;
use crate::support::http2_origin::{Exchange, Http2Origin};
use crate::support::origin::{Origin, head, ok};

const SETTINGS: u8 = 4;
const PING: u8 = 6;
/// MiB that one connection to an origin may add.
const HELD: u64 = 32;

/// An origin that answers each first request with `flood` over and over.
async fn flooding(flood: Vec<u8>) -> Http2Origin {
    Http2Origin::raw(None, move |mut stream, _| {
        let flood = flood.repeat(1000);
        Box::pin(async move {
            stream.write_all(&frame(SETTINGS, 0, 0, b"")).await.expect("sent");
            // The preface, SETTINGS and the request come first.
            let mut seen = vec![0; 128];
            stream.read_exact(&mut seen).await.expect("a request");
            while stream.write_all(&flood).await.is_ok() {}
        })
    })
    .await
}

#[tokio::test]
async fn an_origin_that_floods_is_cut() {
    // `:status: 103`, as a literal without the dynamic table.
    let hints = frame(HEADERS, 4, 1, &[0x08, 3, b'1', b'0', b'3']);
    for flood in
        [hints, frame(PING, 0, 0, &[0; 8]), frame(0xbe, 0, 0, &[0; 1000]), frame(SETTINGS, 0, 0, b"")]
    {
        let kind = flood[3];
        let origin = flooding(flood).await;
        let edge = h2c().origin(origin.address).start().await;
        let before = edge.resident();
        let answer = Target::https(&edge).http1(HOST).await.get(HOST, "/").await;
        assert_eq!(answer.status, 502, "{kind}");
        let held = edge.resident().saturating_sub(before);
        assert!(held < HELD, "{kind}: {held} MiB");
    }
}

/// What the edge answers when the origin sends so many informational heads first.
async fn after_hints(edge: &Edge) -> u16 {
    Target::https(edge).http2(HOST).await.get(HOST, "/").await.status
}

#[tokio::test]
async fn informational_heads_have_one_limit_over_both_protocols() {
    for (hints, status) in [(16, 200), (17, 502)] {
        let origin = Origin::start(move |_| {
            let early = head("103 Early Hints", &["link: </a.css>; rel=preload"]);
            [vec![early; hints], ok("page")].concat()
        })
        .await;
        assert_eq!(after_hints(&Edge::in_front_of(&origin).await).await, status, "HTTP/1.1, {hints}");

        let origin = Http2Origin::start(move |mut exchange: Exchange| async move {
            for _ in 0..hints {
                let mut early = http::Response::new(());
                *early.status_mut() = StatusCode::EARLY_HINTS;
                // The edge may have had enough.
                let _ = exchange.respond.send_informational(early);
                tokio::task::yield_now().await;
            }
            let _ = exchange.respond.send_response(http::Response::new(()), true);
        })
        .await;
        let edge = h2c().origin(origin.address).start().await;
        assert_eq!(after_hints(&edge).await, status, "HTTP/2, {hints}");
    }
}

#[tokio::test]
async fn responses_have_one_limit_of_fields_over_both_protocols() {
    for (count, status) in [(200, 200), (300, 502)] {
        let fields: Vec<String> = (0..count).map(|number| format!("x-{number}: 1")).collect();
        let sent = fields.clone();
        let origin = Origin::start(move |_| {
            let mut all: Vec<&str> = sent.iter().map(String::as_str).collect();
            all.push("content-length: 0");
            vec![head("200 OK", &all)]
        })
        .await;
        assert_eq!(after_hints(&Edge::in_front_of(&origin).await).await, status, "HTTP/1.1, {count}");

        let origin = Http2Origin::start(move |mut exchange: Exchange| {
            let fields = fields.clone();
            async move {
                let pairs: Vec<_> = fields.iter().filter_map(|field| field.split_once(": ")).collect();
                exchange.head(StatusCode::OK, &pairs, true);
            }
        })
        .await;
        let edge = h2c().origin(origin.address).start().await;
        assert_eq!(after_hints(&edge).await, status, "HTTP/2, {count}");
    }
}

#[tokio::test]
async fn trailers_of_http2_clients_have_the_limit_of_http1() {
    let origin = Http2Origin::start(|mut exchange: Exchange| async move {
        // It may be cut.
        if let Ok((_, trailers)) = exchange.whole().await {
            exchange.text(&trailers.map_or(0, |trailers| trailers.len()).to_string());
        }
    })
    .await;
    let edge = h2c().origin(origin.address).start().await;
    for (count, passes) in [(60, true), (70, false)] {
        let trailers: HeaderMap = (0..count)
            .map(|number| {
                let name = http::HeaderName::try_from(format!("x-{number}")).expect("a name");
                (name, HeaderValue::from_static("1"))
            })
            .collect();
        let mut client = Target::https(&edge).http2(HOST).await;
        let (response, mut body) = client.begin(Method::POST, HOST, "/", &[], false).await;
        body.send_data("body".into(), false).expect("sent");
        body.send_trailers(trailers).expect("sent");
        let outcome = answer(response).await;
        assert_eq!(outcome.is_ok_and(|answer| answer.text() == "60"), passes, "{count}");
    }
}
