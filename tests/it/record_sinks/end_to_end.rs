//! The program itself with each of these sinks, whose server is killed and restarted while requests pass: every record
//! arrives, equal to `logs export`, and repeats are equal to each other.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use super::SERVER_NAME;
use super::kafka::{Guarded, PASSWORD, USER};
use super::relp::Rsyslog;
use super::sls::{self, Service};
use crate::support::edge::{Edge, run};
use crate::support::{HOST, PATIENCE, eventually};

const RECORDS: &str = "icpgate_access_records_total";
/// Requests of each test: what a debug build serves in a few seconds on two busy cores.
const REQUESTS: usize = 20_000;
/// How often the server is killed meanwhile.
const KILLS: usize = 5;
/// Requests from one kill to the next.
const ROUND: usize = REQUESTS / KILLS;
/// The time from the last request to the last record at the sink.
const CATCHING_UP: Duration = Duration::from_secs(60);

/// A server that can be killed, and the records that have arrived.
trait Server {
    async fn restart(&mut self);

    /// The records that have arrived, as JSON, in any order.
    async fn arrived(&mut self) -> Vec<Map<String, Value>>;
}

/// Every record by its number, without `epoch` and with the values that the sink has room for.
fn by_number(records: impl IntoIterator<Item = Map<String, Value>>) -> BTreeMap<u64, Map<String, Value>> {
    let mut found = BTreeMap::new();
    for mut record in records {
        if record.get("event").and_then(Value::as_str) == Some("checkpoint") {
            continue;
        }
        let seq = sls::text(&record["seq"]).parse().expect("a number");
        let epoch = record.remove("epoch").expect("an epoch");
        assert_ne!(sls::text(&epoch), "");
        if let Some(repeat) = found.insert(seq, record.clone()) {
            assert_eq!(repeat, record, "a repeat is the same");
        }
    }
    found
}

/// Sends [`REQUESTS`] while the server is killed, then waits until all records have arrived and compares them.
async fn ships_everything(sink: &str, server: &mut impl Server, value: impl Fn(&Value) -> Value) {
    let access_log = format!("{{directory: access, reserve: 1MiB, sinks: [{sink}]}}");
    let edge = Edge::builder().access_log(&access_log).start().await;
    let (url, requests) = (format!("http://{HOST}:{}/path", edge.http().port()), ROUND.to_string());
    let connect = format!("--connect-to={}", edge.http());
    for _ in 0..KILLS {
        let load = async {
            let load = run("h2load", ["--h1", "-n", &requests, "-c", "8", &connect, &url]).await;
            assert!(load.stdout.contains(&format!("{ROUND} done")), "{load:?}");
        };
        let killing = async {
            let before = edge.metric(RECORDS).await;
            let some = async || (edge.metric(RECORDS).await > before + 100.0).then_some(());
            eventually("requests pass", PATIENCE, some).await;
            server.restart().await;
        };
        tokio::join!(load, killing);
    }

    let export = edge.records_where(REQUESTS, |_| true).await;
    let expected: BTreeMap<u64, Map<String, Value>> = export
        .into_iter()
        .map(|record| {
            let Value::Object(record) = record else { panic!("{record} is no object") };
            let seq = record["seq"].as_u64().expect("a number");
            (seq, record.into_iter().map(|(key, shown)| (key, value(&shown))).collect())
        })
        .collect();
    let arrived = eventually("every record arrives", CATCHING_UP, async || {
        let arrived = by_number(server.arrived().await);
        expected.keys().all(|seq| arrived.contains_key(seq)).then_some(arrived)
    })
    .await;
    for (seq, record) in &expected {
        assert_eq!(&arrived[seq], record, "record {seq}");
    }
}

/// As in JSON.
fn as_it_is(value: &Value) -> Value {
    value.clone()
}

impl Server for Rsyslog {
    async fn restart(&mut self) {
        self.restart().await;
    }

    async fn arrived(&mut self) -> Vec<Map<String, Value>> {
        let lines = self.lines();
        // A line cut by a kill was not acknowledged.
        lines.iter().filter_map(|line| serde_json::from_str(line.split_once("\"] ")?.1).ok()).collect()
    }
}

#[tokio::test]
async fn relp_ships_everything() {
    let mut server = Rsyslog::start().await;
    let (address, trust) = (server.secure(), server.certificates.text("ca.pem"));
    let sink = format!(
        "{{name: syslog, type: relp, address: \"{address}\", tls: {{server_name: {SERVER_NAME}, trust: {trust}}}}}"
    );
    ships_everything(&sink, &mut server, as_it_is).await;
}

impl Server for Guarded {
    /// The broker keeps records in memory; only the gateway to it is killed.
    async fn restart(&mut self) {
        self.restart(USER).await;
    }

    async fn arrived(&mut self) -> Vec<Map<String, Value>> {
        // More than there can be: the reader ends when nothing more arrives.
        let read = self.read(2 * REQUESTS, "SCRAM-SHA-512").await;
        let object = |(_, _, value)| match value {
            Value::Object(record) => record,
            other => panic!("{other} is no object"),
        };
        read.into_iter().map(object).collect()
    }
}

#[tokio::test]
async fn kafka_ships_everything() {
    let mut server = Guarded::start(USER).await;
    server.topic("SCRAM-SHA-512").await;
    let (address, trust, password) =
        (server.address, server.certificates.text("ca.pem"), server.certificates.text("password"));
    fs_err::write(&password, PASSWORD).expect("written");
    let sink = format!(
        "{{name: kafka, type: kafka, brokers: [\"{address}\"], topic: access, \
         tls: {{server_name: {SERVER_NAME}, trust: {trust}}}, \
         sasl: {{mechanism: scram-sha-512, username: {USER}, password_file: {password}}}}}"
    );
    ships_everything(&sink, &mut server, as_it_is).await;
}

impl Server for Service {
    async fn restart(&mut self) {
        self.restart().await;
    }

    async fn arrived(&mut self) -> Vec<Map<String, Value>> {
        let contents = |log: Value| {
            let contents = log["contents"].as_object().expect("an object").clone();
            contents.into_iter().map(|(key, value)| (key, number_or_text(&value))).collect()
        };
        self.logs().into_iter().map(contents).collect()
    }
}

/// A value as text; numbers without trailing zeros.
fn number_or_text(value: &Value) -> Value {
    let text = sls::text(value);
    let number: serde_json::Result<serde_json::Number> = serde_json::from_str(&text);
    Value::String(number.map_or(text, |number| number.to_string()))
}

#[tokio::test]
async fn sls_ships_everything() {
    let mut server = Service::start().await;
    let path = |name: &str| server.certificates.text(name);
    let sink = format!(
        "{{name: sls, type: sls, endpoint: \"https://{}\", region: cn-beijing, project: audit, logstore: edge, \
         trust: {}, credentials: {{from: file, path: {}}}}}",
        server.address,
        path("ca.pem"),
        path("sls.yaml"),
    );
    // The Log Service stores texts.
    ships_everything(&sink, &mut server, number_or_text).await;
}
