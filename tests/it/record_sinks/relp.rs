//! `relp` against rsyslog.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use icpgate::config::sinks::{RelpSettings, TlsSettings};
use icpgate::remote::failure::FailureKind;
use icpgate::ship::relp::RelpSink;
use icpgate::ship::sink::{Promise, RecordSink};
use serde_json::Value;
use tokio::net::TcpStream;

use super::{Certificates, NODE, RETENTION, failure, messages, record, server_address, tls};
use crate::support::edge::Loopback;
use crate::support::peer::Peer;
use crate::support::{PATIENCE, eventually};

/// rsyslog with a `direct` queue: it writes a message before it acknowledges it.
pub(crate) struct Rsyslog {
    pub(crate) certificates: Certificates,
    loopback: Loopback,
    peer: Option<Peer>,
}

impl Rsyslog {
    pub(crate) async fn start() -> Self {
        let (certificates, loopback) = (Certificates::new(), Loopback::claim());
        let path = |name: &str| certificates.text(name);
        let (ip, out) = (loopback.ip, path("out"));
        let configuration = format!(
            r#"global(maxMessageSize="512k" workDirectory="{folder}")
module(load="imrelp" tls.tlslib="openssl")
template(name="line" type="string" string="%hostname% %structured-data% %msg%\n")
ruleset(name="records" queue.type="direct") {{ action(type="omfile" file="{out}" template="line") }}
input(type="imrelp" address="{ip}" port="2514" maxDataSize="512k" ruleset="records")
input(type="imrelp" address="{ip}" port="2515" maxDataSize="512k" ruleset="records" tls="on"
      tls.caCert="{ca}" tls.myCert="{chain}" tls.myPrivKey="{key}")
"#,
            folder = certificates.folder.path().display(),
            ca = path("ca.pem"),
            chain = path("server.pem"),
            key = path("server.key"),
        );
        fs_err::write(certificates.path("rsyslog.conf"), configuration).expect("written");
        let mut server = Self { certificates, loopback, peer: None };
        server.restart().await;
        server
    }

    /// Starts the server, after killing it if it runs.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        let path = |name: &str| self.certificates.text(name);
        // A killed process leaves its pid file, which would stop the next.
        let _ = fs_err::remove_file(self.certificates.path("pid"));
        let words = ["-n", "-f", &path("rsyslog.conf"), "-i", &path("pid")].map(str::to_owned);
        self.peer = Some(Peer::start("/usr/sbin/rsyslogd", words, self.plain()).await);
        eventually("TLS is served", PATIENCE, async || TcpStream::connect(self.secure()).await.ok()).await;
    }

    fn plain(&self) -> SocketAddr {
        self.loopback.at(2514)
    }

    /// Kills the server.
    pub(crate) fn kill(&mut self) {
        self.peer = None;
    }

    pub(crate) fn secure(&self) -> SocketAddr {
        self.loopback.at(2515)
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let text = fs_err::read_to_string(self.certificates.path("out")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

fn sink(address: SocketAddr, tls: Option<TlsSettings>) -> RelpSink {
    RelpSink::new(RelpSettings { address: server_address(address), tls }, NODE.into())
}

#[tokio::test]
async fn records_arrive_as_they_are() {
    let server = Rsyslog::start().await;
    sink(server.plain(), None).send(&messages(0..1000)).await.expect("acknowledged");
    let mut secure = sink(server.secure(), Some(server.certificates.tls()));
    secure.send(&messages(1000..2000)).await.expect("acknowledged");
    secure.send(&messages(2000..3000)).await.expect("acknowledged over the same session");

    let lines = server.lines();
    assert_eq!(lines.len(), 3000);
    for (seq, line) in (0..).zip(&lines) {
        let head = format!("{NODE} [icpgate@32473 node=\"{NODE}\" epoch=\"e1\" seq=\"{seq}\"] ");
        let json = line.strip_prefix(&head).unwrap_or_else(|| panic!("{line}"));
        let arrived: Value = serde_json::from_str(json).expect("JSON");
        assert_eq!(arrived, record(seq));
    }
}

#[tokio::test]
async fn what_a_killed_server_did_not_acknowledge_comes_again() {
    let mut server = Rsyslog::start().await;
    let mut sink = sink(server.plain(), None);
    let mut failures = 0;
    for round in 0..5 {
        for batch in 0..10 {
            let first = (round * 10 + batch) * 200;
            failures += super::send_until_acknowledged(&mut sink, &messages(first..first + 200)).await;
        }
        server.restart().await;
    }
    assert!(failures >= 4, "the session ended with each server but the last: {failures}");
    let arrived: BTreeSet<u64> = server
        .lines()
        .iter()
        // A kill may cut the last line, which was not acknowledged.
        .filter_map(|line| serde_json::from_str::<Value>(line.split_once("] ")?.1).ok())
        .map(|record| record["seq"].as_u64().expect("a number"))
        .collect();
    assert_eq!(arrived, (0..10_000).collect());
}

#[tokio::test]
async fn only_the_right_certificate_is_believed() {
    let server = Rsyslog::start().await;
    let certificates = &server.certificates;
    for (what, settings) in [
        ("another name", tls("other.internal", &certificates.path("ca.pem"))),
        ("another authority", tls(super::SERVER_NAME, &certificates.path("other.pem"))),
        ("no such file", tls(super::SERVER_NAME, &certificates.path("missing.pem"))),
    ] {
        let failure = failure(&mut sink(server.secure(), Some(settings))).await;
        assert_eq!(failure.kind, FailureKind::Tls, "{what}: {failure}");
    }
    assert!(server.lines().is_empty());
    // TLS to a server without TLS.
    let failure = failure(&mut sink(server.plain(), Some(certificates.tls()))).await;
    assert!(matches!(failure.kind, FailureKind::Tls | FailureKind::Unreachable), "{failure}");
}

#[tokio::test]
async fn a_server_that_comes_later_is_found() {
    let mut server = Rsyslog::start().await;
    server.peer = None;
    let mut sink = sink(server.plain(), None);
    assert_eq!(failure(&mut sink).await.kind, FailureKind::Unreachable);
    server.restart().await;
    sink.send(&messages(0..1)).await.expect("acknowledged");
    eventually("it is written", PATIENCE, async || (server.lines().len() == 1).then_some(())).await;
}

#[tokio::test]
async fn it_promises_nothing() {
    let nowhere = "127.0.0.1:1".parse().expect("an address");
    let promise = sink(nowhere, None).promise(RETENTION).await.expect("without a connection");
    assert!(matches!(promise, Promise::Nothing { .. }), "{promise:?}");
}
