//! `sls` against a strict server of the tests' own, which judges requests by Alibaba's SDK.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use http::HeaderMap;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName};
use icpgate::clock::Clock;
use icpgate::config::sinks::{CredentialsFrom, Endpoint, SlsSettings};
use icpgate::remote::failure::FailureKind;
use icpgate::ship::sink::RecordSink;
use icpgate::ship::sls::SlsSink;
use icpgate::ship::sls::sign::{Signed, Signer};
use serde_json::{Value, json};

use super::{Certificates, NODE, RETENTION, failure, messages, record, server_address};
use crate::support::origin::{Origin, head, ok};
use crate::support::python::{self, PythonServer};

const SECRET: &str = "k3y-Secret";

/// The service over TLS, with the client's settings.
pub(crate) struct Service {
    pub(crate) certificates: Certificates,
    server: Option<PythonServer>,
    pub(crate) address: SocketAddr,
}

impl Service {
    pub(crate) async fn start() -> Self {
        let certificates = Certificates::new();
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut service = Self { certificates, server: None, address };
        service.state(json!({}));
        service.keys(SECRET, None);
        service.restart().await;
        service
    }

    pub(crate) async fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            server.kill().await;
        }
    }

    /// Starts the server, after killing it if it runs.
    pub(crate) async fn restart(&mut self) {
        self.kill().await;
        let [folder, chain, key] = ["", "server.pem", "server.key"].map(|name| self.certificates.text(name));
        let port = self.address.port().to_string();
        let words = [&port, &folder, &chain, &key].map(String::as_str);
        let server = PythonServer::start_with("sls_server.py", &words).await;
        self.address.set_port(server.port);
        self.server = Some(server);
    }

    /// The server's settings, with `changes`.
    fn state(&self, changes: Value) {
        let mut state = json!({
            "access_key_id": "AKID", "access_key_secret": SECRET, "region": "cn-beijing",
            "project": "audit", "logstore": "edge", "ttl": 190,
        });
        for (key, value) in changes.as_object().expect("an object") {
            state[key] = value.clone();
        }
        let aside = self.certificates.path("state.new");
        fs_err::write(&aside, state.to_string()).expect("written");
        fs_err::rename(aside, self.certificates.path("state.json")).expect("renamed");
    }

    /// The client's access key.
    fn keys(&self, secret: &str, token: Option<&str>) {
        let token = token.map(|token| format!("security_token: {token}\n")).unwrap_or_default();
        let keys = format!("access_key_id: AKID\naccess_key_secret: {secret}\n{token}");
        fs_err::write(self.certificates.path("sls.yaml"), keys).expect("written");
    }

    fn settings(&self) -> SlsSettings {
        SlsSettings {
            endpoint: Endpoint { is_tls: true, address: server_address(self.address) },
            trust: Some(self.certificates.path("ca.pem")),
            region: "cn-beijing".to_owned(),
            project: "audit".to_owned(),
            logstore: "edge".to_owned(),
            credentials: CredentialsFrom::File(self.certificates.path("sls.yaml")),
        }
    }

    fn sink(&self) -> SlsSink {
        sink(self.settings())
    }

    /// What it has taken. A line that a kill has cut, or that is being written, was not acknowledged.
    pub(crate) fn logs(&self) -> Vec<Value> {
        let text = fs_err::read_to_string(self.certificates.path("logs.ndjson")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

fn sink(settings: SlsSettings) -> SlsSink {
    SlsSink::new(settings, NODE.into(), Clock::system())
}

/// A value as the Log Service stores it: text.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[tokio::test]
async fn records_arrive_field_by_field() {
    let service = Service::start().await;
    let mut sink = service.sink();
    sink.send(&messages(0..2000)).await.expect("acknowledged");
    sink.send(&messages(2000..3000)).await.expect("acknowledged");
    let logs = service.logs();
    assert_eq!(logs.len(), 3000);
    for (seq, log) in (0..).zip(&logs) {
        assert_eq!((&log["source"], &log["topic"]), (&json!(NODE), &json!("icpgate")));
        assert_eq!((&log["time"], &log["time_ns"]), (&json!(1_772_417_472), &json!(345_678_901)));
        let expected = record(seq);
        let expected = expected.as_object().expect("an object");
        let contents = log["contents"].as_object().expect("an object");
        assert_eq!(contents.len(), expected.len());
        for (key, value) in expected {
            assert_eq!(contents[key], json!(text(value)), "{key}");
        }
    }
}

#[tokio::test]
async fn temporary_keys_are_sent_with_their_token() {
    let service = Service::start().await;
    service.state(json!({"token": "STS.token"}));
    service.keys(SECRET, Some("STS.token"));
    service.sink().send(&messages(0..1)).await.expect("acknowledged");
    service.state(json!({"token": "STS.token", "token_expired": true}));
    let failure = failure(&mut service.sink()).await;
    assert_eq!(failure.kind, FailureKind::Expired, "{failure}");
    assert!(!failure.message.contains("STS.token"), "{failure}");
    assert_eq!(service.logs().len(), 1);
}

/// The metadata service of an instance in its hardened mode, whose keys of now have this token and end an hour after `time`.
async fn metadata(time: Arc<AtomicI64>) -> Origin {
    Origin::start(move |request| {
        if request.method() == "PUT" && request.target() == "/latest/api/token" {
            assert!(request.head.get("x-aliyun-ecs-metadata-token-ttl-seconds").is_some());
            return ok("metadata-token");
        }
        if request.head.get("x-aliyun-ecs-metadata-token") != Some("metadata-token") {
            return vec![head("403 Forbidden", &["content-length: 0"])];
        }
        assert_eq!(request.target(), "/latest/meta-data/ram/security-credentials/edge");
        let now = time.load(Ordering::Relaxed);
        let ends = jiff::Timestamp::from_second(now + 3600).expect("a time");
        let keys = json!({
            "Code": "Success", "AccessKeyId": "AKID", "AccessKeySecret": SECRET,
            "SecurityToken": format!("STS.{now}"), "Expiration": ends.to_string(),
        });
        ok(keys.to_string())
    })
    .await
}

#[tokio::test]
async fn keys_of_a_role_are_renewed_before_they_end() {
    let service = Service::start().await;
    let real = Clock::system().now().as_second();
    let time = Arc::new(AtomicI64::new(real));
    let origin = metadata(Arc::clone(&time)).await;
    let endpoint = Endpoint { is_tls: false, address: server_address(origin.address) };
    let credentials = CredentialsFrom::EcsRole { role: Some("edge".to_owned()), metadata: endpoint };
    let shown = Arc::clone(&time);
    let clock =
        Clock::from_fn(move || jiff::Timestamp::from_second(shown.load(Ordering::Relaxed)).expect("a time"));
    let mut sink = SlsSink::new(SlsSettings { credentials, ..service.settings() }, NODE.into(), clock);

    service.state(json!({"token": format!("STS.{real}")}));
    sink.send(&messages(0..1)).await.expect("acknowledged");
    let asked = origin.seen_count();
    sink.send(&messages(1..2)).await.expect("acknowledged with the same keys");
    assert_eq!(origin.seen_count(), asked);

    // 50 minutes later they would count for ten more.
    time.store(real + 3000, Ordering::Relaxed);
    service.state(json!({"token": format!("STS.{}", real + 3000), "clock": 3000}));
    sink.send(&messages(2..3)).await.expect("acknowledged with the next keys");
    assert!(origin.seen_count() > asked);

    // The metadata service is down at the next renewal: the keys stay in use until they expire.
    drop(origin);
    time.store(real + 6000, Ordering::Relaxed);
    service.state(json!({"token": format!("STS.{}", real + 3000), "clock": 6000}));
    sink.send(&messages(3..4)).await.expect("acknowledged with the keys in use");
    time.store(real + 6700, Ordering::Relaxed);
    let failure = failure(&mut sink).await;
    assert_eq!(failure.kind, FailureKind::Unreachable, "{failure}");
    assert!(failure.message.contains("127.0.0.1") && !failure.message.contains("STS."), "{failure}");
    assert_eq!(service.logs().len(), 4);
}

#[tokio::test]
async fn each_refusal_has_its_name() {
    let service = Service::start().await;
    for (state, kind) in [
        (json!({"clock": 3600}), FailureKind::ClockSkew),
        (json!({"clock": -3600}), FailureKind::ClockSkew),
        (json!({"access_key_secret": "another"}), FailureKind::Unauthorized),
        (json!({"access_key_id": "another"}), FailureKind::Unauthorized),
        (json!({"region": "cn-hangzhou"}), FailureKind::Unauthorized),
        (json!({"project": "other"}), FailureKind::Missing),
        (json!({"logstore": "other"}), FailureKind::Missing),
    ] {
        service.state(state.clone());
        let failure = failure(&mut service.sink()).await;
        assert_eq!(failure.kind, kind, "{state}: {failure}");
        assert!(!failure.message.contains(SECRET), "{failure}");
        assert!(!failure.message.contains("Signature="), "{failure}");
    }
    service.state(json!({}));
    let mut sink = service.sink();
    sink.send(&messages(0..1)).await.expect("acknowledged");
    // A changed key file is read again once the old key is refused.
    service.state(json!({"access_key_secret": "rotated"}));
    service.keys("rotated", None);
    assert_eq!(failure(&mut sink).await.kind, FailureKind::Unauthorized);
    sink.send(&messages(1..2)).await.expect("acknowledged");
}

#[tokio::test]
async fn a_burst_of_errors_loses_nothing() {
    let service = Service::start().await;
    let error = |code: &str| json!({"errorCode": code, "errorMessage": "later"}).to_string();
    service.state(json!({"next": [
        {"status": 500, "body": error("InternalServerError")},
        {"status": 503, "body": "<html>Service Unavailable</html>"},
        {"status": 403, "body": error("WriteQuotaExceed")},
        {"status": 403, "body": error("ShardWriteQuotaExceed")},
        {"status": 429, "body": ""},
        {"close": true},
        {"half": true},
        {"status": 200, "body": "<html>Please log in</html>"},
        {"status": 200},
        {"status": 302, "headers": {"Location": "http://portal.example/"}},
    ]}));
    let failures = super::send_until_acknowledged(&mut service.sink(), &messages(0..100)).await;
    assert_eq!(failures, 10);
    let seqs: Vec<Value> = service.logs().iter().map(|log| log["contents"]["seq"].clone()).collect();
    assert_eq!(seqs, (0..100).map(|seq: u64| json!(seq.to_string())).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_service_says_when_to_come_again() {
    let service = Service::start().await;
    service.state(json!({"next": [{"status": 429, "headers": {"Retry-After": "7"}}]}));
    let failure = failure(&mut service.sink()).await;
    assert_eq!(failure.retry_after, Some(std::time::Duration::from_secs(7)), "{failure}");
}

#[tokio::test]
async fn a_record_that_no_service_takes_is_rejected_by_itself() {
    let service = Service::start().await;
    let mut batch = messages(0..3);
    batch[1].json = "{\"seq\":1,\"path\":\"/poison\"}".into();
    let mut sink = service.sink();
    assert_eq!(sink.send(&batch).await.expect_err("refused").kind, FailureKind::Rejected);
    batch[1].json = "no record".into();
    assert_eq!(sink.send(&batch).await.expect_err("refused").kind, FailureKind::Rejected);
    for half in [&batch[..1], &batch[2..]] {
        sink.send(half).await.expect("acknowledged");
    }
    assert_eq!(service.logs().len(), 2);
}

#[tokio::test]
async fn a_killed_service_gets_what_it_did_not_acknowledge() {
    let mut service = Service::start().await;
    let mut sink = service.sink();
    let mut failures = 0;
    for round in 0..3 {
        for batch in 0..5 {
            let first = (round * 5 + batch) * 100;
            failures += super::send_until_acknowledged(&mut sink, &messages(first..first + 100)).await;
        }
        service.restart().await;
    }
    println!("{failures} failures");
    let arrived: BTreeSet<u64> = service
        .logs()
        .iter()
        .map(|log| log["contents"]["seq"].as_str().expect("text").parse().expect("a number"))
        .collect();
    assert_eq!(arrived, (0..1500).collect());
}

#[tokio::test]
async fn only_the_right_certificate_is_believed() {
    let service = Service::start().await;
    for (what, trust) in [("another authority", Some("other.pem")), ("the system's authorities", None)] {
        let trust = trust.map(|name| service.certificates.path(name));
        let failure = failure(&mut sink(SlsSettings { trust, ..service.settings() })).await;
        assert_eq!(failure.kind, FailureKind::Tls, "{what}: {failure}");
    }
    assert!(service.logs().is_empty());
}

#[tokio::test]
async fn the_promise_is_the_ttl_of_the_logstore() {
    let service = Service::start().await;
    let mut sink = service.sink();
    let enough = sink.promise(RETENTION).await.expect("an answer");
    assert_eq!(enough.suffices(RETENTION), Ok(()), "{enough}");
    assert!(!enough.is_immutable_for(RETENTION), "an administrator can delete logs: {enough}");
    service.state(json!({"ttl": 30}));
    let short = sink.promise(RETENTION).await.expect("an answer").suffices(RETENTION).expect_err("too short");
    assert!(short.contains("30 days") && short.contains("190"), "{short}");
    service.state(json!({"ttl": 3650}));
    let forever = sink.promise(RETENTION * 100).await.expect("an answer");
    assert_eq!(forever.suffices(RETENTION * 100), Ok(()), "{forever}");
    service.state(json!({"next": [{"status": 200, "headers": {"x-log-requestid": "1"}, "body": "{}"}]}));
    assert_eq!(sink.promise(RETENTION).await.expect_err("no ttl").kind, FailureKind::Protocol);
}

/// A text of `characters`, up to `longest` of them.
fn random(characters: &str, longest: usize) -> String {
    let characters: Vec<char> = characters.chars().collect();
    (0..fastrand::usize(1..=longest)).map(|_| characters[fastrand::usize(..characters.len())]).collect()
}

const PLAIN: &str = "abcXYZ019-_.";
const ANY: &str = "aZ0-_.~ /+&=%?#!*'()京é\"\\";

#[tokio::test]
async fn signatures_are_those_of_the_official_sdk() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut lines, mut ours) = (String::new(), Vec::new());
    for round in 0..500_i64 {
        let (id, secret, region) = (random(PLAIN, 24), random(ANY, 40), random(PLAIN, 12));
        let token = fastrand::bool().then(|| random(PLAIN, 60));
        let method = ["GET", "POST", "PUT", "DELETE"][fastrand::usize(..4)];
        let path = format!("/logstores/{}/shards/lb", random(PLAIN, 20));
        let query: Vec<(String, String)> = (0..fastrand::usize(..5))
            .map(|at| (format!("{}{at}", random("abc", 3)), random(ANY, 20)))
            .collect();
        let body = if fastrand::bool() { String::new() } else { random(ANY, 100) };
        let now = jiff::Timestamp::from_second(1_700_000_000 + round * 1_234_567).expect("a time");
        let fields = [
            (HOST, format!("audit.{}.log.aliyuncs.com", random("abc", 9))),
            (CONTENT_TYPE, "application/x-protobuf".to_owned()),
            (HeaderName::from_static("x-log-apiversion"), "0.6.0".to_owned()),
            (HeaderName::from_static("x-log-bodyrawsize"), body.len().to_string()),
            (HeaderName::from_static("x-acs-other"), random(PLAIN, 10)),
            (HeaderName::from_static("user-agent"), "not signed".to_owned()),
        ];
        let mut headers: HeaderMap =
            fields.iter().map(|(name, value)| (name.clone(), value.parse().expect("a field"))).collect();
        let pairs: Vec<(&str, &str)> =
            query.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let signer = Signer {
            access_key_id: &id,
            access_key_secret: &secret,
            security_token: token.as_deref(),
            region: &region,
        };
        let request = Signed { method, path: &path, query: &pairs, body: body.as_bytes() };
        signer.sign(request, &mut headers, now).expect("it can be sent");
        ours.push(headers[AUTHORIZATION].to_str().expect("text").to_owned());
        let fields: Vec<(&str, &str)> =
            fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let line = json!({
            "id": id, "secret": secret, "token": token, "region": region, "method": method, "path": path,
            "query": query, "headers": fields, "body": body, "date": headers["x-log-date"].to_str().expect("text"),
        });
        lines += &format!("{line}\n");
    }
    let file = folder.path().join("requests");
    fs_err::write(&file, lines).expect("written");
    let theirs = python::output("sls_sign.py", "sign", &[&file.display().to_string()]).await;
    for (round, (ours, theirs)) in ours.iter().zip(theirs.lines()).enumerate() {
        assert_eq!(ours, theirs, "request {round}");
    }
    assert_eq!(theirs.lines().count(), ours.len());
}
