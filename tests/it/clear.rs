//! Clear-text ports answer only for filed hosts; anything else is reset without a byte.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::io::AsyncWriteExt as _;

use crate::support::client::{End, Target};
use crate::support::edge::{Edge, HOSTS};
use crate::support::hello::client_hello;
use crate::support::probe::{Answer, Ending, Split, connect, probe, read_to_end, send_split};
use crate::support::time::{best_within, not_before, pause};
use crate::support::{PATIENCE, eventually};

const SERVED_IN_CLEAR: &str = "  - {name: http, addresses: [\"$HTTP\"], protocol: http, redirect: none}\n";
const SITES_IN_CLEAR: &str = "  - {name: shop, hosts: [www.example.cn], routes: [{origins: [main]}]}\n";

/// A request for `/` with these header lines and `connection: close`.
fn get(headers: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\n{headers}connection: close\r\n\r\n").into_bytes()
}

/// A field of an answer.
fn field(answer: &Answer, name: &str) -> Option<String> {
    let text = answer.text();
    let head = text.split("\r\n\r\n").next().expect("a head");
    head.lines().find_map(|line| {
        let (field, value) = line.split_once(':')?;
        field.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

async fn refused(edge: &Edge, reason: &str) -> f64 {
    edge.metric(&format!("icpgate_connections_refused_total{{listener=\"http\",reason=\"{reason}\"}}")).await
}

#[tokio::test]
async fn a_filed_host_is_redirected_to_the_same_url_over_tls() {
    let edge = Edge::builder().start().await;
    let targets = [
        ("/", "/"),
        ("/a/b?c=d&e=%E6%9D%AD", "/a/b?c=d&e=%E6%9D%AD"),
        ("//double//slashes", "//double//slashes"),
        ("/?", "/?"),
        ("/a?b?c", "/a?b?c"),
        ("http://www.example.cn/absolute?form", "/absolute?form"),
        ("http://www.example.cn", "/"),
        ("http://www.example.cn?query", "/?query"),
    ];
    for (target, expected) in targets {
        let request = format!("GET {target} HTTP/1.1\r\nhost: www.example.cn\r\nconnection: close\r\n\r\n");
        let answer = probe(edge.http(), request.as_bytes()).await;
        assert_eq!(answer.status(), 308, "{target}");
        assert_eq!(field(&answer, "location"), Some(format!("https://www.example.cn{expected}")), "{target}");
        assert_eq!(answer.ending, Ending::Closed);
    }
    for head in [
        "POST /form HTTP/1.1\r\nhost: www.example.cn\r\ncontent-length: 3\r\nconnection: close\r\n\r\na=b",
        "HEAD /form HTTP/1.1\r\nhost: WWW.Example.CN\r\nconnection: close\r\n\r\n",
        "GET /form HTTP/1.1\r\nhost: www.example.cn:8080\r\nconnection: close\r\n\r\n",
        "GET /form HTTP/1.1\r\nhost: www.example.cn:\r\nconnection: close\r\n\r\n",
        "GET /form HTTP/1.0\r\nhost: www.example.cn\r\n\r\n",
    ] {
        let answer = probe(edge.http(), head.as_bytes()).await;
        assert_eq!(answer.status(), 308, "{head}");
        assert_eq!(field(&answer, "location").as_deref(), Some("https://www.example.cn/form"), "{head}");
    }
    let records = edge.records_where(targets.len() + 5, |record| record["status"] == 308).await;
    assert_eq!(records.len(), targets.len() + 5);
    assert_eq!(records[1]["host"], "www.example.cn");
    assert_eq!(records[1]["path"], "/a/b");
    assert_eq!(records[1]["query"], "c=d&e=%E6%9D%AD");
    assert_eq!(records[1]["site"], "shop");
    assert_eq!(
        edge.metric("icpgate_requests_total{site=\"shop\",status=\"3xx\"}").await,
        records.len() as f64
    );
}

#[tokio::test]
async fn anything_but_a_request_for_a_filed_host_is_reset_without_a_byte() {
    let edge = Edge::builder().start().await;
    let many = format!("host: www.example.cn\r\n{}", "a: b\r\n".repeat(200));
    let long = format!("{}.example.cn", ["a"; 150].join("."));
    let raw = |text: &str| text.as_bytes().to_vec();
    let cases = [
        ("TLS", client_hello("www.example.cn"), "bad_head"),
        ("a host without a filing", get("host: www.example.net\r\n"), "not_filed"),
        ("a host that no site serves", get("host: other.example.cn\r\n"), "no_site"),
        ("no host", get(""), "no_server_name"),
        ("an empty host", get("host:\r\n"), "no_server_name"),
        ("HTTP/1.0 without a host", raw("GET / HTTP/1.0\r\n\r\n"), "no_server_name"),
        ("two hosts", get("host: www.example.cn\r\nhost: www.example.cn\r\n"), "bad_head"),
        ("two hosts apart", get("host: www.example.cn\r\na: b\r\nHOST: www.example.net\r\n"), "bad_head"),
        ("a list of hosts", get("host: www.example.cn, www.example.net\r\n"), "bad_server_name"),
        ("a user", get("host: www.example.cn@www.example.net\r\n"), "bad_server_name"),
        ("a trailing dot", get("host: www.example.cn.\r\n"), "bad_server_name"),
        ("an underscore", get("host: a_b.example.cn\r\n"), "bad_server_name"),
        ("UTF-8", get("host: 例子.cn\r\n"), "bad_server_name"),
        ("300 characters", get(&format!("host: {long}\r\n")), "bad_server_name"),
        ("a port that is none", get("host: www.example.cn:http\r\n"), "bad_server_name"),
        ("NUL", get("host: www.example.cn\0\r\n"), "bad_head"),
        ("a bare CR", get("host: www.example.cn\rx: y\r\n"), "bad_head"),
        ("a folded line", get("host: www.example.cn\r\n x\r\n"), "bad_head"),
        ("a space before the colon", get("host : www.example.cn\r\n"), "bad_head"),
        ("IPv4", get("host: 192.0.2.1\r\n"), "ip_literal"),
        ("IPv6", get("host: [2001:db8::1]:8080\r\n"), "ip_literal"),
        (
            "an absolute form for another host",
            raw("GET http://www.example.net/ HTTP/1.1\r\nhost: www.example.cn\r\n\r\n"),
            "not_filed",
        ),
        ("more fields than anybody sends", get(&many), "bad_head"),
        ("HTTP/2 with prior knowledge", raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), "bad_head"),
        ("HTTP/0.9", raw("GET /\r\n\r\n"), "bad_head"),
        ("an empty line", raw("\r\n\r\n"), "bad_head"),
        ("no HTTP at all", raw("\x00\x01\x02"), "bad_head"),
        ("SSH", raw("SSH-2.0-OpenSSH_9.2p1\r\n\r\n"), "bad_head"),
    ];
    for (what, bytes, reason) in &cases {
        let before = refused(&edge, reason).await;
        assert_eq!(probe(edge.http(), bytes).await, Answer::RESET, "{what}");
        eventually(what, PATIENCE, async || (refused(&edge, reason).await - before == 1.0).then_some(()))
            .await;
    }
    let records = edge.records_where(cases.len(), |record| record["event"] == "refused").await;
    for ((what, _, reason), record) in cases.iter().zip(&records) {
        assert_eq!(record["reason"], *reason, "{what}: {record}");
        assert_eq!(record["listener"], "http", "{what}");
    }
    assert_eq!(records[1]["host"], "www.example.net");
    assert_eq!(records.len(), cases.len());
}

#[tokio::test]
async fn a_request_whose_target_and_host_differ_is_400() {
    let edge = Edge::builder().start().await;
    let request = "GET http://www.example.cn/ HTTP/1.1\r\nhost: example.cn\r\nconnection: close\r\n\r\n";
    assert_eq!(probe(edge.http(), request.as_bytes()).await.status(), 400);
}

#[tokio::test]
async fn a_request_head_is_judged_alike_however_it_is_split() {
    let edge = Edge::builder().limit("request_head_timeout", "60s").start().await;
    let split = |host: &str| {
        let head = format!("GET /a HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").into_bytes();
        let in_two = |offset: usize| vec![head[..offset].to_vec(), head[offset..].to_vec()];
        let mut splits: Vec<Split> = (1..head.len()).map(in_two).collect();
        splits.push(head.chunks(1).map(<[u8]>::to_vec).collect());
        splits
    };
    for sent in send_split(edge.http(), &split("www.example.cn")).await {
        assert_eq!(sent.answer().await.status(), 308);
    }
    for sent in send_split(edge.http(), &split("www.example.net")).await {
        assert_eq!(sent.answer().await, Answer::RESET);
    }
}

#[tokio::test]
async fn a_head_that_is_late_or_too_long_is_reset() {
    const LIMIT: Duration = Duration::from_millis(300);
    let edge = Edge::builder()
        .limit("request_head_timeout", "300ms")
        .limit("request_head_bytes", "4KiB")
        .start()
        .await;
    let half = probe(edge.http(), b"GET / HTTP/1.1\r\nhost: www.example.cn\r\n");
    assert_eq!(not_before(LIMIT, half).await, Answer::RESET);

    // A byte now and then does not extend the deadline.
    not_before(LIMIT, async {
        let mut socket = connect(edge.http()).await;
        socket.write_all(b"GET / HTTP/1.1\r\nx: ").await.expect("sent");
        while socket.write_all(b"y").await.is_ok() {
            pause(LIMIT / 15).await;
        }
    })
    .await;

    let long = |bytes: usize| get(&format!("host: www.example.cn\r\nx: {}\r\n", "y".repeat(bytes)));
    assert_eq!(probe(edge.http(), &long(3000)).await.status(), 308);
    assert_eq!(probe(edge.http(), &long(5000)).await, Answer::RESET);
    edge.metric_becomes("icpgate_connections_refused_total{listener=\"http\",reason=\"head_timeout\"}", 2.0)
        .await;
    edge.metric_becomes("icpgate_connections_refused_total{listener=\"http\",reason=\"bad_head\"}", 1.0)
        .await;
}

#[tokio::test]
async fn a_load_balancers_probe_is_answered_whatever_host_it_sends() {
    let listeners = "  - {name: https, addresses: [\"$HTTPS\"], protocol: https}\n  - {name: http, \
                     addresses: [\"$HTTP\"], protocol: http, health_check: {path: /healthz, from: [127.0.0.0/8]}}\n";
    let edge = Edge::builder().listeners(listeners).start().await;
    for headers in ["", "host: 10.0.0.1\r\n", "host: www.example.net\r\n", "host: www.example.cn\r\n"] {
        let request = format!("GET /healthz HTTP/1.1\r\n{headers}\r\n");
        let answer = probe(edge.http(), request.as_bytes()).await;
        assert_eq!((answer.status(), answer.ending), (200, Ending::Closed), "{headers:?}");
    }
    assert_eq!(probe(edge.http(), b"GET /healthz HTTP/1.0\r\n\r\n").await.status(), 200);
    // Other paths are judged as requests.
    assert_eq!(probe(edge.http(), b"GET /healthz/x HTTP/1.1\r\nhost: 10.0.0.1\r\n\r\n").await, Answer::RESET);
    assert_eq!(probe(edge.http(), b"GET / HTTP/1.1\r\nhost: 10.0.0.1\r\n\r\n").await, Answer::RESET);
    let records = edge.records_where(5, |record| record["path"] == "/healthz").await;
    for record in &records {
        assert_eq!((&record["status"], record.get("site")), (&serde_json::json!(200), None), "{record}");
    }
    assert!(records.iter().any(|record| record["host"] == "www.example.net"), "{records:?}");
}

#[tokio::test]
async fn a_health_check_is_answered_on_a_connection_in_use() {
    let listeners = "  - {name: http, addresses: [\"$HTTP\"], protocol: http, \
                     health_check: {path: /healthz, from: [127.0.0.0/8]}}\n";
    let mut edge = Edge::builder().listeners(listeners).sites(SITES_IN_CLEAR).start().await;
    let mut clients = [Target::http(&edge).http1(HOSTS[0]).await, Target::http(&edge).http1(HOSTS[0]).await];
    for client in &mut clients {
        assert_eq!(client.get(HOSTS[0], "/healthz/x").await.status, 308);
    }
    let [mut first, mut draining] = clients;
    assert_eq!(first.get("10.0.0.1", "/healthz?deep").await.status, 200);
    assert_eq!(first.end().await, (Vec::new(), End::Closed), "as with a probe that comes first");
    let record = edge.records_where(1, |record| record["path"] == "/healthz").await.remove(0);
    assert_eq!((&record["status"], &record["host"]), (&200.into(), &"10.0.0.1".into()));
    assert!(record.get("reason").is_none() && record.get("site").is_none(), "{record}");
    draining.send("GET /healthz HTTP/1.1\r\n").await;
    // Once an admin page has arrived, the edge has read this too.
    edge.status().await;
    edge.signal(Signal::TERM);
    edge.logged("draining").await;
    draining.send("host: 10.0.0.1\r\n\r\n").await;
    assert_eq!(draining.answer("GET").await.status, 503);
    drop(draining);
    assert_eq!(edge.wait_exit().await, 0);
}

#[tokio::test]
async fn an_answer_is_recorded_before_the_client_closes() {
    let listeners = "  - {name: http, addresses: [\"$HTTP\"], protocol: http, redirect: none, \
                     health_check: {path: /healthz, from: [127.0.0.0/8]}}\n";
    let edge = Edge::builder().listeners(listeners).sites(SITES_IN_CLEAR).start().await;
    let probing = &b"GET /healthz HTTP/1.1\r\nhost: 10.0.0.1\r\n\r\n"[..];
    let nonsense = b"GET / HTTP/1.1\r\nhost: www.example.cn\r\ncontent-length: x\r\n\r\n";
    // After the answer, the edge waits a second for the client to close.
    const LINGER: Duration = Duration::from_secs(1);
    for (request, status) in [(probing, 200), (nonsense, 400)] {
        best_within(LINGER / 2, 10, async |_| {
            let before = edge.status().await["retention"]["synced_before"].clone();
            let mut socket = connect(edge.http()).await;
            socket.write_all(request).await.expect("sent");
            assert_eq!(read_to_end(&mut socket, PATIENCE).await.status(), status);
            let answered = Instant::now();
            eventually("the record is kept", PATIENCE, async || {
                (edge.status().await["retention"]["synced_before"] != before).then_some(())
            })
            .await;
            answered.elapsed()
        })
        .await;
    }
}

#[tokio::test]
async fn a_health_check_gets_503_while_the_edge_drains() {
    let listeners = "  - {name: http, addresses: [\"$HTTP\"], protocol: http, \
                     health_check: {path: /healthz, from: [127.0.0.0/8]}}\n";
    let mut edge = Edge::builder().listeners(listeners).sites(SITES_IN_CLEAR).start().await;
    let mut socket = connect(edge.http()).await;
    edge.metric_becomes("icpgate_connections_open{listener=\"http\"}", 1.0).await;
    edge.signal(Signal::TERM);
    edge.logged("draining").await;
    socket.write_all(b"GET /healthz HTTP/1.1\r\nhost: 10.0.0.1\r\n\r\n").await.expect("sent");
    assert_eq!(read_to_end(&mut socket, PATIENCE).await.status(), 503);
    drop(socket);
    assert_eq!(edge.wait_exit().await, 0);
}

#[tokio::test]
async fn a_health_check_from_another_network_is_judged_as_a_request() {
    let listeners = "  - {name: http, addresses: [\"$HTTP\"], protocol: http, \
                     health_check: {path: /healthz, from: [192.0.2.0/24]}}\n";
    let edge = Edge::builder().listeners(listeners).sites(SITES_IN_CLEAR).start().await;
    assert_eq!(probe(edge.http(), b"GET /healthz HTTP/1.1\r\nhost: 10.0.0.1\r\n\r\n").await, Answer::RESET);
}

#[tokio::test]
async fn a_site_can_be_served_in_clear_text() {
    let edge = Edge::builder().listeners(SERVED_IN_CLEAR).sites(SITES_IN_CLEAR).start().await;
    // Nothing listens at the origin: 502 shows that the site serves.
    assert_eq!(probe(edge.http(), &get("host: www.example.cn\r\n")).await.status(), 502);
    assert_eq!(probe(edge.http(), &get("host: www.example.net\r\n")).await, Answer::RESET);
    let records = edge.records_where(1, |record| record["status"] == 502).await;
    assert!(records[0].get("tls_version").is_none(), "{}", records[0]);
}

#[tokio::test]
async fn the_next_request_of_a_connection_is_judged_as_well() {
    for listeners in ["  - {name: http, addresses: [\"$HTTP\"], protocol: http}\n", SERVED_IN_CLEAR] {
        let edge = Edge::builder().listeners(listeners).sites(SITES_IN_CLEAR).start().await;
        let mut socket = connect(edge.http()).await;
        let both =
            "GET /1 HTTP/1.1\r\nhost: www.example.cn\r\n\r\nGET /2 HTTP/1.1\r\nhost: www.example.net\r\n\r\n";
        socket.write_all(both.as_bytes()).await.expect("sent");
        let answer = read_to_end(&mut socket, PATIENCE).await;
        assert_eq!(answer.ending, Ending::Closed, "{answer:?}");
        let text = answer.text();
        let statuses: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)).collect();
        assert_eq!(statuses.len(), 2, "{text}");
        assert_eq!(statuses[1], "421", "{text}");
        let records = edge.records_where(1, |record| record["status"] == 421).await;
        assert_eq!(records[0]["reason"], "host_not_permitted");
        assert_eq!(records[0]["host"], "www.example.net");
    }
}
