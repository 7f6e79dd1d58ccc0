//! Routes that change requests and answers on their way: paths, fields of both, and paths in answers.

use http::Method;

use super::HOST;
use crate::support::client::Target;
use crate::support::edge::Edge;
use crate::support::origin::{Origin, answer};

const SITES: &str = r#"  - name: shop
    hosts: [www.example.cn]
    certificate: {chain: site.pem, key: site.key}
    routes:
      - match: {path: /api}
        origins: [main]
        path: {strip: /api, prepend: /v2}
        request_headers: {set: {x-real-ip: "{client_ip}", x-asked: "{scheme}://{host}{path}{query}", cookie: "a=b"}, remove: [forwarded, x-debug]}
        response_headers: {set: {strict-transport-security: "max-age=31536000", x-id: "{request_id}"}, remove: [server, x-powered-by]}
      - match: {path: /bare}
        origins: [main]
        path: {strip: /bare}
      - origins: [main]
"#;

/// An origin that redirects, sets cookies and names its software; and the edge in front of it.
async fn start() -> (Edge, Origin) {
    let origin = Origin::start(|request| {
        let location = match request.target() {
            "/v2/away" => "Location: https://elsewhere.example/v2/x",
            "/v2/absolute" => "Location: https://www.example.cn/v2/x?y=/v2",
            _ => "Location: /v2/x?y",
        };
        let fields = [
            location,
            "Set-Cookie: a=b; Path=/v2/cart; HttpOnly",
            "Set-Cookie: c=d; Path=/",
            "Server: nginx",
            "X-Powered-By: PHP",
            "X-Id: of the origin",
            "X-Id: twice",
        ];
        answer("200 OK", &fields, "ok")
    })
    .await;
    let edge = Edge::builder().sites(SITES).origin(origin.address).start().await;
    (edge, origin)
}

#[tokio::test]
async fn a_prefix_is_replaced_on_the_way_to_the_origin() {
    let (edge, origin) = start().await;
    let mut http1 = Target::https(&edge).http1(HOST).await;
    let mut http2 = Target::https(&edge).http2(HOST).await;
    let paths = [
        ("/api/x?y=/api", "/v2/x?y=/api"),
        ("/api", "/v2"),
        ("/api?q", "/v2?q"),
        ("/api/", "/v2/"),
        ("/%61pi/x", "/v2/x"),
        ("/api/../api/x", "/v2/x"),
        ("/apis", "/apis"),
        ("/bare", "/"),
        ("/bare?q", "/?q"),
        ("/bare//x", "/x"),
    ];
    for (path, _) in paths {
        assert_eq!(http1.get(HOST, path).await.status, 200);
        assert_eq!(http2.get(HOST, path).await.status, 200);
    }
    let seen: Vec<String> = origin.seen().iter().map(|request| request.target().to_owned()).collect();
    let expected: Vec<&str> = paths.iter().flat_map(|(_, target)| [*target, *target]).collect();
    assert_eq!(seen, expected);
    // Records have the path of the client.
    let records = edge.records_where(20, |_| true).await;
    assert_eq!((&records[0]["path"], &records[0]["query"]), (&"/api/x".into(), &"y=/api".into()));
}

#[tokio::test]
async fn fields_of_the_request_are_set_and_removed() {
    let (edge, origin) = start().await;
    let sent = [
        ("x-real-ip", "192.0.2.66"),
        ("x_real_ip", "192.0.2.66"),
        ("forwarded", "for=192.0.2.66"),
        ("x-debug", "1"),
        ("cookie", "sid=1"),
        ("x-other", "stays"),
    ];
    let mut http2 = Target::https(&edge).http2(HOST).await;
    http2.request(Method::GET, HOST, "/api/a%0d%0ab?c=d%0A", &sent).await.expect("an answer");
    let fields: String = sent.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let mut http1 = Target::https(&edge).http1(HOST).await;
    http1.send(format!("GET /api/a%0d%0ab?c=d%0A HTTP/1.1\r\nHost: {HOST}:8443\r\n{fields}\r\n")).await;
    http1.answer("GET").await;
    for request in origin.seen() {
        assert_eq!(request.head.all("x-real-ip"), ["127.0.0.1"]);
        assert_eq!(request.head.all("x-asked"), ["https://www.example.cn/api/a%0d%0ab?c=d%0A"]);
        assert_eq!(request.head.all("cookie"), ["a=b"]);
        assert_eq!(request.head.all("x-other"), ["stays"]);
        for gone in ["x_real_ip", "forwarded", "x-debug"] {
            assert_eq!(request.head.get(gone), None, "{gone}");
        }
    }
    assert_eq!(origin.seen_count(), 2);
}

#[tokio::test]
async fn no_target_becomes_a_line_or_a_field() {
    let (edge, origin) = start().await;
    // What may stand in a target although a URL may not hold it: each byte that is not a control.
    let odd: Vec<u8> = (0x21..=0xff).filter(|byte| *byte != 0x7f && *byte != b'#').collect();
    let mut http1 = Target::https(&edge).http1(HOST).await;
    let head = [b"GET /api/", &odd[..], b"?", &odd, b" HTTP/1.1\r\nHost: www.example.cn\r\n\r\n"].concat();
    http1.send(head).await;
    let answer = http1.answer("GET").await;
    for request in origin.seen() {
        let asked = request.head.get("x-asked").expect("it is set");
        assert!(asked.bytes().all(|byte| byte.is_ascii_graphic()), "{asked}");
        assert_eq!(request.head.all("x-real-ip"), ["127.0.0.1"]);
    }
    assert_eq!(origin.seen_count(), usize::from(answer.status == 200), "{answer:?}");
    assert_eq!(origin.nonsense(), 0);
}

#[tokio::test]
async fn answers_are_led_back_and_edited() {
    let (edge, _origin) = start().await;
    let mut http1 = Target::https(&edge).http1(HOST).await;
    let mut http2 = Target::https(&edge).http2(HOST).await;
    for (path, location) in [
        ("/api/x", "/api/x?y"),
        ("/api/absolute", "https://www.example.cn/api/x?y=/v2"),
        ("/api/away", "https://elsewhere.example/v2/x"),
    ] {
        for answer in [http1.get(HOST, path).await, http2.get(HOST, path).await] {
            assert_eq!(answer.field("location"), Some(location));
            assert_eq!(answer.head.all("set-cookie"), ["a=b; Path=/api/cart; HttpOnly", "c=d; Path=/"]);
            assert_eq!(answer.field("strict-transport-security"), Some("max-age=31536000"));
            assert_eq!((answer.field("server"), answer.field("x-powered-by")), (None, None));
            assert_eq!(answer.head.all("x-id").len(), 1, "{answer:?}");
            assert_ne!(answer.field("x-id"), Some("of the origin"));
        }
    }
    let answer = http1.get(HOST, "/other").await;
    assert_eq!(answer.field("location"), Some("/v2/x?y"), "this route changes nothing");
    assert_eq!(answer.field("server"), Some("nginx"));
}
