//! Pages in the charsets that Chinese sites are written in, as Chromium shows them.

use encoding_rs::{Encoding, GBK, UTF_8};

use super::{HOST, edge};
use crate::support::chromium;
use crate::support::client::Target;
use crate::support::origin::answer;

const NUMBER: &str = "京ICP备2024012345号-1";
const LINKED: &str = "<a href=\"https://beian.miit.gov.cn/\">京ICP备2024012345号-1</a>";
const TEXT: &str = "中文网站，七天无理由退货，院子里的树已经发了新芽。";

/// Past the 1,024 bytes in which a charset should be named.
fn style() -> String {
    format!("<style>{}</style>", "a{b:c}".repeat(200))
}

fn page(head: &str, body: &str) -> String {
    format!("<html><head>{head}</head><body><p>{TEXT}</p>{body}</body></html>")
}

#[tokio::test]
async fn the_footer_is_readable_in_a_browser_whatever_the_page_declares() {
    let pages: [(&str, String, &'static Encoding); 3] = [
        ("/late", page(&format!("{}<meta charset=gbk>", style()), ""), GBK),
        ("/none", page("", ""), GBK),
        ("/late-utf-8", page(&format!("{}<meta charset=utf-8>", style()), ""), UTF_8),
    ];
    let served = pages.clone().map(|(path, page, encoding)| (path, encoding.encode(&page).0.into_owned()));
    let (_origin, edge) = edge(move |request| {
        let found = served.iter().find(|(path, _)| *path == request.target());
        answer("200 OK", &["content-type: text/html"], found.map_or(&b""[..], |(_, page)| page))
    })
    .await;
    for (path, page, encoding) in pages {
        let sent = Target::https(&edge).get(HOST, path).await;
        let footer_begins = page.find("</body>").expect("a body");
        let before = encoding.encode(&page[..footer_begins]).0.len();
        let footer = &sent.body[before..];
        assert_eq!(footer.is_ascii(), encoding != UTF_8, "{path}");
        let document = chromium::document(&edge, HOST, path).await;
        assert!(
            document.contains(&format!(">{NUMBER}</a>")) && document.contains(TEXT),
            "{path}: {document}"
        );
    }
}

#[tokio::test]
async fn a_number_is_seen_in_the_charset_that_browsers_take() {
    let pages = [
        ("/late", page(&format!("{}<meta charset=gbk>", style()), LINKED)),
        ("/none", page("", LINKED)),
        (
            "/wide",
            page("<meta charset=gbk>", &LINKED.replace(NUMBER, "京ＩＣＰ备２０２４０１２３４５号－１")),
        ),
    ];
    let served = pages.clone().map(|(path, page)| (path, GBK.encode(&page).0.into_owned()));
    let (_origin, edge) = edge(move |request| {
        let found = served.iter().find(|(path, _)| *path == request.target());
        answer("200 OK", &["content-type: text/html"], found.map_or(&b""[..], |(_, page)| page))
    })
    .await;
    for (path, page) in &pages {
        assert_eq!(Target::https(&edge).get(HOST, path).await.body, GBK.encode(page).0.as_ref(), "{path}");
    }
    edge.metric_becomes("icpgate_footer_total{result=\"present\",site=\"shop\"}", 3.0).await;
    let document = chromium::document(&edge, HOST, "/none").await;
    assert!(document.contains(NUMBER), "{document}");
}
