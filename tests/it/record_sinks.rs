//! Sinks that take a message per record, each against a real server: what arrives, what is promised, and what failures
//! are called.

mod examples;
pub(crate) mod kafka;
pub(crate) mod relp;
pub(crate) mod sls;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use icpgate::config::sinks::{ServerAddress, SinkHost, TlsSettings};
use icpgate::hostname::Hostname;
use icpgate::remote::failure::{FailureKind, RemoteFailure};
use icpgate::ship::sink::{Message, MessageKind, RecordSink};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::pki::Authority;
use crate::support::time::pause;

/// The node of the sinks here.
const NODE: &str = "bj-edge-1";
/// The name in the servers' certificates.
pub(crate) const SERVER_NAME: &str = "log.internal";
/// The default settings.
const RETENTION: Duration = Duration::from_secs(190 * 86_400);

/// A record with text that every format has to escape in its own way.
fn record(seq: u64) -> Value {
    json!({
        "seq": seq,
        "time": "2026-03-02T10:11:12.345+08:00",
        "event": "request",
        "node": NODE,
        "epoch": "e1",
        "host": "www.example.cn",
        "path": format!("/京/\"quoted\\\"]/{}", "x".repeat((seq % 7 * 100) as usize)),
        "user_agent": "a\u{7f}\u{2028}b\nc",
        "status": 200 + seq % 2,
        "duration_ms": 0.125,
        "clock_synchronized": true,
    })
}

fn message(seq: u64) -> Message {
    Message {
        kind: MessageKind::Record,
        epoch: "e1".into(),
        seq,
        time: "2026-03-02T10:11:12.345678901+08:00".parse().expect("a time"),
        json: record(seq).to_string().into(),
    }
}

pub(crate) fn messages(seqs: std::ops::Range<u64>) -> Vec<Message> {
    seqs.map(message).collect()
}

fn server_address(address: SocketAddr) -> ServerAddress {
    ServerAddress { host: SinkHost::Address(address.ip()), port: address.port() }
}

/// Certificates for a server, in a folder of their own.
pub(crate) struct Certificates {
    folder: TempDir,
}

impl Certificates {
    /// `ca.pem`, which issued `server.pem` for [`SERVER_NAME`] and 127.0.0.1, and `other.pem`, which did not.
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new();
        authority.pair(&[SERVER_NAME, "127.0.0.1"]).write(folder.path(), "server");
        fs_err::write(folder.path().join("ca.pem"), &authority.pem).expect("written");
        fs_err::write(folder.path().join("other.pem"), Authority::new().pem).expect("written");
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// How a client verifies the server that has these certificates.
    fn tls(&self) -> TlsSettings {
        tls(SERVER_NAME, &self.path("ca.pem"))
    }
}

fn tls(server_name: &str, trust: &Path) -> TlsSettings {
    let server_name = Hostname::parse(server_name).expect("a host name");
    TlsSettings { server_name: Some(server_name), trust: Some(trust.to_owned()) }
}

/// The failure of sending one message.
async fn failure(sink: &mut impl RecordSink) -> RemoteFailure {
    sink.send(&messages(0..1)).await.expect_err("it fails")
}

/// Sends `batch` until it is acknowledged, as a lane does; the number of failures.
async fn send_until_acknowledged(sink: &mut impl RecordSink, batch: &[Message]) -> u32 {
    let deadline = tokio::time::Instant::now() + crate::support::PATIENCE;
    let mut failures = 0;
    while let Err(failure) = sink.send(batch).await {
        let passing = [
            FailureKind::Unreachable,
            FailureKind::Unavailable,
            FailureKind::Protocol,
            FailureKind::Throttled,
        ];
        assert!(passing.contains(&failure.kind), "{failure}");
        assert!(tokio::time::Instant::now() < deadline, "{failure}");
        failures += 1;
        pause(Duration::from_millis(20)).await;
    }
    failures
}
