//! The status page: what it shows, in which language, how large it gets, and that it runs nothing that a stranger sent.

use std::fmt::Write as _;
use std::time::Instant;

use serde_json::Value;
use tokio::net::TcpStream;

use crate::support::client::{Answer, Http1, Target};
use crate::support::edge::{Builder, Edge, SUSPENDED};
use crate::support::hello::Handmade;

use crate::support::origin::{Origin, Script, answer};
use crate::support::probe::probe;
use crate::support::time::PATIENCE;
use crate::support::{HOST, eventually, python};

/// A page of the admin address, asked for with more header lines.
async fn get(edge: &Edge, path: &str, fields: &str) -> Answer {
    let mut client = Http1::over(Box::new(TcpStream::connect(edge.admin()).await.unwrap()));
    let host = edge.admin();
    client.send(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{fields}\r\n")).await;
    client.answer("GET").await
}

/// The text of the page once it contains `wanted`.
async fn page_with(edge: &Edge, path: &str, wanted: &str) -> String {
    eventually(&format!("{wanted} on {path}"), PATIENCE, async || {
        let text = get(edge, path, "").await.text();
        text.contains(wanted).then_some(text)
    })
    .await
}

#[tokio::test]
async fn the_page_is_in_the_language_that_the_reader_prefers() {
    let edge = Edge::builder().start().await;
    for (path, accepted, lang) in [
        ("/", "", "en"),
        ("/", "accept-language: zh-CN,zh;q=0.9,en;q=0.5\r\n", "zh-CN"),
        ("/", "accept-language: zh;q=0.4, en;q=0.5\r\n", "en"),
        ("/?lang=zh", "accept-language: en\r\n", "zh-CN"),
        ("/?lang=en", "accept-language: zh\r\n", "en"),
    ] {
        let answer = get(&edge, path, accepted).await;
        assert_eq!(answer.head.get("content-language"), Some(lang), "{path} {accepted}");
        let text = answer.text();
        assert!(text.contains(&format!("<html lang=\"{lang}\">")), "{path} {accepted}");
        let (chinese, english) = ("最近一小时的拒绝", "Refused in the last hour");
        let (shown, other) = if lang == "en" { (english, chinese) } else { (chinese, english) };
        assert!(text.contains(shown) && !text.contains(other), "{path} {accepted}");
    }
}

#[tokio::test]
async fn the_page_loads_its_own_script_and_style_alone() {
    let edge = Edge::builder().start().await;
    let page = get(&edge, "/", "").await;
    let policy = page.head.get("content-security-policy").unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(page.head.get("x-content-type-options"), Some("nosniff"));
    let text = page.text();
    for inline in [" style=", "<style", " onclick=", " onload=", "http://", "https://", "javascript:"] {
        assert!(!text.contains(inline), "{inline}");
    }
    for (path, kind) in
        [("/page.js", "text/javascript"), ("/page.css", "text/css"), ("/icon.svg", "image/svg")]
    {
        assert!(text.contains(path), "{path}");
        let asset = get(&edge, path, "").await;
        assert!(asset.status == 200 && asset.head.get("content-type").unwrap().starts_with(kind), "{path}");
    }
}

#[tokio::test]
async fn refused_names_are_counted_and_shown_as_text() {
    let edge = Edge::builder().start().await;
    for _ in 0..3 {
        probe(edge.https(), &Handmade::named("www.example.net").bytes()).await;
    }
    // No host names, and what a browser would run if it were not escaped.
    let script = "<script>alert(1)</script>";
    probe(edge.https(), &Handmade::named(script).bytes()).await;
    let markup = "\"><img src=x onerror=alert(2)>";
    probe(edge.http(), format!("GET / HTTP/1.1\r\nhost: {markup}\r\n\r\n").as_bytes()).await;
    // A request for a host that is closed, on a connection that is open.
    let mut client = Target::https(&edge).http1(HOST).await;
    assert_eq!(client.get("<b>.example.net", "/").await.status, 421);

    let status = eventually("the refusals are counted", PATIENCE, async || {
        let status = edge.status().await;
        let count = |index: usize| status["refused"][index]["names"].as_array().map_or(0, Vec::len);
        (count(0) + count(1) >= 4).then_some(status)
    })
    .await;
    let first = &status["refused"][0]["names"][0];
    assert_eq!(
        (&first["name"], &first["reason"], &first["count"]),
        (&"www.example.net".into(), &"not_filed".into(), &3.into())
    );
    assert_eq!(status["refused"][0]["reasons"]["bad_server_name"], 1);
    let page = get(&edge, "/?lang=en", "").await.text();
    assert!(page.contains("www.example.net") && page.contains("no filing for its domain"), "{page}");
    assert!(page.contains("&#60;script&#62;alert(1)"), "{page}");
    for raw in ["<script>alert", "<img", "<b>.example", "onerror=alert(2)>"] {
        assert!(!page.contains(raw), "{raw}");
    }
    // What is looked for is text as well.
    let page = get(&edge, "/?q=%22%3E%3Cscript%3Ealert(3)%3C/script%3E", "").await.text();
    assert!(page.contains("alert(3)") && !page.contains("<script>alert"), "{page}");
    // The filter leaves what it finds.
    let page = get(&edge, "/?q=EXAMPLE.net", "").await.text();
    assert!(page.contains("www.example.net") && !page.contains("alert(1)"), "{page}");
}

#[tokio::test]
async fn the_journal_tells_what_reloads_changed_and_why_one_was_rejected() {
    let edge = Edge::builder().start().await;
    edge.replace("filings.yaml", SUSPENDED);
    page_with(&edge, "/?lang=en", "filings: replaced example.cn").await;
    edge.replace("filings.yaml", "filings: [{domain: example.cn, status: perhaps}]\n");
    let page = page_with(&edge, "/?lang=en", "rejected").await;
    assert!(page.contains("perhaps"), "the value that is wrong: {page}");
    edge.replace("filings.yaml", "filings: []\n");
    page_with(&edge, "/?lang=zh", "备案: 移除 example.cn").await;
    let reloads = &edge.status().await["reloads"];
    assert_eq!(
        (&reloads[0]["result"], &reloads[1]["result"]),
        (&"applied".into(), &"rejected".into()),
        "{reloads}"
    );
    assert_eq!(reloads[0]["changes"][0]["removed"]["first"][0], "example.cn");
    assert!(reloads[1]["problems"][0].as_str().unwrap().contains("filings[0].status"), "{reloads}");
}

#[tokio::test]
async fn what_is_due_is_listed_with_its_consequence() {
    let filings = "filings:\n  - {domain: example.cn, number: 京ICP备2024012345号-1, status: approved, approved_on: 2020-01-02, valid_until: 2999-01-01}\n  \
                   - {domain: example.com, status: sms_verification, sms_sent_at: 2020-02-20T10:00:00+08:00}\n";
    let edge = Edge::builder().filings(filings).start().await;
    let due = &edge.status().await["due"];
    assert_eq!(
        (&due[0]["domain"], &due[0]["deadline"]),
        (&"example.com".into(), &"sms_verification".into()),
        "{due}"
    );
    assert!(due[0]["hours_left"].as_f64().unwrap() < 0.0 && due[1]["deadline"] == "valid_until", "{due}");
    let page = get(&edge, "/?lang=en", "").await.text();
    assert!(
        page.contains("SMS verification") && page.contains("over for") && page.contains("2999-01-02 00:00"),
        "{page}"
    );
    assert!(page.contains("Open, with attention needed"), "{page}");
}

/// An answer that the cache stores.
fn stored(text: &str) -> Script {
    answer("200 OK", &["content-type: text/plain", "cache-control: max-age=3600"], text)
}

/// A program with a cache in memory and on disk, which one of two sites uses.
fn caching() -> Builder {
    Edge::builder()
        .sites(
            "  - {name: shop, hosts: [www.example.cn], cache: on, certificate: {chain: site.pem, key: site.key}, routes: [{origins: [main]}]}\n  \
             - {name: plain, hosts: [example.cn], certificate: {chain: site.pem, key: site.key}, routes: [{origins: [main]}]}\n",
        )
        .more("cache: {memory: 64MiB, disk: {directory: cached, size: 1GiB}}\n")
}

#[tokio::test]
async fn the_cache_tells_how_full_it_is_and_how_often_each_site_hits() {
    let origin = Origin::start(|_| stored(&"x".repeat(5000))).await;
    let edge = caching().origin(origin.address).start().await;
    let none = &edge.status().await["cache"];
    assert_eq!((&none["sites"][0]["hit_rate"], &none["sites"][1]), (&Value::Null, &Value::Null), "{none}");
    assert_eq!((&none["memory"]["bytes"], &none["memory"]["limit"]), (&0.into(), &(64 << 20).into()));
    let target = Target::https(&edge);
    for _ in 0..4 {
        assert_eq!(target.get(HOST, "/a").await.status, 200);
    }
    let cache = eventually("three of four are hits", PATIENCE, async || {
        let cache = edge.status().await["cache"].clone();
        let is_full = cache["disk"]["bytes"].as_u64().unwrap() > 5000;
        (is_full && cache["sites"][0]["hit"] == 3).then_some(cache)
    })
    .await;
    let site = &cache["sites"][0];
    assert_eq!((&site["site"], &site["miss"], &site["hit_rate"]), (&"shop".into(), &1.into(), &0.75.into()));
    assert!(cache["memory"]["bytes"].as_u64().unwrap() > 5000, "{cache}");
    assert_eq!((&cache["memory"]["responses"], &cache["disk"]["responses"]), (&1.into(), &1.into()));

    let page = get(&edge, "/?lang=en", "").await.text();
    for text in ["Edge cache", "of 64 MiB (0 %), 1 answers", "of 1.0 GiB (0 %), 1 answers", "75.0 %"] {
        assert!(page.contains(text), "{text}: {page}");
    }
    let page = get(&edge, "/?lang=zh", "").await.text();
    assert!(
        page.contains("边缘缓存") && page.contains("启动以来的命中率") && page.contains("75.0 %"),
        "{page}"
    );
    let edge = Edge::builder().start().await;
    assert_eq!(edge.status().await["cache"], Value::Null);
    let page = get(&edge, "/?lang=zh", "").await.text();
    assert!(page.contains("未配置"), "{page}");
}

#[tokio::test]
async fn ten_thousand_filings_and_two_thousand_sites_make_a_page_of_bounded_size() {
    let mut filings = String::from("filings:\n");
    for number in 0..10_000 {
        // Writing into a string cannot fail.
        let _ = writeln!(
            filings,
            "  - {{domain: d{number}.cn, number: 京ICP备2024012345号-{}, status: approved, approved_on: 2020-01-02, valid_until: 2998-01-01}}",
            number + 1
        );
    }
    let mut sites = String::new();
    for number in 0..2_000 {
        let hosts = if number == 0 {
            "www.example.cn, www.d0.cn".to_owned()
        } else {
            format!("www.d{number}.cn, nowhere{number}.cn")
        };
        let _ = writeln!(
            sites,
            "  - {{name: s{number}, hosts: [{hosts}], certificate: {{chain: site.pem, key: site.key}}, routes: [{{origins: [main]}}]}}"
        );
    }
    let edge = Edge::builder().filings(&filings).sites(&sites).start().await;
    let mut least = std::time::Duration::MAX;
    let mut page = String::new();
    for _ in 0..5 {
        let began = Instant::now();
        page = get(&edge, "/?lang=en", "").await.text();
        least = least.min(began.elapsed());
    }
    println!("{} bytes, {least:?}", page.len());
    assert!(page.len() < 2 * 1024 * 1024, "{} bytes", page.len());
    // A second is promised of a release build.
    assert!(least < std::time::Duration::from_secs(5), "{least:?}");
    assert!(page.contains("Filings (10000)") && page.contains("Sites and certificates (2000)"));
    assert!(!page.contains("d9999.cn"));
    let found = get(&edge, "/?lang=en&q=d9999.cn", "").await.text();
    assert!(found.contains("d9999.cn") && found.contains("shown 1 / matching 1 / in all 10000"), "{found}");
}

#[tokio::test]
async fn a_browser_shows_changes_without_a_reload() {
    let origin = Origin::start(|_| stored("hello")).await;
    let edge = caching().origin(origin.address).start().await;
    edge.ports_open().await;
    probe(edge.https(), &Handmade::named("<script>document.title='taken'</script>").bytes()).await;
    fs_err::write(edge.path("filings.yaml.next"), SUSPENDED).unwrap();
    let (profile, allowlist) = (edge.path("chromium"), edge.path("filings.yaml"));
    let url = format!("http://{}/", edge.admin());
    let words = [&*url, profile.to_str().unwrap(), allowlist.to_str().unwrap()];
    // A browser starts and draws slowly on a busy machine.
    let printed = python::output_within(6 * PATIENCE, "status_page.py", "look", &words).await;
    let seen: Value = serde_json::from_str(&printed).unwrap();
    println!("the revocation showed after {} s", seen["seconds"]);

    assert_eq!(seen["mark"], "the same document");
    assert!(seen["text"].as_str().unwrap().contains("<script>document.title"), "shown as text");
    assert_eq!((&seen["scripted"], &seen["complaints"]), (&0.into(), &Value::Array(Vec::new())));
    for request in seen["requests"].as_array().unwrap() {
        let request = request.as_str().unwrap();
        assert!(request.starts_with(&url) || request == "about:blank", "{request}");
    }
    let visits = seen["visits"].as_array().unwrap();
    assert_eq!(visits.len(), 8);
    for visit in visits {
        let what = format!("{} {} {}", visit["language"], visit["theme"], visit["width"]);
        let (lang, heading) = if visit["language"] == "zh" {
            ("zh-CN", "全部已开放")
        } else {
            ("en", "Everything is open")
        };
        assert_eq!((&visit["lang"], &visit["heading"]), (&lang.into(), &heading.into()), "{what}");
        assert_eq!(visit["overflow"], 0, "{what}");
        assert_eq!(visit["clipped"], Value::Array(Vec::new()), "{what}");
        assert_eq!(
            visit["ground"] == "rgb(18, 22, 27)",
            visit["theme"] == "dark",
            "{what}: {}",
            visit["ground"]
        );
        assert_tree(visit["tree"].as_array().unwrap(), &what);
    }
}

/// What assistive software is told: one title, sections under it, tables with heads, a status, names for everything to use.
fn assert_tree(tree: &[Value], what: &str) {
    let count = |role: &str| tree.iter().filter(|node| node[0] == role).count();
    let heading = |level: u32| tree.iter().filter(|node| node[0] == "heading" && node[2] == level).count();
    assert_eq!((heading(1), heading(2)), (1, 9), "{what}");
    for (role, least) in [
        ("main", 1),
        ("status", 1),
        ("search", 1),
        ("table", 6),
        ("row", 12),
        ("rowheader", 6),
        ("columnheader", 20),
    ] {
        assert!(count(role) >= least, "{what}: {} of {role}", count(role));
    }
    for node in tree {
        let is_used = ["link", "button", "searchbox", "textbox", "region", "navigation"]
            .contains(&node[0].as_str().unwrap());
        assert!(!is_used || node[1] != "", "{what}: {node} has no name");
    }
}
