//! What pages load from hosts that fail in the mainland is counted by site and host.

use serde_json::json;

use super::with_footer;
use crate::support::HOST;
use crate::support::client::Target;
use crate::support::coding::encode;
use crate::support::edge::{Builder, Edge};
use crate::support::origin::{Origin, answer, html, ok};

const PAGE: &str = "<!doctype html><html><head><link rel=stylesheet href=\"https://fonts.googleapis.com/css2\">\
    <style>@import url(//ajax.googleapis.com/x);</style><script src=\"https://cdn.polyfill.io/v3/x.js\"></script></head>\
    <body><img src=\"/own.png\"><a href=\"https://unpkg.com/\">x</a></body></html>";

fn builder(origin: &Origin, settings: &str) -> Builder {
    Edge::builder().origin(origin.address).sites(&format!(
        "  - {{name: shop, hosts: [{HOST}], certificate: {{chain: site.pem, key: site.key}}, {settings}, \
         routes: [{{origins: [main]}}]}}\n"
    ))
}

fn series(domain: &str) -> String {
    format!("icpgate_foreign_assets_total{{host=\"{domain}\",site=\"shop\"}}")
}

#[tokio::test]
async fn references_are_counted_and_the_page_is_the_same() {
    let origin = Origin::start(|request| match request.target() {
        "/gzip" => answer(
            "200 OK",
            &["content-type: text/html", "content-encoding: gzip"],
            encode("gzip", PAGE.as_bytes()),
        ),
        "/text" => ok(PAGE),
        _ => html(PAGE),
    })
    .await;
    let edge = builder(&origin, "assets: {report: true}, compress: off").start().await;
    assert_eq!(edge.metric(&series("unpkg.com")).await, 0.0, "a link loads nothing");
    assert_eq!(edge.status().await["foreign_assets"], json!({"shop": {}}));
    let mut client = Target::https(&edge).http1(HOST).await;
    for path in ["/", "/gzip"] {
        let answer = client.get(HOST, path).await;
        // No charset is declared: 号 comes as a character reference.
        assert!(with_footer(PAGE, &answer).contains("-1</a>"), "{path}");
    }
    assert_eq!(client.get(HOST, "/text").await.text(), PAGE);
    edge.metric_becomes(&series("googleapis.com"), 4.0).await;
    edge.metric_becomes(&series("polyfill.io"), 2.0).await;
    assert_eq!(edge.metric(&series("unpkg.com")).await, 0.0);
    let expected = json!({"shop": {"googleapis.com": 4, "polyfill.io": 2}});
    assert_eq!(edge.status().await["foreign_assets"], expected);
}

#[tokio::test]
async fn a_site_that_asks_for_no_report_has_none() {
    let origin = Origin::html(PAGE).await;
    let edge = builder(&origin, "assets: {report: false}").start().await;
    Target::https(&edge).get(HOST, "/").await;
    edge.metric_becomes("icpgate_footer_total{result=\"injected\",site=\"shop\"}", 1.0).await;
    assert!(!edge.get("/metrics").await.expect("an answer").1.contains("icpgate_foreign_assets_total{"));
    assert_eq!(edge.status().await["foreign_assets"], json!({}));
    let run =
        builder(&origin, "footer: {pages: off}, assets: {report: true}").write().check(&["--json"]).await;
    assert_eq!((run.code, run.json()["problems"][0]["place"].as_str()), (1, Some("sites[0].assets.report")));
}
