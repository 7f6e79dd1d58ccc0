//! Lanes of one program: each by itself, added and taken away by a reload, and past a record that a sink refuses.

use serde_json::Value;

use super::servers::{Server, object};
use super::{Record, acknowledged, by_number};
use crate::record_sinks::relp::Rsyslog;
use crate::record_sinks::sls;
use crate::support::client::Target;
use crate::support::edge::{Edge, icpgate};
use crate::support::{HOST, PATIENCE, eventually};

fn access_log(sinks: &str) -> String {
    format!("{{directory: access, reserve: 1MiB, sinks: [{sinks}]}}")
}

/// Replaces the sinks of the configuration.
fn reload(edge: &Edge, from: &str, to: &str) {
    let text = fs_err::read_to_string(edge.config_path()).expect("read");
    assert!(text.contains(&access_log(from)), "{text}");
    edge.replace("icpgate.yaml", text.replace(&access_log(from), &access_log(to)));
}

async fn ask(edge: &Edge, paths: impl IntoIterator<Item = String>) {
    for path in paths {
        Target::http(edge).get(HOST, &path).await;
    }
}

/// Waits until the server has the records `1..=last` of the store.
async fn has_all(edge: &Edge, server: &mut Rsyslog, last: usize) {
    let records = edge.records_where(last, |_| true).await;
    eventually("every record arrives", PATIENCE, async || {
        let arrived = by_number(server.arrived().await);
        let is_there = |record: &Value| {
            arrived.get(&record["seq"].as_u64()?).map(|found| object(record.clone()) == *found)
        };
        records.iter().all(|record| is_there(record) == Some(true)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn sinks_come_change_and_go_without_a_restart_and_none_waits_for_another() {
    let (mut one, mut other) = (Rsyslog::start().await, Rsyslog::start().await);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let down = format!("{{name: down, type: relp, address: \"{nobody}\"}}");
    let edge = Edge::builder().access_log(&access_log("")).start().await;
    ask(&edge, (0..20).map(|path| format!("/{path}"))).await;

    // A new sink gets what was written before it, whatever becomes of the one beside it.
    let both = [down.as_str(), &one.sink()].join(", ");
    reload(&edge, "", &both);
    has_all(&edge, &mut one, 20).await;
    ask(&edge, (20..40).map(|path| format!("/{path}"))).await;
    has_all(&edge, &mut one, 40).await;
    assert_eq!(acknowledged(&edge, "down").await, 0);

    // One that leads elsewhere begins with the oldest record.
    let changed = [down.as_str(), &other.sink()].join(", ");
    reload(&edge, &both, &changed);
    has_all(&edge, &mut other, 40).await;
    reload(&edge, &changed, &down);
    let series = "icpgate_sink_lag_seconds{sink=\"syslog\"}";
    eventually("it is gone", PATIENCE, async || edge.metrics().await.get(series).is_none().then_some(()))
        .await;
    ask(&edge, [String::from("/after")]).await;
    edge.records_where(1, |record| record["path"] == "/after").await;
    assert!(!other.lines().iter().any(|line| line.contains("/after")), "nothing is shipped to it any more");
}

/// The service of the tests refuses every batch that holds a path with this word.
const POISON: &str = "/poison";

#[tokio::test]
async fn a_record_that_a_sink_refuses_is_set_aside_by_name_and_stays_in_the_chain() {
    let mut service = sls::Service::start().await;
    service.kill().await;
    let edge = Edge::builder().access_log(&access_log(&service.sink())).start().await;
    let paths = (0..50).map(|path| if path == 20 { POISON.to_owned() } else { format!("/{path}") });
    ask(&edge, paths).await;
    let records = edge.records_where(50, |_| true).await;
    let seq = |record: &Value| record["seq"].as_u64().expect("a number");
    let poison = records.iter().find(|record| record["path"] == POISON).map(seq).expect("it is recorded");
    // Everything waits, and goes in one batch.
    service.restart().await;
    let last = seq(records.last().expect("records"));
    let all = async || (acknowledged(&edge, "sls").await >= last).then_some(());
    eventually("the others arrive", PATIENCE, all).await;
    let arrived = by_number(service.arrived().await);
    for record in &records {
        let stored: Record = object(record.clone())
            .into_iter()
            .map(|(key, value)| (key, <sls::Service as Server>::stored(&value)))
            .collect();
        let expected = (seq(record) != poison).then_some(&stored);
        assert_eq!(arrived.get(&seq(record)), expected, "record {}", seq(record));
    }
    assert_eq!(edge.metric("icpgate_sink_set_aside_total{sink=\"sls\"}").await, 1.0);
    assert!(edge.log().contains(&format!("seq={poison}")), "it is named");
    let store = edge.path("access").display().to_string();
    assert_eq!(icpgate(["logs", "verify", &store]).await.code, 0, "it is still in the chain");
}
