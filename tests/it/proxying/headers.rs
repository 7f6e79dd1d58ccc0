//! Fields of request heads on the way to the origin, and of answer heads on the way back.

use http::Method;

use super::HOST;
use crate::support::client::Target;
use crate::support::edge::Edge;
use crate::support::origin::{Origin, answer};

const SPOOFED: &str = "X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-Proto: gopher\r\nX-Forwarded-Host: evil.example\r\n\
                       X-Request-Id: mine\r\nX_Forwarded_For: 198.51.100.1\r\nx-request_id: mine\r\n\
                       Transfer_Encoding: chunked\r\nContent_Length: 5\r\n";

#[tokio::test]
async fn forwarded_headers_of_a_client_are_replaced() {
    let origin = Origin::text("hello").await;
    let edge = Edge::in_front_of(&origin).await;
    let mut http1 = Target::https(&edge).http1(HOST).await;
    http1.send(format!("GET / HTTP/1.1\r\nHost: {HOST}:8443\r\n{SPOOFED}{SPOOFED}\r\n")).await;
    http1.answer("GET").await;
    let fields =
        [("x-forwarded-for", "198.51.100.1"), ("x-forwarded-proto", "gopher"), ("x-request-id", "mine")];
    let mut http2 = Target::https(&edge).http2(HOST).await;
    http2.request(Method::GET, "www.example.cn:8443", "/", &fields).await.unwrap();

    let records = edge.records_where(2, |record| record["status"] == 200).await;
    for (request, record) in origin.seen().into_iter().zip(records) {
        assert_eq!(request.head.get("x-forwarded-for"), Some("127.0.0.1"));
        // CGI maps `-` and `_` to the same variable.
        for taken_for_others in ["x_forwarded_for", "x-request_id", "transfer_encoding", "content_length"] {
            assert_eq!(request.head.get(taken_for_others), None);
        }
        assert_eq!(request.head.get("x-forwarded-proto"), Some("https"));
        assert_eq!(request.head.get("x-forwarded-host"), Some("www.example.cn:8443"));
        let id = request.head.get("x-request-id").unwrap();
        assert!(id.len() == 32 && id != "mine", "{id}");
        assert_eq!(record["request_id"], id);
        assert_eq!(record["client_ip"], "127.0.0.1");
    }
}

#[tokio::test]
async fn forwarded_headers_of_a_trusted_proxy_are_believed() {
    let origin = Origin::text("hello").await;
    let listeners = "  - {name: https, addresses: [\"$HTTPS\"], protocol: https, trusted_proxies: [127.0.0.0/8, 100.64.0.0/10]}\n";
    let edge = Edge::builder().origin(origin.address).listeners(listeners).start().await;
    let mut client = Target::https(&edge).http1(HOST).await;
    let fields = "X-Forwarded-For: 198.51.100.9, 203.0.113.7, 100.64.0.1\r\nX-Forwarded-Proto: http\r\n\
                  X-Forwarded-Host: cdn.example.cn\r\nX-Request-Id: id-of-the-proxy\r\n";
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n")).await;
    client.answer("GET").await;
    let request = origin.only();
    let chain = "198.51.100.9, 203.0.113.7, 100.64.0.1, 127.0.0.1";
    assert_eq!(request.head.get("x-forwarded-for"), Some(chain));
    assert_eq!(request.head.get("x-forwarded-proto"), Some("http"));
    assert_eq!(request.head.get("x-forwarded-host"), Some("cdn.example.cn"));
    assert_eq!(request.head.get("x-request-id"), Some("id-of-the-proxy"));
    let record = edge.records_where(1, |_| true).await.remove(0);
    assert_eq!(record["request_id"], "id-of-the-proxy");
    // The entries before the one that the trusted proxy added may be forged.
    assert_eq!((&record["client_ip"], &record["peer_ip"]), (&"203.0.113.7".into(), &"127.0.0.1".into()));

    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    client.answer("GET").await;
    let request = origin.seen().remove(1);
    assert_eq!(request.head.get("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(request.head.get("x-forwarded-proto"), Some("https"));
    assert_eq!(request.head.get("x-forwarded-host"), Some(HOST));
}

#[tokio::test]
async fn a_trace_context_passes_as_it_came_and_only_a_sound_one_is_recorded() {
    const SOUND: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const OTHER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let zeros = SOUND.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32));
    let cases: [(&[&str], Option<&str>); 4] = [
        (&[SOUND], Some("0af7651916cd43dd8448eb211c80319c")),
        (&[SOUND, OTHER], None),
        (&[&zeros], None),
        (&["00-short"], None),
    ];
    let origin = Origin::text("hello").await;
    let edge = Edge::in_front_of(&origin).await;
    let mut http1 = Target::https(&edge).http1(HOST).await;
    let mut http2 = Target::https(&edge).http2(HOST).await;
    for (place, (sent, trace)) in cases.into_iter().enumerate() {
        let lines: String = sent.iter().map(|value| format!("Traceparent: {value}\r\n")).collect();
        http1
            .send(format!("GET /{place} HTTP/1.1\r\nHost: {HOST}\r\n{lines}Tracestate: a=1,b=2\r\n\r\n"))
            .await;
        assert_eq!(http1.answer("GET").await.status, 200);
        let mut fields: Vec<(&str, &str)> = sent.iter().map(|value| ("traceparent", *value)).collect();
        fields.push(("tracestate", "a=1,b=2"));
        http2.request(Method::GET, HOST, &format!("/{place}"), &fields).await.expect("an answer");
        let path = format!("/{place}");
        for record in edge.records_where(2, |record| record["path"] == path.as_str()).await {
            assert_eq!(record.get("trace_id").and_then(|id| id.as_str()), trace, "{sent:?}");
        }
        for request in origin.seen().into_iter().filter(|request| request.target() == path) {
            assert_eq!(request.head.all("traceparent"), sent);
            assert_eq!(request.head.get("tracestate"), Some("a=1,b=2"));
        }
    }
}

#[tokio::test]
async fn hop_by_hop_fields_are_removed() {
    let origin = Origin::start(|_| {
        let fields = [
            "Connection: keep-alive, X-Secret",
            "Keep-Alive: timeout=5",
            "X-Secret: of the origin",
            "Proxy-Authenticate: Basic",
            "Trailer: x-late",
            "Upgrade: h2c",
            "X-Kept: yes",
        ];
        answer("200 OK", &fields, "hello")
    })
    .await;
    let edge = Edge::in_front_of(&origin).await;
    let mut http1 = Target::https(&edge).http1(HOST).await;
    let fields = "Connection: keep-alive, X-Secret, TE\r\nKeep-Alive: timeout=5\r\nX-Secret: of the client\r\nTE: trailers\r\n\
                  Proxy-Authorization: Basic eDp5\r\nProxy-Connection: keep-alive\r\nUpgrade: h2c\r\nTrailer: x\r\nX-Kept: yes\r\n";
    http1.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n")).await;
    let over_http1 = http1.answer("GET").await;
    let over_http2 = Target::https(&edge).http2(HOST).await.get(HOST, "/").await;

    for answer in [&over_http1, &over_http2] {
        for gone in ["x-secret", "proxy-authenticate", "trailer", "upgrade"] {
            assert_eq!(answer.field(gone), None, "{gone}");
        }
        assert_eq!(answer.field("x-kept"), Some("yes"));
        assert_eq!(answer.text(), "hello");
    }
    assert_eq!((over_http2.field("connection"), over_http2.field("keep-alive")), (None, None));
    let request = &origin.seen()[0];
    for gone in
        ["x-secret", "te", "proxy-authorization", "proxy-connection", "upgrade", "trailer", "keep-alive"]
    {
        assert_eq!(request.head.get(gone), None, "{gone}");
    }
    assert_eq!(request.head.get("x-kept"), Some("yes"));
}

#[tokio::test]
async fn a_client_cannot_remove_our_fields_by_naming_them_in_connection() {
    let origin = Origin::text("hello").await;
    let edge = Edge::in_front_of(&origin).await;
    let mut client = Target::https(&edge).http1(HOST).await;
    let nominated = "Connection: X-Forwarded-For, X-Request-Id, X-Forwarded-Proto, X-Forwarded-Host, Host, Content-Length\r\n";
    client.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\n{nominated}Content-Length: 4\r\n\r\nbody")).await;
    assert_eq!(client.answer("POST").await.text(), "hello");
    let request = origin.only();
    assert_eq!(request.body, b"body");
    assert_eq!(request.head.get("host"), Some(HOST));
    for ours in ["x-forwarded-for", "x-request-id", "x-forwarded-proto", "x-forwarded-host"] {
        assert!(request.head.get(ours).is_some(), "{ours}");
    }
}

#[tokio::test]
async fn split_http2_cookies_are_joined() {
    let origin = Origin::text("hello").await;
    let edge = Edge::in_front_of(&origin).await;
    let mut client = Target::https(&edge).http2(HOST).await;
    let fields = [("cookie", "a=b"), ("x-other", "c"), ("cookie", "d=e")];
    client.request(Method::GET, HOST, "/", &fields).await.unwrap();
    // RFC 9113, 8.2.3: HTTP/1 allows a single cookie field.
    assert_eq!(origin.only().head.get("cookie"), Some("a=b; d=e"));
}

#[tokio::test]
async fn the_host_is_preserved_or_replaced() {
    let (kept, replaced) = (Origin::text("kept").await, Origin::text("replaced").await);
    let origins = format!(
        "  - {{name: main, region: mainland, scheme: http, servers: [\"{}\"]}}\n  \
         - {{name: other, region: offshore, scheme: http, servers: [\"{}\"], host: app.internal.example}}\n",
        kept.address, replaced.address,
    );
    let sites = "  - hosts: [www.example.cn]\n    certificate: {chain: site.pem, key: site.key}\n    \
                 routes: [{match: {path: /other}, origins: [other]}, {origins: [main]}]\n";
    let edge = Edge::builder().origins(&origins).sites(sites).start().await;
    let mut http1 = Target::https(&edge).http1(HOST).await;
    let mut http2 = Target::https(&edge).http2(HOST).await;
    assert_eq!(http1.get("WWW.example.cn:8443", "/").await.text(), "kept");
    assert_eq!(http2.get("www.example.cn:8443", "/").await.text(), "kept");
    assert_eq!(kept.seen()[0].head.get("host"), Some("WWW.example.cn:8443"));
    assert_eq!(kept.seen()[1].head.get("host"), Some("www.example.cn:8443"));
    assert_eq!(http1.get(HOST, "/other").await.text(), "replaced");
    assert_eq!(http2.get(HOST, "/other").await.text(), "replaced");
    for request in replaced.seen() {
        assert_eq!(request.head.get("host"), Some("app.internal.example"));
        assert_eq!(request.head.get("x-forwarded-host"), Some(HOST));
    }
}
