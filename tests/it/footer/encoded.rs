//! Pages that the origin compresses although the edge asked for `identity`.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use http::Method;

use super::{HOST, LINK, PAGE, assert_shown_in_two_parts, edge, with_footer};
use crate::support::client::{Answer, Target, head_of, next_data};
use crate::support::coding::encode;
use crate::support::origin::{Gate, Script, Step, answer, chunk, head};
use crate::support::time::settled;

/// Content codings; `raw` is deflate without the zlib header, which some servers send.
const CODINGS: [&str; 6] = ["gzip", "x-gzip", "deflate", "raw", "br", "zstd"];

fn field(coding: &str) -> String {
    format!("content-encoding: {}", coding.replace("raw", "deflate"))
}

/// `/CODING/length` answers with the encoded page by length, `/CODING/N` in chunks of N bytes.
fn encoded(target: &str, page: &[u8]) -> Script {
    let (coding, form) = target.trim_start_matches('/').split_once('/').expect("a coding and a form");
    let (body, field) = (encode(coding, page), field(coding));
    let fields = [
        "content-type: text/html; charset=utf-8",
        &*field,
        "etag: \"a\"",
        "vary: accept-encoding",
        "repr-digest: sha-256=:x:",
    ];
    match form.parse() {
        Err(_) => answer("200 OK", &fields, body),
        Ok(length) => {
            let mut script = vec![head("200 OK", &[&fields[..], &["transfer-encoding: chunked"]].concat())];
            script.extend(body.chunks(length).map(chunk));
            script.push(chunk(""));
            script
        }
    }
}

#[track_caller]
fn is_decoded(page: &str, answer: &Answer) {
    assert!(with_footer(page, answer).contains(LINK));
    for gone in ["content-encoding", "content-length", "repr-digest"] {
        assert_eq!(answer.field(gone), None, "{gone}");
    }
    assert_eq!((answer.field("etag"), answer.field("vary")), (Some("W/\"a\""), Some("accept-encoding")));
}

#[tokio::test]
async fn a_compressed_page_gets_the_footer_and_goes_out_decoded() {
    let long = PAGE.replace("你好", &"<p>你好 0123456789</p>\n".repeat(5000));
    let page = long.clone();
    let (origin, edge) = edge(move |request| encoded(request.target(), page.as_bytes())).await;
    let target = Target::https(&edge);
    let mut http1 = target.http1(HOST).await;
    let mut http2 = target.http2(HOST).await;
    let mut count = 0.0;
    for coding in CODINGS {
        for form in ["length", "1", "7", "1000"] {
            let path = format!("/{coding}/{form}");
            is_decoded(&long, &http1.get(HOST, &path).await);
            let fields = [("accept-encoding", "deflate")];
            is_decoded(&long, &http2.request(Method::GET, HOST, &path, &fields).await.expect("an answer"));
            count += 2.0;
        }
    }
    http1.send(format!("GET /br/7 HTTP/1.0\r\nhost: {HOST}\r\n\r\n")).await;
    let (answer, _) = http1.end().await;
    assert!(String::from_utf8_lossy(&answer).contains(LINK) && answer.ends_with(b"</body></html>"));
    edge.metric_becomes("icpgate_footer_total{result=\"injected\",site=\"shop\"}", count + 1.0).await;
    assert!(origin.seen().iter().all(|request| request.head.get("accept-encoding") == Some("identity")));
}

#[tokio::test]
async fn a_compressed_body_is_judged_after_decoding() {
    let own = PAGE.replace("你好", "京ICP备2024012345号-1");
    let pages = [("/own", own.clone()), ("/part", "<li>one</li>".to_owned()), ("/empty", String::new())];
    let of_origin = pages.clone();
    let (_origin, edge) = edge(move |request| {
        let (_, page) = of_origin.iter().find(|(path, _)| *path == request.target()).expect("a known path");
        let body = if page.is_empty() { Vec::new() } else { encode("gzip", page.as_bytes()) };
        answer("200 OK", &["content-type: text/html", "content-encoding: gzip"], body)
    })
    .await;
    let mut client = Target::https(&edge).http1(HOST).await;
    for (path, page) in pages {
        let answer = client.get(HOST, path).await;
        assert_eq!((answer.text(), answer.field("content-encoding")), (page, None), "{path}");
    }
    edge.metric_becomes("icpgate_footer_total{result=\"wrong_link\",site=\"shop\"}", 1.0).await;
    edge.metric_becomes("icpgate_footer_skipped_total{reason=\"fragment\",site=\"shop\"}", 2.0).await;
}

#[tokio::test]
async fn a_body_that_cannot_or_must_not_be_decoded_passes_unchanged() {
    let (_origin, edge) = edge(|request| {
        let fields = ["content-type: text/html", "etag: \"a\""];
        let more: &[&str] = match request.target() {
            "/two" => &["content-encoding: gzip", "content-encoding: br"],
            "/twice" => &["content-encoding: gzip, gzip"],
            "/unknown" => &["content-encoding: compress"],
            "/no-transform" => &["content-encoding: gzip", "cache-control: no-transform"],
            "/attachment" => &["content-encoding: gzip", "content-disposition: attachment"],
            _ => &["content-encoding: gzip"],
        };
        let body = if request.method() == "HEAD" { Vec::new() } else { encode("gzip", PAGE.as_bytes()) };
        answer("200 OK", &[&fields, more].concat(), body)
    })
    .await;
    let mut client = Target::https(&edge).http1(HOST).await;
    for (path, accepted) in [
        ("/two", "gzip"),
        ("/twice", "gzip"),
        ("/unknown", "gzip"),
        ("/no-transform", "gzip"),
        ("/attachment", "gzip"),
        ("/", "deflate, identity;q=0"),
        ("/", "deflate, *;q=0"),
    ] {
        for method in ["GET", "HEAD"] {
            let fields = format!("host: {HOST}\r\naccept-encoding: {accepted}\r\n");
            client.send(format!("{method} {path} HTTP/1.1\r\n{fields}\r\n")).await;
            let answer = client.answer(method).await;
            assert!(!answer.head.all("content-encoding").is_empty(), "{method} {path}, {accepted}");
            assert_eq!(answer.field("etag"), Some("\"a\""), "{method} {path}, {accepted}");
            let body = if method == "HEAD" { Vec::new() } else { encode("gzip", PAGE.as_bytes()) };
            assert!(answer.body == body, "{method} {path}, {accepted}");
        }
    }
    for (reason, count) in [("encoded", 5.0), ("no_transform", 1.0), ("attachment", 1.0)] {
        let series = format!("icpgate_footer_skipped_total{{reason=\"{reason}\",site=\"shop\"}}");
        edge.metric_becomes(&series, count).await;
    }
}

#[tokio::test]
async fn heads_without_a_body_match_the_head_of_the_rewritten_page() {
    let (_origin, edge) = edge(|request| {
        let fields =
            ["content-type: text/html", "content-encoding: gzip", "etag: \"a\"", "vary: accept-encoding"];
        match request.target() {
            "/unmodified" => vec![head("304 Not Modified", &fields)],
            _ => answer("200 OK", &fields, ""),
        }
    })
    .await;
    let mut client = Target::https(&edge).http1(HOST).await;
    for (method, path) in [("HEAD", "/"), ("GET", "/unmodified")] {
        client.ask(method, HOST, path).await;
        let answer = client.answer(method).await;
        assert_eq!(answer.field("content-encoding"), None, "{method} {path}");
        assert_eq!(answer.field("content-length"), None, "{method} {path}");
        assert_eq!(answer.field("etag"), Some("W/\"a\""), "{method} {path}");
        assert_eq!(answer.field("vary"), Some("accept-encoding"), "{method} {path}");
    }
}

#[tokio::test]
async fn a_compressed_page_is_delivered_while_the_rest_is_still_being_made() {
    let gate = Gate::default();
    let held = gate.clone();
    let (_origin, edge) = edge(move |_| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(b"<html><body><p>first</p>").unwrap();
        encoder.flush().unwrap();
        let first = std::mem::take(encoder.get_mut());
        encoder.write_all(b"<p>last</p></body></html>").unwrap();
        let fields = [
            "content-type: text/html; charset=utf-8",
            "content-encoding: gzip",
            "transfer-encoding: chunked",
        ];
        let last = chunk(encoder.finish().unwrap());
        vec![head("200 OK", &fields), chunk(first), Step::Wait(held.clone()), last, chunk("")]
    })
    .await;
    assert_shown_in_two_parts(&edge, &gate).await;
}

#[tokio::test]
async fn a_corrupt_compressed_page_ends_with_an_error() {
    let (_origin, edge) = edge(|request| {
        let (coding, fault) = request.target().trim_start_matches('/').split_once('/').expect("a fault");
        let mut body = encode(coding, PAGE.as_bytes());
        match fault {
            "cut" => drop(body.pop()),
            _ => *body.last_mut().expect("bytes") ^= 1,
        }
        answer("200 OK", &["content-type: text/html", &field(coding)], body)
    })
    .await;
    let target = Target::https(&edge);
    let mut http2 = target.http2(HOST).await;
    let broken = [("gzip", "cut"), ("gzip", "wrong"), ("deflate", "cut"), ("br", "cut"), ("zstd", "cut")];
    for (coding, fault) in broken {
        let path = format!("/{coding}/{fault}");
        let mut http1 = target.http1(HOST).await;
        http1.ask("GET", HOST, &path).await;
        let (bytes, _) = http1.end().await;
        let text = String::from_utf8(bytes).expect("UTF-8");
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && !text.contains("\r\n0\r\n"), "{path}: {text}");
        // zstd may decode nothing of an unfinished block.
        let decoded = if coding == "zstd" { "" } else { "<!doctype html><html><body><p>你好</p>" };
        assert!(text.contains(decoded), "{path}: {text}");

        let (response, _) = http2.begin(Method::GET, HOST, &path, &[], true).await;
        let (_, mut body) = head_of(response).await.expect("a head");
        let mut text = Vec::new();
        let end = loop {
            match next_data(&mut body).await {
                Some(Ok(bytes)) => text.extend_from_slice(&bytes),
                Some(Err(error)) => break Some(error),
                None => break None,
            }
        };
        assert!(end.is_some_and(|error| error.is_reset()), "{path}");
        assert!(PAGE.as_bytes().starts_with(&text) && text.starts_with(decoded.as_bytes()), "{path}");
    }
    let records = edge.records_where(2 * broken.len(), |record| record["status"] == 200).await;
    assert!(records.iter().all(|record| record.get("footer").is_none()), "{records:#?}");
}

#[tokio::test]
async fn a_decompression_bomb_is_decoded_only_as_fast_as_the_client_reads() {
    const MIB: usize = 1 << 20;
    let codings = ["gzip", "deflate", "br", "zstd"];
    let page = PAGE.replace("你好", &" ".repeat(64 * MIB));
    let bombs = codings.map(|coding| {
        let body = encode(coding, page.as_bytes());
        assert!(body.len() * 500 < page.len(), "{coding}: {}", body.len());
        (format!("/{coding}"), field(coding), body)
    });
    let (origin, edge) = edge(move |request| {
        let (_, coding, body) =
            bombs.iter().find(|(path, ..)| path == request.target()).expect("a known path");
        answer("200 OK", &["content-type: text/html", coding], body)
    })
    .await;
    let target = Target::https(&edge);
    let before = edge.resident();
    let mut waiting = Vec::new();
    for number in 0..5 {
        for coding in codings {
            let mut http1 = target.http1(HOST).await;
            http1.ask("GET", HOST, &format!("/{coding}")).await;
            let mut http2 = target.http2(HOST).await;
            let asked = http2.begin(Method::GET, HOST, &format!("/{coding}"), &[], true).await;
            waiting.push((http1, http2, asked));
        }
        origin.until("the requests", |seen| seen.len() == (number + 1) * 2 * codings.len()).await;
    }
    let held = settled("it holds no more", || edge.resident()).await.saturating_sub(before);
    assert!(held < 160, "{held} MiB for 40 pages of 64 MiB");
    drop(waiting);

    let mut http1 = target.http1(HOST).await;
    let mut http2 = target.http2(HOST).await;
    for coding in codings {
        let path = format!("/{coding}");
        for answer in [http1.get(HOST, &path).await, http2.get(HOST, &path).await] {
            let is_whole =
                answer.body.starts_with(b"<!doctype html>") && answer.body.ends_with(b"</body></html>");
            assert!(is_whole && answer.body.len() > 64 * MIB, "{path}: {}", answer.body.len());
        }
    }
}
