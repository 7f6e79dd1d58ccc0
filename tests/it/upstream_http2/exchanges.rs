//! Exchanges over upstream HTTP/2: heads, concurrent bodies, trailers, resets.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::{HOST, h2c};
use crate::support::client::{Target, answer, head_of, next_data};
use crate::support::http2_origin::{Exchange, Http2Origin, send_all};
use crate::support::origin::Gate;
use crate::support::time::within;
use crate::support::{PATIENCE, eventually};

#[tokio::test]
async fn requests_and_answers_pass_unchanged() {
    let origin = Http2Origin::start(|mut exchange: Exchange| async move {
        let head = &exchange.head;
        let seen = [
            head.method.to_string(),
            head.uri.to_string(),
            format!("{:?}", head.headers.get("host")),
            format!("{:?}", head.headers.get("cookie")),
            format!("{:?}", head.headers.get("connection")),
            format!("{:?}", head.headers.get("x-forwarded-host")),
        ];
        let (body, _) = exchange.whole().await.expect("a body");
        exchange.text(&format!("{}\n{}", seen.join("\n"), String::from_utf8_lossy(&body)));
    })
    .await;
    let edge = h2c().origin(origin.address).start().await;
    let expected =
        format!("POST\nhttp://{HOST}/a/b?c=d\nNone\nSome(\"a=1; b=2\")\nNone\nSome(\"{HOST}\")\nthe body");

    let mut http1 = Target::https(&edge).http1(HOST).await;
    let fields = "Cookie: a=1; b=2\r\nConnection: x-hop\r\nX-Hop: 1\r\nContent-Length: 8\r\n";
    http1.send(format!("POST /a/b?c=d HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\nthe body")).await;
    assert_eq!(http1.answer("POST").await.text(), expected);
    let mut http2 = Target::https(&edge).http2(HOST).await;
    let cookies = [("cookie", "a=1"), ("cookie", "b=2")];
    let (response, mut body) = http2.begin(Method::POST, HOST, "/a/b?c=d", &cookies, false).await;
    body.send_data("the body".into(), true).expect("sent");
    assert_eq!(answer(response).await.expect("an answer").text(), expected);
    let record = edge.records_where(2, |record| record["status"] == 200).await.remove(0);
    assert_eq!(record["upstream_address"], origin.address.to_string());
}

#[tokio::test]
async fn answers_without_a_body_are_passed_on() {
    let origin = Http2Origin::start(|mut exchange: Exchange| async move {
        let status = exchange.path().trim_start_matches('/').parse().unwrap_or(StatusCode::OK);
        let length = [("content-length", "5")];
        let fields = if exchange.head.method == Method::HEAD { &length[..] } else { &[] };
        exchange.head(status, fields, true);
    })
    .await;
    let edge = h2c().origin(origin.address).start().await;
    for status in ["200", "204", "304", "404"] {
        let path = format!("/{status}");
        let mut http1 = Target::https(&edge).http1(HOST).await;
        for method in ["GET", "HEAD"] {
            http1.ask(method, HOST, &path).await;
            let answer = http1.answer(method).await;
            assert_eq!((answer.status.to_string().as_str(), answer.text().as_str()), (status, ""));
        }
        let mut http2 = Target::https(&edge).http2(HOST).await;
        let answer = http2.request(Method::HEAD, HOST, &path, &[]).await.expect("an answer");
        assert_eq!(answer.status.to_string(), status);
    }
}

#[tokio::test]
async fn ten_mebibytes_pass_each_way_at_once() {
    let origin = Http2Origin::start(|mut exchange: Exchange| async move {
        let mut answer =
            exchange.head(StatusCode::OK, &[("content-type", "application/octet-stream")], false);
        while let Some(Ok(bytes)) = exchange.data().await {
            if send_all(&mut answer, bytes).await.is_err() {
                return;
            }
        }
        answer.send_data(Bytes::new(), true).expect("sent");
    })
    .await;
    let edge = h2c().origin(origin.address).start().await;
    let sent: Vec<u8> = (0..10 * 1024 * 1024_u32).map(|n| (n / 7 % 251) as u8).collect();

    let mut client = Target::https(&edge).http2(HOST).await;
    let (response, mut body) = client.begin(Method::POST, HOST, "/", &[], false).await;
    let upload = Bytes::from(sent.clone());
    let sending = tokio::spawn(async move {
        send_all(&mut body, upload).await.expect("sent");
        body.send_data(Bytes::new(), true).expect("ended");
    });
    let (_, mut data) = head_of(response).await.expect("a head");
    let mut received = Vec::new();
    while let Some(bytes) = next_data(&mut data).await {
        received.extend_from_slice(&bytes.expect("bytes"));
    }
    sending.await.expect("all sent");
    assert!(received == sent, "{} bytes came", received.len());
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let origin = Http2Origin::start(|mut exchange: Exchange| async move {
        let (_, trailers) = exchange.whole().await.expect("a body");
        let sum = trailers.and_then(|fields| fields.get("x-sum").cloned());
        let te = exchange.head.headers.get("te").cloned();
        let mut body = exchange.head(StatusCode::OK, &[("content-type", "text/plain")], false);
        body.send_data("body".into(), false).expect("sent");
        let mut fields = HeaderMap::new();
        fields.insert("x-sum", sum.unwrap_or(HeaderValue::from_static("none")));
        fields.insert("x-te", te.unwrap_or(HeaderValue::from_static("none")));
        body.send_trailers(fields).expect("sent");
    })
    .await;
    let edge = h2c().origin(origin.address).start().await;

    let mut client = Target::https(&edge).http2(HOST).await;
    let (response, mut upload) = client.begin(Method::POST, HOST, "/", &[("te", "trailers")], false).await;
    upload.send_data("sent".into(), false).expect("sent");
    upload
        .send_trailers(HeaderMap::from_iter([("x-sum".parse().unwrap(), HeaderValue::from_static("42"))]))
        .expect("sent");
    let (_, mut body) = head_of(response).await.expect("a head");
    while let Some(bytes) = next_data(&mut body).await {
        bytes.expect("bytes");
    }
    let trailers = within("trailers", body.trailers()).await.expect("trailers").expect("some");
    assert_eq!(trailers["x-sum"], "42");
    assert_eq!(trailers["x-te"], "trailers");

    // HTTP/1.1 clients get trailers if they sent `TE: trailers`.
    let with = async |fields: &str| {
        let mut http1 = Target::https(&edge).http1(HOST).await;
        http1.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n\r\n")).await;
        let (bytes, _) = http1.end().await;
        String::from_utf8_lossy(&bytes).to_ascii_lowercase()
    };
    let taken = with("TE: trailers\r\nConnection: te, close").await;
    assert!(taken.ends_with("\r\n0\r\nx-sum: none\r\nx-te: trailers\r\n\r\n"), "{taken}");
    let not_taken = with("Connection: close").await;
    assert!(not_taken.ends_with("\r\n0\r\n\r\n"), "{not_taken}");
}

#[tokio::test]
async fn a_client_that_disconnects_cancels_its_stream_at_the_server() {
    let (gone, began) = (Gate::default(), Gate::default());
    let (tell_gone, tell_began) = (gone.clone(), began.clone());
    let origin = Http2Origin::start(move |mut exchange: Exchange| {
        let (gone, began) = (tell_gone.clone(), tell_began.clone());
        async move {
            began.open();
            let reason = std::future::poll_fn(|cx| exchange.respond.poll_reset(cx)).await;
            assert_eq!(reason.expect("a reset"), h2::Reason::CANCEL);
            gone.open();
        }
    })
    .await;
    let edge = h2c().origin(origin.address).start().await;
    let mut client = Target::https(&edge).http2(HOST).await;
    let (_response, mut body) = client.begin(Method::POST, HOST, "/", &[], false).await;
    within("the request", began.passed()).await;
    body.send_reset(h2::Reason::CANCEL);
    within("the reset", gone.passed()).await;
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_client_that_does_not_read_does_not_block_other_streams() {
    let origin = Http2Origin::start(|mut exchange: Exchange| async move {
        if exchange.path() == "/quick" {
            return exchange.text("quick");
        }
        let mut body = exchange.head(StatusCode::OK, &[], false);
        // Until the client has disconnected.
        let _ = send_all(&mut body, Bytes::from(vec![b'x'; 32 * 1024 * 1024])).await;
    })
    .await;
    let edge = h2c().origin(origin.address).start().await;
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut client = Target::https(&edge).http1(HOST).await;
        client.ask("GET", HOST, "/slow").await;
        client.head().await;
        slow.push(client);
    }
    for _ in 0..5 {
        assert_eq!(Target::https(&edge).get(HOST, "/quick").await.text(), "quick");
    }
    assert_eq!(origin.connections(), 1);
    drop(slow);
    eventually("all are recorded", PATIENCE, async || (edge.records().await.len() >= 25).then_some(())).await;
}
