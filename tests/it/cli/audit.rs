//! `audit`: what a checker sees of a page, from a file or over HTTP.

use std::sync::Arc;

use encoding_rs::GBK;
use serde_json::json;

use crate::support::HOST;
use crate::support::coding::encode;
use crate::support::edge::{Edge, Run, icpgate};
use crate::support::origin::{Origin, answer, html};
use crate::support::pki::Authority;

const LINKED: &str = "<a href=\"https://beian.miit.gov.cn/\">京ICP备2024012345号-1</a>";

fn page(body: &str) -> String {
    format!("<!doctype html><html><head><title>x</title></head><body>{body}</body></html>")
}

async fn audit(page: &str, more: &[&str]) -> Run {
    icpgate([&["audit", page, "--json"], more].concat()).await
}

#[tokio::test]
async fn a_file_is_judged_by_its_number_its_link_and_its_foreign_assets() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("page.html");
    let assets = "<link rel=stylesheet href=\"https://fonts.googleapis.com/css2?family=Noto\">\
                  <script src=\"//cdn.polyfill.io/v3/polyfill.min.js\"></script>\
                  <img src=/own.png srcset=\"https://cdnjs.cloudflare.com/x.png 2x\">";
    let asset = |host: &str, url: &str, verdict: &str| json!({"host": host, "url": url, "verdict": verdict});
    for (body, code, number, link, foreign) in [
        (LINKED.to_owned(), 0, "present", "ok", json!([])),
        (LINKED.replace("beian.miit", "www.beian.miit"), 1, "present", "wrong_host", json!([])),
        ("京ICP备2024012345号-1".to_owned(), 1, "present", "missing", json!([])),
        (format!("<!-- {LINKED} -->"), 1, "missing", "missing", json!([])),
        (
            format!("{LINKED}{assets}"),
            1,
            "present",
            "ok",
            json!([
                asset("fonts.googleapis.com", "https://fonts.googleapis.com/css2?family=Noto", "blocked"),
                asset("cdn.polyfill.io", "//cdn.polyfill.io/v3/polyfill.min.js", "poisoned"),
                asset("cdnjs.cloudflare.com", "https://cdnjs.cloudflare.com/x.png", "slow"),
            ]),
        ),
    ] {
        fs_err::write(&file, page(&body)).unwrap();
        let run = audit(file.to_str().unwrap(), &[]).await;
        assert_eq!(run.json(), json!({"number": number, "link": link, "foreign_assets": foreign}), "{body}");
        assert_eq!(run.code, code, "{run:?}");
    }
    let run = icpgate(["audit", file.to_str().unwrap()]).await;
    assert!(run.code == 1 && run.stdout.contains("fonts.googleapis.com is blocked"), "{run:?}");
}

#[tokio::test]
async fn with_a_configuration_only_its_numbers_count() {
    let folder = Edge::builder().write();
    folder.replace(
        "filings.yaml",
        "filings:\n  - {domain: example.cn, number: 京ICP备2024012345号-1, status: approved, approved_on: 2020-01-02}\n  \
         - {domain: example.com.cn, number: 沪ICP备2024099999号-2, status: approved, approved_on: 2020-01-02}\n",
    );
    let file = folder.path("page.html");
    fs_err::write(&file, page(LINKED)).unwrap();
    let (file, config) = (file.to_str().unwrap(), folder.config_path());
    let config = config.to_str().unwrap();
    for (more, number, code) in [
        (&[][..], "present", 0),
        (&["--host", HOST][..], "present", 0),
        (&["--host", "www.example.com.cn"][..], "wrong_number", 1),
        (&["--host", "www.example.net.cn"][..], "wrong_number", 1),
    ] {
        let run = audit(file, &[&["--config", config], more].concat()).await;
        assert_eq!((run.json()["number"].as_str(), run.code), (Some(number), code), "{more:?} {run:?}");
    }
    folder.replace("filings.yaml", "filings: [");
    assert_eq!(audit(file, &["--config", config]).await.code, 2);
}

#[tokio::test]
async fn a_page_of_the_web_is_fetched_as_a_browser_does() {
    let origin = Origin::start(|request| {
        let (html, text) = ("content-type: text/html", page(LINKED));
        match request.target() {
            "/moved" => answer("301 Moved Permanently", &["location: sub/page?a#b"], ""),
            "/circle" => answer("302 Found", &["location: /circle"], ""),
            "/gone" => answer("404 Not Found", &[html], text.as_str()),
            "/gbk" => answer("200 OK", &["content-type: text/html; charset=gbk"], &GBK.encode(&text).0),
            "/large" => answer("200 OK", &[html], "x".repeat((8 << 20) + 1)),
            "/bomb" => answer(
                "200 OK",
                &[html, "content-encoding: gzip"],
                encode("gzip", &vec![b'x'; (8 << 20) + 1]),
            ),
            "/cut" => {
                let body = encode("gzip", text.as_bytes());
                answer("200 OK", &[html, "content-encoding: gzip"], &body[..body.len() - 9])
            }
            "/unknown" => answer("200 OK", &[html, "content-encoding: x"], text.as_str()),
            coding @ ("/gzip" | "/br" | "/zstd" | "/deflate") => {
                let field = format!("content-encoding: {}", &coding[1..]);
                answer("200 OK", &[html, field.as_str()], encode(&coding[1..], text.as_bytes()))
            }
            _ => answer("200 OK", &[html], text.as_str()),
        }
    })
    .await;
    for (path, code, told) in [
        ("/", 0, ""),
        ("/moved", 0, ""),
        ("/gbk", 0, ""),
        ("/gzip", 0, ""),
        ("/br", 0, ""),
        ("/zstd", 0, ""),
        ("/deflate", 0, ""),
        ("/circle", 2, "redirects"),
        ("/gone", 2, "404"),
        ("/large", 2, "larger"),
        ("/bomb", 2, "decodes to more"),
        ("/cut", 2, "breaks off"),
        ("/unknown", 2, "not known"),
    ] {
        let run = audit(&format!("http://{}{path}", origin.address), &[]).await;
        assert!(run.code == code && run.stderr.contains(told), "{path}: {run:?}");
    }
    assert!(origin.seen().iter().any(|request| request.target() == "/sub/page?a"));
    assert_eq!(audit("http://127.0.0.1:1/", &[]).await.code, 2);
    assert_eq!(audit("/nowhere/page.html", &[]).await.code, 2);
}

#[tokio::test]
async fn a_server_is_verified() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let trust = folder.path().join("ca.pem");
    fs_err::write(&trust, &authority.pem).unwrap();
    for (name, code) in [("127.0.0.1", 0), ("www.example.cn", 2)] {
        let config = Arc::new(authority.pair(&[name]).server_config(&["http/1.1"]));
        let origin = Origin::tls(config, |_| html(page(LINKED))).await;
        let url = format!("https://{}/", origin.address);
        let run = audit(&url, &["--trust", trust.to_str().unwrap()]).await;
        assert_eq!(run.code, code, "{name}: {run:?}");
        assert_eq!(audit(&url, &[]).await.code, 2, "nobody's authority");
    }
}

#[tokio::test]
async fn what_the_edge_serves_passes_its_audit() {
    let origin = Origin::html("<!doctype html><html><body>x</body></html>").await;
    let listeners = "  - {name: http, addresses: [\"$HTTP\"], protocol: http, redirect: none}\n";
    let site = format!("  - {{hosts: [{HOST}], routes: [{{origins: [main]}}]}}\n");
    let edge = Edge::builder().origin(origin.address).listeners(listeners).sites(&site).start().await;
    let (url, config) = (format!("http://{}/", edge.http()), edge.config_path());
    let config = config.to_str().unwrap();
    let run = audit(&url, &["--config", config, "--host", HOST]).await;
    assert_eq!(run.code, 0, "the server at an address is asked for the host: {run:?}");
    assert_eq!(audit(&url, &["--config", config]).await.code, 2, "without it, the host is refused");
}

#[tokio::test]
async fn a_page_is_audited_over_tls_before_its_name_leads_there() {
    let origin = Origin::html("<!doctype html><html><body>x</body></html>").await;
    let edge = Edge::in_front_of(&origin).await;
    edge.ports_open().await;
    let (url, config, trust) =
        (format!("https://{}/", edge.https()), edge.config_path(), edge.path("ca.pem"));
    let words = ["--config", config.to_str().unwrap(), "--trust", trust.to_str().unwrap(), "--host"];
    let run = audit(&url, &[&words[..], &[HOST]].concat()).await;
    assert_eq!(run.code, 0, "the edge is asked for the host, and verified by it: {run:?}");
    let run = audit(&url, &[&words[..], &["www.example.net"]].concat()).await;
    assert_eq!(run.code, 2, "a host that is not filed: {run:?}");
}
