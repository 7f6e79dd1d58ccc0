//! The footer with the filing number is put into HTML pages; nothing else changes.

mod assets;
mod charsets;
mod data;
mod display;
mod encoded;
mod ranges;

use crate::support::HOST;
use crate::support::client::{Answer, Target};
use crate::support::edge::Edge;
use crate::support::message::Body;
use crate::support::origin::{Gate, Origin, Request, Script, Step, answer, chunk, head, html, ok, raw};
use crate::support::time::within;

const PAGE: &str = "<!doctype html><html><body><p>你好</p></body></html>";
const LINK: &str = "<a href=\"https://beian.miit.gov.cn/\" target=\"_blank\" \
                    rel=\"noopener noreferrer nofollow\">京ICP备2024012345号-1</a>";

async fn edge(answer: impl Fn(&Request) -> Script + Send + Sync + 'static) -> (Origin, Edge) {
    let origin = Origin::start(answer).await;
    let edge = Edge::in_front_of(&origin).await;
    (origin, edge)
}

/// The footer that was put before `</body>`; fails if anything else changed.
fn with_footer(page: &str, answer: &Answer) -> String {
    let text = answer.text();
    let (before, after) = page.split_at(page.find("</body>").expect("a body"));
    let footer = text.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
    footer.unwrap_or_else(|| panic!("the page is not what it was: {text}")).to_owned()
}

#[tokio::test]
async fn a_page_gets_the_footer_before_the_end_of_its_body_over_every_protocol() {
    let (_origin, edge) = edge(|_| html(PAGE)).await;
    let target = Target::https(&edge);
    let mut http1 = target.http1(HOST).await;
    let mut http2 = target.http2(HOST).await;
    for answer in [http1.get(HOST, "/").await, http2.get(HOST, "/a?b").await, http1.get(HOST, "/c").await] {
        let footer = with_footer(PAGE, &answer);
        assert!(footer.contains(LINK), "{footer}");
        assert_eq!(answer.field("content-length"), None);
    }
    http1.send(format!("GET / HTTP/1.0\r\nhost: {HOST}\r\n\r\n")).await;
    let (answer, _) = http1.end().await;
    let answer = String::from_utf8(answer).expect("UTF-8");
    assert!(answer.contains(LINK) && answer.ends_with("</body></html>"), "{answer}");

    edge.metric_becomes("icpgate_footer_total{result=\"injected\",site=\"shop\"}", 4.0).await;
    let records = edge.records_where(4, |record| record["footer"] == "injected").await;
    let bytes = records[0]["bytes_out"].as_u64().expect("a count");
    assert!(bytes as usize > PAGE.len() + LINK.len());
}

#[tokio::test]
async fn a_streaming_page_is_passed_on_as_it_arrives() {
    let (_origin, edge) = edge(|_| {
        let pieces = ["<html><body>one</bo", "dy ><!-- </body> -->", "</html>"];
        let fields = ["content-type: text/html", "transfer-encoding: chunked"];
        let mut script = vec![head("200 OK", &fields)];
        script.extend(pieces.map(chunk));
        script.push(raw("0\r\n\r\n"));
        script
    })
    .await;
    let answer = Target::https(&edge).get(HOST, "/").await;
    let text = answer.text();
    assert!(text.starts_with("<html><body>one<div"), "{text}");
    assert!(text.ends_with("</div></body ><!-- </body> --></html>"), "{text}");
}

#[tokio::test]
async fn the_head_of_a_rewritten_page_has_no_validators_of_the_original() {
    const FIELDS: [&str; 5] = [
        "content-type: text/html",
        "etag: \"a\"",
        "accept-ranges: bytes",
        "content-md5: x",
        "last-modified: Tue, 03 Mar 2026 00:00:00 GMT",
    ];
    let (origin, edge) = edge(|request| match request.target() {
        "/unmodified" => vec![head("304 Not Modified", &FIELDS[1..])],
        _ => answer("200 OK", &FIELDS, if request.method() == "HEAD" { "" } else { PAGE }),
    })
    .await;
    let mut client = Target::https(&edge).http1(HOST).await;
    for (method, path) in [("GET", "/"), ("HEAD", "/"), ("GET", "/unmodified")] {
        let fields = "range: bytes=0-9\r\nif-range: \"a\"\r\naccept-encoding: gzip, br\r\n";
        client
            .send(format!("{method} {path} HTTP/1.1\r\nhost: {HOST}\r\naccept: text/html\r\n{fields}\r\n"))
            .await;
        let answer = client.answer(method).await;
        assert_eq!(answer.field("etag"), Some("W/\"a\""), "{method} {path}");
        assert_eq!(answer.field("last-modified"), Some("Tue, 03 Mar 2026 00:00:00 GMT"));
        for gone in ["content-length", "accept-ranges", "content-md5"] {
            assert_eq!(answer.field(gone), None, "{method} {path}: {gone}");
        }
    }
    for request in origin.seen() {
        assert_eq!(request.head.get("accept-encoding"), Some("identity"));
        assert_eq!(
            request.head.get("range"),
            Some("bytes=0-9"),
            "only the answer tells what it is a part of"
        );
    }
}

#[tokio::test]
async fn a_page_that_cannot_be_rewritten_passes_unchanged_and_is_counted() {
    let (origin, edge) = edge(|request| {
        let html = "content-type: text/html";
        match request.target() {
            "/two" => answer("200 OK", &[html, "content-encoding: gzip, br"], "not really both"),
            "/part" => answer("206 Partial Content", &[html, "content-range: bytes 0-3/9"], "<htm"),
            "/utf-16" => answer("200 OK", &["content-type: text/html; charset=utf-16"], PAGE),
            "/fragment" => answer("200 OK", &[html], "<li>one</li>"),
            "/error" => answer("404 Not Found", &[html], PAGE),
            "/app.js" => answer("200 OK", &["content-type: text/javascript", "etag: \"a\""], PAGE),
            _ => ok(PAGE),
        }
    })
    .await;
    let mut client = Target::https(&edge).http1(HOST).await;
    for (path, body) in [
        ("/two", "not really both"),
        ("/part", "<htm"),
        ("/utf-16", PAGE),
        ("/fragment", "<li>one</li>"),
        ("/error", PAGE),
        ("/app.js", PAGE),
        ("/text", PAGE),
    ] {
        client.send(format!("GET {path} HTTP/1.1\r\nhost: {HOST}\r\naccept-encoding: gzip\r\n\r\n")).await;
        assert_eq!(client.answer("GET").await.text(), body, "{path}");
    }
    let asked = |path| {
        let request = origin.seen().into_iter().find(|request| request.target() == path).expect("seen");
        request.head.get("accept-encoding").map(str::to_owned)
    };
    assert_eq!((asked("/text").as_deref(), asked("/app.js").as_deref()), (Some("identity"), Some("gzip")));
    for reason in ["encoded", "partial", "charset", "fragment"] {
        let series = format!("icpgate_footer_skipped_total{{reason=\"{reason}\",site=\"shop\"}}");
        edge.metric_becomes(&series, 1.0).await;
    }
    edge.metric_becomes("icpgate_footer_total{result=\"skipped\",site=\"shop\"}", 4.0).await;
    let records = edge.records_where(4, |record| record["footer"] == "skipped").await;
    assert_eq!(records.len(), 4);
}

#[tokio::test]
async fn a_page_that_already_shows_a_number_is_counted() {
    let shown = |number: &str| PAGE.replace("你好", number);
    let own = shown("<a href=\"https://beian.miit.gov.cn/\">京ICP备2024012345号-1</a>");
    let obsolete = own.replace("https://beian.miit", "http://www.miitbeian");
    let unlinked = shown("京ICP备2024012345号-1");
    let other = shown("沪ICP备2024099999号-1");
    let pages = [("/own", own), ("/obsolete", obsolete), ("/unlinked", unlinked), ("/other", other.clone())];
    let served = pages.clone();
    let (_origin, edge) = edge(move |request| {
        let found = served.iter().find(|(path, _)| *path == request.target());
        html(&found.expect("a known path").1)
    })
    .await;
    let mut client = Target::https(&edge).http1(HOST).await;
    for (path, page) in &pages[..3] {
        assert_eq!(client.get(HOST, path).await.text(), *page, "{path}");
    }
    assert!(with_footer(&other, &client.get(HOST, "/other").await).contains(LINK));
    for (result, count) in [("present", 1.0), ("wrong_link", 2.0), ("wrong_number", 1.0)] {
        let series = format!("icpgate_footer_total{{result=\"{result}\",site=\"shop\"}}");
        edge.metric_becomes(&series, count).await;
    }
    assert_eq!(edge.records_where(2, |record| record["footer"] == "wrong_link").await.len(), 2);
}

#[tokio::test]
async fn a_truncated_page_stays_truncated_and_gets_no_footer() {
    let (_origin, edge) = edge(|_| {
        vec![
            head("200 OK", &["content-type: text/html", "content-length: 900"]),
            raw(&PAGE[..30]),
            Step::Close,
        ]
    })
    .await;
    let mut client = Target::https(&edge).http1(HOST).await;
    client.ask("GET", HOST, "/").await;
    assert!(client.try_answer("GET").await.is_err());
    let records = edge.records_where(1, |_| true).await;
    assert!(records[0].get("footer").is_none(), "{}", records[0]);
}

#[tokio::test]
async fn footer_pages_selects_the_pages_of_a_site() {
    let site = |pages: &str| {
        format!(
            "  - name: shop\n    hosts: [{HOST}]\n    certificate: {{chain: site.pem, key: site.key}}\n    footer: {{pages: {pages}}}\n    \
             routes: [{{match: {{path: /}}, origins: [main]}}]\n"
        )
    };
    for (pages, home, other) in [("home", true, false), ("off", false, false)] {
        let origin = Origin::html(PAGE).await;
        let edge = Edge::builder().origin(origin.address).sites(&site(pages)).start().await;
        let mut client = Target::https(&edge).http1(HOST).await;
        assert_eq!(client.get(HOST, "/?a").await.text().contains(LINK), home, "{pages}");
        assert_eq!(client.get(HOST, "/other").await.text().contains(LINK), other, "{pages}");
    }
}

#[tokio::test]
async fn the_public_security_number_stands_beside_the_filings() {
    let filings = "filings:\n  - {domain: example.cn, number: 京ICP备2024012345号-1, status: approved, approved_on: 2020-01-02, \
                   public_security: {number: 京公网安备11010502030143号}}\n";
    let origin = Origin::html(PAGE).await;
    let edge = Edge::builder().origin(origin.address).filings(filings).start().await;
    let footer = with_footer(PAGE, &Target::https(&edge).get(HOST, "/").await);
    assert!(footer.contains(LINK), "{footer}");
    let link = "href=\"https://beian.mps.gov.cn/#/query/webSearch?code=11010502030143\"";
    assert!(footer.contains(link) && footer.contains(">京公网安备11010502030143号</a>"), "{footer}");
}

#[tokio::test]
async fn every_host_of_a_site_shows_the_number_of_its_own_filing() {
    let filing = |host: &str, number: &str| {
        format!(
            "  - {{domain: example.cn, number: {number}, status: approved, approved_on: 2020-01-02, hosts: [{host}]}}\n"
        )
    };
    let filed = [("www.example.cn", "京ICP备2024012345号-1"), ("example.cn", "京ICP备2024012345号-2")];
    let filings = format!("filings:\n{}", filed.map(|(host, number)| filing(host, number)).concat());
    let origin = Origin::html(PAGE).await;
    let edge = Edge::builder().origin(origin.address).filings(&filings).start().await;
    for (host, number) in [filed, filed].concat() {
        let footer = with_footer(PAGE, &Target::https(&edge).get(host, "/").await);
        assert!(footer.contains(&format!(">{number}</a>")), "{host}: {footer}");
    }
}

/// The first part arrives while the origin waits at the gate; the rest and the footer after the gate opens.
async fn assert_shown_in_two_parts(edge: &Edge, gate: &Gate) {
    let mut client = Target::https(edge).http1(HOST).await;
    client.ask("GET", HOST, "/").await;
    let head = client.head().await;
    let mut body = Body::of_answer(&head, "GET");
    let mut text = Vec::new();
    while !text.ends_with(b"first</p>") {
        let more = within("the first part", body.next(&mut client.wire)).await.unwrap().expect("not the end");
        text.extend_from_slice(&more);
    }
    gate.open();
    while let Some(more) = within("the rest", body.next(&mut client.wire)).await.unwrap() {
        text.extend_from_slice(&more);
    }
    let text = String::from_utf8(text).expect("UTF-8");
    assert!(text.contains(LINK) && text.ends_with("</div></body></html>"), "{text}");
}

#[tokio::test]
async fn a_page_is_delivered_while_the_rest_is_still_being_made() {
    let gate = Gate::default();
    let held = gate.clone();
    let (_origin, edge) = edge(move |_| {
        let begin = [
            head("200 OK", &["content-type: text/html; charset=utf-8", "transfer-encoding: chunked"]),
            chunk("<html><body><p>first</p>"),
        ];
        begin
            .into_iter()
            .chain([Step::Wait(held.clone()), chunk("<p>last</p></body></html>"), chunk("")])
            .collect()
    })
    .await;
    assert_shown_in_two_parts(&edge, &gate).await;
}
