//! Ranges: a file's pass, and a page is whole.

use super::{HOST, LINK, PAGE, with_footer};
use crate::support::chromium;
use crate::support::client::Target;
use crate::support::edge::{Edge, Run, run};
use crate::support::origin::{Origin, Request, Script, answer, html};

const FILE: &str = "0123456789abcdef";
const BROWSER: &str = "accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
const PAGE_TYPE: &str = "content-type: text/html; charset=utf-8";

/// Serves pages and files with ranges, `if-range` and 416, as nginx does.
async fn origin() -> Origin {
    Origin::start(|request| match request.target() {
        "/" | "/a.php" | "/page.iso" => serve(request, &[PAGE_TYPE], PAGE),
        "/saved" => serve(request, &[PAGE_TYPE, "content-disposition: attachment"], PAGE),
        _ => serve(request, &["content-type: application/octet-stream"], FILE),
    })
    .await
}

fn serve(request: &Request, fields: &[&str], content: &str) -> Script {
    const TAG: &str = "\"v1\"";
    let fields = [fields, &["etag: \"v1\"", "accept-ranges: bytes"]].concat();
    let sent = |body: &str| if request.method() == "HEAD" { String::new() } else { body.to_owned() };
    let is_current = request.head.get("if-range").is_none_or(|tag| tag == TAG);
    let range =
        request.head.get("range").filter(|_| is_current).and_then(|range| range.strip_prefix("bytes="));
    let Some(range) = range else { return answer("200 OK", &fields, sent(content)) };
    let all = content.len();
    if range.contains(',') {
        let part = "--b\r\ncontent-type: text/plain\r\n\r\n0\r\n--b--\r\n";
        let kind = "content-type: multipart/byteranges; boundary=b";
        return answer("206 Partial Content", &[&[kind], &fields[1..]].concat(), sent(part));
    }
    let (first, last) = range.split_once('-').expect("first and last");
    let first: usize = first.parse().expect("a number");
    if first >= all {
        let range = format!("content-range: bytes */{all}");
        return answer(
            "416 Range Not Satisfiable",
            &["content-type: text/html", &range],
            sent("<html>416</html>"),
        );
    }
    let last = last.parse().unwrap_or(all).min(all - 1);
    let range = format!("content-range: bytes {first}-{last}/{all}");
    answer("206 Partial Content", &[&fields[..], &[range.as_str()]].concat(), sent(&content[first..=last]))
}

/// What curl prints, and the status after it.
async fn curl(edge: &Edge, path: &str, more: &[&str]) -> Run {
    let (port, authority) = (edge.https().port(), edge.path("ca.pem").display().to_string());
    let (place, url) = (format!("{HOST}:{port}:{}", edge.ip()), format!("https://{HOST}:{port}{path}"));
    let fixed =
        ["--silent", "--cacert", &authority, "--resolve", &place, "--write-out", "%{http_code}", &url];
    run("curl", [&fixed[..], more].concat()).await
}

/// The ranges of the requests that the origin received, in order.
fn ranges(origin: &Origin) -> Vec<Option<String>> {
    origin.seen().iter().map(|request| request.head.get("range").map(str::to_owned)).collect()
}

#[tokio::test]
async fn a_file_is_sent_in_parts_whatever_its_name_is() {
    let origin = origin().await;
    let edge = Edge::in_front_of(&origin).await;
    let paths = [
        "/a.iso",
        "/a.deb",
        "/a.img",
        "/a.tar",
        "/a.docx",
        "/download?id=3",
        "/file.php",
        "/a.zip",
        "/files/",
    ];
    for (place, path) in paths.into_iter().enumerate() {
        let version = if place % 2 == 0 { "--http2" } else { "--http1.1" };
        let part = curl(&edge, path, &[version, "-r", "2-5", "-H", BROWSER]).await;
        assert_eq!((part.code, part.stdout.as_str()), (0, "2345206"), "{path}");
        let plain = curl(&edge, path, &[version, "-r", "14-"]).await;
        assert_eq!(plain.stdout, "ef206", "{path}");
    }
    assert!(ranges(&origin).iter().all(Option::is_some), "each was asked for once");
    let several = curl(&edge, "/a.iso", &["-r", "0-1,4-5"]).await;
    assert!(several.stdout.starts_with("--b\r\n") && several.stdout.ends_with("--b--\r\n206"), "{several:?}");
}

#[tokio::test]
async fn curl_resumes_a_download_and_notices_that_it_is_complete() {
    let origin = origin().await;
    let edge = Edge::in_front_of(&origin).await;
    for path in ["/a.iso", "/download?id=3", "/file.php"] {
        edge.overwrite("part", &FILE[..4]);
        let part = edge.path("part").display().to_string();
        let resumed = curl(&edge, path, &["-C", "-", "-o", &part, "-H", BROWSER]).await;
        assert_eq!((resumed.code, resumed.stdout.as_str()), (0, "206"), "{path}");
        let again = curl(&edge, path, &["-C", "-", "-o", &part, "-D", "-"]).await;
        assert!(again.stdout.ends_with("416"), "{path}: {again:?}");
        assert!(again.stdout.contains("content-range: bytes */16"), "{path}: {again:?}");
        assert_eq!(fs_err::read_to_string(edge.path("part")).expect("text"), FILE, "{path}");
    }
    let records = edge.records_where(6, |_| true).await;
    let statuses: Vec<_> = records.iter().map(|record| record["status"].as_u64()).collect();
    assert_eq!(statuses, [206, 416, 206, 416, 206, 416].map(Some), "one record for each request");
}

#[tokio::test]
async fn a_part_of_a_page_is_answered_with_the_whole_page() {
    let origin = origin().await;
    let edge = Edge::in_front_of(&origin).await;
    let mut client = Target::https(&edge).http1(HOST).await;
    let beyond = format!("bytes={}-", PAGE.len() + 9);
    for path in ["/", "/a.php", "/page.iso"] {
        for range in ["bytes=0-9", "bytes=5-", &beyond] {
            let before = origin.seen_count();
            client
                .send(format!(
                    "GET {path} HTTP/1.1\r\nhost: {HOST}\r\nrange: {range}\r\nif-range: \"v1\"\r\n\r\n"
                ))
                .await;
            let answer = client.answer("GET").await;
            assert_eq!(answer.status, 200, "{path} {range}");
            assert!(with_footer(PAGE, &answer).contains(LINK), "{path} {range}");
            assert_eq!((answer.field("etag"), answer.field("accept-ranges")), (Some("W/\"v1\""), None));
            assert_eq!(answer.field("content-range"), None);
            let asked = ranges(&origin).split_off(before);
            assert_eq!(asked, [Some(range.to_owned()), None], "{path}: with the range, then without");
            assert_eq!(origin.seen()[before + 1].head.get("if-range"), None);
        }
    }
    let page = curl(&edge, "/", &["-r", "0-9"]).await;
    assert!(page.stdout.contains(LINK) && page.stdout.ends_with("200"), "{page:?}");
    let records = edge.records_where(10, |record| record["footer"] == "injected").await;
    assert_eq!(records.len(), 10);
    // A page that is saved and not shown is a file.
    let saved = curl(&edge, "/saved", &["-r", "0-8"]).await;
    assert_eq!(saved.stdout, format!("{}206", &PAGE[..9]));
}

#[tokio::test]
async fn if_range_with_the_tag_of_a_rewritten_page_asks_once() {
    let origin = origin().await;
    let edge = Edge::in_front_of(&origin).await;
    let conditional = |tag| format!("if-range: {tag}");
    let page = curl(&edge, "/", &["-r", "0-9", "-H", &conditional("W/\"v1\"")]).await;
    assert!(page.stdout.contains(LINK) && page.stdout.ends_with("200"), "{page:?}");
    assert_eq!(origin.seen_count(), 1);
    for (tag, expected) in [("\"v1\"", "2345206".to_owned()), ("\"v0\"", format!("{FILE}200"))] {
        let file = curl(&edge, "/a.iso", &["-r", "2-5", "-H", &conditional(tag)]).await;
        assert_eq!(file.stdout, expected, "{tag}");
    }
    assert_eq!(origin.seen_count(), 3);
}

#[tokio::test]
async fn a_head_promises_ranges_of_files_only() {
    let origin = origin().await;
    let edge = Edge::in_front_of(&origin).await;
    for more in [&[][..], &["-r", "0-9"], &["-r", "900-"]] {
        let head = curl(&edge, "/", &[&["-I"], more].concat()).await.stdout;
        assert!(head.ends_with("200") && head.contains("etag: W/\"v1\""), "{head}");
        assert!(!head.contains("accept-ranges") && !head.contains("content-length"), "{head}");
    }
    let file = curl(&edge, "/a.iso", &["-I", "-r", "2-5"]).await.stdout;
    assert!(file.ends_with("206") && file.contains("accept-ranges: bytes"), "{file}");
    assert!(file.contains("etag: \"v1\"") && file.contains("content-range: bytes 2-5/16"), "{file}");
}

#[tokio::test]
async fn the_whole_page_is_asked_for_without_a_retry() {
    let origin = origin().await;
    let origins =
        "  - {name: main, region: mainland, scheme: http, servers: [\"$ORIGIN\"], retries: {attempts: 1}}\n";
    let edge = Edge::builder().origin(origin.address).origins(origins).start().await;
    let page = curl(&edge, "/", &["-r", "0-9"]).await;
    assert!(page.stdout.contains(LINK), "{page:?}");
    assert_eq!(edge.metric("icpgate_retries_total{origin=\"main\"}").await, 0.0);
}

#[tokio::test]
async fn a_browser_reads_parts_of_a_file() {
    const APPLICATION: &str = "<!doctype html><html><body><p id=data></p><script>(async () => {\
        const headers = {range: 'bytes=2-5', accept: 'text/html,*/*'};\
        const part = await fetch('/download?id=3', {headers});\
        const page = await fetch('/a.php', {headers});\
        document.getElementById('data').textContent =\
            [part.status, await part.text(), page.status, (await page.text()).includes('beian')].join(' ');\
        })()</script></body></html>";
    let origin = Origin::start(|request| match request.target() {
        "/a.php" => serve(request, &[PAGE_TYPE], PAGE),
        "/" => html(APPLICATION),
        _ => serve(request, &["content-type: application/octet-stream"], FILE),
    })
    .await;
    let edge = Edge::in_front_of(&origin).await;
    let document = chromium::document(&edge, HOST, "/").await;
    assert!(document.contains("<p id=\"data\">206 2345 200 true</p>"), "{document}");
}
