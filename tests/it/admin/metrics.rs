//! Metrics: every series exists from the start, exactly once, and strangers cannot add any.

use std::collections::BTreeSet;

use super::HOST;
use crate::support::client::Target;
use crate::support::edge::{Edge, Metrics};
use crate::support::hello::client_hello;
use crate::support::origin::Origin;
use crate::support::probe::{Answer, probe};
use crate::support::{PATIENCE, eventually};

const REASONS: [&str; 21] = [
    "no_server_name",
    "bad_server_name",
    "ip_literal",
    "not_filed",
    "not_approved",
    "not_yet_valid",
    "expired",
    "host_excluded",
    "address_not_filed",
    "no_site",
    "no_certificate",
    "esni",
    "bad_hello",
    "not_tls",
    "hello_timeout",
    "bad_head",
    "head_timeout",
    "host_not_permitted",
    "not_covered",
    "too_many_connections",
    "proxy_protocol",
];
const STATUSES: [&str; 7] = [
    "preparing",
    "provider_review",
    "sms_verification",
    "bureau_review",
    "approved",
    "suspended",
    "cancelled",
];

/// The series of a scrape. Fails on a malformed line, a duplicate or a series without a type.
#[track_caller]
fn series(metrics: &Metrics) -> BTreeSet<String> {
    let mut series = BTreeSet::new();
    let mut types = BTreeSet::new();
    for line in metrics.0.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            if let Some(family) = comment.strip_prefix("TYPE ") {
                assert!(types.insert(family.split(' ').next().unwrap().to_owned()), "{line}");
            }
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}"));
        assert!(value.parse::<f64>().is_ok(), "{line:?}");
        assert!(series.insert(name.to_owned()), "twice: {line:?}");
        let family = name.split('{').next().unwrap();
        let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| family.strip_suffix(end));
        assert!(
            types.contains(family) || of_histogram.is_some_and(|family| types.contains(family)),
            "{line:?}"
        );
    }
    series
}

#[tokio::test]
async fn every_metric_is_there_from_the_start() {
    let filings = "filings:\n  - {domain: example.cn, number: 京ICP备2024012345号-1, status: approved, approved_on: 2020-01-02, \
                   valid_until: 2999-01-01, live_on: 2020-01-03}\n  \
                   - {domain: example.com.cn, status: sms_verification, sms_sent_at: 2020-01-01T00:00:00+08:00}\n";
    let origin = Origin::text("hello").await;
    let edge = Edge::builder().origin(origin.address).filings(filings).start().await;
    let metrics = edge.metrics().await;
    series(&metrics);
    let mut zeros = vec![
        "icpgate_request_duration_seconds_count".to_owned(),
        "icpgate_upstream_connect_seconds_count{link=\"default\",origin=\"main\"}".to_owned(),
        "icpgate_upstream_first_byte_seconds_count{link=\"default\",origin=\"main\"}".to_owned(),
        "icpgate_access_records_total".to_owned(),
        "icpgate_access_records_lost_total".to_owned(),
    ];
    for listener in ["https", "http"] {
        zeros.push(format!("icpgate_connections_open{{listener=\"{listener}\"}}"));
        zeros.push(format!("icpgate_connections_empty_total{{listener=\"{listener}\"}}"));
        zeros.extend(REASONS.map(|reason| {
            format!("icpgate_connections_refused_total{{listener=\"{listener}\",reason=\"{reason}\"}}")
        }));
        assert_eq!(metrics.value(&format!("icpgate_listener_bound{{listener=\"{listener}\"}}")), 1.0);
    }
    zeros.extend(
        ["2xx", "3xx", "4xx", "5xx"]
            .map(|class| format!("icpgate_requests_total{{site=\"shop\",status=\"{class}\"}}")),
    );
    zeros.extend(
        ["injected", "present", "wrong_link", "wrong_number", "skipped", "failed"]
            .map(|result| format!("icpgate_footer_total{{result=\"{result}\",site=\"shop\"}}")),
    );
    zeros.extend(
        ["mainland", "offshore"]
            .map(|region| format!("icpgate_egress_bytes_total{{region=\"{region}\",site=\"shop\"}}")),
    );
    zeros.extend(
        ["applied", "rejected"].map(|result| format!("icpgate_reloads_total{{result=\"{result}\"}}")),
    );
    for name in &zeros {
        assert_eq!(metrics.value(name), 0.0, "{name}");
    }
    for status in STATUSES {
        let count = f64::from(u8::from(["approved", "sms_verification"].contains(&status)));
        assert_eq!(metrics.value(&format!("icpgate_filings{{status=\"{status}\"}}")), count);
    }
    let due = |domain, deadline| {
        metrics
            .value(&format!("icpgate_filing_deadline_seconds{{domain=\"{domain}\",deadline=\"{deadline}\"}}"))
    };
    assert!(due("example.cn", "valid_until") > 1e9);
    assert!(due("example.cn", "public_security") < 0.0, "long overdue");
    assert!(due("example.com.cn", "sms_verification") < 0.0);
    assert_eq!(
        metrics.value(&format!("icpgate_origin_up{{origin=\"main\",server=\"{}\"}}", origin.address)),
        1.0
    );
    assert_eq!(metrics.value("icpgate_snapshot_generation"), 1.0);
    assert!(metrics.value("icpgate_certificate_expiry_seconds{site=\"shop\"}") > 1e9);
    assert!(metrics.get("icpgate_access_store_bytes").is_some());
    assert!(metrics.get("icpgate_clock_synchronized").is_some());
    // No sink is configured: the families exist without a series.
    for family in ["icpgate_sink_lag_seconds", "icpgate_sink_retention_ok"] {
        assert!(metrics.0.contains(&format!("# TYPE {family} gauge")), "{family}");
    }
}

#[tokio::test]
async fn the_deadline_metric_shows_the_nearest_of_a_domains_filings() {
    let filing = |host: &str, number: u8, until: &str| {
        format!(
            "  - {{domain: example.cn, hosts: [{host}], number: 京ICP备2024012345号-{number}, status: approved, \
             approved_on: 2020-01-02, valid_until: {until}}}\n"
        )
    };
    let (later, sooner) = (filing(HOST, 1, "2999-01-01"), filing("example.cn", 2, "2998-01-01"));
    let edge = Edge::builder().filings(&format!("filings:\n{later}{sooner}")).start().await;
    let metrics = edge.metrics().await;
    series(&metrics);
    let left =
        metrics.value("icpgate_filing_deadline_seconds{domain=\"example.cn\",deadline=\"valid_until\"}");
    edge.replace("filings.yaml", format!("filings:\n{later}"));
    edge.metric_becomes("icpgate_snapshot_generation", 2.0).await;
    let of_the_other =
        edge.metric("icpgate_filing_deadline_seconds{domain=\"example.cn\",deadline=\"valid_until\"}");
    assert!(of_the_other.await - left > 364.0 * 86_400.0);
}

#[tokio::test]
async fn renamed_sites_listeners_and_origins_leave_no_old_series() {
    let (origin, other) = (Origin::text("hello").await, Origin::text("hello").await);
    let edge = Edge::in_front_of(&origin).await;
    let mut client = Target::https(&edge).http1(HOST).await;
    assert_eq!(client.get(HOST, "/").await.status, 200);
    let old = edge.configuration();
    let address = |origin: &Origin| origin.address.to_string();
    let renamed = old
        .replace("name: https", "name: tls")
        .replace("name: shop", "name: store")
        .replace("name: main,", "name: primary,")
        .replace("[main]", "[primary]")
        .replace(&address(&origin), &address(&other));
    edge.replace("icpgate.yaml", renamed);
    edge.metric_becomes("icpgate_snapshot_generation", 2.0).await;
    edge.metric_becomes("icpgate_listener_bound{listener=\"tls\"}", 1.0).await;
    assert_eq!(Target::https(&edge).get(HOST, "/").await.status, 200);
    edge.metric_becomes("icpgate_requests_total{site=\"store\",status=\"2xx\"}", 1.0).await;
    let found = series(&edge.metrics().await);
    let of = |value: &str| found.iter().filter(|series| series.contains(&format!("=\"{value}\""))).count();
    assert_eq!(["https", "shop", "main", &address(&origin)].map(of), [0; 4], "{found:#?}");
    assert!(["tls", "store", "primary", &address(&other)].map(of).iter().all(|count| *count > 0));

    edge.replace("icpgate.yaml", old);
    edge.metric_becomes("icpgate_snapshot_generation", 3.0).await;
    assert_eq!(edge.metric("icpgate_requests_total{site=\"shop\",status=\"2xx\"}").await, 1.0);
}

#[tokio::test]
async fn requests_of_strangers_add_no_series() {
    let origin = Origin::text("hello").await;
    let edge = Edge::in_front_of(&origin).await;
    let mut client = Target::https(&edge).http1(HOST).await;
    assert_eq!(client.get(HOST, "/").await.status, 200);
    let before = series(&edge.metrics().await);
    for number in 0..20 {
        probe(edge.https(), &client_hello(&format!("stranger{number}.example.net"))).await;
        client
            .send(format!(
                "STRANGE{number} /{number} HTTP/1.1\r\nHost: {HOST}\r\nX-{number}: {number}\r\n\r\n"
            ))
            .await;
        assert_eq!(client.answer("GET").await.status, 200);
    }
    edge.metric_becomes("icpgate_requests_total{site=\"shop\",status=\"2xx\"}", 21.0).await;
    assert_eq!(series(&edge.metrics().await), before);
}

#[tokio::test]
async fn requests_refusals_and_failures_are_counted() {
    let mut origin = Origin::text("hello").await;
    let edge = Edge::in_front_of(&origin).await;
    let mut client = Target::https(&edge).http1(HOST).await;
    assert_eq!(client.get(HOST, "/").await.status, 200);
    edge.metric_becomes("icpgate_connections_open{listener=\"https\"}", 1.0).await;
    drop(client);
    edge.metric_becomes("icpgate_connections_open{listener=\"https\"}", 0.0).await;
    assert_eq!(probe(edge.https(), &client_hello("www.example.net")).await, Answer::RESET);
    origin.stop().await;
    assert_eq!(Target::https(&edge).get(HOST, "/").await.status, 502);
    edge.metric_becomes("icpgate_access_records_total", 3.0).await;
    let metrics = edge.metrics().await;
    for (name, value) in [
        ("icpgate_requests_total{site=\"shop\",status=\"2xx\"}", 1.0),
        ("icpgate_requests_total{site=\"shop\",status=\"5xx\"}", 1.0),
        ("icpgate_request_duration_seconds_count", 2.0),
        ("icpgate_upstream_connect_seconds_count{link=\"default\",origin=\"main\"}", 2.0),
        ("icpgate_upstream_first_byte_seconds_count{link=\"default\",origin=\"main\"}", 1.0),
        ("icpgate_egress_bytes_total{region=\"mainland\",site=\"shop\"}", 5.0),
        ("icpgate_egress_bytes_total{region=\"offshore\",site=\"shop\"}", 0.0),
        ("icpgate_connections_refused_total{listener=\"https\",reason=\"not_filed\"}", 1.0),
    ] {
        assert_eq!(metrics.value(name), value, "{name}");
    }
    assert_eq!(
        metrics.value(&format!("icpgate_origin_up{{origin=\"main\",server=\"{}\"}}", origin.address)),
        0.0
    );
    assert!(metrics.value("icpgate_access_store_bytes") > 0.0);
    assert_eq!(edge.status().await["origins"][0]["servers"][0]["up"], false);
}

#[tokio::test]
async fn a_removed_listener_is_not_reported_as_bound() {
    let edge = Edge::builder().start().await;
    assert_eq!(edge.metric("icpgate_listener_bound{listener=\"http\"}").await, 1.0);
    let without = edge
        .configuration()
        .lines()
        .filter(|line| !line.contains("name: http,"))
        .collect::<Vec<_>>()
        .join("\n");
    edge.replace("icpgate.yaml", without);
    edge.metric_becomes("icpgate_snapshot_generation", 2.0).await;
    eventually("it is not bound", PATIENCE, async || {
        let bound = edge.metrics().await.get("icpgate_listener_bound{listener=\"http\"}");
        bound.is_none_or(|bound| bound == 0.0).then_some(())
    })
    .await;
    assert_eq!(edge.status().await["listeners"].as_array().unwrap().len(), 1);
}
