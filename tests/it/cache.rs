//! The edge cache, in front of an origin that counts.

mod disk;
mod filling;
mod purge;
mod stale;

use crate::support::HOST;
use crate::support::client::{Answer, Target};
use crate::support::edge::{Builder, Edge};
use crate::support::origin::{Origin, Request, Script, answer, html};

const SITES: &str = "  - name: shop
    hosts: [www.example.cn, example.cn]
    cache: on
    certificate: {chain: site.pem, key: site.key}
    routes:
      - {match: {path: /off}, origins: [main], cache: off}
      - {match: {path: /}, origins: [main]}
";

/// A program with a cache.
fn cached() -> Builder {
    Edge::builder().sites(SITES).more("cache: {memory: 64MiB, max_object: 8MiB}\n")
}

async fn in_front_of(origin: &Origin) -> Edge {
    cached().origin(origin.address).start().await
}

/// 200 with a text and these fields.
fn text(fields: &[&str], text: &str) -> Script {
    answer("200 OK", &[&["content-type: text/plain"], fields].concat(), text)
}

/// A text that is fresh for an hour.
fn fresh(body: &str) -> Script {
    text(&["cache-control: max-age=3600"], body)
}

async fn get(edge: &Edge, path: &str) -> Answer {
    Target::https(edge).get(HOST, path).await
}

/// `cache-status` of an answer.
fn status(answer: &Answer) -> &str {
    answer.field("cache-status").unwrap_or_default()
}

fn series(result: &str) -> String {
    format!("icpgate_cache_total{{result=\"{result}\",site=\"shop\"}}")
}

#[tokio::test]
async fn what_is_fresh_is_answered_without_the_origin() {
    let origin = Origin::start(|request: &Request| fresh(request.target())).await;
    let edge = in_front_of(&origin).await;
    for result in ["hit", "stale", "revalidated", "miss", "bypass"] {
        assert_eq!(edge.metric(&series(result)).await, 0.0);
    }
    let first = get(&edge, "/a").await;
    assert_eq!((first.text().as_str(), status(&first)), ("/a", "icpgate; fwd=uri-miss; stored"));
    assert_eq!(first.field("age"), None);
    let over_http1 = get(&edge, "/a").await;
    let over_http2 = Target::https(&edge).http2(HOST).await.get(HOST, "/a").await;
    for answer in [over_http1, over_http2] {
        assert_eq!((answer.status, answer.text().as_str()), (200, "/a"));
        assert_eq!((status(&answer), answer.field("content-length")), ("icpgate; hit", Some("2")));
        assert!(answer.field("age").is_some(), "{answer:?}");
    }
    let other = get(&edge, "/b").await;
    assert_eq!(status(&other), "icpgate; fwd=uri-miss; stored");
    assert_eq!(origin.seen_count(), 2);
    edge.metric_becomes(&series("hit"), 2.0).await;
    edge.metric_becomes(&series("miss"), 2.0).await;
    let hits = edge.records_where(2, |record| record["cache"] == "hit").await;
    for hit in &hits {
        assert_eq!((&hit["status"], &hit["bytes_out"]), (&200.into(), &2.into()), "{hit}");
        assert!(hit.get("upstream_address").is_none(), "{hit}");
    }
    edge.records_where(2, |record| record["cache"] == "miss").await;
}

#[tokio::test]
async fn a_route_is_never_answered_with_what_another_route_got() {
    let origin = Origin::start(|_| fresh("for all")).await;
    let staff = Origin::start(|_| fresh("for staff")).await;
    let match_staff = "{match: {path: /, header: {x-staff: \"yes\"}}, origins: [staff]}";
    let sites = SITES.replace("{match: {path: /off}, origins: [main], cache: off}", match_staff);
    let origins = [("main", &origin), ("staff", &staff)].map(|(name, origin)| {
        let address = origin.address;
        format!("  - {{name: {name}, region: mainland, scheme: http, servers: [\"{address}\"]}}\n")
    });
    let edge = cached().sites(&sites).origins(&origins.concat()).start().await;
    let mut client = Target::https(&edge).http1(HOST).await;
    for seen in ["icpgate; fwd=", "icpgate; hit"] {
        client.send(format!("GET /a HTTP/1.1\r\nHost: {HOST}\r\nX-Staff: yes\r\n\r\n")).await;
        let of_staff = client.answer("GET").await;
        assert_eq!((of_staff.text().as_str(), status(&of_staff).starts_with(seen)), ("for staff", true));
        let of_all = client.get(HOST, "/a").await;
        assert_eq!((of_all.text().as_str(), status(&of_all).starts_with(seen)), ("for all", true));
    }
    assert_eq!((origin.seen_count(), staff.seen_count()), (1, 1));
}

#[tokio::test]
async fn what_is_not_looked_up_is_bypassed() {
    let origin = Origin::start(|request: &Request| fresh(request.method())).await;
    let edge = in_front_of(&origin).await;
    let mut client = Target::https(&edge).http1(HOST).await;
    for _ in 0..2 {
        assert_eq!(status(&client.get(HOST, "/off").await), "icpgate; fwd=bypass");
        assert_eq!(status(&client.post(HOST, "/", "x").await), "icpgate; fwd=method");
        client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Basic eDp5\r\n\r\n")).await;
        assert_eq!(status(&client.answer("GET").await), "icpgate; fwd=bypass");
    }
    assert_eq!(origin.seen_count(), 6);
    edge.metric_becomes(&series("bypass"), 6.0).await;
    edge.records_where(6, |record| record["cache"] == "bypass").await;
}

#[tokio::test]
async fn a_site_without_a_cache_has_no_sign_of_one() {
    let origin = Origin::start(|_| fresh("x")).await;
    let edge = Edge::in_front_of(&origin).await;
    for _ in 0..2 {
        assert_eq!(get(&edge, "/").await.field("cache-status"), None);
    }
    assert_eq!(origin.seen_count(), 2);
    let records = edge.records_where(2, |record| record["event"] == "request").await;
    assert!(records.iter().all(|record| record.get("cache").is_none()), "{records:?}");
}

#[tokio::test]
async fn variants_are_kept_apart() {
    let origin = Origin::start(|request: &Request| {
        let language = request.head.get("accept-language").unwrap_or("none");
        text(&["cache-control: max-age=3600", "vary: accept-language"], language)
    })
    .await;
    let edge = in_front_of(&origin).await;
    let mut client = Target::https(&edge).http1(HOST).await;
    for (language, expected) in
        [("zh", "uri-miss; stored"), ("en", "vary-miss; stored"), ("zh", "hit"), ("en", "hit")]
    {
        client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nAccept-Language: {language}\r\n\r\n")).await;
        let answer = client.answer("GET").await;
        assert!(status(&answer).ends_with(expected), "{language} {expected}: {answer:?}");
        assert_eq!(answer.text(), language);
    }
    assert_eq!(origin.seen_count(), 2);
}

#[tokio::test]
async fn conditions_ranges_and_heads_are_answered_from_the_stored_whole() {
    let origin = Origin::start(|_| {
        text(&["cache-control: max-age=3600", "etag: \"v1\"", "accept-ranges: bytes"], "0123456789")
    })
    .await;
    let edge = in_front_of(&origin).await;
    get(&edge, "/").await;
    let mut client = Target::https(&edge).http1(HOST).await;
    for (method, field, expected, body) in [
        ("HEAD", "X: y", 200, ""),
        ("GET", "If-None-Match: \"v0\", W/\"v1\"", 304, ""),
        ("GET", "If-None-Match: \"v0\"", 200, "0123456789"),
        ("GET", "Range: bytes=2-4", 206, "234"),
        ("GET", "Range: bytes=-2", 206, "89"),
        ("GET", "Range: bytes=0-1,3-4", 200, "0123456789"),
        ("GET", "Range: bytes=20-", 416, ""),
        ("GET", "Range: bytes=2-4\r\nIf-Range: \"v1\"", 206, "234"),
        ("GET", "Range: bytes=2-4\r\nIf-Range: \"v0\"", 200, "0123456789"),
    ] {
        client.send(format!("{method} / HTTP/1.1\r\nHost: {HOST}\r\n{field}\r\n\r\n")).await;
        let answer = client.answer(method).await;
        assert_eq!((answer.status, answer.text().as_str()), (expected, body), "{method} {field}");
        assert_eq!(status(&answer), "icpgate; hit", "{method} {field}");
        let range = match expected {
            206 if body == "89" => Some("bytes 8-9/10"),
            206 => Some("bytes 2-4/10"),
            416 => Some("bytes */10"),
            _ => None,
        };
        assert_eq!(answer.field("content-range"), range, "{method} {field}");
        let length =
            if expected == 304 { None } else { Some(if method == "HEAD" { 10 } else { body.len() }) };
        assert_eq!(
            answer.field("content-length").map(str::to_owned),
            length.map(|length| length.to_string())
        );
    }
    assert_eq!(origin.seen_count(), 1);
}

#[tokio::test]
async fn a_stored_page_has_its_footer_and_a_new_number_a_new_page() {
    const PAGE: &str = "<!doctype html><html><body>hello</body></html>";
    let origin = Origin::start(|_| {
        let mut script = html(PAGE);
        script[0] = crate::support::origin::head(
            "200 OK",
            &["content-type: text/html; charset=utf-8", "cache-control: max-age=3600", "content-length: 46"],
        );
        script
    })
    .await;
    let edge = in_front_of(&origin).await;
    let first = get(&edge, "/").await;
    let hit = get(&edge, "/").await;
    assert_eq!((hit.text(), status(&hit)), (first.text(), "icpgate; hit"));
    assert!(hit.text().contains("京ICP备2024012345号-1"), "{hit:?}");
    edge.records_where(2, |record| record["footer"] == "injected").await;

    let other = crate::support::edge::APPROVED.replace("2024012345", "2024054321");
    edge.replace("filings.yaml", &other);
    edge.metric_becomes("icpgate_snapshot_generation", 2.0).await;
    let renewed = get(&edge, "/").await;
    assert!(renewed.text().contains("京ICP备2024054321号-1"), "{renewed:?}");
    assert_eq!(status(&renewed), "icpgate; fwd=vary-miss; stored");
    assert_eq!(status(&get(&edge, "/").await), "icpgate; hit");
    assert_eq!(origin.seen_count(), 2);
}

#[tokio::test]
async fn a_hit_obeys_the_gate() {
    let origin = Origin::start(|_| fresh("x")).await;
    let edge = cached().limit("revocation_grace", "0s").origin(origin.address).start().await;
    get(&edge, "/").await;
    edge.replace("filings.yaml", crate::support::edge::SUSPENDED);
    edge.ports_closed().await;
    edge.replace("filings.yaml", crate::support::edge::APPROVED);
    edge.ports_open().await;
    assert_eq!(status(&get(&edge, "/").await), "icpgate; hit");
}

#[tokio::test]
async fn unsafe_methods_drop_what_they_change() {
    let origin = Origin::start(|request: &Request| match request.method() {
        "POST" => answer("201 Created", &["location: /b"], "x"),
        _ => fresh("x"),
    })
    .await;
    let edge = in_front_of(&origin).await;
    for path in ["/a", "/b", "/c"] {
        get(&edge, path).await;
    }
    assert_eq!(Target::https(&edge).http1(HOST).await.post(HOST, "/a", "x").await.status, 201);
    for (path, expected) in [("/a", "fwd=uri-miss; stored"), ("/b", "fwd=uri-miss; stored"), ("/c", "hit")] {
        assert_eq!(status(&get(&edge, path).await), format!("icpgate; {expected}"), "{path}");
    }
}
