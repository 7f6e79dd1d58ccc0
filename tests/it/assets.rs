//! What pages load from other hosts is served from local copies (`assets.map`).

mod browser;
mod changes;

use std::path::Path;

use http::Method;

use crate::support::HOST;
use crate::support::client::{Answer, Target};
use crate::support::coding::{decode, encode};
use crate::support::edge::{Builder, Edge, Folder, Run, icpgate};
use crate::support::origin::{Gate, Origin, Request, Script, Step, answer, chunk, head, raw};

const PAGE: &str = "<!doctype html><html><head><link rel=stylesheet href=\"https://fonts.googleapis.com/css?family=Roboto:400,700\">\
    <script src=\"//cdn.example.net/a.js\"></script><style>p{background:url(https://cdn.example.net/b.png)}</style></head>\
    <body><img src=\"/own.png\" srcset=\"https://cdn.example.net/b.png 2x\"><img src=\"https://cdn.example.net/none.png\"></body></html>";
const STYLE: &str = "@import 'https://fonts.googleapis.com/css?family=Roboto:400,700';p{background:url(//cdn.example.net/b.png)}";
const FILES: [(&str, &str); 4] = [
    (
        "fonts/css%3Ffamily=Roboto:400,700",
        "@font-face{font-family:Roboto;src:url(https://cdn.example.net/f/r.woff2) format('woff2')}",
    ),
    ("cdn/a.js", "document.title = 'mapped';"),
    ("cdn/b.png", "png"),
    ("cdn/f/r.woff2", "font"),
];
const ASSETS: &str = "assets: {report: true, map: {fonts.googleapis.com: fonts, cdn.example.net: cdn}}";

/// A site with these keys.
fn site(origin: &Origin, settings: &str) -> Builder {
    Edge::builder().origin(origin.address).sites(&format!(
        "  - {{name: shop, hosts: [{HOST}], certificate: {{chain: site.pem, key: site.key}}, {settings}, \
         routes: [{{origins: [main]}}]}}\n"
    ))
}

fn write(root: &Path, files: &[(&str, &str)]) {
    for (name, content) in files {
        let file = root.join(name);
        fs_err::create_dir_all(file.parent().expect("a folder")).expect("made");
        fs_err::write(file, content).expect("written");
    }
}

/// The site's files with its copies.
fn folder(origin: &Origin, settings: &str) -> Folder {
    let folder = site(origin, &format!("{ASSETS}, {settings}")).write();
    write(&folder.path(""), &FILES);
    folder
}

/// Answers with the page or the style sheet.
fn served(request: &Request) -> Script {
    match request.target() {
        "/a.css" => answer("200 OK", &["content-type: text/css", "etag: \"s\""], STYLE),
        _ => answer("200 OK", &["content-type: text/html", "etag: \"p\""], PAGE),
    }
}

/// The local URLs in a text, in order.
fn local_urls(text: &str) -> Vec<String> {
    let ends = |c: char| matches!(c, '"' | '\'' | ')' | ' ');
    let urls = text.split("/_icpgate/assets/").skip(1);
    urls.map(|rest| format!("/_icpgate/assets/{}", rest.split(ends).next().unwrap_or_default())).collect()
}

fn mapped(result: &str) -> String {
    format!("icpgate_asset_pages_total{{result=\"{result}\",site=\"shop\"}}")
}

#[tokio::test]
async fn pages_and_style_sheets_refer_to_copies_and_the_copies_are_served() {
    let origin = Origin::start(served).await;
    let edge = folder(&origin, "compress: off").start().await;
    assert_eq!(edge.metric(&mapped("mapped")).await, 0.0);
    let (mut http1, mut http2) =
        (Target::https(&edge).http1(HOST).await, Target::https(&edge).http2(HOST).await);
    let page = http1.get(HOST, "/").await.text();
    assert_eq!(http2.get(HOST, "/").await.text(), page);
    let urls = local_urls(&page);
    let hosts: Vec<_> = urls.iter().map(|url| url.split('/').nth(3).expect("a host")).collect();
    assert_eq!(
        hosts,
        ["fonts.googleapis.com", "cdn.example.net", "cdn.example.net", "cdn.example.net"],
        "{page}"
    );
    assert_eq!(page.matches("integrity=\"sha384-").count(), 2, "{page}");
    assert!(
        page.contains("https://cdn.example.net/none.png") && page.contains("beian.miit.gov.cn"),
        "{page}"
    );
    let style = http1.get(HOST, "/a.css").await.text();
    assert_eq!(local_urls(&style), [urls[0].clone(), urls[2].clone()], "{style}");

    let font = http2.get(HOST, &urls[0]).await;
    assert_eq!((font.status, font.field("content-type")), (200, Some("text/css; charset=utf-8")));
    assert_eq!(font.field("cache-control"), Some("public, max-age=31536000, immutable"));
    assert_eq!(font.field("x-content-type-options"), Some("nosniff"));
    let [file] = &*local_urls(&font.text()) else { panic!("{}", font.text()) };
    assert_eq!(
        (http1.get(HOST, file).await.text().as_str(), http1.get(HOST, &urls[2]).await.text().as_str()),
        ("font", "png")
    );
    assert_eq!(origin.seen().len(), 3, "no copy is asked of an origin");

    edge.metric_becomes(&mapped("mapped"), 3.0).await;
    let foreign = "icpgate_foreign_assets_total{host=\"googleapis.com\",site=\"shop\"}";
    assert_eq!(edge.metric(foreign).await, 0.0, "what is mapped is foreign no more");
    let records = edge.records_where(6, |record| record["event"] == "request").await;
    assert!(records.iter().any(|record| record["path"] == "/_icpgate/assets/cdn.example.net/f/r.woff2"));
}

#[tokio::test]
async fn a_copy_answers_head_conditions_and_codings_and_the_gate_judges_its_host() {
    let origin = Origin::start(served).await;
    let folder = folder(&origin, "compress: auto");
    let script = "let x = 'a script that is long enough to be worth compressing';\n".repeat(100);
    write(&folder.path(""), &[("cdn/a.js", &script)]);
    let edge = folder.start().await;
    let mut client = Target::https(&edge).http2(HOST).await;
    let url = local_urls(&client.get(HOST, "/").await.text())[1].clone();
    let plain = client.get(HOST, &url).await;
    assert_eq!((plain.text().as_str(), plain.field("vary")), (&*script, Some("accept-encoding")));
    for coding in ["gzip", "br", "zstd"] {
        let answer =
            client.request(Method::GET, HOST, &url, &[("accept-encoding", coding)]).await.expect("an answer");
        assert_eq!(answer.field("content-encoding"), Some(coding));
        assert_eq!(decode(coding, &answer.body), script.as_bytes());
        assert_ne!(answer.field("etag"), plain.field("etag"));
    }
    let tag = plain.field("etag").expect("a tag");
    assert!(tag.starts_with('"'), "it is strong: {tag}");
    let again = client.request(Method::GET, HOST, &url, &[("if-none-match", tag)]).await.expect("an answer");
    assert_eq!((again.status, again.body.len()), (304, 0));
    let head = client.request(Method::HEAD, HOST, &url, &[]).await.expect("an answer");
    assert_eq!(
        (head.status, head.body.len(), head.field("content-length")),
        (200, 0, Some(&*script.len().to_string()))
    );
    let bare = url.split('?').next().expect("a path");
    for (method, path, status) in [
        (Method::POST, &*url, 405),
        (Method::GET, bare, 200),
        (Method::GET, "/_icpgate/assets/cdn.example.net/none.png", 404),
        (Method::GET, "/_icpgate/assets/cdn.example.net/../fonts/css", 404),
        (Method::GET, "/_icpgate/assets/cdn.example.net/%2e%2e/icpgate.yaml", 404),
        (Method::GET, "/_icpgate/assets/", 404),
    ] {
        assert_eq!(
            client.request(method, HOST, path, &[]).await.expect("an answer").status,
            status,
            "{path}"
        );
    }
    assert_eq!(client.get(HOST, bare).await.field("cache-control"), Some("public, no-cache"));
    let elsewhere = client.request(Method::GET, "www.example.net", &url, &[]).await.expect("an answer");
    assert_eq!(elsewhere.status, 421);
}

#[tokio::test]
async fn pages_are_mapped_in_every_coding_and_with_every_footer() {
    for (settings, footer) in
        [("compress: auto", true), ("footer: {pages: off}", false), ("footer: {pages: home}", false)]
    {
        let coded = |request: &Request| {
            let coding = request.target().trim_start_matches("/p/");
            answer(
                "200 OK",
                &["content-type: text/html", &format!("content-encoding: {coding}")],
                encode(coding, PAGE.as_bytes()),
            )
        };
        let origin = Origin::start(coded).await;
        let assets = ASSETS.replace("report: true, ", "");
        let folder = site(&origin, &format!("{assets}, {settings}")).write();
        write(&folder.path(""), &FILES);
        let edge = folder.start().await;
        let mut client = Target::https(&edge).http2(HOST).await;
        for coding in ["gzip", "br", "zstd"] {
            let path = format!("/p/{coding}");
            for accepted in ["identity", coding] {
                let asked = [("accept-encoding", accepted), ("accept", "text/html")];
                let answer = client.request(Method::GET, HOST, &path, &asked).await.expect("an answer");
                let text = match answer.field("content-encoding") {
                    Some(coding) => String::from_utf8(decode(coding, &answer.body)).expect("UTF-8"),
                    None => answer.text(),
                };
                assert_eq!(
                    answer.field("content-encoding").is_some(),
                    accepted == coding,
                    "{settings} {coding} {accepted}"
                );
                assert_eq!(local_urls(&text).len(), 4, "{settings} {coding} {accepted}: {text}");
                assert_eq!(text.contains("beian.miit.gov.cn"), footer, "{settings}");
            }
        }
    }
}

#[tokio::test]
async fn every_cut_of_a_streaming_page_gives_the_same_page() {
    let page = "<html><body><img src=//cdn.example.net/b.png><style>p{x:url(//cdn.example.net/b.png)}</style></body></html>";
    let cut_at = move |request: &Request| {
        let place: usize = request.target()[1..].parse().expect("a place");
        let fields = ["content-type: text/html", "transfer-encoding: chunked"];
        let mut script = vec![head("200 OK", &fields)];
        let (first, second) = page.split_at(place);
        script.extend([first, second].into_iter().filter(|piece| !piece.is_empty()).map(chunk));
        script.push(raw("0\r\n\r\n"));
        script
    };
    let origin = Origin::start(cut_at).await;
    let edge = folder(&origin, "compress: off").start().await;
    let mut client = Target::https(&edge).http1(HOST).await;
    let whole = client.get(HOST, "/0").await.text();
    assert_eq!(local_urls(&whole).len(), 2, "{whole}");
    for place in 1..page.len() {
        assert_eq!(client.get(HOST, &format!("/{place}")).await.text(), whole, "cut at {place}");
    }
}

#[tokio::test]
async fn a_page_that_pauses_is_passed_on_as_far_as_it_came() {
    let gate = Gate::default();
    let opened = gate.clone();
    let origin = Origin::start(move |_| {
        let fields = ["content-type: text/html", "transfer-encoding: chunked"];
        let first = chunk("<html><body><img src=//cdn.example.net/b.png>");
        vec![head("200 OK", &fields), first, Step::Wait(gate.clone()), chunk("</body>"), raw("0\r\n\r\n")]
    })
    .await;
    let edge = folder(&origin, "compress: off").start().await;
    let mut client = Target::https(&edge).http1(HOST).await;
    client.ask("GET", HOST, "/").await;
    client.head().await;
    let came = client.read("2e\r\n<html><body><img src=/_icpgate/assets/".len()).await;
    assert!(String::from_utf8_lossy(&came).contains("<img src=/_icpgate/assets/"));
    opened.open();
}

#[tokio::test]
async fn what_must_not_change_passes_and_is_counted() {
    let origin = Origin::start(|request: &Request| {
        let fields: &[&str] = match request.target() {
            "/charset" => &["content-type: text/html; charset=utf-16le"],
            "/no_transform" => &["content-type: text/html", "cache-control: no-transform"],
            "/encoded" => &["content-type: text/css", "content-encoding: compress"],
            "/unchanged" => &["content-type: text/css"],
            _ => &["content-type: text/plain"],
        };
        answer("200 OK", fields, if request.target() == "/unchanged" { "p{}" } else { PAGE })
    })
    .await;
    let edge = folder(&origin, "compress: off").start().await;
    let mut client = Target::https(&edge).http1(HOST).await;
    for result in ["charset", "no_transform", "encoded", "unchanged"] {
        let text = client.get(HOST, &format!("/{result}")).await.text();
        assert!(local_urls(&text).is_empty(), "{result}: {text}");
        edge.metric_becomes(&mapped(result), 1.0).await;
    }
    assert_eq!(client.get(HOST, "/text").await.text(), PAGE);
}

#[tokio::test]
async fn a_folder_that_is_missing_or_empty_and_an_own_host_are_problems() {
    let origin = Origin::start(served).await;
    for (settings, key, told) in [
        ("{cdn.example.net: none}", "\"cdn.example.net\"", "none cannot be read"),
        ("{cdn.example.net: empty}", "\"cdn.example.net\"", "empty holds no file"),
        ("{www.example.cn: cdn}", "\"www.example.cn\"", "one of the site's own hosts"),
        ("{a_b: cdn}", "a_b", "not a host name"),
        ("{CDN.example.net: cdn, cdn.example.net: cdn}", "\"cdn.example.net\"", "there twice"),
    ] {
        let folder = site(&origin, &format!("assets: {{map: {settings}}}")).write();
        write(&folder.path(""), &[("cdn/a.js", ""), ("empty/a.html", "")]);
        let run = folder.check(&["--json"]).await;
        let problem = run.json()["problems"][0].clone();
        let place = format!("sites[0].assets.map.{key}");
        assert_eq!((run.code, problem["place"].as_str()), (1, Some(&*place)), "{settings}: {problem}");
        assert!(problem["message"].as_str().expect("text").contains(told), "{settings}: {problem}");
    }
    let folder = folder(&origin, "compress: off");
    write(&folder.path(""), &[("cdn/page.html", "")]);
    let run = folder.check(&["--json"]).await;
    assert_eq!(run.code, 0, "{run:?}");
    assert!(
        run.json()["warnings"][0]["message"].as_str().expect("text").contains("page.html has no known type")
    );
}

#[tokio::test]
async fn audit_of_a_file_sees_the_page_as_it_is_served() {
    let origin = Origin::start(served).await;
    let folder = folder(&origin, "compress: off");
    write(&folder.path(""), &[("page.html", PAGE)]);
    let page = folder.path("page.html").display().to_string();
    let config = folder.config_path().display().to_string();
    let foreign = |run: &Run| run.json()["foreign_assets"].as_array().map(Vec::len);
    let alone = icpgate(["audit", "--json", &page]).await;
    assert_eq!(foreign(&alone), Some(1), "{alone:?}");
    let with_map = icpgate(["audit", "--json", "--config", &config, &page]).await;
    assert_eq!(foreign(&with_map), Some(0), "{with_map:?}");
}

/// The page's answer.
async fn page(edge: &Edge, fields: &[(&str, &str)]) -> Answer {
    let mut client = Target::https(edge).http2(HOST).await;
    client.request(Method::GET, HOST, "/", fields).await.expect("an answer")
}
