//! `s3` against SeaweedFS, a real S3 server with Object Lock.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::{AUTHORIZATION, HOST};
use icpgate::clock::Clock;
use icpgate::remote::credentials::Credentials;
use icpgate::ship::objects::sign::{Signed, Signer};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tempfile::TempDir;

use super::gateway::Gateway;
use super::killed::{ObjectServer, ships_everything};
use super::{RECORDS, Spool, records};
use crate::support::edge::Edge;
use crate::support::origin::{Origin, ok};
use crate::support::pki::Authority;
use crate::support::probe::is_refused;
use crate::support::python::{self, PythonServer};
use crate::support::{PATIENCE, eventually};

pub(crate) const KEYS: &str = "access_key_id: AKID\naccess_key_secret: k3y-Secret\n";

pub(crate) struct Service {
    folder: TempDir,
    server: Option<PythonServer>,
    pub(crate) address: SocketAddr,
}

impl Service {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut service = Self { folder, server: None, address };
        ObjectServer::start(&mut service).await;
        service
    }

    fn sink(&self, bucket: &str, more: &str) -> String {
        sink(self.address, bucket, more)
    }

    fn port(&self) -> String {
        self.address.port().to_string()
    }
}

impl ObjectServer for Service {
    async fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            server.kill().await;
        }
    }

    async fn start(&mut self) {
        let path = self.folder.path().display().to_string();
        let server = PythonServer::start_with("s3_server.py", &[&path]).await;
        self.address.set_port(server.port);
        self.server = Some(server);
    }

    /// Those in the bucket `locked`.
    async fn records(&self) -> Vec<String> {
        let copy = tempfile::tempdir().expect("a folder");
        let folder = copy.path().display().to_string();
        python::part("s3_server.py", "fetch", &[&self.port(), "locked", "bj/access-", &folder]).await;
        records(copy.path())
    }
}

/// A sink that reaches the service at `address`.
pub(crate) fn sink(address: SocketAddr, bucket: &str, more: &str) -> String {
    format!(
        "{{name: vault, type: s3, endpoint: \"http://{address}\", region: cn-north-1, bucket: {bucket}, prefix: bj/, \
         path_style: true, credentials: {{from: file, path: keys.yaml}}{more}}}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_records_arrive_locked_and_are_proved() {
    let service = Service::start().await;
    let mut spool = Spool::new();
    fs_err::write(spool.path("keys.yaml"), KEYS).expect("written");
    let config = spool.configure(&service.sink("locked", ""));
    let board = spool.start(&config);
    spool.record(RECORDS / 2).await;
    spool.close().await;
    let look = &board.look()[0];
    assert_eq!((look.unkept.as_ref(), look.acknowledged_seq), (None, RECORDS / 2), "{look:?}");
    // Everything again, as after a cursor that was lost: what is there is recognised.
    fs_err::remove_dir_all(spool.path("access/sinks")).expect("removed");
    let board = spool.start(&config);
    spool.record(RECORDS / 2).await;
    spool.close().await;
    assert!(board.look()[0].errors.iter().all(|(_, count)| *count == 0), "{:?}", board.look());
    let verified = spool.verify("vault").await;
    assert_eq!(verified.code, 0, "{verified:?}");
    assert_eq!(verified.json()["records"], RECORDS);
    assert_eq!(records(&spool.path("access")).len() as u64, RECORDS);
    let mut names: Vec<String> = fs_err::read_dir(spool.path("access"))
        .expect("listed")
        .filter_map(|entry| entry.expect("listed").file_name().into_string().ok())
        .filter(|name| name.ends_with(".seg"))
        .collect();
    names.sort();
    let key = format!("bj/{}", names[0]);
    python::part("s3_server.py", "client", &[&service.port(), "locked", &key]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_records_arrive_from_a_server_that_is_killed_and_answers_badly() {
    let mut service = Service::start().await;
    let gateway = Gateway::to(service.address).await;
    let mut spool = Spool::new();
    fs_err::write(spool.path("keys.yaml"), KEYS).expect("written");
    let sink = sink(gateway.address, "locked", "");
    ships_everything((&mut spool, &sink, "vault"), &gateway, &mut service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_promises_too_little_is_told_and_shipped_to_all_the_same() {
    let service = Service::start().await;
    for (bucket, why) in
        [("plain", "no Object Lock"), ("short", "30 days"), ("governed", "GOVERNANCE"), ("bare", "")]
    {
        let mut spool = Spool::new();
        fs_err::write(spool.path("keys.yaml"), KEYS).expect("written");
        let config = spool.configure(&service.sink(bucket, ""));
        let board = spool.start(&config);
        spool.record(100).await;
        spool.close().await;
        let look = &board.look()[0];
        assert_eq!(look.acknowledged_seq, 100, "{look:?}");
        match &look.unkept {
            None => assert_eq!(why, "", "{bucket}"),
            Some(unkept) => assert!(!why.is_empty() && unkept.contains(why), "{bucket}: {unkept}"),
        }
        let told = spool.logs("sinks", &["--json"]).await;
        assert_eq!(told.code, i32::from(!why.is_empty()), "{told:?}");
        assert_eq!(spool.verify("vault").await.code, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_parks_the_sink_and_has_its_name() {
    let service = Service::start().await;
    let hour = SignedDuration::from_hours(1);
    for (bucket, secret, off, name) in [
        ("locked", "other-Secret", SignedDuration::ZERO, "unauthorized"),
        ("nowhere", "k3y-Secret", SignedDuration::ZERO, "missing"),
        ("locked", "k3y-Secret", hour, "clock_skew"),
        ("locked", "k3y-Secret", -hour, "clock_skew"),
    ] {
        let mut spool = Spool::new();
        spool.clock = Clock::from_fn(move || Clock::system().now() + off);
        fs_err::write(spool.path("keys.yaml"), KEYS.replace("k3y-Secret", secret)).expect("written");
        let board = spool.start(&spool.configure(&service.sink(bucket, "")));
        let failed =
            eventually(name, PATIENCE, async || board.look().into_iter().find(|look| look.is_parked)).await;
        let (_, failure) = failed.last_error.expect("an error");
        assert_eq!(failure.kind.name(), name, "{failure}");
        assert!(!format!("{failure}").contains(secret), "{failure}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_right_certificate_is_believed() {
    let authority = Authority::new();
    let tls = Origin::tls(Arc::new(authority.pair(&["127.0.0.1"]).server_config(&[])), |_| ok("")).await;
    let mut spool = Spool::new();
    fs_err::write(spool.path("keys.yaml"), KEYS).expect("written");
    fs_err::write(spool.path("other.pem"), Authority::new().pem).expect("written");
    for plain in [sink(tls.address, "locked", ", trust: other.pem"), super::oss::sink(tls.address)] {
        let board = spool.start(&spool.configure(&plain.replace("http:", "https:")));
        let failed = eventually("the certificate is refused", PATIENCE, async || {
            board.look().into_iter().find(|look| look.is_parked)
        })
        .await;
        let (_, failure) = failed.last_error.expect("an error");
        assert_eq!(failure.kind.name(), "tls", "{failure}");
        spool.close().await;
    }
    assert_eq!(tls.seen_count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_required_sink_without_its_promise_keeps_every_port_closed() {
    let service = Service::start().await;
    let log = format!(
        "{{directory: access, reserve: 1MiB, sinks: [{}]}}",
        service.sink("plain", ", require: true")
    );
    let folder = Edge::builder().access_log(&log).write();
    folder.replace("keys.yaml", KEYS);
    let edge = folder.spawn();
    let reason = eventually("readyz names the sink", PATIENCE, async || {
        let (status, text) = edge.get("/readyz").await?;
        (status == 503 && text.contains("no Object Lock")).then_some(text)
    })
    .await;
    assert!(reason.contains("sink vault"), "{reason}");
    assert!(is_refused(edge.https()).await && is_refused(edge.http()).await);
    assert!(edge.metric("icpgate_sink_retention_ok{sink=\"vault\"}").await < 0.5);
    // A reload to a bucket that locks opens the ports.
    let fixed = edge.configuration().replace("bucket: plain", "bucket: locked");
    edge.replace("icpgate.yaml", fixed);
    eventually("the ports open", PATIENCE, async || (!is_refused(edge.https()).await).then_some(())).await;
    assert!(edge.metric("icpgate_sink_retention_ok{sink=\"vault\"}").await > 0.5);
}

#[tokio::test]
async fn signatures_are_those_of_the_services_own_libraries() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut s3, mut oss, mut ours_s3, mut ours_oss) = (String::new(), String::new(), Vec::new(), Vec::new());
    for number in 0..200_i64 {
        let date: Timestamp = "2026-03-02T10:11:12Z".parse().expect("a time");
        let now = date + Duration::from_secs(u64::try_from(number).expect("small") * 86_401);
        let token = (number % 3 == 0).then(|| format!("token/+={number}"));
        let keys = Credentials {
            access_key_id: format!("AKID{number}"),
            access_key_secret: format!("s3cr/et+{number}"),
            security_token: token.clone(),
        };
        let key = if number % 4 == 0 { String::new() } else { format!("bj/a-{number}/b_c.~{number}") };
        let prefix = format!("bj/ä b&c={number}");
        let query: Vec<(&str, &str)> = match number % 4 {
            0 => vec![("list-type", "2"), ("prefix", &prefix), ("max-keys", "1000")],
            1 => vec![("worm", "")],
            _ => vec![],
        };
        let payload = format!("{number:064x}");
        let method = ["GET", "PUT", "HEAD"][usize::try_from(number % 3).expect("small")];
        let (path, resource) = (format!("/{key}"), format!("/audit/{key}"));
        let signed =
            Signed { method, path: &path, resource: &resource, query: &query, payload: Some(&payload) };
        let signer = Signer { keys: &keys, region: "cn-north-1" };
        let mut headers = HeaderMap::new();
        headers.insert(HOST, "audit.s3.example.cn".parse().expect("a value"));
        headers.insert("x-amz-meta-sha256", payload.parse().expect("a value"));
        signer.sign_s3(signed, &mut headers, now).expect("signed");
        ours_s3.push(headers[AUTHORIZATION].to_str().expect("ASCII").to_owned());
        let encoded: Vec<String> = query
            .iter()
            .map(|(name, value)| {
                format!(
                    "{name}={}",
                    value
                        .replace('ä', "%C3%A4")
                        .replace(' ', "%20")
                        .replace('&', "%26")
                        .replace('=', "%3D")
                        .replace('/', "%2F")
                )
            })
            .collect();
        let date = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let names = json!({"id": keys.access_key_id, "secret": keys.access_key_secret, "token": token});
        let url = format!("https://audit.s3.example.cn{path}?{}", encoded.join("&"));
        s3 += &json!({
            "keys": names, "region": "cn-north-1", "method": method, "payload": payload, "date": date, "url": url,
            "headers": {"Host": "audit.s3.example.cn", "x-amz-meta-sha256": payload},
        })
        .to_string();
        s3.push('\n');
        let mut headers = HeaderMap::new();
        headers.insert("x-oss-meta-sha256", payload.parse().expect("a value"));
        headers.insert("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==".parse().expect("a value"));
        signer.sign_oss(signed, &mut headers, now).expect("signed");
        ours_oss.push(headers[AUTHORIZATION].to_str().expect("ASCII").to_owned());
        let query: serde_json::Map<_, _> =
            query.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        oss += &json!({
            "keys": names, "region": "cn-north-1", "method": method, "bucket": "audit", "key": key, "query": query, "date": date,
            "headers": {"x-oss-meta-sha256": payload, "content-md5": "1B2M2Y8AsgTpgAmY7PhCfg=="},
        })
        .to_string();
        oss.push('\n');
    }
    for (dialect, requests, ours) in [("s3", s3, ours_s3), ("oss", oss, ours_oss)] {
        let file = folder.path().join(dialect);
        fs_err::write(&file, requests).expect("written");
        let theirs = python::output("oss_server.py", "sign", &[dialect, &file.display().to_string()]).await;
        assert_eq!(theirs.lines().collect::<Vec<_>>(), ours, "{dialect}");
    }
}
