//! One client does not take the places of all: its share of a server, bodies that have not begun, and the pace of the others.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use tokio::task::JoinSet;

use super::connect_from;
use crate::support::HOST;
use crate::support::client::{HEADERS, Http2, PREFACE, RST_STREAM, Target, answer, frame, get_block};
use crate::support::edge::{Builder, Edge};
use crate::support::http2_origin::send_all;
use crate::support::origin::{Gate, Origin, Step, head, ok};
use crate::support::time::{not_before, pause, within};

const WINDOW_UPDATE: u8 = 8;

const ONE: [u8; 4] = [127, 0, 0, 31];
const OTHER: [u8; 4] = [127, 0, 0, 32];

async fn http2_from(client: [u8; 4], edge: &Edge) -> Http2 {
    let tcp = connect_from(client, edge.https()).await.expect("a connection");
    let stream = Target::https(edge).tls_over(tcp, HOST, b"h2").await.expect("a handshake");
    Http2::over(stream, h2::client::Builder::new()).await
}

fn with_places(origin: &Origin, places: u32) -> Builder {
    let server = origin.address;
    let origins = format!(
        "  - {{name: main, region: mainland, scheme: http, max_in_flight: {places}, servers: [\"{server}\"]}}\n"
    );
    Edge::builder().origins(&origins)
}

#[tokio::test]
async fn a_client_leaves_half_of_a_busy_server_to_others() {
    let gate = Gate::default();
    let waiting = gate.clone();
    let origin = Origin::start(move |request| match request.target() {
        "/slow" => [vec![Step::Wait(waiting.clone())], ok("late")].concat(),
        _ => ok("at once"),
    })
    .await;
    let edge = with_places(&origin, 64).start().await;
    let mut one = http2_from(ONE, &edge).await;
    let mut asked = Vec::new();
    for _ in 0..80 {
        asked.push(one.begin(Method::GET, HOST, "/slow", &[], true).await.0);
    }
    origin.until("half of the places are taken", |seen| seen.len() == 32).await;
    // It has more than its quarter, since nobody wanted the places; now it gets no more.
    assert_eq!(one.get(HOST, "/").await.status, 503);
    assert!(edge.metric("icpgate_upstream_overflow_total{origin=\"main\"}").await >= 1.0);
    let mut other = http2_from(OTHER, &edge).await;
    for _ in 0..20 {
        assert_eq!(other.get(HOST, "/").await.text(), "at once");
    }
    gate.open();
    let mut statuses = Vec::new();
    for response in asked {
        statuses.push(answer(response).await.expect("an answer").status);
    }
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 32);
    assert_eq!(one.get(HOST, "/").await.text(), "at once");
}

#[tokio::test]
async fn bodies_that_have_not_begun_take_no_place() {
    let origin = Origin::text("thanks").await;
    let edge = with_places(&origin, 4).start().await;
    let mut one = http2_from(ONE, &edge).await;
    let mut held = Vec::new();
    for length in ["9", "100000"] {
        for _ in 0..30 {
            held.push(one.begin(Method::POST, HOST, "/", &[("content-length", length)], false).await);
        }
    }
    // Small bodies that stop in the middle.
    for _ in 0..9 {
        let (response, mut body) =
            one.begin(Method::POST, HOST, "/", &[("content-length", "9")], false).await;
        body.send_data("begi".into(), false).expect("sent");
        held.push((response, body));
    }
    assert_eq!(one.get(HOST, "/").await.text(), "thanks");
    assert_eq!(origin.seen().len(), 1, "it had no other request");

    // They are served as soon as they come.
    let (response, mut body) = held.pop().expect("some");
    body.send_data("n now".into(), true).expect("sent");
    assert_eq!(answer(response).await.expect("an answer").text(), "thanks");
    let (response, mut body) = held.swap_remove(30);
    send_all(&mut body, "x".repeat(100_000).into()).await.expect("sent");
    body.send_data(Bytes::new(), true).expect("sent");
    assert_eq!(answer(response).await.expect("an answer").text(), "thanks");
    let seen = origin.seen();
    assert_eq!((&*seen[1].body, seen[2].body.len()), (&b"begin now"[..], 100_000));
}

#[tokio::test]
async fn a_small_body_is_forwarded_whole_however_it_comes() {
    let origin = Origin::text("thanks").await;
    let edge = Edge::in_front_of(&origin).await;
    let body = "a=1&b=2&".repeat(100);
    let mut http1 = Target::https(&edge).http1(HOST).await;
    let head = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {}\r\n\r\n", body.len());
    for size in [1, 7, body.len()] {
        http1.send(&head).await;
        for part in body.as_bytes().chunks(size) {
            http1.send(part).await;
        }
        assert_eq!(http1.answer("POST").await.text(), "thanks", "{size}");

        let mut http2 = Target::https(&edge).http2(HOST).await;
        let fields = [("content-length", &*body.len().to_string())];
        let (response, mut sender) = http2.begin(Method::POST, HOST, "/", &fields, false).await;
        for part in body.as_bytes().chunks(size) {
            sender.send_data(Bytes::copy_from_slice(part), false).expect("sent");
        }
        sender.send_data(Bytes::new(), true).expect("sent");
        assert_eq!(answer(response).await.expect("an answer").text(), "thanks", "{size}");
    }
    let seen = origin.seen();
    assert!(seen.len() == 6 && seen.iter().all(|one| one.whole && one.body == body.as_bytes()), "{seen:?}");
}

#[tokio::test]
async fn streams_and_clients_that_expect_100_reach_the_server_before_their_body() {
    let origin = Origin::text("thanks").await;
    let edge = Edge::in_front_of(&origin).await;
    let mut client = Target::https(&edge).http2(HOST).await;
    let expecting = [("expect", "100-continue"), ("content-length", "4")];
    for (before, fields) in [&[][..], &expecting].into_iter().enumerate() {
        let (response, mut body) = client.begin(Method::POST, HOST, "/", fields, false).await;
        origin.until("the head", |seen| seen.len() > before).await;
        body.send_data("body".into(), true).expect("sent");
        assert_eq!(answer(response).await.expect("an answer").text(), "thanks", "{fields:?}");
    }
    assert!(origin.seen().iter().all(|request| request.whole && request.body == b"body"));
}

#[tokio::test]
async fn a_body_that_drips_ends_and_a_slow_one_does_not() {
    let origin = Origin::text("thanks").await;
    let edge = Edge::builder()
        .origin(origin.address)
        .limit("body_rate", "100")
        .limit("body_rate_grace", "3s")
        .start()
        .await;
    let asked = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 40000\r\n\r\n");
    let mut drip = Target::https(&edge).http1(HOST).await;
    drip.send(&asked).await;
    let dripping = async {
        // A byte now and then keeps `body_idle_timeout` away.
        while drip.try_send("x").await.is_ok() {
            if tokio::time::timeout(Duration::from_millis(100), drip.wire.fill()).await.is_ok() {
                break;
            }
        }
    };
    not_before(Duration::from_secs(3), dripping).await;
    edge.records_where(1, |record| record["status"] == 408).await;

    // 10,000 bytes a second, for longer than the grace.
    let mut slow = Target::https(&edge).http1(HOST).await;
    slow.send(&asked).await;
    for _ in 0..20 {
        slow.send("x".repeat(2000)).await;
        pause(Duration::from_millis(200)).await;
    }
    assert_eq!(slow.answer("POST").await.text(), "thanks");
}

#[tokio::test]
async fn a_client_that_takes_its_answer_by_drips_is_cut() {
    let origin = Origin::start(|_| vec![head("200 OK", &["content-length: 1000000000"]), Step::Flood]).await;
    let edge = Edge::builder()
        .origin(origin.address)
        .limit("body_rate", "1MiB")
        .limit("body_rate_grace", "1s")
        .start()
        .await;
    let mut frames = Target::https(&edge).frames(HOST).await;
    frames.send(PREFACE).await.expect("sent");
    frames.send(&frame(HEADERS, 5, 1, &get_block(HOST, "/"))).await.expect("sent");
    let dripping = async {
        // 100 bytes more for each frame keep `body_idle_timeout` away.
        let update = [0, 1].map(|stream| frame(WINDOW_UPDATE, 0, stream, &100_u32.to_be_bytes())).concat();
        while let Some(one) = frames.next().await {
            if one.kind == RST_STREAM && one.stream == 1 {
                return true;
            }
            pause(Duration::from_millis(10)).await;
            frames.send(&update).await.expect("sent");
        }
        false
    };
    assert!(within("the end of the stream", dripping).await);
}

#[tokio::test]
async fn hundreds_of_slow_uploads_of_one_network_are_served() {
    let origin = Origin::text("thanks").await;
    let edge = Edge::in_front_of(&origin).await;
    let mut uploads = JoinSet::new();
    for _ in 0..3 {
        let mut client = Target::https(&edge).http2(HOST).await;
        for _ in 0..100 {
            let (response, mut body) = client.begin(Method::POST, HOST, "/", &[], false).await;
            uploads.spawn(async move {
                // A bad mobile link: 1,000 bytes in each round, all of them at the same time.
                for _ in 0..10 {
                    body.send_data("x".repeat(1000).into(), false).expect("sent");
                    pause(Duration::from_millis(200)).await;
                }
                body.send_data(Bytes::new(), true).expect("sent");
                answer(response).await.expect("an answer").status
            });
        }
    }
    while let Some(status) = uploads.join_next().await {
        assert_eq!(status.expect("it ends"), 200);
    }
    let seen = origin.seen();
    assert!(seen.len() == 300 && seen.iter().all(|request| request.whole && request.body.len() == 10_000));
}
