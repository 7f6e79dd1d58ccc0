//! An allowlist in etcd, against Debian's etcd.

use std::net::SocketAddr;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};

use super::{REJECTED, builder};
use crate::support::edge::{APPROVED, Loopback, SUSPENDED, run};
use crate::support::peer::Peer;
use crate::support::pki::Authority;
use crate::support::time::pause;
use crate::support::{PATIENCE, eventually};

const KEY: &str = "/icpgate/filings";

/// An etcd of one member.
struct Etcd {
    folder: tempfile::TempDir,
    loopback: Loopback,
    /// Further words of its command line.
    words: Vec<String>,
    running: Option<Peer>,
}

impl Etcd {
    async fn start() -> Self {
        let mut etcd = Self::down();
        etcd.restart().await;
        etcd
    }

    fn down() -> Self {
        let (folder, loopback) = (tempfile::tempdir().expect("a folder"), Loopback::claim());
        Self { folder, loopback, words: Vec::new(), running: None }
    }

    /// Over TLS by a certificate of `authority`, with tokens that expire after a second.
    async fn strict(authority: &Authority) -> Self {
        let mut etcd = Self::down();
        let folder = etcd.folder.path().display().to_string();
        authority.pair(&[&etcd.address().ip().to_string()]).write(etcd.folder.path(), "etcd");
        let key = format!("{folder}/token.key");
        assert_eq!(run("openssl", ["genrsa", "-out", &key, "2048"]).await.code, 0);
        let public = format!("{folder}/token.pub");
        assert_eq!(run("openssl", ["rsa", "-in", &key, "-pubout", "-out", &public]).await.code, 0);
        let tokens = format!("jwt,pub-key={public},priv-key={key},sign-method=RS256,ttl=1s");
        let words = ["--cert-file", "etcd.pem", "--key-file", "etcd.key", "--auth-token", &tokens];
        etcd.words = words
            .map(|word| if word.starts_with("etcd.") { format!("{folder}/{word}") } else { word.to_owned() })
            .to_vec();
        etcd.restart().await;
        etcd
    }

    fn scheme(&self) -> &'static str {
        if self.words.is_empty() { "http" } else { "https" }
    }

    fn address(&self) -> SocketAddr {
        self.loopback.at(2379)
    }

    async fn restart(&mut self) {
        self.stop();
        let (client, peer) =
            (format!("{}://{}", self.scheme(), self.address()), format!("http://{}", self.loopback.at(2380)));
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
        words.extend(self.words.iter().cloned());
        words.extend(["--log-level", "error", "--logger", "zap"].map(str::to_owned));
        self.running = Some(Peer::start("etcd", words, self.address()).await);
    }

    fn stop(&mut self) {
        self.running = None;
    }

    async fn call(&self, path: &str, ask: &Value, more: &[&str]) -> Value {
        let answer = self.answer(path, ask, more).await;
        assert!(answer.get("error").is_none(), "{path}: {answer}");
        answer
    }

    async fn answer(&self, path: &str, ask: &Value, more: &[&str]) -> Value {
        let (url, ask) = (format!("{}://{}{path}", self.scheme(), self.address()), ask.to_string());
        let mut words =
            vec!["-sSk", "--retry", "20", "--retry-all-errors", "--retry-delay", "1", "-d", &ask, &url];
        words.extend(more);
        let ran = run("curl", words).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.json()
    }

    async fn put(&self, allowlist: &str, more: &[&str]) -> i64 {
        let answer = self.call("/v3/kv/put", &pair(allowlist), more).await;
        answer["header"]["revision"].as_str().and_then(|text| text.parse().ok()).expect("a revision")
    }

    /// From now on only users get answers: `root`, and `edge`, who may read the key.
    async fn demand_logins(&self) {
        for name in ["root", "edge"] {
            let user = json!({"name": name, "password": format!("{name}-secret")});
            self.call("/v3/auth/user/add", &user, &[]).await;
        }
        self.call("/v3/auth/role/add", &json!({"name": "reader"}), &[]).await;
        let key = BASE64_STANDARD.encode(KEY);
        let read = json!({"name": "reader", "perm": {"permType": "READ", "key": key}});
        self.call("/v3/auth/role/grant", &read, &[]).await;
        for (user, role) in [("root", "root"), ("edge", "reader")] {
            self.call("/v3/auth/user/grant", &json!({"user": user, "role": role}), &[]).await;
        }
        self.call("/v3/auth/enable", &json!({}), &[]).await;
    }

    async fn put_as_root(&self, allowlist: &str) {
        let login = json!({"name": "root", "password": "root-secret"});
        // On a busy machine a token may expire before it is used.
        eventually("a put", PATIENCE, async || {
            let answer = self.call("/v3/auth/authenticate", &login, &[]).await;
            let token = answer["token"].as_str().expect("a token");
            let field = format!("authorization: {token}");
            let answer = self.answer("/v3/kv/put", &pair(allowlist), &["-H", &field]).await;
            answer.get("error").is_none().then_some(())
        })
        .await;
    }

    /// `filings` of a configuration. The first endpoint is of a member that is down.
    fn filings(&self, more: &str) -> String {
        let (down, up) = (self.loopback.at(2378), self.address());
        let scheme = self.scheme();
        format!("{{etcd: {{endpoints: [\"{scheme}://{down}\", \"{scheme}://{up}\"], key: {KEY}{more}}}}}")
    }
}

/// The key, and what it is to hold.
fn pair(allowlist: &str) -> Value {
    json!({"key": BASE64_STANDARD.encode(KEY), "value": BASE64_STANDARD.encode(allowlist)})
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
    etcd.demand_logins().await;
    let folder = builder(&etcd.filings(", username: edge, password_file: etcd.pw")).write();
    folder.overwrite("etcd.pw", "wrong\n");
    let edge = folder.start().await;
    edge.logged("unauthorized").await;
    edge.ports_closed().await;
    edge.overwrite("etcd.pw", "edge-secret\n");
    edge.ports_open().await;
    etcd.put_as_root(SUSPENDED).await;
    edge.ports_closed().await;
    assert!(!edge.log().contains("secret"), "no password is in the log");
}

#[tokio::test]
async fn over_tls_a_member_is_verified_and_an_expired_token_is_renewed() {
    let (authority, other) = (Authority::new(), Authority::new());
    let etcd = Etcd::strict(&authority).await;
    etcd.put(APPROVED, &[]).await;
    etcd.demand_logins().await;
    let login = ", trust: etcd.pem, username: edge, password_file: etcd.pw";
    let folder = builder(&etcd.filings(login)).write();
    folder.overwrite("etcd.pw", "edge-secret\n");
    folder.overwrite("etcd.pem", &other.pem);
    let edge = folder.start().await;
    edge.logged("invalid peer certificate").await;
    edge.ports_closed().await;
    edge.overwrite("etcd.pem", &authority.pem);
    edge.ports_open().await;
    // Each change is read with a token that has expired in the meantime.
    for (allowlist, open) in [(SUSPENDED, false), (APPROVED, true)] {
        pause(Duration::from_millis(1_500)).await;
        etcd.put_as_root(allowlist).await;
        if open { edge.ports_open().await } else { edge.ports_closed().await }
    }
    assert!(!edge.log().contains("unauthorized"), "{}", edge.log());
}
