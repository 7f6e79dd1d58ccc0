//! A server of each type of sink, and what it holds as records.

use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;

use super::Record;
use crate::record_sinks::SERVER_NAME;
use crate::record_sinks::kafka::{Guarded, PASSWORD, USER};
use crate::record_sinks::relp::Rsyslog;
use crate::record_sinks::sls;
use crate::segment_sinks::killed::ObjectServer;
use crate::segment_sinks::{object_lock, oss, records};

/// A server that can be killed, and the records that have arrived.
pub(super) trait Server {
    /// Whether it holds whole segments, which `logs verify --sink` proves.
    const HOLDS_SEGMENTS: bool = false;

    /// The name of the sink.
    fn name(&self) -> &'static str;

    /// The item of `access_log.sinks`.
    fn sink(&self) -> String;

    /// Kills it.
    async fn stop(&mut self);

    /// Starts it again, with what it held.
    async fn start(&mut self);

    /// The records that have arrived, in any order; with `epoch` if each is a message.
    async fn arrived(&mut self) -> Vec<Record>;

    /// A value of a record as it is stored there.
    fn stored(value: &Value) -> Value {
        value.clone()
    }
}

pub(super) fn object(value: Value) -> Record {
    match value {
        Value::Object(record) => record,
        other => panic!("{other} is no object"),
    }
}

/// The lines of an export.
fn exported(lines: Vec<String>) -> Vec<Record> {
    lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

impl Server for Rsyslog {
    fn name(&self) -> &'static str {
        "syslog"
    }

    fn sink(&self) -> String {
        let (address, trust) = (self.secure(), self.certificates.text("ca.pem"));
        format!(
            "{{name: syslog, type: relp, address: \"{address}\", tls: {{server_name: {SERVER_NAME}, trust: {trust}}}}}"
        )
    }

    async fn stop(&mut self) {
        self.kill();
    }

    async fn start(&mut self) {
        self.restart().await;
    }

    async fn arrived(&mut self) -> Vec<Record> {
        let lines = self.lines();
        // A line cut by a kill was not acknowledged.
        lines.iter().filter_map(|line| serde_json::from_str(line.split_once("\"] ")?.1).ok()).collect()
    }
}

impl Server for Guarded {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn sink(&self) -> String {
        let (address, trust) = (self.address, self.certificates.text("ca.pem"));
        let password = self.certificates.text("password");
        fs_err::write(&password, PASSWORD).expect("written");
        format!(
            "{{name: kafka, type: kafka, brokers: [\"{address}\"], topic: access, \
             tls: {{server_name: {SERVER_NAME}, trust: {trust}}}, \
             sasl: {{mechanism: scram-sha-512, username: {USER}, password_file: {password}}}}}"
        )
    }

    /// The broker keeps records in memory; only the gateway to it is killed.
    async fn stop(&mut self) {
        self.kill().await;
    }

    async fn start(&mut self) {
        self.restart(USER).await;
    }

    async fn arrived(&mut self) -> Vec<Record> {
        // The reader ends when nothing more arrives.
        let read = self.read(usize::MAX, "SCRAM-SHA-512").await;
        read.into_iter().map(|(_, _, record)| object(record)).collect()
    }
}

impl Server for sls::Service {
    fn name(&self) -> &'static str {
        "sls"
    }

    fn sink(&self) -> String {
        let (address, trust) = (self.address, self.certificates.text("ca.pem"));
        let keys = self.certificates.text("sls.yaml");
        format!(
            "{{name: sls, type: sls, endpoint: \"https://{address}\", region: cn-beijing, project: audit, logstore: edge, \
             trust: {trust}, credentials: {{from: file, path: {keys}}}}}"
        )
    }

    async fn stop(&mut self) {
        self.kill().await;
    }

    async fn start(&mut self) {
        self.restart().await;
    }

    async fn arrived(&mut self) -> Vec<Record> {
        let contents = |log: Value| {
            let contents = object(log["contents"].clone());
            contents.into_iter().map(|(key, value)| (key, Self::stored(&value))).collect()
        };
        self.logs().into_iter().map(contents).collect()
    }

    /// The Log Service stores texts. Numbers are compared without trailing zeros.
    fn stored(value: &Value) -> Value {
        let text = sls::text(value);
        let number: serde_json::Result<serde_json::Number> = serde_json::from_str(&text);
        Value::String(number.map_or(text, |number| number.to_string()))
    }
}

impl Server for object_lock::Service {
    const HOLDS_SEGMENTS: bool = true;

    fn name(&self) -> &'static str {
        "vault"
    }

    fn sink(&self) -> String {
        object_lock::sink(self.address, "locked", "")
    }

    async fn stop(&mut self) {
        self.kill().await;
    }

    async fn start(&mut self) {
        ObjectServer::start(self).await;
    }

    async fn arrived(&mut self) -> Vec<Record> {
        exported(self.records().await)
    }
}

impl Server for oss::Service {
    const HOLDS_SEGMENTS: bool = true;

    fn name(&self) -> &'static str {
        "oss"
    }

    fn sink(&self) -> String {
        oss::sink(self.address)
    }

    async fn stop(&mut self) {
        self.kill().await;
    }

    async fn start(&mut self) {
        ObjectServer::start(self).await;
    }

    async fn arrived(&mut self) -> Vec<Record> {
        exported(self.records().await)
    }
}

/// A directory that may be gone.
pub(super) struct Share(TempDir);

impl Share {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn copy(&self) -> PathBuf {
        self.0.path().join("copy")
    }
}

impl Server for Share {
    const HOLDS_SEGMENTS: bool = true;

    fn name(&self) -> &'static str {
        "nas"
    }

    fn sink(&self) -> String {
        format!("{{name: nas, type: directory, path: {}}}", self.copy().display())
    }

    /// A file stands where the directory was.
    async fn stop(&mut self) {
        if self.copy().exists() {
            fs_err::rename(self.copy(), self.0.path().join("aside")).expect("renamed");
        }
        fs_err::write(self.copy(), "").expect("written");
    }

    async fn start(&mut self) {
        fs_err::remove_file(self.copy()).expect("removed");
        if self.0.path().join("aside").exists() {
            fs_err::rename(self.0.path().join("aside"), self.copy()).expect("renamed");
        }
    }

    async fn arrived(&mut self) -> Vec<Record> {
        exported(records(&self.copy()))
    }
}
