//! Routes that answer without an origin: redirects and fixed texts, by the client's address too.

use http::Method;

use super::HOST;
use crate::support::client::{Answer, Target};
use crate::support::edge::Edge;
use crate::support::origin::Origin;

const SITES: &str = r#"  - name: apex
    hosts: [example.cn]
    certificate: {chain: site.pem, key: site.key}
    routes:
      - match: {path: /.well-known}
        origins: [main]
      - redirect: {to: "https://www.example.cn{path}{query}", status: 301}
        response_headers: {set: {strict-transport-security: "max-age=31536000"}}
  - name: shop
    hosts: [www.example.cn]
    certificate: {chain: site.pem, key: site.key}
    routes:
      - match: {path: /admin, from: [10.0.0.0/8, 127.0.0.0/8]}
        origins: [main]
      - match: {path: /guarded, from: [10.0.0.0/8]}
        origins: [main]
      - match: {path: /guarded}
        respond: {status: 403, body: "no"}
      - match: {path: /empty}
        respond: {status: 204}
      - match: {path: /text}
        respond: {body: "{path} stays\n"}
        response_headers: {set: {x-from: "{client_ip} {scheme}"}}
      - match: {path: /old}
        redirect: {to: "/new{path}{query}"}
      - match: {path: /as-is}
        redirect: {to: "{scheme}://{host}/x{path}", status: 302}
      - match: {path: /main}
        origins: [main]
        response_headers: {set: {x-site: shop}}
"#;

struct Clients {
    edge: Edge,
}

impl Clients {
    async fn new() -> (Self, Origin) {
        let origin = Origin::text("main").await;
        let edge = Edge::builder().sites(SITES).origin(origin.address).start().await;
        (Self { edge }, origin)
    }

    /// The answer over HTTP/1.1 and over HTTP/2.
    async fn ask(&self, method: &Method, host: &str, path: &str) -> [Answer; 2] {
        let mut http1 = Target::https(&self.edge).http1(host).await;
        http1.ask(method.as_str(), host, path).await;
        let over_http1 = http1.answer(method.as_str()).await;
        let mut http2 = Target::https(&self.edge).http2(host).await;
        let over_http2 = http2.request(method.clone(), host, path, &[]).await.expect("an answer");
        [over_http1, over_http2]
    }
}

#[tokio::test]
async fn redirects_lead_where_their_template_says() {
    let (clients, _origin) = Clients::new().await;
    for (host, path, status, location) in [
        ("example.cn", "/", 301, "https://www.example.cn/"),
        ("example.cn", "/a/%E4%BE%8B?b=c&d", 301, "https://www.example.cn/a/%E4%BE%8B?b=c&d"),
        ("example.cn", "//evil.cn/x", 301, "https://www.example.cn//evil.cn/x"),
        (HOST, "/old/x?y", 308, "/new/old/x?y"),
        (HOST, "/as-is", 302, "https://www.example.cn/x/as-is"),
    ] {
        for method in [Method::GET, Method::HEAD, Method::DELETE] {
            for answer in clients.ask(&method, host, path).await {
                assert_eq!((answer.status, answer.field("location")), (status, Some(location)), "{answer:?}");
                assert!(answer.field("x-request-id").is_some());
                assert_eq!(answer.body.is_empty(), method == Method::HEAD);
                let hsts = answer.field("strict-transport-security");
                assert_eq!(hsts.is_some(), host == "example.cn", "{answer:?}");
            }
        }
    }
    for answer in clients.ask(&Method::GET, "example.cn", "/.well-known/x").await {
        assert_eq!(answer.text(), "main");
    }
    let records = clients.edge.records_where(3, |record| record["host"] == "example.cn").await;
    assert_eq!((&records[0]["status"], &records[0]["site"]), (&301.into(), &"apex".into()));
    assert!(records[0].get("origin").is_none() && records[0].get("reason").is_none(), "{}", records[0]);
    clients.edge.metric_becomes("icpgate_requests_total{site=\"apex\",status=\"3xx\"}", 18.0).await;
}

#[tokio::test]
async fn fixed_answers_are_plain_text_and_need_no_origin() {
    let (clients, origin) = Clients::new().await;
    for method in [Method::GET, Method::HEAD, Method::PUT] {
        for (path, status, body, length) in [
            ("/guarded/x", 403, "no", Some("2")),
            ("/empty", 204, "", None),
            ("/text", 200, "{path} stays\n", Some("13")),
        ] {
            for answer in clients.ask(&method, HOST, path).await {
                let body = if method == Method::HEAD { "" } else { body };
                assert_eq!((answer.status, answer.text().as_str()), (status, body), "{path}");
                assert_eq!(answer.field("content-length"), length, "{path}");
                let kind = (status != 204).then_some("text/plain; charset=utf-8");
                assert_eq!(answer.field("content-type"), kind);
            }
        }
    }
    let [answer, _] = clients.ask(&Method::GET, HOST, "/text").await;
    assert_eq!(answer.field("x-from"), Some("127.0.0.1 https"));
    assert_eq!(origin.seen_count(), 0);
}

#[tokio::test]
async fn a_body_that_nobody_reads_is_not_taken_for_the_next_request() {
    let (clients, _origin) = Clients::new().await;
    let mut http1 = Target::https(&clients.edge).http1(HOST).await;
    http1.send(format!("POST /guarded HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 40\r\n\r\n")).await;
    let answer = http1.answer("POST").await;
    assert_eq!((answer.status, answer.field("connection")), (403, Some("close")));
}

#[tokio::test]
async fn the_client_s_network_decides() {
    let (clients, origin) = Clients::new().await;
    for answer in clients.ask(&Method::GET, HOST, "/admin").await {
        assert_eq!((answer.status, answer.text().as_str()), (200, "main"), "loopback is among the networks");
    }
    for answer in clients.ask(&Method::GET, HOST, "/guarded").await {
        assert_eq!(answer.status, 403, "it is not among these");
    }
    assert_eq!(origin.seen_count(), 2);
}

#[tokio::test]
async fn the_network_is_that_of_the_client_that_a_trusted_proxy_names() {
    let listeners = r#"  - {name: https, addresses: ["$HTTPS"], protocol: https, trusted_proxies: [127.0.0.0/8]}
  - {name: http, addresses: ["$HTTP"], protocol: http}
"#;
    let origin = Origin::text("main").await;
    let edge = Edge::builder().listeners(listeners).sites(SITES).origin(origin.address).start().await;
    for (client, status) in [("10.1.2.3", 200), ("192.0.2.1", 403)] {
        let mut http1 = Target::https(&edge).http1(HOST).await;
        http1
            .send(format!("GET /guarded HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-For: {client}\r\n\r\n"))
            .await;
        assert_eq!(http1.answer("GET").await.status, status, "{client}");
    }
}

#[tokio::test]
async fn failures_of_the_edge_carry_no_fields_of_a_route() {
    let edge = Edge::builder().sites(SITES).start().await;
    let answer = Target::https(&edge).get(HOST, "/main").await;
    assert_eq!((answer.status, answer.field("x-site")), (502, None));
}
