//! Responses are compressed for clients that accept it, and nothing is held back for it.

mod border;
mod heads;
mod streams;

use http::Method;

use crate::support::client::{Answer, Target};
use crate::support::coding::{decode, encode};
use crate::support::edge::{Builder, Edge, run};
use crate::support::origin::{Origin, Request, Script, answer, chunk, head, html};
use crate::support::{HOST, chromium};

const LINK: &str = "https://beian.miit.gov.cn/";
const CODINGS: [&str; 3] = ["br", "zstd", "gzip"];
/// What browsers send over TLS.
const BROWSER: &str = "gzip, deflate, br, zstd";

/// The default site with `compress: MODE`.
fn site(mode: &str) -> String {
    format!(
        "  - name: shop\n    hosts: [www.example.cn, example.cn]\n    certificate: {{chain: site.pem, key: site.key}}\n    \
         compress: {mode}\n    routes: [{{match: {{path: /}}, origins: [main]}}]\n"
    )
}

fn builder(mode: &str, origin: &Origin) -> Builder {
    Edge::builder().origin(origin.address).sites(&site(mode))
}

async fn edge(mode: &str, answer: impl Fn(&Request) -> Script + Send + Sync + 'static) -> (Origin, Edge) {
    let origin = Origin::start(answer).await;
    let edge = builder(mode, &origin).start().await;
    (origin, edge)
}

/// A page of about 20 KiB.
fn page() -> String {
    let lines: String = (0..500).map(|line| format!("<p>第{line}行 {:x}</p>\n", line * 7919)).collect();
    format!("<!doctype html><html><body>{lines}</body></html>")
}

/// One request over HTTP/1.1 and one over HTTP/2, which are answered alike.
async fn both(edge: &Edge, method: Method, path: &str, fields: &[(&str, &str)]) -> [Answer; 2] {
    let target = Target::https(edge);
    let mut http1 = target.http1(HOST).await;
    let lines: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    http1.send(format!("{method} {path} HTTP/1.1\r\nhost: {HOST}\r\n{lines}\r\n")).await;
    let first = http1.answer(method.as_str()).await;
    let second = target.http2(HOST).await.request(method, HOST, path, fields).await.expect("an answer");
    [first, second]
}

async fn accepting(edge: &Edge, path: &str, accepted: &str) -> [Answer; 2] {
    both(edge, Method::GET, path, &[("accept-encoding", accepted)]).await
}

/// A page that came compressed, with the fields that describe its exact bytes.
fn compressed(page: &str) -> Script {
    let fields = [
        "content-type: text/html; charset=utf-8",
        "content-encoding: gzip",
        "etag: \"a\"",
        "accept-ranges: bytes",
        "repr-digest: sha-256=:x:",
    ];
    answer("200 OK", &fields, encode("gzip", page.as_bytes()))
}

#[tokio::test]
async fn what_was_decoded_for_the_footer_leaves_compressed_again() {
    let text = page();
    let (_origin, edge) = edge("auto", move |_| compressed(&text)).await;
    for (accepted, coding) in [
        (BROWSER, "br"),
        ("gzip, deflate", "gzip"),
        ("zstd, br;q=0.9", "zstd"),
        ("*;q=0.5, gzip;q=0.6", "gzip"),
        ("br;q=0.1, identity;q=0", "br"),
    ] {
        for answer in accepting(&edge, "/", accepted).await {
            assert_eq!(answer.field("content-encoding"), Some(coding), "{accepted}");
            assert_eq!(answer.field("vary"), Some("accept-encoding"), "{accepted}");
            assert_eq!(answer.field("etag"), Some("W/\"a\""), "{accepted}");
            for gone in ["content-length", "accept-ranges", "repr-digest"] {
                assert_eq!(answer.field(gone), None, "{accepted}: {gone}");
            }
            let text = String::from_utf8(decode(coding, &answer.body)).expect("UTF-8");
            assert!(text.contains(LINK) && text.ends_with("</body></html>"), "{accepted}: {text}");
            assert!(answer.body.len() * 3 < text.len(), "{accepted}: {} bytes", answer.body.len());
        }
    }
    for accepted in ["identity", "deflate", "gzip;q=0", "gzip;q=0.5, identity"] {
        for answer in accepting(&edge, "/", accepted).await {
            assert_eq!(answer.field("content-encoding"), None, "{accepted}");
            assert_eq!(answer.field("vary"), Some("accept-encoding"), "{accepted}");
            assert!(answer.text().contains(LINK), "{accepted}");
        }
    }
    let mut old = Target::https(&edge).http1(HOST).await;
    old.send(format!("GET / HTTP/1.0\r\nhost: {HOST}\r\naccept-encoding: gzip\r\n\r\n")).await;
    let (bytes, _) = old.end().await;
    let text = String::from_utf8(bytes).expect("UTF-8");
    assert!(text.ends_with("</body></html>") && !text.contains("content-encoding"), "{text}");
    edge.metric_becomes("icpgate_footer_total{result=\"injected\",site=\"shop\"}", 19.0).await;
}

#[tokio::test]
async fn what_came_plain_leaves_plain_by_default() {
    let (_origin, edge) = edge("auto", |request| match request.target() {
        "/" => html(page()),
        _ => answer("200 OK", &["content-type: application/json", "etag: \"a\""], page()),
    })
    .await;
    for path in ["/", "/list"] {
        for answer in accepting(&edge, path, BROWSER).await {
            assert_eq!((answer.field("content-encoding"), answer.field("vary")), (None, None), "{path}");
        }
    }
}

#[tokio::test]
async fn nothing_is_compressed_where_it_is_off() {
    let text = page();
    let (_origin, edge) = edge("off", move |_| compressed(&text)).await;
    for answer in accepting(&edge, "/", BROWSER).await {
        assert_eq!((answer.field("content-encoding"), answer.field("vary")), (None, None));
        assert!(answer.text().contains(LINK));
    }
}

#[tokio::test]
async fn what_came_plain_is_compressed_where_it_is_on() {
    let (_origin, edge) = edge("on", |request| {
        let chunked = |kind: &str| {
            let kind = format!("content-type: {kind}");
            let mut script = vec![head("200 OK", &[&*kind, "transfer-encoding: chunked"])];
            script.extend(page().as_bytes().chunks(999).map(chunk));
            script.push(chunk(""));
            script
        };
        match request.target() {
            "/" => html(page()),
            "/chunked" => chunked("text/html; charset=utf-8"),
            "/app.js" => chunked("text/javascript"),
            "/error" => answer("404 Not Found", &["content-type: application/json"], page()),
            _ => answer("200 OK", &["content-type: Text/CSS ; charset=utf-8", "etag: \"a\""], page()),
        }
    })
    .await;
    for path in ["/", "/chunked", "/app.js", "/error", "/a.css"] {
        for coding in CODINGS {
            for answer in accepting(&edge, path, coding).await {
                assert_eq!(answer.field("content-encoding"), Some(coding), "{path}");
                assert_eq!(
                    (answer.field("vary"), answer.field("content-length")),
                    (Some("accept-encoding"), None)
                );
                let text = String::from_utf8(decode(coding, &answer.body)).expect("UTF-8");
                if ["/", "/chunked"].contains(&path) {
                    assert!(text.contains(LINK), "{path} {coding}");
                } else {
                    assert!(text == page(), "{path} {coding}");
                }
            }
        }
        for answer in accepting(&edge, path, "identity").await {
            assert_eq!(
                (answer.field("content-encoding"), answer.field("vary")),
                (None, Some("accept-encoding"))
            );
        }
    }
}

#[tokio::test]
async fn what_is_not_worth_it_or_must_not_change_passes_byte_for_byte() {
    let picture = encode("zstd", page().as_bytes());
    let sent = picture.clone();
    let (_origin, edge) = edge("on", move |request| {
        let css = "content-type: text/css";
        match request.target() {
            "/short" => answer("200 OK", &[css], "a{}"),
            "/picture" => answer("200 OK", &["content-type: image/png"], &sent),
            "/coded" => answer("200 OK", &[css, "content-encoding: zstd", "etag: \"a\""], &sent),
            "/unknown" => answer("200 OK", &[css, "content-encoding: dcz"], &sent),
            "/fixed" => answer("200 OK", &[css, "cache-control: no-transform"], &sent),
            "/part" => answer("206 Partial Content", &[css, "content-range: bytes 0-9/99"], "0123456789"),
            "/grpc" => answer("200 OK", &["content-type: application/grpc"], &sent),
            "/none" => vec![head("204 No Content", &[css])],
            _ => answer("200 OK", &[css], ""),
        }
    })
    .await;
    let long = ["/picture", "/coded", "/unknown", "/fixed", "/grpc"];
    for path in ["/short", "/picture", "/coded", "/unknown", "/fixed", "/part", "/grpc", "/none", "/empty"] {
        for answer in accepting(&edge, path, BROWSER).await {
            let coding = match path {
                "/coded" => Some("zstd"),
                "/unknown" => Some("dcz"),
                _ => None,
            };
            assert_eq!((answer.field("content-encoding"), answer.field("vary")), (coding, None), "{path}");
            assert!(!long.contains(&path) || answer.body == picture, "{path}");
            assert!(answer.field("etag").is_none_or(|tag| tag == "\"a\""), "{path}");
            assert_eq!(answer.field("content-length").is_none(), path == "/none", "{path}");
        }
    }
}

#[tokio::test]
async fn the_configured_codings_types_and_length_decide() {
    let origin = Origin::start(|request| {
        let kind = if request.target() == "/a" { "text/x-own" } else { "text/css" };
        answer("200 OK", &[&format!("content-type: {kind}")], "x".repeat(100))
    })
    .await;
    let settings = "compress: {encodings: [gzip, br], min_bytes: 100, types: [Text/X-Own]}\n";
    let edge = builder("on", &origin).more(settings).start().await;
    for (path, accepted, coding) in
        [("/a", BROWSER, Some("gzip")), ("/a", "br", Some("br")), ("/a", "zstd", None), ("/b", BROWSER, None)]
    {
        for answer in accepting(&edge, path, accepted).await {
            assert_eq!(answer.field("content-encoding"), coding, "{path} {accepted}");
        }
    }
    // Counted with the responses, at zero for what has not been used.
    edge.metric_becomes("icpgate_encoder_in_bytes_total{encoding=\"gzip\"}", 200.0).await;
    edge.metric_becomes("icpgate_encoder_in_bytes_total{encoding=\"br\"}", 200.0).await;
    edge.metric_becomes("icpgate_encoder_out_bytes_total{encoding=\"zstd\"}", 0.0).await;
}

#[tokio::test]
async fn curl_and_chromium_read_what_is_compressed() {
    let text = page();
    let (_origin, edge) = edge("auto", move |_| compressed(&text)).await;
    let url = format!("https://{HOST}:{}/", edge.https().port());
    let resolve = format!("{HOST}:{}:{}", edge.https().port(), edge.https().ip());
    for coding in CODINGS {
        let field = format!("accept-encoding: {coding}");
        let words = [
            "--silent",
            "--show-error",
            "--insecure",
            "--compressed",
            "--resolve",
            &resolve,
            "-H",
            &field,
            &url,
        ];
        let curl = run("curl", words).await;
        assert_eq!(curl.code, 0, "{coding}: {curl:?}");
        assert!(curl.stdout.contains(LINK) && curl.stdout.ends_with("</body></html>"), "{coding}: {curl:?}");
    }
    let document = chromium::document(&edge, HOST, "/").await;
    assert!(document.contains(LINK) && document.contains("第499行"), "{document}");
}
