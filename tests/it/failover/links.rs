//! A metered link is used only while the others break their promise.

use std::time::Duration;

use http::Method;

use super::{HOST, ONE_ORIGIN};
use crate::support::client::{Target, answer};
use crate::support::edge::Edge;
use crate::support::origin::Origin;
use crate::support::relay::Relay;
use crate::support::{PATIENCE, eventually};

const IN_USE: &str = "icpgate_link_in_use{link=\"cn2-gia\",origin=\"first\"}";

struct Two {
    edge: Edge,
    cheap: Origin,
    dear: Origin,
    way: Relay,
}

/// A server over a cheap link, and one over a metered link.
async fn two(link: &str) -> Two {
    let (cheap, dear) = (Origin::text("cheap").await, Origin::text("dear").await);
    let way = Relay::to(cheap.address, Duration::ZERO).await;
    let origins = format!(
        "  - {{name: first, region: offshore, scheme: http, servers: [{{address: \"{}\", link: cn2-gia}}, \
         {{address: \"{}\", link: public}}]}}\n",
        dear.address, way.address
    );
    let edge = Edge::builder()
        .sites(ONE_ORIGIN)
        .origins(&origins)
        .more(&format!("links: {{cn2-gia: {{{link}}}}}\n"))
        .start()
        .await;
    Two { edge, cheap, dear, way }
}

/// Sends `count` requests over HTTP/2, 50 at a time.
async fn ask(edge: &Edge, count: usize) {
    let mut client = Target::https(edge).http2(HOST).await;
    let mut left = count;
    while left > 0 {
        let mut asked = Vec::new();
        for _ in 0..left.min(50) {
            asked.push(client.begin(Method::GET, HOST, "/", &[], true).await.0);
        }
        left -= asked.len();
        for response in asked {
            assert_eq!(answer(response).await.unwrap().status, 200);
        }
    }
}

#[tokio::test]
async fn a_metered_link_is_used_while_the_cheap_one_is_slower_than_promised() {
    let Two { edge, cheap, dear, way } = two("first_byte: 100ms").await;
    ask(&edge, 60).await;
    assert_eq!((cheap.seen_count(), dear.seen_count()), (60, 0), "nothing goes there without need");
    assert!(edge.metric(IN_USE).await.abs() < 0.1);
    way.takes(Duration::from_millis(150));
    eventually("the slowness is seen", PATIENCE, async || {
        ask(&edge, 10).await;
        (edge.metric(IN_USE).await > 0.9).then_some(())
    })
    .await;
    edge.logged("the metered link is used").await;
    let (before, to_cheap) = (dear.seen_count(), cheap.seen_count());
    ask(&edge, 200).await;
    let (to_dear, looks) = (dear.seen_count() - before, cheap.seen_count() - to_cheap);
    println!("of 200 requests {to_dear} went over the metered link, {looks} to see how the other does");
    assert!(to_dear > 150 && looks > 0, "{to_dear} {looks}");
    let status = edge.status().await;
    let links = status["origins"][0]["links"].as_array().expect("links");
    let link = |name: &str| links.iter().find(|link| link["name"] == name).expect("a link");
    assert_eq!((&link("cn2-gia")["metered"], &link("cn2-gia")["in_use"]), (&true.into(), &true.into()));
    assert!(
        link("cn2-gia")["reason"].as_str().is_some_and(|reason| reason.contains("first bytes")),
        "{links:?}"
    );
    assert!(link("public")["first_byte_p95_ms"].as_u64().is_some_and(|p95| p95 >= 100), "{links:?}");
    assert!(edge.metric("icpgate_link_switches_total{link=\"cn2-gia\",origin=\"first\"}").await >= 1.0);
    let records = edge.records_where(1, |record| record["link"] == "cn2-gia").await;
    assert_eq!(records[0]["region"], "offshore");

    // A reload keeps the state.
    edge.replace("filings.yaml", crate::support::edge::APPROVED.to_owned() + "# again\n");
    edge.metric_becomes("icpgate_reloads_total{result=\"applied\"}", 1.0).await;
    assert!(edge.metric(IN_USE).await > 0.9);
}

#[tokio::test]
async fn a_metered_link_serves_at_once_while_the_cheap_one_is_down() {
    let Two { edge, cheap, dear, way } = two("failures: 100%").await;
    ask(&edge, 10).await;
    way.resets();
    ask(&edge, 10).await;
    assert!(dear.seen_count() >= 10, "{}", dear.seen_count());
    way.opens();
    let before = cheap.seen_count();
    eventually("the cheap one serves again", PATIENCE, async || {
        ask(&edge, 1).await;
        (cheap.seen_count() > before).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_metered_link_is_used_in_its_preferred_hours() {
    // Two halves that make up the whole day.
    let Two { edge, cheap, dear, .. } = two("prefer: [\"00:00-12:00\", \"12:00-00:00\"]").await;
    edge.metric_becomes(IN_USE, 1.0).await;
    edge.logged("it is ").await;
    let before = cheap.seen_count();
    ask(&edge, 100).await;
    let looks = cheap.seen_count() - before;
    assert!(looks < 30 && dear.seen_count() >= 70, "{looks}");
}
