//! `s3` against SeaweedFS, a real S3 server with Object Lock.

use std::time::Duration;

use http::HeaderMap;
use http::header::{AUTHORIZATION, HOST};
use icpgate::ship::credentials::Credentials;
use icpgate::ship::objects::sign::{Signed, Signer};
use jiff::Timestamp;
use serde_json::json;
use tempfile::TempDir;

use super::{RECORDS, Spool, records};
use crate::support::edge::Edge;
use crate::support::probe::is_refused;
use crate::support::python::{self, PythonServer};
use crate::support::{PATIENCE, eventually};

const KEYS: &str = "access_key_id: AKID\naccess_key_secret: k3y-Secret\n";

struct Service {
    _folder: TempDir,
    server: PythonServer,
}

impl Service {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().display().to_string();
        let server = PythonServer::start_with("s3_server.py", &[&path]).await;
        Self { _folder: folder, server }
    }

    fn sink(&self, bucket: &str, more: &str) -> String {
        let port = self.server.port;
        format!(
            "{{name: vault, type: s3, endpoint: \"http://127.0.0.1:{port}\", region: cn-north-1, bucket: {bucket}, prefix: bj/, \
             path_style: true, credentials: {{from: file, path: keys.yaml}}{more}}}"
        )
    }
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
    let port = service.server.port.to_string();
    python::part("s3_server.py", "client", &[&port, "locked", &format!("bj/{}", names[0])]).await;
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
    let mut spool = Spool::new();
    fs_err::write(spool.path("keys.yaml"), KEYS.replace("k3y", "other")).expect("written");
    let board = spool.start(&spool.configure(&service.sink("locked", "")));
    let failed = eventually("the keys are refused by name", PATIENCE, async || {
        board.look().into_iter().find(|look| look.is_parked)
    })
    .await;
    let (_, failure) = failed.last_error.expect("an error");
    assert_eq!(failure.kind.name(), "unauthorized", "{failure}");
    assert!(!format!("{failure}").contains("other-Secret"), "{failure}");
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
