//! Stale answers: revalidated, served while they are, served when the origin fails.

use super::{SITES, cached, get, in_front_of, series, status, text};
use crate::support::edge::Edge;
use crate::support::origin::{Gate, Origin, Request, Script, Step, answer, head};
use crate::support::time::{PATIENCE, eventually};

/// Waits until the stored answer is stale: its age is a whole second, and more than its lifetime of none.
async fn until_stale(edge: &Edge, path: &str, expected: &str) {
    eventually(expected, PATIENCE, async || {
        let answer = get(edge, path).await;
        (status(&answer) == expected).then_some(())
    })
    .await;
}

/// An answer that is fresh for a second.
fn short(more: &str, body: &str) -> Script {
    text(&[&format!("cache-control: max-age=1{more}"), "etag: \"v1\""], body)
}

#[tokio::test]
async fn a_stale_answer_is_confirmed_by_304() {
    let origin = Origin::start(|request: &Request| match request.head.get("if-none-match") {
        Some("\"v1\"") => vec![head("304 Not Modified", &["cache-control: max-age=3600", "x-new: yes"])],
        _ => short("", "hello"),
    })
    .await;
    let edge = in_front_of(&origin).await;
    get(&edge, "/").await;
    until_stale(&edge, "/", "icpgate; fwd=stale; fwd-status=304").await;
    let hit = get(&edge, "/").await;
    assert_eq!((hit.status, hit.text().as_str(), status(&hit)), (200, "hello", "icpgate; hit"));
    assert_eq!((hit.field("x-new"), hit.field("etag")), (Some("yes"), Some("\"v1\"")));
    assert_eq!(origin.seen_count(), 2);
    edge.metric_becomes(&series("revalidated"), 1.0).await;
    let records = edge.records_where(1, |record| record["cache"] == "revalidated").await;
    assert_eq!((&records[0]["status"], &records[0]["upstream_status"]), (&200.into(), &304.into()));
}

#[tokio::test]
async fn a_stale_answer_is_served_while_one_fetch_renews_it() {
    let gate = Gate::default();
    let passed = gate.clone();
    let origin = Origin::start(move |request: &Request| match request.head.get("if-none-match") {
        Some(_) => [vec![Step::Wait(passed.clone())], text(&["cache-control: max-age=3600"], "new")].concat(),
        None => short(", stale-while-revalidate=3600", "old"),
    })
    .await;
    let edge = in_front_of(&origin).await;
    get(&edge, "/").await;
    let stale = eventually("a stale answer", PATIENCE, async || {
        let answer = get(&edge, "/").await;
        status(&answer).starts_with("icpgate; hit; ttl=-").then_some(answer)
    })
    .await;
    assert_eq!(stale.text(), "old");
    origin.until("the fetch", |seen| seen.len() == 2).await;
    assert_eq!(get(&edge, "/").await.text(), "old");
    gate.open();
    let renewed = eventually("the new answer", PATIENCE, async || {
        let answer = get(&edge, "/").await;
        (answer.text() == "new").then_some(answer)
    })
    .await;
    assert_eq!(status(&renewed), "icpgate; hit");
    assert_eq!(origin.seen_count(), 2);
    let records = edge.records_where(2, |record| record["cache"] == "stale").await;
    assert!(records.iter().all(|record| record.get("upstream_address").is_none()), "{records:?}");
    let all = edge.records().await;
    assert!(all.iter().all(|record| record["upstream_status"] != 304), "the renewal is no client's: {all:?}");
}

#[tokio::test]
async fn a_renewal_asks_no_other_region_than_the_request_did() {
    let near = Origin::start(|request: &Request| match request.head.get("if-none-match") {
        Some(_) => text(&["cache-control: max-age=3600"], "new"),
        None => short(", stale-while-revalidate=3600", "old"),
    })
    .await;
    let far = Origin::start(|_| text(&[], "far")).await;
    let sites = SITES.replace(
        "path: /off}, origins: [main], cache: off",
        "path: /pay}, origins: [main], residency: mainland",
    );
    let sites = sites.replace("path: /}, origins: [main]", "path: /}, origins: [far]");
    let server = |name: &str, region: &str, origin: &Origin| {
        format!("  - {{name: {name}, region: {region}, scheme: http, servers: [\"{}\"]}}\n", origin.address)
    };
    let origins = server("main", "mainland", &near) + &server("far", "offshore", &far);
    let edge = cached().sites(&sites).origins(&origins).start().await;
    // To a server that decodes `%2F` first, this is /pay.
    eventually("the new answer", PATIENCE, async || {
        let answer = get(&edge, "/%2Fpay").await;
        (answer.text() == "new").then_some(())
    })
    .await;
    assert_eq!((near.seen_count(), far.seen_count()), (2, 0));
}

#[tokio::test]
async fn a_stale_answer_is_served_when_the_origin_fails() {
    let mut origin = Origin::start(|request: &Request| match request.head.get("if-none-match") {
        Some(_) => answer("503 Service Unavailable", &[], "no"),
        None => short(", stale-if-error=3600", "kept"),
    })
    .await;
    let edge = in_front_of(&origin).await;
    get(&edge, "/").await;
    until_stale(&edge, "/", "icpgate; fwd=stale; fwd-status=503").await;
    let stale = get(&edge, "/").await;
    assert_eq!((stale.status, stale.text().as_str()), (200, "kept"));
    origin.stop().await;
    until_stale(&edge, "/", "icpgate; fwd=stale").await;
    let stale = get(&edge, "/").await;
    assert_eq!((stale.status, stale.text().as_str()), (200, "kept"));
    assert_eq!(get(&edge, "/other").await.status, 502);
    edge.records_where(3, |record| record["cache"] == "stale" && record["status"] == 200).await;
}
