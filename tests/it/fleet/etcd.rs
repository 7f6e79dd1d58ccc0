//! An allowlist in etcd, against Debian's etcd.

use std::net::SocketAddr;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};

use super::{REJECTED, builder};
use crate::support::edge::{APPROVED, Loopback, SUSPENDED, run};
use crate::support::peer::Peer;

const KEY: &str = "/icpgate/filings";

/// An etcd of one member.
struct Etcd {
    folder: tempfile::TempDir,
    loopback: Loopback,
    running: Option<Peer>,
}

impl Etcd {
    async fn start() -> Self {
        let (folder, loopback) = (tempfile::tempdir().expect("a folder"), Loopback::claim());
        let mut etcd = Self { folder, loopback, running: None };
        etcd.restart().await;
        etcd
    }

    fn address(&self) -> SocketAddr {
        self.loopback.at(2379)
    }

    async fn restart(&mut self) {
        self.stop();
        let (client, peer) =
            (format!("http://{}", self.address()), format!("http://{}", self.loopback.at(2380)));
        let data = self.folder.path().join("data").display().to_string();
        let words = [
            ("--data-dir", &data),
            ("--listen-client-urls", &client),
            ("--advertise-client-urls", &client),
            ("--listen-peer-urls", &peer),
            ("--initial-advertise-peer-urls", &peer),
        ];
        let mut words: Vec<String> =
            words.iter().flat_map(|(name, value)| [(*name).to_owned(), (*value).clone()]).collect();
        words.extend(["--initial-cluster".to_owned(), format!("default={peer}")]);
        words.extend(["--log-level", "error", "--logger", "zap"].map(str::to_owned));
        self.running = Some(Peer::start("etcd", words, self.address()).await);
    }

    fn stop(&mut self) {
        self.running = None;
    }

    async fn call(&self, path: &str, ask: &Value, more: &[&str]) -> Value {
        let (url, ask) = (format!("http://{}{path}", self.address()), ask.to_string());
        let mut words =
            vec!["-sS", "--retry", "20", "--retry-all-errors", "--retry-delay", "1", "-d", &ask, &url];
        words.extend(more);
        let ran = run("curl", words).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        let answer = ran.json();
        assert!(answer.get("error").is_none(), "{path}: {answer}");
        answer
    }

    async fn put(&self, allowlist: &str, more: &[&str]) -> i64 {
        let ask = json!({"key": BASE64_STANDARD.encode(KEY), "value": BASE64_STANDARD.encode(allowlist)});
        let answer = self.call("/v3/kv/put", &ask, more).await;
        answer["header"]["revision"].as_str().and_then(|text| text.parse().ok()).expect("a revision")
    }

    /// `filings` of a configuration. The first endpoint is of a member that is down.
    fn filings(&self, more: &str) -> String {
        let (down, up) = (self.loopback.at(2378), self.address());
        format!("{{etcd: {{endpoints: [\"http://{down}\", \"http://{up}\"], key: {KEY}{more}}}}}")
    }
}

#[tokio::test]
async fn a_put_reaches_the_gate_and_a_wrong_value_changes_nothing() {
    let etcd = Etcd::start().await;
    let edge = builder(&etcd.filings("")).start().await;
    edge.logged("there is no key /icpgate/filings").await;
    edge.ports_closed().await;
    etcd.put(APPROVED, &[]).await;
    edge.ports_open().await;
    etcd.put(SUSPENDED, &[]).await;
    edge.ports_closed().await;
    etcd.put(APPROVED, &[]).await;
    edge.ports_open().await;
    let rejected = edge.metric(REJECTED).await;
    etcd.put("filings: [{domain: example.cn", &[]).await;
    edge.metric_becomes(REJECTED, rejected + 1.0).await;
    assert_eq!(edge.get("/readyz").await.expect("an answer").0, 200);
    etcd.put(SUSPENDED, &[]).await;
    edge.ports_closed().await;
}

#[tokio::test]
async fn a_change_is_seen_after_etcd_was_down_and_its_history_compacted() {
    let mut etcd = Etcd::start().await;
    etcd.put(APPROVED, &[]).await;
    let edge = builder(&etcd.filings("")).start().await;
    edge.ports_open().await;
    etcd.stop();
    edge.logged("the allowlist's source does not answer").await;
    edge.ports_open().await;
    etcd.restart().await;
    etcd.put(APPROVED, &[]).await;
    let revision = etcd.put(SUSPENDED, &[]).await;
    etcd.call("/v3/kv/compaction", &json!({"revision": revision.to_string(), "physical": true}), &[]).await;
    edge.ports_closed().await;
    // The watch goes on.
    etcd.put(APPROVED, &[]).await;
    edge.ports_open().await;
}

#[tokio::test]
async fn a_user_logs_in_with_the_password_of_a_file() {
    let etcd = Etcd::start().await;
    etcd.put(APPROVED, &[]).await;
    for name in ["root", "edge"] {
        etcd.call("/v3/auth/user/add", &json!({"name": name, "password": format!("{name}-secret")}), &[])
            .await;
    }
    etcd.call("/v3/auth/role/add", &json!({"name": "reader"}), &[]).await;
    let read = json!({"name": "reader", "perm": {"permType": "READ", "key": BASE64_STANDARD.encode(KEY)}});
    etcd.call("/v3/auth/role/grant", &read, &[]).await;
    for (user, role) in [("root", "root"), ("edge", "reader")] {
        etcd.call("/v3/auth/user/grant", &json!({"user": user, "role": role}), &[]).await;
    }
    etcd.call("/v3/auth/enable", &json!({}), &[]).await;
    let login = json!({"name": "root", "password": "root-secret"});
    let token =
        etcd.call("/v3/auth/authenticate", &login, &[]).await["token"].as_str().expect("a token").to_owned();
    let as_root = format!("authorization: {token}");

    let folder = builder(&etcd.filings(", username: edge, password_file: etcd.pw")).write();
    folder.overwrite("etcd.pw", "wrong\n");
    let edge = folder.start().await;
    edge.logged("unauthorized").await;
    edge.ports_closed().await;
    edge.overwrite("etcd.pw", "edge-secret\n");
    edge.ports_open().await;
    etcd.put(SUSPENDED, &["-H", &as_root]).await;
    edge.ports_closed().await;
    assert!(!edge.log().contains("secret"), "no password is in the log");
}
