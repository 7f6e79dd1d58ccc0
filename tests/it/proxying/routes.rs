//! Which origin a request goes to: the first route of its site that matches.

use http::Method;

use super::HOST;
use crate::support::client::Target;
use crate::support::edge::Edge;
use crate::support::origin::Origin;

const SITES: &str = r#"  - name: shop
    hosts: [www.example.cn]
    certificate: {chain: site.pem, key: site.key}
    routes:
      - {match: {path: /pay, method: [GET, POST]}, origins: [a]}
      - {match: {path: /pay}, origins: [b]}
      - {match: {path_exact: /exact}, origins: [c]}
      - {match: {path: /tier, header: {X-Tier: gold}}, origins: [a]}
      - {match: {path: /tier/}, origins: [b]}
  - name: other
    hosts: [example.cn]
    certificate: {chain: site.pem, key: site.key}
    routes: [{origins: [c]}]
"#;

#[tokio::test]
async fn the_first_route_that_matches_decides() {
    let (a, b, c) = (Origin::text("a").await, Origin::text("b").await, Origin::text("c").await);
    let origin = |name, origin: &Origin| {
        format!("  - {{name: {name}, region: mainland, scheme: http, servers: [\"{}\"]}}\n", origin.address)
    };
    let origins = [origin("a", &a), origin("b", &b), origin("c", &c)].concat();
    let edge = Edge::builder().sites(SITES).origins(&origins).start().await;
    let mut http1 = Target::https(&edge).http1(HOST).await;
    let mut http2 = Target::https(&edge).http2(HOST).await;
    for (method, host, path, tier, expected) in [
        ("GET", HOST, "/pay", "", "a"),
        ("GET", HOST, "/pay/x?y", "", "a"),
        ("POST", HOST, "/pay/", "", "a"),
        ("GET", HOST, "/pay?next=/x", "", "a"),
        ("PUT", HOST, "/pay", "", "b"),
        ("GET", HOST, "/payments", "", "404"),
        ("GET", HOST, "/PAY", "", "404"),
        ("GET", HOST, "/x/../pay", "", "a"),
        ("GET", HOST, "/exact", "", "c"),
        ("GET", HOST, "/exact?x", "", "c"),
        ("GET", HOST, "/exact/", "", "404"),
        ("GET", HOST, "/tier", "gold", "a"),
        ("GET", HOST, "/tier/x", "gold", "a"),
        ("GET", HOST, "/tier", "Gold", "b"),
        ("GET", HOST, "/tier", "", "b"),
        ("GET", HOST, "/", "", "404"),
        ("GET", "example.cn", "/", "", "c"),
        ("GET", "EXAMPLE.cn:8443", "/pay", "", "c"),
    ] {
        http1.send(format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nX-Tier: {tier}\r\n\r\n")).await;
        let over_http1 = http1.answer(method).await;
        let fields = [("x-tier", tier)];
        let method = method.parse::<Method>().unwrap();
        let over_http2 = http2.request(method.clone(), host, path, &fields).await.unwrap();
        for answer in [over_http1, over_http2] {
            let shown = if answer.status == 200 { answer.text() } else { answer.status.to_string() };
            assert_eq!(shown, expected, "{method} {host}{path} {tier}");
        }
    }
}
