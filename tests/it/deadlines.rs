//! Every wait for a peer ends at its limit, and not before.

use std::time::Duration;

use http::Method;

use crate::support::client::{
    End, GOAWAY, HEADERS, Http2, PREFACE, Target, answer, frame, get_block, head_of, next_data,
};
use crate::support::edge::Edge;
use crate::support::origin::{Origin, Step, chunk, head, ok, raw};
use crate::support::time::{not_before, pause};
use crate::support::{HOST, PATIENCE, eventually};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn an_idle_connection_ends_at_idle_timeout() {
    let origin = Origin::text("hello").await;
    let edge = Edge::builder().origin(origin.address).limit("idle_timeout", "1s").start().await;
    let end = not_before(SECOND, async { Target::https(&edge).http1(HOST).await.end().await });
    assert_eq!(end.await, (Vec::new(), End::Closed));

    let mut used = Target::https(&edge).http1(HOST).await;
    for _ in 0..3 {
        pause(Duration::from_millis(500)).await;
        assert_eq!(used.get(HOST, "/").await.text(), "hello");
    }
    let end = not_before(SECOND, async {
        assert_eq!(used.get(HOST, "/").await.text(), "hello");
        used.end().await
    });
    assert_eq!(end.await, (Vec::new(), End::Closed));

    let mut http2 = Target::https(&edge).http2(HOST).await;
    not_before(SECOND, async {
        assert_eq!(http2.get(HOST, "/").await.text(), "hello");
        http2.end().await
    })
    .await;
}

#[tokio::test]
async fn a_silent_http2_client_is_disconnected() {
    let edge = Edge::builder().limit("request_head_timeout", "1s").limit("idle_timeout", "2s").start().await;
    // Without a preface.
    not_before(SECOND, async {
        let mut mute = Target::https(&edge).frames(HOST).await;
        while mute.next().await.is_some() {}
    })
    .await;
    // With a preface, and silence after it.
    let mut silent = Target::https(&edge).frames(HOST).await;
    let goaway = not_before(2 * SECOND, async {
        silent.send(PREFACE).await.unwrap();
        silent.next_of(GOAWAY).await
    });
    assert!(goaway.await.is_some());
    not_before(Duration::ZERO, async { while silent.next().await.is_some() {} }).await;
    edge.metric_becomes("icpgate_connections_open{listener=\"https\"}", 0.0).await;
}

#[tokio::test]
async fn pings_do_not_keep_an_idle_http2_connection_open() {
    let edge = Edge::builder().limit("idle_timeout", "1s").start().await;
    let mut frames = Target::https(&edge).frames(HOST).await;
    not_before(SECOND, async {
        frames.send(PREFACE).await.unwrap();
        let ping = frame(6, 0, 0, b"whatever");
        // Fewer than the allowance of a connection for such frames.
        while frames.send(&ping).await.is_ok() {
            if let Ok(None) = tokio::time::timeout(Duration::from_millis(100), frames.next()).await {
                break;
            }
            pause(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_dripped_request_head_ends_at_request_head_timeout() {
    let origin = Origin::text("hello").await;
    let edge = Edge::builder().origin(origin.address).limit("request_head_timeout", "1s").start().await;

    let mut http1 = Target::https(&edge).http1(HOST).await;
    // On a connection in use.
    assert_eq!(http1.get(HOST, "/").await.text(), "hello");
    let dripping = async {
        for byte in format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nX: {}", "x".repeat(100)).bytes() {
            if http1.try_send([byte]).await.is_err() {
                break;
            }
            let came = tokio::time::timeout(Duration::from_millis(100), http1.wire.fill()).await;
            if came.is_ok() {
                break;
            }
        }
        http1.answer("GET").await
    };
    let answer = not_before(SECOND, dripping).await;
    assert_eq!((answer.status, answer.field("connection")), (408, Some("close")));
    let record = edge.records_where(1, |record| record["status"] == 408).await.remove(0);
    assert_eq!((record["event"].as_str(), record["server_name"].as_str()), (Some("request"), Some(HOST)));

    let mut http2 = Target::https(&edge).frames(HOST).await;
    http2.send(PREFACE).await.unwrap();
    let headers = frame(HEADERS, 5, 1, &get_block(HOST, "/"));
    not_before(SECOND, async {
        for byte in headers.iter().take(headers.len() - 1) {
            if http2.send(&[*byte]).await.is_err() {
                return;
            }
            while let Ok(frame) = tokio::time::timeout(Duration::from_millis(100), http2.next()).await {
                if frame.is_none() {
                    return;
                }
            }
        }
    })
    .await;
    // An endless header block in CONTINUATION frames.
    let mut http2 = Target::https(&edge).frames(HOST).await;
    http2.send(PREFACE).await.unwrap();
    not_before(SECOND, async {
        http2.send(&frame(HEADERS, 1, 1, &get_block(HOST, "/"))).await.unwrap();
        loop {
            if http2.send(&frame(9, 0, 1, b"\0\x01x\x01y")).await.is_err() {
                return;
            }
            while let Ok(frame) = tokio::time::timeout(SECOND / 3, http2.next()).await {
                if frame.is_none() {
                    return;
                }
            }
        }
    })
    .await;
    assert_eq!(origin.seen().len(), 1);
}

#[tokio::test]
async fn a_request_body_that_stops_ends_at_body_idle_timeout() {
    let origin = Origin::text("thanks").await;
    let edge = Edge::builder().origin(origin.address).limit("body_idle_timeout", "1s").start().await;
    let mut http1 = Target::https(&edge).http1(HOST).await;
    http1.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 9\r\n\r\nbe")).await;
    // Each part restarts the time.
    pause(SECOND / 2).await;
    let outcome = not_before(SECOND, async {
        http1.send("gi").await;
        http1.try_answer("POST").await
    });
    let outcome = outcome.await;
    assert!(outcome.as_ref().map_or(true, |answer| answer.status == 408), "{outcome:?}");

    let mut http2 = Target::https(&edge).http2(HOST).await;
    let (response, mut body) = http2.begin(Method::POST, HOST, "/", &[], false).await;
    let outcome = not_before(SECOND, async {
        body.send_data("begi".into(), false).unwrap();
        answer(response).await
    });
    let outcome = outcome.await;
    assert!(outcome.as_ref().map_or(true, |answer| answer.status == 408), "{outcome:?}");
    assert_eq!(http2.get(HOST, "/").await.text(), "thanks", "other streams go on");

    let seen = origin.seen();
    assert!(seen[..2].iter().all(|request| request.body == b"begi" && !request.whole), "{seen:?}");
    eventually("the origin is not kept waiting", PATIENCE, async || (origin.open() <= 1).then_some(())).await;
    edge.records_where(2, |record| record["method"] == "POST").await;
}

#[tokio::test]
async fn an_origin_that_does_not_answer_is_504_at_first_byte() {
    let origin = Origin::start(|request| match request.target() {
        "/mute" => vec![Step::Wait(Default::default())],
        "/half" => vec![raw("HTTP/1.1 200 OK\r\nx: "), Step::Wait(Default::default())],
        _ => ok("hello"),
    })
    .await;
    let origins = "  - {name: main, region: mainland, scheme: http, servers: [\"$ORIGIN\"], timeouts: {first_byte: 1s}}\n";
    let edge = Edge::builder().origin(origin.address).origins(origins).start().await;
    let mut http1 = Target::https(&edge).http1(HOST).await;
    let mut http2 = Target::https(&edge).http2(HOST).await;
    for path in ["/mute", "/half"] {
        let (one, two) = tokio::join!(
            not_before(SECOND, http1.get(HOST, path)),
            not_before(SECOND, http2.get(HOST, path))
        );
        assert_eq!((one.status, two.status), (504, 504), "{path}");
        assert!(one.text().contains("request id: "));
        // Both connections stay usable.
        assert_eq!(http1.get(HOST, "/").await.text(), "hello");
        assert_eq!(http2.get(HOST, "/").await.text(), "hello");
    }
    // The time for the first byte starts after the body.
    http1.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 4\r\n\r\n")).await;
    for byte in [b"b", b"o", b"d", b"y"] {
        pause(SECOND / 3).await;
        http1.send(byte).await;
    }
    assert_eq!(http1.answer("POST").await.text(), "hello");
}

#[tokio::test]
async fn an_origin_that_stops_within_its_answer_ends_at_idle() {
    let origin = Origin::start(|request| match request.target() {
        "/length" => {
            vec![head("200 OK", &["content-length: 9"]), raw("begin"), Step::Wait(Default::default())]
        }
        "/chunked" => {
            let fields = ["transfer-encoding: chunked"];
            vec![head("200 OK", &fields), chunk("begin"), Step::Wait(Default::default())]
        }
        _ => vec![head("200 OK", &["content-length: 12"]), Step::Drip(b"slow, steady".to_vec(), SECOND / 6)],
    })
    .await;
    let origins =
        "  - {name: main, region: mainland, scheme: http, servers: [\"$ORIGIN\"], timeouts: {idle: 1s}}\n";
    let edge = Edge::builder().origin(origin.address).origins(origins).start().await;
    for path in ["/length", "/chunked"] {
        let (mut http1, mut http2) =
            (Target::https(&edge).http1(HOST).await, Target::https(&edge).http2(HOST).await);
        let over_http1 = async {
            http1.ask("GET", HOST, path).await;
            http1.try_answer("GET").await
        };
        let over_http2 = http2.request(Method::GET, HOST, path, &[]);
        let (one, two) = tokio::join!(not_before(SECOND, over_http1), not_before(SECOND, over_http2));
        // A partial answer must not look complete.
        assert!(one.is_err() && two.is_err(), "{path}: {one:?} {two:?}");
    }
    assert_eq!(Target::https(&edge).get(HOST, "/steady").await.text(), "slow, steady");
}

#[tokio::test]
async fn an_early_answer_waits_for_a_body_that_arrives_steadily() {
    let origin =
        Origin::start(|_| vec![head("200 OK", &["content-length: 4"]), Step::ReadBody, raw("done")]).await;
    let origins =
        "  - {name: main, region: mainland, scheme: http, servers: [\"$ORIGIN\"], timeouts: {idle: 1s}}\n";
    let edge = Edge::builder().origin(origin.address).origins(origins).start().await;
    let mut client = Target::https(&edge).http1(HOST).await;
    // A large body: a small one is read before the server is asked.
    let begun = "x".repeat(20_000);
    let asked = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 20006\r\n\r\n{begun}");
    client.send(&asked).await;
    for byte in ["s", "t", "e", "a", "d", "y"] {
        pause(SECOND / 3).await;
        client.send(byte).await;
    }
    assert_eq!(client.answer("POST").await.text(), "done");
    // An exchange that stops on both sides ends.
    let mut client = Target::https(&edge).http1(HOST).await;
    let outcome = not_before(SECOND, async {
        client.send(format!("{asked}st")).await;
        client.try_answer("POST").await
    });
    assert!(outcome.await.is_err());
}

#[tokio::test]
async fn a_client_that_does_not_read_ends_at_body_idle_timeout() {
    let origin = Origin::start(|request| match request.target() {
        "/flood" => vec![
            head("200 OK", &["transfer-encoding: identity", "content-length: 1000000000000"]),
            Step::Flood,
        ],
        _ => ok("hello"),
    })
    .await;
    let edge = Edge::builder().origin(origin.address).limit("body_idle_timeout", "1s").start().await;

    let mut http1 = Target::https(&edge).http1(HOST).await;
    not_before(SECOND, async {
        http1.ask("GET", HOST, "/flood").await;
        eventually("the flood begins", PATIENCE, async || (origin.open() == 1).then_some(())).await;
        // The client reads nothing, and the kernel's buffers fill up.
        eventually("it is given up", PATIENCE, async || (origin.open() == 0).then_some(())).await;
    })
    .await;
    drop(http1);

    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(65_535).initial_connection_window_size(1 << 20);
    let mut http2 = Http2::over(Target::https(&edge).tls(HOST, b"h2").await.unwrap(), builder).await;
    let body = not_before(SECOND, async {
        let (response, _) = http2.begin(Method::GET, HOST, "/flood", &[], true).await;
        let (_, body) = head_of(response).await.unwrap();
        eventually("it is given up", PATIENCE, async || (origin.open() == 0).then_some(())).await;
        body
    });
    let mut body = body.await;
    assert_eq!(http2.get(HOST, "/").await.text(), "hello", "other streams go on");
    // The bytes so far arrive, and then an error.
    let mut length = 0;
    let end = loop {
        match next_data(&mut body).await {
            Some(Ok(bytes)) => length += bytes.len(),
            Some(Err(error)) => break error,
            None => panic!("a whole body after {length} bytes"),
        }
    };
    assert!(end.is_reset(), "{end}");
    edge.records_where(2, |record| record["path"] == "/flood").await;
}

#[tokio::test]
async fn a_slow_client_that_reads_on_is_served() {
    let origin = Origin::start(|_| ok(vec![b'x'; 32 << 20])).await;
    let edge = Edge::builder().origin(origin.address).limit("body_idle_timeout", "1s").start().await;
    let mut client = Target::https(&edge).http1(HOST).await;
    client.ask("GET", HOST, "/").await;
    client.head().await;
    let mut left = 32 << 20;
    // Longer than the limit in total. Each part exceeds a third of the kernel's buffers, which is
    // when the socket becomes writable again.
    for _ in 0..6 {
        left -= client.read(4 << 20).await.len();
        pause(SECOND / 4).await;
    }
    client.read(left).await;
}

#[tokio::test]
async fn a_websocket_that_is_silent_ends_at_idle_timeout() {
    let fields = ["connection: upgrade", "upgrade: websocket"];
    let origin = Origin::start(move |_| vec![head("101 Switching Protocols", &fields), Step::Echo]).await;
    let edge = Edge::builder().origin(origin.address).limit("idle_timeout", "1s").start().await;
    let mut client = Target::https(&edge).http1(HOST).await;
    client
        .send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"))
        .await;
    client.head().await;
    let end = not_before(5 * SECOND / 2, async {
        for _ in 0..3 {
            pause(SECOND / 2).await;
            client.send("ping").await;
            assert_eq!(client.read(4).await, b"ping");
        }
        client.end().await
    });
    assert!(end.await.0.is_empty());
    eventually("the origin is let go", PATIENCE, async || (origin.open() == 0).then_some(())).await;
}

#[tokio::test]
async fn a_kept_connection_to_an_origin_is_closed_at_idle() {
    let origin = Origin::text("hello").await;
    let origins =
        "  - {name: main, region: mainland, scheme: http, servers: [\"$ORIGIN\"], timeouts: {idle: 1s}}\n";
    let edge = Edge::builder().origin(origin.address).origins(origins).start().await;
    not_before(SECOND, async {
        assert_eq!(Target::https(&edge).get(HOST, "/").await.text(), "hello");
        eventually("it is closed", PATIENCE, async || (origin.open() == 0).then_some(())).await;
    })
    .await;
}
