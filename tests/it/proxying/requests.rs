//! Requests as RFC 9110, 9112 and 9113 have them, and what is answered where they do not.

use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::HOST;
use super::framing::literal;
use crate::support::client::{Frames, HEADERS, PREFACE, Target, answer, frame, head_of, next_data};
use crate::support::edge::Edge;
use crate::support::http2_origin::{Exchange, Http2Origin};
use crate::support::message::Head;
use crate::support::origin::{Origin, ok, raw};
use crate::support::time::within;

const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;

#[tokio::test]
async fn http1_1_demands_a_host() {
    let origin = Origin::text("hello").await;
    let edge = Edge::builder().origin(origin.address).start().await;
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        (format!("GET https://{HOST}/ HTTP/1.1\r\n\r\n"), 400),
        ("GET / HTTP/1.0\r\n\r\n".to_owned(), 421),
        (format!("GET / HTTP/1.0\r\nHost: {HOST}\r\n\r\n"), 200),
    ] {
        let mut client = Target::https(&edge).http1(HOST).await;
        client.send(&request).await;
        assert_eq!(client.answer("GET").await.status, status, "{request}");
    }
}

#[tokio::test]
async fn http1_0_gets_no_interim_answer() {
    let origin = Origin::text("hello").await;
    let edge = Edge::builder().origin(origin.address).start().await;
    let expecting = |version: &str| {
        let head =
            format!("POST / {version}\r\nHost: {HOST}\r\nExpect: 100-continue\r\nContent-Length: 4\r\n");
        format!("{head}\r\nbody")
    };
    for (version, first) in [("HTTP/1.0", "HTTP/1.1 200 OK"), ("HTTP/1.1", "HTTP/1.1 100 Continue")] {
        let mut client = Target::https(&edge).http1(HOST).await;
        client.send(expecting(version)).await;
        assert_eq!(client.head().await.start, first, "{version}");
    }
}

#[tokio::test]
async fn a_fragment_is_400_and_trace_is_405() {
    let origin = Origin::text("hello").await;
    let edge = Edge::builder().origin(origin.address).start().await;
    for target in ["/a#b", "/#", "/?q#", "https://www.example.cn/#x"] {
        let mut client = Target::https(&edge).http1(HOST).await;
        client.ask("GET", HOST, target).await;
        assert_eq!(client.answer("GET").await.status, 400, "{target}");
    }
    let mut client = Target::https(&edge).http1(HOST).await;
    client.ask("TRACE", HOST, "/").await;
    let over_http1 = client.answer("TRACE").await;
    let mut client = Target::https(&edge).http2(HOST).await;
    let over_http2 = client.request(Method::TRACE, HOST, "/", &[]).await.expect("an answer");
    for answer in [over_http1, over_http2] {
        assert_eq!(answer.status, 405);
        assert_eq!(answer.field("allow"), Some("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    }
    assert_eq!(origin.seen_count(), 0);
}

/// Sends a head on a stream, and tells the kind of the first frame that answers it.
async fn answered(frames: &mut Frames, stream: u8, fields: &[(&str, &str)]) -> u8 {
    let block: Vec<u8> = fields.iter().flat_map(|(name, value)| literal(name, value)).collect();
    frames.send(&frame(HEADERS, 5, stream.into(), &block)).await.expect("sent");
    loop {
        let frame = frames.next().await.expect("the connection goes on");
        if frame.stream == u32::from(stream) && matches!(frame.kind, HEADERS | RST_STREAM) {
            return frame.kind;
        }
    }
}

#[tokio::test]
async fn malformed_fields_over_http2_end_their_stream_alone() {
    let origin = Origin::text("hello").await;
    let edge = Edge::builder().origin(origin.address).start().await;
    let mut frames = Target::https(&edge).frames(HOST).await;
    frames.send(PREFACE).await.expect("sent");
    let request = |scheme, name, value| {
        [(":method", "GET"), (":scheme", scheme), (":authority", HOST), (":path", "/"), (name, value)]
    };
    let mut stream = 1;
    for (scheme, value, expected) in [
        ("https", "a", HEADERS),
        ("https", " a", RST_STREAM),
        ("https", "a ", RST_STREAM),
        ("https", "\ta", RST_STREAM),
        ("https", "", HEADERS),
        ("https", "a b", HEADERS),
        ("", "a", RST_STREAM),
        ("https", "a", HEADERS),
    ] {
        let kind = answered(&mut frames, stream, &request(scheme, "x-field", value)).await;
        assert_eq!(kind, expected, "{scheme:?} {value:?}");
        stream += 2;
    }
    assert_eq!(origin.seen_count(), 4);
    edge.records_where(4, |record| record["status"] == 400).await;
}

#[tokio::test]
async fn what_the_framing_of_http2_refuses_leaves_a_record() {
    let origin = Origin::text("hello").await;
    let edge = Edge::builder().origin(origin.address).limit("request_head_bytes", "1KiB").start().await;
    let request = |path| [(":method", "GET"), (":scheme", "https"), (":authority", HOST), (":path", path)];
    let mut frames = Target::https(&edge).frames(HOST).await;
    frames.send(PREFACE).await.expect("sent");
    let mut stream = 1;
    let large = ["x"; 100].concat();
    for (path, fields, expected) in [
        ("/", 0, HEADERS),
        // The crate takes these, as HTTP/1.1 does.
        ("/\"{|}^?`", 0, HEADERS),
        ("/<", 0, RST_STREAM),
        ("/`", 0, RST_STREAM),
        ("/?\"", 0, RST_STREAM),
        // The crate answers a head over the limit.
        ("/", 20, HEADERS),
        ("/", 0, HEADERS),
    ] {
        let mut all = request(path).to_vec();
        all.extend(std::iter::repeat_n(("x-large", large.as_str()), fields));
        assert_eq!(answered(&mut frames, stream, &all).await, expected, "{path}");
        stream += 2;
    }
    assert_eq!(origin.seen_count(), 3);
    let series = |result| format!("icpgate_http2_refused_total{{listener=\"https\",result=\"{result}\"}}");
    edge.metric_becomes(&series("reset"), 3.0).await;
    edge.metric_becomes(&series("too_large"), 1.0).await;

    // One byte of GBK, or a name that is no token, ends the connection.
    let gbk = [&[0, 5][..], b":path", &[2, b'/', 0xc4]].concat();
    for rest in [gbk, literal("a b", "c")] {
        let mut frames = Target::https(&edge).frames(HOST).await;
        frames.send(PREFACE).await.expect("sent");
        let block: Vec<u8> = request("/").iter().flat_map(|(name, value)| literal(name, value)).collect();
        frames.send(&frame(HEADERS, 5, 1, &[block, rest].concat())).await.expect("sent");
        assert!(frames.next_of(GOAWAY).await.is_some());
    }
    edge.metric_becomes(&series("connection"), 2.0).await;
    let records = edge.records_where(6, |record| record["reason"] == "http2_framing").await;
    let with = |status: u16| records.iter().filter(|record| record["status"] == status).count();
    assert_eq!((with(400), with(431)), (5, 1), "{records:?}");
    assert!(records.iter().all(|record| record["event"] == "request" && record["protocol"] == "h2"));
}

#[tokio::test]
async fn as_many_fields_are_taken_over_both_protocols() {
    let origin = Origin::text("hello").await;
    let edge = Edge::builder().origin(origin.address).start().await;
    for (count, status) in [(128, 200), (129, 431)] {
        // One of them is the host.
        let fields = "Cookie: a=b\r\n".repeat(count - 1);
        let mut http1 = Target::https(&edge).http1(HOST).await;
        http1.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n")).await;
        assert_eq!(http1.answer("GET").await.status, status, "{count} over HTTP/1.1");
        let mut http2 = Target::https(&edge).http2(HOST).await;
        let fields = vec![("cookie", "a=b"); count];
        let answer = http2.request(Method::GET, HOST, "/", &fields).await.expect("an answer");
        assert_eq!(answer.status, status, "{count} over HTTP/2");
    }
    edge.records_where(2, |record| record["status"] == 431).await;
}

const TRAILERS: [&str; 15] = [
    "connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "host",
    "content-length",
    "authorization",
    "proxy-authorization",
    "cookie",
    "x-request-id",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-secret",
    "x_sum",
    "set-cookie",
];

#[tokio::test]
async fn trailers_obey_the_rules_of_fields() {
    // What came behind the body is said in the answer's head.
    let origin = Http2Origin::start(|mut exchange: Exchange| async move {
        let (_, trailers) = exchange.whole().await.expect("a body");
        let trailers = trailers.unwrap_or_default();
        let names: Vec<&str> = trailers.keys().map(http::HeaderName::as_str).collect();
        exchange.head(StatusCode::OK, &[("x-trailers", &names.join(","))], true);
    })
    .await;
    let origins = "  - {name: main, region: mainland, scheme: h2c, servers: [\"$ORIGIN\"]}\n";
    let edge = Edge::builder().origins(origins).origin(origin.address).start().await;

    let mut http1 = Target::https(&edge).http1(HOST).await;
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nConnection: X-Secret\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let sent: String = TRAILERS.iter().map(|name| format!("{name}: 1\r\n")).collect();
    http1.send(format!("{head}4\r\nbody\r\n0\r\nX-Sum: 1\r\n{sent}\r\n")).await;
    assert_eq!(http1.answer("POST").await.field("x-trailers"), Some("x-sum"));

    let mut http2 = Target::https(&edge).http2(HOST).await;
    let (response, mut upload) = http2.begin(Method::POST, HOST, "/", &[("te", "trailers")], false).await;
    upload.send_data("body".into(), false).expect("sent");
    let mut sent = HeaderMap::new();
    // The framing itself refuses the fields of a connection, and nothing can be nominated.
    for name in ["x-sum", "host", "authorization", "cookie", "x-request-id", "x-forwarded-for", "x_sum"] {
        sent.insert(name, HeaderValue::from_static("1"));
    }
    upload.send_trailers(sent).expect("sent");
    assert_eq!(answer(response).await.expect("an answer").field("x-trailers"), Some("x-sum"));
}

#[tokio::test]
async fn trailers_of_answers_obey_them_too() {
    let origin = Origin::start(|_| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: X-Secret\r\nTransfer-Encoding: chunked\r\n\r\n";
        let sent: String = TRAILERS.iter().map(|name| format!("{name}: 1\r\n")).collect();
        vec![raw(format!("{head}4\r\nbody\r\n0\r\nX-Sum: 1\r\n{sent}\r\n"))]
    })
    .await;
    let edge = Edge::builder().origin(origin.address).start().await;
    let mut http2 = Target::https(&edge).http2(HOST).await;
    let (response, _) = http2.begin(Method::GET, HOST, "/", &[], true).await;
    let (_, mut body) = head_of(response).await.expect("a head");
    while let Some(bytes) = next_data(&mut body).await {
        bytes.expect("bytes");
    }
    let trailers = within("trailers", body.trailers()).await.expect("trailers").expect("some");
    assert_eq!(trailers.keys().map(http::HeaderName::as_str).collect::<Vec<_>>(), ["x-sum"]);

    let mut http1 = Target::https(&edge).http1(HOST).await;
    http1
        .send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close, TE\r\nTE: trailers\r\n\r\n"))
        .await;
    let (bytes, _) = http1.end().await;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let behind = text.split_once("\r\n0\r\n").map(|(_, behind)| behind);
    assert_eq!(behind, Some("x-sum: 1\r\n\r\n"), "{text}");
}

#[tokio::test]
async fn a_route_is_not_left_by_spelling() {
    let (pay, rest) = (Origin::start(|_| ok("pay")).await, Origin::start(|_| ok("rest")).await);
    let origins = format!(
        "  - {{name: pay, region: mainland, scheme: http, servers: [\"{}\"]}}\n  \
         - {{name: rest, region: offshore, scheme: http, servers: [\"{}\"]}}\n",
        pay.address, rest.address
    );
    let sites = "  - hosts: [www.example.cn]\n    certificate: {chain: site.pem, key: site.key}\n    \
                 routes: [{match: {path: /pay}, origins: [pay], residency: mainland}, {origins: [rest]}]\n";
    let edge = Edge::builder().origins(&origins).sites(sites).start().await;
    let mut http1 = Target::https(&edge).http1(HOST).await;
    let mut http2 = Target::https(&edge).http2(HOST).await;
    let targets = [
        "//pay",
        "///pay//x",
        "/%70ay",
        "/%70%61%79/x?y",
        "/./pay",
        "/x/../pay",
        "/x/%2e%2e/pay/",
        "/pay%2Fx",
        "/%2fpay",
    ];
    for target in targets {
        assert_eq!(http1.get(HOST, target).await.text(), "pay", "{target}");
        assert_eq!(http2.get(HOST, target).await.text(), "pay", "{target}");
    }
    let seen: Vec<String> = pay.seen().iter().map(|request| request.target().to_owned()).collect();
    let expected: Vec<&str> = targets.iter().flat_map(|target| [*target, *target]).collect();
    assert_eq!(seen, expected, "what is sent stays as it came");
    for target in ["/payments", "/PAY", "/pay/../x", "/%2570ay", "/payments%2Fpay", "/x/..%2Fpay%2F..%2Fx"] {
        assert_eq!(http1.get(HOST, target).await.text(), "rest", "{target}");
    }
}

/// nginx takes `%2F` for a separator, Express does not. Neither reading may leave a residency.
#[tokio::test]
async fn an_encoded_slash_leaves_no_residency() {
    let (mainland, offshore) = (Origin::text("mainland").await, Origin::text("offshore").await);
    let origins = format!(
        "  - {{name: mainland, region: mainland, scheme: http, servers: [\"{}\"]}}\n  \
         - {{name: offshore, region: offshore, scheme: http, servers: [\"{}\"]}}\n",
        mainland.address, offshore.address
    );
    let sites = "  - hosts: [www.example.cn]\n    certificate: {chain: site.pem, key: site.key}\n    routes:\n      \
                 - {match: {path: /pay}, origins: [mainland], residency: mainland}\n      \
                 - {match: {path: /abroad}, origins: [offshore], residency: offshore}\n      \
                 - {match: {path_exact: /a/b}, origins: [mainland]}\n      \
                 - {origins: [offshore]}\n";
    let edge = Edge::builder().origins(&origins).sites(sites).start().await;
    let mut client = Target::https(&edge).http1(HOST).await;
    for (target, expected) in [
        ("/pay%2Fx", "mainland"),
        ("/x%2f..%2fpay", "mainland"),
        ("/pay/..%2Fx", "mainland"),
        ("/a/b", "mainland"),
        ("/a%2Fb", "offshore"),
        ("/x%2Fy", "offshore"),
    ] {
        assert_eq!(client.get(HOST, target).await.text(), expected, "{target}");
    }
    let ambiguous = client.get(HOST, "/pay/..%2Fabroad").await;
    assert!(ambiguous.status == 400 && ambiguous.text().contains("request id"), "{ambiguous:?}");
}

#[tokio::test]
async fn targets_of_any_charset_pass_as_they_came() {
    let origin = Origin::text("hello").await;
    let edge = Edge::builder().origin(origin.address).start().await;
    let gbk = b"\xd6\xd0\xb9\xfa";
    for before in [&b"/search?q="[..], b"/", b"/\"<>`\\^{|}?\"<>`", b"https://www.example.cn/a?q="] {
        let target = [before, gbk].concat();
        let mut client = Target::https(&edge).http1(HOST).await;
        client.send([b"GET ", &target[..], b" HTTP/1.1\r\nHost: www.example.cn\r\n\r\n"].concat()).await;
        assert_eq!(client.answer("GET").await.status, 200);
        let path = target.strip_prefix(b"https://www.example.cn").unwrap_or(&target);
        let seen = origin.seen().pop().expect("a request");
        assert_eq!(seen.head.start, format!("GET {} HTTP/1.1", String::from_utf8_lossy(path)));
    }
}

#[tokio::test]
async fn an_origin_that_is_the_proxy_itself_is_found() {
    let listeners = "  - {name: http, addresses: [\"$HTTP\"], protocol: http, redirect: none}\n";
    let origins = "  - {name: main, region: mainland, scheme: http, servers: [\"$HTTP\"]}\n";
    let sites = "  - hosts: [www.example.cn]\n    routes: [{origins: [main]}]\n";
    let edge = Edge::builder().listeners(listeners).sites(sites).origins(origins).start().await;
    for fields in ["", "CDN-Loop: other.example; a=b\r\nConnection: CDN-Loop\r\n"] {
        let mut client = Target::http(&edge).http1(HOST).await;
        client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n")).await;
        assert_eq!(client.answer("GET").await.status, 508);
    }
    let found = edge.records_where(2, |record| record["reason"] == "loop").await;
    assert!(found.iter().all(|record| record["status"] == 508), "{found:?}");
    edge.records_where(4, |record| record["status"] == 508).await;
    assert_eq!(edge.records().await.len(), 4, "each request passed twice");
}

#[tokio::test]
async fn who_sent_a_request_on_is_told_and_nothing_is_forgotten() {
    let origin = Origin::text("hello").await;
    let edge = Edge::builder().origin(origin.address).start().await;
    let mut client = Target::https(&edge).http1(HOST).await;
    client
        .send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nCDN-Loop: a.example\r\nCDN-Loop: b; c=d\r\n\r\n"))
        .await;
    client.answer("GET").await;
    client.get(HOST, "/").await;
    let loops = |head: &Head| head.get("cdn-loop").expect("one field").to_owned();
    let [with, without] = [loops(&origin.seen()[0].head), loops(&origin.seen()[1].head)];
    assert!(without.starts_with("icpgate-") && without.len() == 24, "{without}");
    assert_eq!(with, format!("a.example, b; c=d, {without}"));
}
