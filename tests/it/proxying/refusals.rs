//! The edge's own answers, and whether the connection stays open after them.

use std::time::Duration;

use http::Method;

use super::HOST;
use crate::support::client::{Answer, End, Target};
use crate::support::edge::Edge;
use crate::support::origin::{Gate, Origin, Step, head, ok, raw};
use crate::support::time::pause;
use crate::support::tried;

/// Fails unless this is an answer of the edge itself; its request id.
#[track_caller]
fn assert_own(answer: &Answer, status: u16) -> String {
    assert_eq!(answer.status, status, "{answer:?}");
    let text = answer.text();
    let id = text.lines().nth(1).and_then(|line| line.strip_prefix("request id: ")).unwrap_or_default();
    assert!(text.starts_with(&format!("{status} ")) && text.len() < 200 && id.len() == 32, "{text:?}");
    assert_eq!(answer.field("x-request-id"), Some(id));
    assert_eq!(answer.field("content-length"), Some(text.len().to_string().as_str()));
    id.to_owned()
}

const TWO_CERTIFICATES: &str = r#"  - name: shop
    hosts: [www.example.cn, example.cn]
    certificate: {chain: site.pem, key: site.key}
    routes: [{origins: [main]}]
  - name: other
    hosts: [other.example.cn]
    certificate: {chain: other.pem, key: other.key}
    routes: [{origins: [main]}]
"#;

async fn with_two_certificates(origin: &Origin) -> Edge {
    let folder = Edge::builder().origin(origin.address).sites(TWO_CERTIFICATES).write();
    let folder_path = folder.path("");
    folder.authority.pair(&["other.example.cn"]).write(&folder_path, "other");
    folder.start().await
}

#[tokio::test]
async fn a_host_that_is_not_permitted_is_misdirected() {
    let origin = Origin::text("hello").await;
    let edge = with_two_certificates(&origin).await;
    let mut ids = Vec::new();
    for host in ["www.example.net", "deep.www.example.cn", "192.0.2.1", "a_b.cn", "", "www.example.cn."] {
        let mut client = Target::https(&edge).http1(HOST).await;
        client.ask("GET", host, "/").await;
        let answer = client.answer("GET").await;
        ids.push(assert_own(&answer, 421));
        assert_eq!(answer.field("connection"), Some("close"), "{host}");
        assert!(client.end().await.0.is_empty(), "the connection ends after {host:?}");
    }
    let mut client = Target::https(&edge).http2(HOST).await;
    for host in ["www.example.net", "deep.www.example.cn", "192.0.2.1"] {
        let answer = client.get(host, "/").await;
        ids.push(assert_own(&answer, 421));
        assert_eq!(client.get(HOST, "/").await.text(), "hello", "the connection goes on after {host}");
    }
    let refused = edge.records_where(9, |record| record["reason"] == "host_not_permitted").await;
    let recorded: Vec<&str> = refused.iter().filter_map(|record| record["request_id"].as_str()).collect();
    assert_eq!(recorded, ids);
    assert!(refused.iter().all(|record| record["status"] == 421 && record["event"] == "request"));
    assert_eq!(refused[0]["host"], "www.example.net");
    let series = "icpgate_connections_refused_total{listener=\"https\",reason=\"host_not_permitted\"}";
    edge.metric_becomes(series, 9.0).await;
    assert_eq!(origin.seen().len(), 3);
}

#[tokio::test]
async fn a_host_that_the_certificate_does_not_cover_is_misdirected() {
    let origin = Origin::text("hello").await;
    let edge = with_two_certificates(&origin).await;
    let mut http1 = Target::https(&edge).http1(HOST).await;
    let answer = http1.get("other.example.cn", "/").await;
    assert_own(&answer, 421);
    assert!(http1.end().await.0.is_empty());
    let mut http2 = Target::https(&edge).http2(HOST).await;
    assert_own(&http2.get("other.example.cn", "/").await, 421);
    // Browsers reuse a connection for every name of its certificate.
    assert_eq!(http2.get("example.cn", "/").await.text(), "hello");
    assert_eq!(Target::https(&edge).get("other.example.cn", "/").await.text(), "hello");
    let refused = edge.records_where(2, |record| record["reason"] == "not_covered").await;
    assert!(
        refused.iter().all(|record| record["host"] == "other.example.cn" && record["server_name"] == HOST)
    );
    let series = "icpgate_connections_refused_total{listener=\"https\",reason=\"not_covered\"}";
    edge.metric_becomes(series, 2.0).await;
}

#[tokio::test]
async fn a_request_without_a_route_is_404() {
    let sites = "  - name: shop\n    hosts: [www.example.cn]\n    certificate: {chain: site.pem, key: site.key}\n    \
                 routes: [{match: {path: /a}, origins: [main]}]\n";
    let origin = Origin::text("a").await;
    let edge = Edge::builder().origin(origin.address).sites(sites).start().await;
    let mut http1 = Target::https(&edge).http1(HOST).await;
    let id = assert_own(&http1.get(HOST, "/b").await, 404);
    http1.ask("HEAD", HOST, "/b").await;
    let head = http1.answer("HEAD").await;
    assert_eq!((head.status, head.body.len()), (404, 0));
    http1.send(format!("POST /b HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 4\r\n\r\nbody")).await;
    assert_own(&http1.answer("POST").await, 404);
    let mut http2 = Target::https(&edge).http2(HOST).await;
    assert_own(&http2.get(HOST, "/b").await, 404);
    assert_eq!(http2.get(HOST, "/a").await.text(), "a");
    let records = edge.records_where(4, |record| record["status"] == 404).await;
    assert_eq!((&records[0]["request_id"], &records[0]["site"]), (&id.into(), &"shop".into()));
    assert!(records[0]["reason"].is_null() && records[0]["upstream_address"].is_null());
}

#[tokio::test]
async fn an_oversized_head_is_431_and_affects_no_other_request() {
    let origin = Origin::text("hello").await;
    let edge = Edge::builder().origin(origin.address).limit("request_head_bytes", "4KiB").start().await;
    let long = "x".repeat(5000);
    let mut http1 = Target::https(&edge).http1(HOST).await;
    http1.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nX: {long}\r\n\r\n")).await;
    let answer = http1.answer("GET").await;
    assert_eq!((answer.status, answer.field("connection")), (431, Some("close")));
    let record = edge.records_where(1, |record| record["status"] == 431).await.remove(0);
    assert!(answer.text().contains(record["request_id"].as_str().unwrap()), "{}", answer.text());
    // A head just below the limit is served, with its body.
    let mut http1 = Target::https(&edge).http1(HOST).await;
    let (fits, body) = ("x".repeat(3900), "y".repeat(100_000));
    http1
        .send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nX: {fits}\r\nContent-Length: 100000\r\n\r\n{body}"))
        .await;
    assert_eq!(http1.answer("POST").await.text(), "hello");
    assert_eq!(http1.get(HOST, "/").await.text(), "hello");

    let mut http2 = Target::https(&edge).http2(HOST).await;
    let outcome = http2.request(Method::GET, HOST, "/", &[("x", &long)]).await;
    assert!(outcome.as_ref().map_or(true, |answer| answer.status == 431), "{outcome:?}");
    assert_eq!(Target::https(&edge).http2(HOST).await.get(HOST, "/").await.text(), "hello");
}

#[tokio::test]
async fn an_origin_that_sends_nonsense_or_is_down_is_502() {
    let mut origin = Origin::start(|request| match request.target() {
        "/nonsense" => vec![raw("SSH-2.0-OpenSSH_9.2\r\n\r\n"), Step::Close],
        "/nothing" => vec![Step::Close],
        "/reset" => vec![Step::Reset],
        "/half" => vec![raw("HTTP/1.1 200 OK\r\ncontent-le"), Step::Close],
        "/lengths" => {
            vec![raw("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"), Step::Close]
        }
        _ => ok("hello"),
    })
    .await;
    let edge = Edge::in_front_of(&origin).await;
    let mut http1 = Target::https(&edge).http1(HOST).await;
    let mut http2 = Target::https(&edge).http2(HOST).await;
    for path in ["/nonsense", "/nothing", "/reset", "/half", "/lengths"] {
        assert_own(&http1.get(HOST, path).await, 502);
        assert_own(&http2.get(HOST, path).await, 502);
    }
    assert_eq!(http1.get(HOST, "/").await.text(), "hello");
    origin.stop().await;
    let id = assert_own(&http1.get(HOST, "/").await, 502);
    assert_own(&http2.get(HOST, "/").await, 502);
    let record = edge.records_where(1, |record| record["request_id"] == id.as_str()).await.remove(0);
    assert_eq!((record["status"].as_u64(), record["site"].as_str()), (Some(502), Some("shop")));
    assert_eq!(tried(&record), ["main", "mainland", "default", &origin.address.to_string()]);
    assert!(record["upstream_status"].is_null() && record["upstream_ms"].is_null(), "{record}");
    assert!(record["upstream_local_address"].is_null(), "no connection came about: {record}");
    let egress = edge.metric("icpgate_egress_bytes_total{region=\"mainland\",site=\"shop\"}").await;
    assert_eq!(egress, 5.0, "what the edge says itself came from nowhere");
}

#[tokio::test]
async fn a_malformed_request_is_recorded_as_far_as_it_can_be_read() {
    let edge =
        Edge::builder().access_log("{directory: access, reserve: 1MiB, redact_query: [token]}").start().await;
    let fields = |more: &str| format!("host: {HOST}\r\nuser-agent: probe\r\n{more}\r\n");
    let both = fields("content-length: 5\r\ntransfer-encoding: chunked\r\n");
    let sent = [
        (format!("CONNECT {HOST}:443 HTTP/1.1\r\n{}", fields("")), ["CONNECT", "/", "", "probe"]),
        (format!("POST /a?b=c&token=d HTTP/1.1\r\n{both}"), ["POST", "/a", "b=c&token=***", "probe"]),
        (format!("GET http://example.cn/x HTTP/1.1\r\n{}", fields("")), ["GET", "/x", "", "probe"]),
        (format!("GET elsewhere HTTP/1.1\r\n{}", fields("")), ["GET", "elsewhere", "", "probe"]),
        // Nothing can be read of a malformed request line.
        (format!("GET /a b HTTP/1.1\r\n{}", fields("")), ["", "", "", ""]),
    ];
    for (request, expected) in sent {
        let mut client = Target::https(&edge).http1(HOST).await;
        client.send(&request).await;
        let id = assert_own(&client.answer("GET").await, 400);
        let record = edge.records_where(1, |record| record["request_id"] == id.as_str()).await.remove(0);
        let found =
            ["method", "path", "query", "user_agent"].map(|field| record[field].as_str().unwrap_or_default());
        assert_eq!(found, expected, "{request}");
    }
}

#[tokio::test]
async fn a_target_of_no_known_form_is_400() {
    let origin = Origin::text("hello").await;
    let edge = Edge::in_front_of(&origin).await;
    for target in ["foo", "www.example.cn:443", "?q", "*"] {
        let mut client = Target::https(&edge).http1(HOST).await;
        client.send(format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
        assert_own(&client.answer("GET").await, 400);
    }
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn connect_is_refused() {
    let origin = Origin::text("hello").await;
    let edge = Edge::in_front_of(&origin).await;
    let mut client = Target::https(&edge).http1(HOST).await;
    client.send(format!("CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}:443\r\n\r\n")).await;
    assert_own(&client.answer("GET").await, 400);
    assert!(client.end().await.0.is_empty());
    assert_eq!(origin.seen().len(), 0);
}

#[tokio::test]
async fn an_answer_is_not_lost_to_a_client_that_still_sends() {
    let origin = Origin::start(|_| {
        let answer = [head("413 Content Too Large", &["content-length: 3"]), raw("no\n")];
        answer.into_iter().chain([Step::Wait(Gate::default()), Step::ReadBody]).collect()
    })
    .await;
    let edge = Edge::in_front_of(&origin).await;
    for (host, status) in [(HOST, 413), ("www.example.net", 421)] {
        let mut client = Target::https(&edge).http1(HOST).await;
        client.send(format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100000000\r\n\r\n")).await;
        client.send(vec![b'x'; 100_000]).await;
        assert_eq!(client.answer("POST").await.status, status);
        // Closing with unread bytes would reset the connection, and the client would lose the answer.
        for _ in 0..10 {
            pause(Duration::from_millis(20)).await;
            client.try_send(vec![b'x'; 100_000]).await.unwrap_or_else(|error| panic!("{status}: {error}"));
        }
        let (bytes, end) = client.end().await;
        assert!(bytes.is_empty() && end == End::Closed, "{status}: {end:?}");
    }
    // And with curl as the client.
    let body = edge.path("body");
    fs_err::write(&body, vec![b'x'; 50_000_000]).unwrap();
    let (ca, body) = (edge.path("ca.pem").display().to_string(), format!("@{}", body.display()));
    let resolve = format!("{HOST}:{}:{}", edge.https().port(), edge.ip());
    let url = format!("https://{HOST}:{}/", edge.https().port());
    for (version, host, status) in [
        ("--http1.1", HOST, "413"),
        ("--http1.1", "www.example.net", "421"),
        ("--http2", HOST, "413"),
        ("--http2", "www.example.net", "421"),
    ] {
        let host = format!("Host: {host}");
        let words = ["-sS", version, "--cacert", &ca, "--resolve", &resolve, "-H", &host, "-H", "Expect:"];
        let words =
            words.into_iter().chain(["-o", "/dev/null", "-w", "%{http_code}", "--data-binary", &body, &url]);
        let run = crate::support::edge::run("curl", words).await;
        assert_eq!((run.code, run.stdout.as_str()), (0, status), "{version} {host}: {}", run.stderr);
    }
}
