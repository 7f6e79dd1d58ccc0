//! The DNS services of clouds: signatures as the vendors' SDKs compute them, and certificates ordered through strict
//! servers of the tests' own, which judge requests by those SDKs.

use std::path::PathBuf;

use http::HeaderMap;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use icpgate::acme::cloud::sign::{self, Signed};
use icpgate::remote::credentials::Credentials;
use jiff::Timestamp;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{builder, issued, persistently, served};
use crate::support::acme::{ChallengeServer, Pebble};
use crate::support::edge::{Builder, Edge, Folder};
use crate::support::origin::Origin;
use crate::support::python::{self, PythonServer};
use crate::support::{PATIENCE, eventually};

const SECRET: &str = "k3y/Secret+";
/// Two values under one name, and a name in a zone below another zone.
const HOSTS: &str = "example.cn, \"*.example.cn\", www.shop.example.cn";

/// A vendor's service, told by files of the folder `cloud`.
struct Cloud {
    folder: PathBuf,
    state: Value,
    _server: PythonServer,
}

impl Cloud {
    async fn start(folder: &Folder, vendor: &str, shows: &ChallengeServer) -> Self {
        let state = json!({
            "id": "AKID", "secret": SECRET, "zones": ["example.cn", "shop.example.cn"],
            "shows": shows.told.to_string(),
        });
        let place = folder.path("cloud");
        fs_err::create_dir(&place).expect("a folder");
        let server = PythonServer::start_with("dns_cloud.py", &[vendor, &place.display().to_string()]).await;
        let port = server.port.to_string();
        folder.replace("icpgate.yaml", folder.configuration().replace("CLOUD", &port));
        let cloud = Self { folder: place, state, _server: server };
        cloud.set(&json!({}));
        cloud
    }

    /// The server's settings, with `changes`.
    fn set(&self, changes: &Value) {
        let mut state = self.state.clone();
        for (key, value) in changes.as_object().expect("an object") {
            state[key] = value.clone();
        }
        let aside = self.folder.join("state.aside");
        fs_err::write(&aside, state.to_string()).expect("written");
        fs_err::rename(aside, self.folder.join("state.json")).expect("renamed");
    }

    /// What was changed: the word, the zone, the name, and how many values stood under the name then.
    fn changes(&self) -> Vec<(String, String, String, u64)> {
        let text = fs_err::read_to_string(self.folder.join("changes.ndjson")).unwrap_or_default();
        let change = |line: &str| {
            let line: Value = serde_json::from_str(line).expect("JSON");
            let text = |key: &str| line[key].as_str().expect("text").to_owned();
            (text("change"), text("zone"), text("name"), line["standing"].as_u64().expect("a count"))
        };
        text.lines().map(change).collect()
    }

    /// Both values stood under one name, the third in its own zone, and nothing is left.
    fn assert_set_and_removed(&self) {
        let changes = self.changes();
        for (word, most) in [("add", 2), ("remove", 1)] {
            let of = |zone: &str, name: &str| {
                let is_it = |change: &&(String, String, String, u64)| {
                    (change.0.as_str(), change.1.as_str(), change.2.as_str()) == (word, zone, name)
                };
                changes.iter().filter(is_it).map(|change| change.3).collect::<Vec<_>>()
            };
            let apex = of("example.cn", "_acme-challenge.example.cn");
            assert_eq!((apex.len(), apex.iter().max()), (2, Some(&most)), "{word}: {changes:?}");
            assert_eq!(of("shop.example.cn", "_acme-challenge.www.shop.example.cn").len(), 1, "{changes:?}");
        }
        assert_eq!(changes.len(), 6, "{changes:?}");
    }
}

/// Orders by `vendor`, whose service is at the port CLOUD until it has started.
fn ordering(vendor: &str, credentials: &str, origin: &Origin) -> Builder {
    let dns = format!(
        "provider: {vendor}, credentials: {credentials}, endpoint: \"http://127.0.0.1:CLOUD\", server: \"$IP:5353\""
    );
    builder(HOSTS, &dns, origin)
}

/// Waits until an order has failed in a way that the log says so, and no secret is in the log.
async fn fails(edge: &Edge, saying: &str) {
    persistently(edge, saying, async || edge.log().contains(saying)).await;
    edge.metric_becomes("icpgate_acme_last_result{site=\"shop\",result=\"dns_failed\"}", 1.0).await;
    let status = edge.status().await["orders"].to_string();
    assert!(status.contains(saying), "{status}");
    for secret in [SECRET, "Signature=", "wr0ng", "STS.token"] {
        assert!(!edge.log().contains(secret) && !status.contains(secret), "{secret}: {}", edge.log());
    }
}

/// Waits for the certificate after SIGHUP, and until the records are gone.
async fn recovers(edge: &Edge, authority: &Pebble, cloud: &Cloud) {
    edge.signal(Signal::HUP);
    issued(edge, 1).await;
    for host in ["example.cn", "a.example.cn", "www.shop.example.cn"] {
        served(edge, authority, host).await;
    }
    eventually("removal", PATIENCE, async || (cloud.changes().len() >= 6).then_some(())).await;
    cloud.assert_set_and_removed();
}

#[tokio::test]
async fn alidns_proves_names_with_keys_of_the_environment() {
    let origin = Origin::text("ok").await;
    let folder = ordering("alidns", "{from: environment}", &origin)
        .env("ALIBABA_CLOUD_ACCESS_KEY_ID", "AKID")
        .env("ALIBABA_CLOUD_ACCESS_KEY_SECRET", SECRET)
        .write();
    let dns = ChallengeServer::start(&folder).await;
    let cloud = Cloud::start(&folder, "alidns", &dns).await;
    cloud.set(
        &json!({"next": [{"status": 400, "code": "Throttling.User", "message": "Request was denied."}]}),
    );
    let checked = folder.check(&[]).await;
    assert!(checked.stdout.contains("by DNS-01 (alidns)"), "{checked:?}");
    let authority = Pebble::start(&folder, dns.dns).await;
    let edge = folder.start().await;
    fails(&edge, "Throttling.User: Request was denied.").await;
    recovers(&edge, &authority, &cloud).await;
}

#[tokio::test]
async fn dnspod_proves_names_with_keys_of_a_file() {
    let origin = Origin::text("ok").await;
    let folder = ordering("dnspod", "{from: file, path: keys.yaml}", &origin).write();
    let keys = |secret: &str| format!("access_key_id: AKID\naccess_key_secret: {secret}\n");
    folder.replace("keys.yaml", "access_key_id: AKID\n");
    let dns = ChallengeServer::start(&folder).await;
    let cloud = Cloud::start(&folder, "dnspod", &dns).await;
    let checked = folder.check(&[]).await;
    assert_eq!(checked.code, 1, "{checked:?}");
    assert!(checked.stdout.contains("certificate.acme.dns.credentials.path"), "{checked:?}");

    folder.replace("keys.yaml", keys("wr0ng"));
    let authority = Pebble::start(&folder, dns.dns).await;
    let mut edge = folder.start().await;
    fails(&edge, "AuthFailure.SignatureFailure: the keys are not accepted").await;
    edge.replace("keys.yaml", keys(SECRET));
    // The order outlives the program.
    edge.signal(Signal::TERM);
    assert_eq!(edge.wait_exit().await, 0);
    edge.restart().await;
    edge.logged("going on with the order of the certificate").await;
    recovers(&edge, &authority, &cloud).await;
}

#[tokio::test]
async fn huawei_proves_names_though_another_machine_undoes_a_change() {
    let origin = Origin::text("ok").await;
    let folder = ordering("huawei", "{from: file, path: keys.yaml}", &origin).write();
    let keys = format!("access_key_id: AKID\naccess_key_secret: {SECRET}\nsecurity_token: STS.token\n");
    folder.replace("keys.yaml", keys);
    let dns = ChallengeServer::start(&folder).await;
    let cloud = Cloud::start(&folder, "huawei", &dns).await;
    let authority = Pebble::start(&folder, dns.dns).await;
    let edge = folder.start().await;
    fails(&edge, "APIGW.0301: the token *** is invalid").await;
    cloud.set(&json!({"token": "STS.token", "undo": 1}));
    recovers(&edge, &authority, &cloud).await;
}

#[tokio::test]
async fn a_zone_that_the_account_does_not_have_is_named() {
    let origin = Origin::text("ok").await;
    for vendor in ["alidns", "dnspod", "huawei"] {
        let folder = ordering(vendor, "{from: file, path: keys.yaml}", &origin).write();
        folder.replace("keys.yaml", format!("access_key_id: AKID\naccess_key_secret: {SECRET}\n"));
        let dns = ChallengeServer::start(&folder).await;
        let cloud = Cloud::start(&folder, vendor, &dns).await;
        cloud.set(&json!({"zones": []}));
        let _authority = Pebble::start(&folder, dns.dns).await;
        let edge = folder.start().await;
        fails(&edge, "the account has no zone named ").await;
        assert!(cloud.changes().is_empty(), "{:?}", cloud.changes());
    }
}

#[tokio::test]
async fn only_alidns_knows_roles_and_every_provider_needs_credentials() {
    let origin = Origin::text("ok").await;
    for (vendor, credentials, expected) in [
        ("alidns", "{from: ecs_role, role: edge}", None),
        ("dnspod", "{from: ecs_role}", Some("ecs_role is of Alibaba Cloud, which dnspod does not know")),
        ("huawei", "{from: nowhere}", Some("\"nowhere\" is not one of environment, file, ecs_role")),
        ("alidns", "{from: environment, path: keys.yaml}", Some("credentials.path")),
    ] {
        let dns = format!("provider: {vendor}, credentials: {credentials}");
        let checked = builder("example.cn", &dns, &origin).write().check(&[]).await;
        assert_eq!(checked.code, i32::from(expected.is_some()), "{vendor} {credentials}: {checked:?}");
        assert!(checked.stdout.contains(expected.unwrap_or_default()), "{checked:?}");
    }
    let checked = builder("example.cn", "provider: alidns", &origin).write().check(&[]).await;
    assert!(checked.stdout.contains("credentials is missing"), "{checked:?}");
}

/// A text of 1 to `longest` of `characters`.
fn random(characters: &str, longest: usize) -> String {
    let characters: Vec<char> = characters.chars().collect();
    (0..fastrand::usize(1..=longest)).map(|_| characters[fastrand::usize(..characters.len())]).collect()
}

const PLAIN: &str = "abcXYZ019-_.";
const ANY: &str = "aZ0-_.~ /+&=%?#!*'()京é\"\\";

#[tokio::test]
async fn signatures_are_those_of_the_vendors_sdks() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut lines, mut ours) = (String::new(), Vec::new());
    for round in 0..900_i64 {
        let vendor = ["alidns", "dnspod", "huawei"][usize::try_from(round % 3).expect("small")];
        let token = fastrand::bool().then(|| random(PLAIN, 60));
        let keys = Credentials {
            access_key_id: random(PLAIN, 24),
            access_key_secret: random(ANY, 40),
            security_token: token,
        };
        let method = ["GET", "POST", "PUT", "DELETE"][fastrand::usize(..4)];
        // DNSPod has everything in bodies; the others sign what they are asked for.
        let in_body = vendor == "dnspod";
        let (method, path) = if in_body { ("POST", "/".to_owned()) } else { (method, random("abc/1-", 20)) };
        let path = format!("/{}", path.trim_matches('/'));
        let count = if in_body { 0 } else { fastrand::usize(..5) };
        let query: Vec<(String, String)> =
            (0..count).map(|at| (format!("{}{at}", random("abA", 3)), random(ANY, 20))).collect();
        let pairs: Vec<(&str, &str)> =
            query.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let body = if fastrand::bool() { String::new() } else { random(ANY, 100) };
        let now = Timestamp::from_second(1_700_000_000 + round * 1_234_567).expect("a time");
        let mut headers = HeaderMap::new();
        let mut set = |name: HeaderName, value: String| {
            headers.insert(name, HeaderValue::try_from(value).expect("a field"));
        };
        set(HOST, format!("dns.{}.example.com", random("abc", 9)));
        set(CONTENT_TYPE, "application/json".to_owned());
        set(HeaderName::from_static("x-acs-action"), random(PLAIN, 10));
        let signed = Signed { method, path: &path, query: &pairs, body: body.as_bytes() };
        match vendor {
            "alidns" => sign::acs3(&keys, signed, &mut headers, (now, &random(PLAIN, 32))),
            "dnspod" => sign::tc3(&keys, "dnspod", signed, &mut headers, now),
            _ => sign::sdk(&keys, signed, &mut headers, now),
        }
        .expect("it can be sent");
        let authorization = headers.remove(AUTHORIZATION).expect("signed");
        ours.push(authorization.to_str().expect("text").to_owned());
        let fields: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.to_str().expect("text"))).collect();
        let line = json!({
            "vendor": vendor, "id": keys.access_key_id, "secret": keys.access_key_secret, "method": method,
            "path": path, "query": query, "headers": fields, "body": body,
        });
        lines += &format!("{line}\n");
    }
    let file = folder.path().join("requests");
    fs_err::write(&file, lines).expect("written");
    let theirs = python::output("dns_cloud.py", "sign", &[&file.display().to_string()]).await;
    for (round, (ours, theirs)) in ours.iter().zip(theirs.lines()).enumerate() {
        assert_eq!(ours, theirs, "request {round}");
    }
    assert_eq!(theirs.lines().count(), ours.len());
}
