//! Every exchange and every refusal leaves one record, with all that is known of it.

mod store;

use std::collections::BTreeSet;

use http::Method;
use serde_json::Value;

use crate::support::client::{HEADERS, PREFACE, RST_STREAM, Target, frame, get_block, head_of, next_data};
use crate::support::edge::Edge;
use crate::support::hello::client_hello;
use crate::support::origin::{Gate, Origin, Step, head, html, ok, raw};
use crate::support::probe::{Answer, connect, probe};
use crate::support::{HOST, PATIENCE, eventually};

/// Fields of every record.
const ALWAYS: [&str; 13] = [
    "seq",
    "time",
    "event",
    "node",
    "generation",
    "connection_id",
    "peer_ip",
    "peer_port",
    "client_ip",
    "client_port",
    "local_ip",
    "local_port",
    "listener",
];
/// Further fields of a request, when all are known.
const OF_REQUEST: [&str; 26] = [
    "request_id",
    "protocol",
    "tls_version",
    "tls_cipher",
    "server_name",
    "host",
    "method",
    "path",
    "query",
    "status",
    "bytes_in",
    "bytes_out",
    "duration_ms",
    "referer",
    "user_agent",
    "site",
    "icp_number",
    "origin",
    "region",
    "link",
    "upstream_address",
    "upstream_local_address",
    "upstream_status",
    "upstream_ms",
    "footer",
    "trace_id",
];

#[track_caller]
fn assert_fields<'f>(record: &Value, expected: impl IntoIterator<Item = &'f str>) {
    let has: BTreeSet<&str> = record.as_object().unwrap().keys().map(String::as_str).collect();
    let expected: BTreeSet<&str> =
        expected.into_iter().chain(ALWAYS).chain(["clock_synchronized", "clock_offset_ms"]).collect();
    assert_eq!(has, expected);
}

#[track_caller]
fn assert_time(record: &Value) {
    let text = record["time"].as_str().unwrap();
    // 2026-03-02T10:00:00.000+08:00
    assert!(text.len() == 29 && text.ends_with("+08:00") && text.as_bytes()[19] == b'.', "{text}");
    let time: jiff::Timestamp = text.parse().unwrap();
    let age = icpgate::clock::Clock::system().now().duration_since(time).as_secs_f64();
    assert!((-0.1..60.0).contains(&age), "{text} is {age} s ago");
}

#[tokio::test]
async fn a_request_record_has_every_field() {
    let page = "<html><body>hello</body></html>";
    let origin = Origin::start(move |_| html(page)).await;
    let edge = Edge::in_front_of(&origin).await;
    let mut http1 = Target::https(&edge).http1(HOST).await;
    let fields = "Referer: https://www.example.cn/from?token=secret&a=b\r\nUser-Agent: a \"quoted\" agent\r\nTraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
    http1
        .send(format!("GET /a%20b?c=d&token=secret HTTP/1.1\r\nHost: {HOST}:8443\r\n{fields}Content-Length: 4\r\n\r\nbody"))
        .await;
    let answer = http1.answer("GET").await;
    let mut http2 = Target::https(&edge).http2(HOST).await;
    let fields = [
        ("referer", "https://www.example.cn/from?token=secret&a=b"),
        ("user-agent", "a \"quoted\" agent"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ];
    http2.request(Method::GET, HOST, "/a%20b?c=d&token=secret", &fields).await.unwrap();

    let records = edge.records_where(2, |_| true).await;
    for (place, record) in records.iter().enumerate() {
        assert_fields(record, OF_REQUEST);
        assert_time(record);
        let sent = &origin.seen()[place];
        for (field, expected) in [
            ("event", "request"),
            ("node", "test"),
            ("peer_ip", "127.0.0.1"),
            ("client_ip", "127.0.0.1"),
            ("local_ip", &edge.ip().to_string()),
            ("listener", "https"),
            ("protocol", ["http/1.1", "h2"][place]),
            ("tls_version", "TLSv1.3"),
            ("server_name", HOST),
            ("host", HOST),
            ("method", "GET"),
            ("path", "/a%20b"),
            ("query", "c=d&token=***"),
            ("referer", "https://www.example.cn/from?token=***&a=b"),
            ("user_agent", "a \"quoted\" agent"),
            ("site", "shop"),
            ("icp_number", "京ICP备2024012345号-1"),
            ("origin", "main"),
            ("region", "mainland"),
            ("link", "default"),
            ("upstream_address", &origin.address.to_string()),
            ("footer", "injected"),
            ("trace_id", "0af7651916cd43dd8448eb211c80319c"),
            ("request_id", sent.head.get("x-request-id").unwrap()),
        ] {
            assert_eq!(record[field], expected, "{field}");
        }
        let bytes_in = [4, 0][place];
        for (field, expected) in [
            ("seq", place as u64 + 1),
            ("generation", 1),
            ("local_port", 8443),
            ("status", 200),
            ("upstream_status", 200),
            ("bytes_in", bytes_in),
            ("bytes_out", answer.body.len() as u64),
        ] {
            assert_eq!(record[field], expected, "{field}");
        }
        assert_eq!(record["peer_port"], record["client_port"]);
        assert!(record["tls_cipher"].as_str().unwrap().starts_with("TLS_"));
        assert!(record["upstream_local_address"].as_str().unwrap().starts_with("127.0.0.1:"));
        let (whole, first_byte) =
            (record["duration_ms"].as_f64().unwrap(), record["upstream_ms"].as_f64().unwrap());
        assert!(first_byte > 0.0 && whole > first_byte && whole < 5000.0, "{whole} {first_byte}");
    }
    assert_ne!(records[0]["connection_id"], records[1]["connection_id"]);
    assert!(!records.iter().any(|record| record.to_string().contains("secret")));
}

#[tokio::test]
async fn a_refusal_record_has_the_requested_name() {
    let edge = Edge::builder().start().await;
    assert_eq!(probe(edge.https(), &client_hello("www.example.net")).await, Answer::RESET);
    assert_eq!(probe(edge.https(), b"GET / HTTP/1.1\r\n\r\n").await, Answer::RESET);
    assert_eq!(probe(edge.http(), b"GET / HTTP/1.1\r\nHost: www.example.org\r\n\r\n").await, Answer::RESET);
    let records = edge.records_where(3, |_| true).await;
    assert_fields(&records[0], ["reason", "server_name"]);
    assert_fields(&records[1], ["reason"]);
    assert_fields(&records[2], ["reason", "host"]);
    for (record, (listener, reason)) in
        records.iter().zip([("https", "not_filed"), ("https", "not_tls"), ("http", "not_filed")])
    {
        assert_time(record);
        assert_eq!((&record["event"], &record["reason"]), (&"refused".into(), &reason.into()));
        assert_eq!(record["listener"], listener);
    }
    assert_eq!(records[0]["server_name"], "www.example.net");
    assert_eq!(records[2]["host"], "www.example.org");
    // A connection without a byte is a load balancer's TCP check.
    drop(connect(edge.https()).await);
    edge.metric_becomes("icpgate_connections_empty_total{listener=\"https\"}", 1.0).await;
    assert_eq!(edge.records().await.len(), 3);
}

#[tokio::test]
async fn every_exchange_leaves_one_record_however_it_ends() {
    let held = Gate::default();
    let gate = held.clone();
    let origin = Origin::start(move |request| match request.target() {
        "/held" => vec![Step::Wait(gate.clone())],
        "/flood" => vec![head("200 OK", &["content-length: 1000000000000"]), Step::Flood],
        "/cut" => vec![head("200 OK", &["content-length: 9"]), raw("begin"), Step::Close],
        _ => ok("hello"),
    })
    .await;
    let edge = Edge::in_front_of(&origin).await;
    let target = Target::https(&edge);
    let asked = async |count: usize| {
        origin.until("the request", |seen| seen.len() == count).await;
    };
    // The client leaves before or during the answer, or the origin leaves.
    let mut gone = target.http1(HOST).await;
    gone.ask("GET", HOST, "/held").await;
    asked(1).await;
    let mut leaves = target.http1(HOST).await;
    leaves.ask("GET", HOST, "/flood").await;
    leaves.read(100_000).await;
    drop(leaves);
    let mut cut = target.http1(HOST).await;
    cut.ask("GET", HOST, "/cut").await;
    assert!(cut.try_answer("GET").await.is_err());
    // Over HTTP/2: a stream that is reset, and one that ends with its connection.
    let mut frames = target.frames(HOST).await;
    frames.send(PREFACE).await.unwrap();
    frames.send(&frame(HEADERS, 5, 1, &get_block(HOST, "/held"))).await.unwrap();
    asked(4).await;
    frames.send(&frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes())).await.unwrap();
    frames.send(&frame(HEADERS, 5, 3, &get_block(HOST, "/held"))).await.unwrap();
    asked(5).await;
    drop((gone, frames));
    let mut http2 = target.http2(HOST).await;
    let (response, _) = http2.begin(Method::GET, HOST, "/flood", &[], true).await;
    let (_, mut body) = head_of(response).await.unwrap();
    assert!(next_data(&mut body).await.unwrap().is_ok());
    drop(body);
    // Malformed bytes.
    let mut nonsense = target.http1(HOST).await;
    nonsense.send("NONSENSE\r\n\r\n").await;
    assert_eq!(nonsense.answer("GET").await.status, 400);
    for _ in 0..3 {
        assert_eq!(http2.get(HOST, "/").await.text(), "hello");
    }

    eventually("the edge lets go", PATIENCE, async || (origin.open() <= 1).then_some(())).await;
    let records = edge.records_where(10, |_| true).await;
    let count = |path: &str, status: Option<u64>| {
        let alike = |record: &&Value| record["path"] == path && record["status"].as_u64() == status;
        records.iter().filter(alike).count()
    };
    assert_eq!(records.len(), 10, "{records:#?}");
    assert_eq!(count("/held", None), 3, "{records:#?}");
    assert_eq!(count("/flood", Some(200)), 2);
    assert_eq!(count("/cut", Some(200)), 1);
    assert_eq!(count("/", Some(200)), 3);
    let nonsense = records.iter().find(|record| record["status"] == 400).unwrap();
    let unread = ["method", "path"].map(|field| nonsense[field].is_null());
    assert!(unread == [true; 2] && nonsense["server_name"] == HOST, "{nonsense}");
    let ids: BTreeSet<&str> = records.iter().map(|record| record["request_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 10, "each has an id of its own");
    let of_one: BTreeSet<u64> = records
        .iter()
        .filter(|record| record["path"] == "/" || (record["path"] == "/flood" && record["protocol"] == "h2"))
        .map(|record| record["connection_id"].as_u64().unwrap())
        .collect();
    assert_eq!(of_one.len(), 1, "streams share their connection's");
    edge.metric_becomes("icpgate_access_records_total", 10.0).await;
    assert_eq!(edge.metric("icpgate_access_records_lost_total").await, 0.0);
}

#[tokio::test]
async fn an_http2_request_with_two_hosts_leaves_a_record() {
    let edge = Edge::builder().start().await;
    let mut frames = Target::https(&edge).frames(HOST).await;
    // `:authority` and `host` differ: the edge answers 400.
    let block = [&get_block(HOST, "/")[..], b"\0\x04host\x0bexample.net"].concat();
    frames.send(PREFACE).await.unwrap();
    frames.send(&frame(HEADERS, 5, 1, &block)).await.unwrap();
    let answer = frames.next_of(HEADERS).await.expect("an answer");
    assert_eq!(answer.payload.first(), Some(&0x8c), "`:status: 400` in the static table");
    let records = edge.records_where(1, |_| true).await;
    assert_eq!(records.len(), 1, "{records:#?}");
    assert_eq!((&records[0]["status"], &records[0]["protocol"]), (&400.into(), &"h2".into()), "{records:#?}");
}

#[tokio::test]
async fn what_a_client_sends_cannot_forge_a_record() {
    let origin = Origin::text("hello").await;
    let edge = Edge::in_front_of(&origin).await;
    let mut client = Target::https(&edge).http1(HOST).await;
    let forged = "x\",\"status\":200,\"seq\":99}\u{2028}{";
    client
        .send(format!(
            "GET /{{\"a\":\"{}?\u{85} HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: {forged}\tend\r\n\r\n",
            "\u{ff}"
        ))
        .await;
    let status = client.answer("GET").await.status;
    let record = edge.records_where(1, |_| true).await.remove(0);
    assert_eq!((record["seq"].as_u64(), record["status"].as_u64()), (Some(1), Some(u64::from(status))));
    if status == 200 {
        assert_eq!(record["user_agent"], format!("{forged}\tend"));
    }
    let directory = edge.path("access");
    let run =
        crate::support::edge::icpgate(["logs".as_ref(), "export".as_ref(), directory.as_os_str()]).await;
    assert_eq!(run.stdout.matches(['\n', '\r', '\u{2028}', '\u{85}', '\t']).count(), 1, "{}", run.stdout);
}

#[tokio::test]
async fn exports_are_chosen_by_time_host_and_client() {
    let origin = Origin::text("hello").await;
    let listeners =
        "  - {name: https, addresses: [\"$HTTPS\"], protocol: https, trusted_proxies: [127.0.0.0/8]}\n";
    let edge = Edge::builder().origin(origin.address).listeners(listeners).start().await;
    let mut client = Target::https(&edge).http1(HOST).await;
    for (host, from, path) in
        [(HOST, "192.0.2.1", "/1"), ("example.cn", "192.0.2.2", "/2"), ("EXAMPLE.cn", "2001:db8::1", "/3")]
    {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-For: {from}\r\n\r\n")).await;
        assert_eq!(client.answer("GET").await.status, 200);
    }
    edge.records_where(3, |_| true).await;
    probe(edge.https(), &client_hello("www.example.net")).await;
    let records = edge.records_where(4, |_| true).await;
    let directory = edge.path("access").display().to_string();
    let export = async |words: &[&str]| {
        let words = ["logs", "export", &directory].into_iter().chain(words.iter().copied());
        let run = crate::support::edge::icpgate(words).await;
        assert_eq!(run.code, 0, "{run:?}");
        let lines = run.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.map(|record| record["seq"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(export(&[]).await, [1, 2, 3, 4]);
    assert_eq!(export(&["--host", "www.example.cn"]).await, [1]);
    assert_eq!(export(&["--host", "example.cn"]).await, [2, 3]);
    assert_eq!(export(&["--host", "www.example.net"]).await, [4]);
    assert_eq!(export(&["--client", "192.0.2.2"]).await, [2]);
    assert_eq!(export(&["--client", "2001:db8:0:0::1"]).await, [3]);
    assert_eq!(export(&["--client", "127.0.0.1"]).await, [4]);
    assert_eq!(export(&["--host", "example.cn", "--client", "192.0.2.2"]).await, [2]);
    let third = records[2]["time"].as_str().unwrap();
    let before: Vec<u64> = (1..=4)
        .filter(|seq| records[seq - 1]["time"].as_str().unwrap() < third)
        .map(|seq| seq as u64)
        .collect();
    assert_eq!(export(&["--to", third]).await, before);
    assert_eq!(export(&["--from", third]).await, (before.len() as u64 + 1..=4).collect::<Vec<_>>());
    assert_eq!(export(&["--from", "2999-01-01T00:00:00+08:00"]).await, [0; 0]);
}
