//! What is labelled `text/html` and is no page of its own: data, scripts, images, frames.

use super::{HOST, LINK, PAGE, edge, with_footer};
use crate::support::chromium;
use crate::support::client::Target;
use crate::support::edge::Edge;
use crate::support::origin::{answer, html};
use crate::support::peer::Peer;

#[tokio::test]
async fn data_passes_unchanged() {
    const DATA: [(&str, &str); 6] = [
        ("/json", "{\"a\": \"<body></body>\"}"),
        ("/jsonp", "callback({\"html\": \"<html><body></body></html>\"})"),
        ("/script", "document.write('<html><body>x</body></html>')"),
        ("/rss", "<?xml version=\"1.0\"?><rss><![CDATA[<html><body>x</body></html>]]></rss>"),
        ("/atom", "<feed><![CDATA[<html><body>x</body></html>]]></feed>"),
        ("/mark", "\u{feff}\n[\"<body></body>\"]"),
    ];
    let (_origin, edge) = edge(|request| {
        let found = DATA.iter().find(|(path, _)| *path == request.target());
        html(found.map_or(PAGE, |(_, body)| body))
    })
    .await;
    let mut client = Target::https(&edge).http1(HOST).await;
    for (path, body) in DATA {
        assert_eq!(client.get(HOST, path).await.text(), body, "{path}");
    }
    assert!(with_footer(PAGE, &client.get(HOST, "/").await).contains(LINK));
    let series = "icpgate_footer_skipped_total{reason=\"data\",site=\"shop\"}";
    edge.metric_becomes(series, DATA.len() as f64).await;
}

#[tokio::test]
async fn only_what_is_asked_for_as_a_page_gets_the_footer() {
    let (origin, edge) = edge(|_| {
        answer(
            "200 OK",
            &["content-type: text/html; charset=utf-8", "vary: accept-encoding", "etag: \"a\""],
            PAGE,
        )
    })
    .await;
    let mut client = Target::https(&edge).http1(HOST).await;
    for (fields, is_page) in [
        ("sec-fetch-dest: document\r\naccept: text/html\r\n", true),
        ("sec-fetch-dest: frame\r\naccept: text/html\r\n", true),
        ("sec-fetch-dest: empty\r\naccept: text/html,*/*;q=0.8\r\n", true),
        ("accept: */*\r\n", true),
        ("", true),
        ("sec-fetch-dest: iframe\r\naccept: text/html\r\n", false),
        ("sec-fetch-dest: script\r\naccept: */*\r\n", false),
        ("sec-fetch-dest: image\r\naccept: image/webp,*/*\r\n", false),
        ("sec-fetch-dest: empty\r\naccept: */*\r\n", false),
        ("accept: image/webp,*/*\r\n", false),
        ("accept: application/json\r\n", false),
        ("accept: text/html, */*; q=0.01\r\nx-requested-with: XMLHttpRequest\r\n", false),
    ] {
        client.send(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\naccept-encoding: gzip\r\n{fields}\r\n")).await;
        let answer = client.answer("GET").await;
        let asked = origin.seen().last().expect("seen").head.get("accept-encoding").map(str::to_owned);
        if is_page {
            assert!(with_footer(PAGE, &answer).contains(LINK), "{fields}");
            assert_eq!(answer.field("vary"), Some("accept-encoding"), "{fields}");
            assert_eq!(
                (answer.field("etag"), asked.as_deref()),
                (Some("W/\"a\""), Some("identity")),
                "{fields}"
            );
        } else {
            assert_eq!(answer.text(), PAGE, "{fields}");
            assert_eq!(answer.field("vary"), Some("accept-encoding, sec-fetch-dest"), "{fields}");
            assert_eq!((answer.field("etag"), asked.as_deref()), (Some("\"a\""), Some("gzip")), "{fields}");
        }
    }
    for (reason, count) in [("frame", 1.0), ("subresource", 6.0)] {
        let series = format!("icpgate_footer_skipped_total{{reason=\"{reason}\",site=\"shop\"}}");
        edge.metric_becomes(&series, count).await;
    }
}

/// PHP labels everything `text/html` that does not say otherwise.
#[tokio::test]
async fn what_php_sends_is_data_or_a_page() {
    let origins = "  - {name: main, region: mainland, scheme: http, servers: [\"$IP:8081\"]}\n";
    let folder = Edge::builder().origins(origins).write();
    let address = folder.beside(8081);
    folder.overwrite(
        "router.php",
        "<?php switch (parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH)) {
            case '/api': echo json_encode(['html' => '<body></body>']); break;
            case '/jsonp': echo $_GET['callback'], '({\"a\": \"<body></body>\"});'; break;
            case '/feed': echo '<?xml version=\"1.0\"?><rss><title>&lt;</title><body></body></rss>'; break;
            default: echo \"\\xef\\xbb\\xbf\", '<!doctype html><html><body><p>', PHP_MAJOR_VERSION, '</p></body></html>';
        }",
    );
    let router = folder.path("router.php").display().to_string();
    let _php = Peer::start("php", ["-S", &address.to_string(), &router], address).await;
    let edge = folder.start().await;
    let mut client = Target::https(&edge).http1(HOST).await;
    assert_eq!(client.get(HOST, "/api").await.text(), "{\"html\":\"<body><\\/body>\"}");
    assert_eq!(client.get(HOST, "/jsonp?callback=f").await.text(), "f({\"a\": \"<body></body>\"});");
    assert!(client.get(HOST, "/feed").await.text().ends_with("<body></body></rss>"));
    let page = client.get(HOST, "/").await.text();
    assert!(page.starts_with("\u{feff}<!doctype html>") && page.contains(LINK), "{page}");
}

#[tokio::test]
async fn an_application_in_a_browser_finds_its_data_and_one_footer() {
    const APPLICATION: &str = "<!doctype html><html><head><script src=/script></script></head><body>\
        <iframe src=/frame></iframe><p id=data></p><script>(async () => {\
        const data = await (await fetch('/json')).json();\
        const part = await (await fetch('/frame')).text();\
        const frame = document.querySelector('iframe').contentDocument;\
        const links = document => document.querySelectorAll('a[href*=beian]').length;\
        document.getElementById('data').textContent =\
            [data.a, fromScript, part.includes('beian'), links(document), links(frame)].join(' ');\
        })()</script></body></html>";
    let (_origin, edge) = edge(|request| match request.target() {
        "/json" => html("{\"a\": \"<body></body>\"}"),
        "/script" => html("var fromScript = '<html></body>'.length"),
        "/frame" => html(PAGE),
        _ => html(APPLICATION),
    })
    .await;
    let document = chromium::document(&edge, HOST, "/").await;
    let found = "<p id=\"data\">&lt;body&gt;&lt;/body&gt; 13 false 1 0</p>";
    assert!(document.contains(found) && document.contains(LINK), "{document}");
}

#[tokio::test]
async fn the_frames_of_a_frameset_are_the_page() {
    const FRAMESET: &str = "<html><head><script>onload = () => {\
        const text = frames[0].document.body.textContent;\
        document.documentElement.setAttribute('title', text);\
        }</script></head><frameset cols=100%><frame src=/frame></frameset></html>";
    let (_origin, edge) =
        edge(|request| html(if request.target() == "/frame" { PAGE } else { FRAMESET })).await;
    let document = chromium::document(&edge, HOST, "/").await;
    assert!(document.contains("title=\"你好京ICP备2024012345号-1\""), "{document}");
}
