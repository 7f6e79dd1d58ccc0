//! The program itself with each type of sink, while the sink or the program is killed: every durable record arrives,
//! equal to `logs export` field by field, and repeats are equal to each other.

mod backlog;
mod lanes;
mod servers;

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Map, Value};

use self::servers::{Server, Share};
use crate::record_sinks::kafka::{Guarded, USER};
use crate::record_sinks::relp::Rsyslog;
use crate::record_sinks::sls;
use crate::segment_sinks::{object_lock, oss};
use crate::support::client::{Http1, Target};
use crate::support::edge::{Edge, icpgate, run_within};
use crate::support::time::pause;
use crate::support::{HOST, PATIENCE, eventually};

type Record = Map<String, Value>;

const RECORDS: &str = "icpgate_access_records_total";
/// How often a sink is killed.
const KILLS_OF_A_SINK: usize = 5;
/// How often the program is killed.
const KILLS_OF_THE_PROGRAM: usize = 10;
/// The time of the requests between two kills of a sink.
const LOAD: Duration = Duration::from_secs(120);
/// The time from the last request to the last record at the sink.
const CATCHING_UP: Duration = Duration::from_secs(60);
/// Between two requests to a program that is about to be killed: what it writes is to be shipped by six lanes.
const BETWEEN: Duration = Duration::from_millis(2);

/// Every record by its number, without `epoch`. A record that comes again is the same, its epoch included.
fn by_number(records: Vec<Record>) -> BTreeMap<u64, Record> {
    let mut found: BTreeMap<u64, Record> = BTreeMap::new();
    for record in records {
        if record.get("event").and_then(Value::as_str) == Some("checkpoint") {
            continue;
        }
        let seq = sls::text(&record["seq"]).parse().expect("a number");
        if let Some(before) = found.insert(seq, record.clone()) {
            assert_eq!(before, record, "a repeat is the same");
        }
    }
    found.values_mut().for_each(|record| drop(record.remove("epoch")));
    found
}

/// Fails unless `arrived` has every record of `expected` as it is.
fn assert_holds(
    sink: &str,
    arrived: &BTreeMap<u64, Record>,
    expected: &[Value],
    stored: fn(&Value) -> Value,
) {
    for record in expected {
        let record = record.as_object().expect("an object");
        let seq = record["seq"].as_u64().expect("a number");
        let record: Record = record.iter().map(|(key, value)| (key.clone(), stored(value))).collect();
        assert_eq!(arrived.get(&seq), Some(&record), "{sink}: record {seq}");
    }
}

/// Sends requests while the sink is killed, then waits until all records have arrived and compares them.
///
/// Environment: `SHIPPED_RECORDS`, the number of requests: by default what a debug build serves in a few seconds on two
/// busy cores.
async fn ships_everything<S: Server>(server: &mut S) {
    let requests = std::env::var("SHIPPED_RECORDS").map_or(20_000, |asked| asked.parse().expect("a number"));
    let round = requests / KILLS_OF_A_SINK;
    let access_log = format!("{{directory: access, reserve: 1MiB, sinks: [{}]}}", server.sink());
    let edge = Edge::builder().access_log(&access_log).start().await;
    let (url, count) = (format!("http://{HOST}:{}/path", edge.http().port()), round.to_string());
    let connect = format!("--connect-to={}", edge.http());
    for _ in 0..KILLS_OF_A_SINK {
        let load = async {
            let words = ["--h1", "-n", &count, "-c", "8", &connect, &url];
            let load = run_within(LOAD, "h2load", words).await;
            assert!(load.stdout.contains(&format!("{round} done")), "{load:?}");
        };
        let killing = async {
            let before = edge.metric(RECORDS).await;
            let some = async || (edge.metric(RECORDS).await > before + 100.0).then_some(());
            eventually("requests pass", PATIENCE, some).await;
            server.stop().await;
            server.start().await;
        };
        tokio::join!(load, killing);
    }

    let expected = edge.records_where(round * KILLS_OF_A_SINK, |_| true).await;
    let arrived = eventually("every record arrives", CATCHING_UP, async || {
        let arrived = by_number(server.arrived().await);
        let has = |record: &Value| record["seq"].as_u64().is_some_and(|seq| arrived.contains_key(&seq));
        expected.iter().all(has).then_some(arrived)
    })
    .await;
    assert_holds(server.name(), &arrived, &expected, S::stored);
}

#[tokio::test]
async fn relp_ships_everything() {
    ships_everything(&mut Rsyslog::start().await).await;
}

#[tokio::test]
async fn kafka_ships_everything() {
    let mut server = Guarded::start(USER).await;
    server.topic("SCRAM-SHA-512").await;
    ships_everything(&mut server).await;
}

#[tokio::test]
async fn sls_ships_everything() {
    ships_everything(&mut sls::Service::start().await).await;
}

/// The number of the last record that `sink` has acknowledged.
async fn acknowledged(edge: &Edge, sink: &str) -> u64 {
    edge.metric(&format!("icpgate_sink_acknowledged_seq{{sink=\"{sink}\"}}")).await as u64
}

/// Sends requests until the connection ends.
async fn ask(mut client: Http1) {
    for number in 0_u64.. {
        let request = format!("GET /{number}/\u{4eac} HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
        if client.try_send(request).await.is_err() || client.try_answer("GET").await.is_err() {
            return;
        }
        pause(BETWEEN).await;
    }
}

/// Serves requests until each of `sinks` has got some of their records, and is killed in the middle.
async fn live_and_die(edge: &mut Edge, sinks: &[&str]) {
    let client = Target::http(edge).http1(HOST).await;
    let killing = async {
        let durable = edge.status().await["retention"]["synced_before"].as_u64().expect("a number");
        for sink in sinks {
            let ships = async || (acknowledged(edge, sink).await > durable + 20).then_some(());
            eventually(&format!("{sink} gets records of this life"), PATIENCE, ships).await;
        }
        pause(Duration::from_millis(fastrand::u64(0..50))).await;
        edge.signal(Signal::KILL);
    };
    // The requests end with the program.
    tokio::join!(ask(client), killing);
    assert_eq!(edge.wait_exit().await, 128 + 9);
}

/// One program with a sink of each type. The sinks of segments get what a life has written after the next start.
#[tokio::test]
async fn a_program_that_is_killed_ten_times_ships_everything_to_every_sink() {
    let (mut relp, mut kafka) = (Rsyslog::start().await, Guarded::start(USER).await);
    kafka.topic("SCRAM-SHA-512").await;
    let mut sls = sls::Service::start().await;
    let (mut s3, mut oss) = (object_lock::Service::start().await, oss::Service::start().await);
    let mut share = Share::new();
    let sinks = [relp.sink(), kafka.sink(), sls.sink(), s3.sink(), oss.sink(), share.sink()].join(", ");
    let access_log = format!("{{directory: access, reserve: 1MiB, sinks: [{sinks}]}}");
    let folder = Edge::builder().access_log(&access_log).write();
    folder.replace("keys.yaml", object_lock::KEYS);
    let mut edge = folder.start().await;
    for _ in 1..KILLS_OF_THE_PROGRAM {
        live_and_die(&mut edge, &[relp.name(), kafka.name(), sls.name()]).await;
        edge.restart().await;
    }
    live_and_die(&mut edge, &[relp.name(), kafka.name(), sls.name()]).await;
    let durable = edge.records().await;
    let last = durable.last().expect("records")["seq"].as_u64().expect("a number");
    edge.restart().await;
    assert_eq!(edge.records().await[..durable.len()], durable, "recovery cuts nothing that was durable");

    check(&edge, &mut relp, &durable, last).await;
    check(&edge, &mut kafka, &durable, last).await;
    check(&edge, &mut sls, &durable, last).await;
    check(&edge, &mut s3, &durable, last).await;
    check(&edge, &mut oss, &durable, last).await;
    check(&edge, &mut share, &durable, last).await;
}

/// Waits until the sink has acknowledged everything up to `last`, and compares.
async fn check<S: Server>(edge: &Edge, server: &mut S, durable: &[Value], last: u64) {
    let name = server.name();
    let all = async || (acknowledged(edge, name).await >= last).then_some(());
    eventually(&format!("{name} gets everything"), CATCHING_UP, all).await;
    assert_holds(name, &by_number(server.arrived().await), durable, S::stored);
    if S::HOLDS_SEGMENTS {
        let config = edge.config_path().display().to_string();
        let verified = icpgate(["logs", "verify", "--config", &config, "--sink", name]).await;
        assert_eq!(verified.code, 0, "{name}: {verified:?}");
    }
}
