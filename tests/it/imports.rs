//! Configurations of real shapes, imported: icpgate and the program they were written for run side by side before the
//! same origins, and give the same answers. Where they do not, the table of the test says so.
//!
//! The files in `imports/` have the shape of configurations that projects publish, or that are found everywhere.

mod cases;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use cases::Expected::{Apart, Same};
use cases::{
    APPLICATION, Asked, BALANCED, CACHE, CANONICAL, Case, GITEA, GRAFANA, HOSTS, SPA, UPLOADS, WEBSOCKET,
    WORDPRESS,
};

use crate::support::client::{Answer, Target};
use crate::support::edge::{Edge, icpgate};
use crate::support::origin::{Origin, Request, Script, Step, answer, head};
use crate::support::peer::{Peer, nginx};

fn fixture(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/imports").join(name);
    fs_err::read_to_string(file).expect("a configuration")
}

/// Says what it was asked; some targets have answers of their own.
fn say(name: &str, request: &Request) -> Script {
    let field = |field: &str| request.head.get(field).unwrap_or("-").to_owned();
    let end = request.target().rsplit('/').next().unwrap_or_default();
    let path = end.split('?').next().unwrap_or_default();
    let mark = format!("x-origin: {name}");
    if field("upgrade") == "websocket" {
        let fields = [
            "connection: Upgrade",
            "upgrade: websocket",
            "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
            &mark,
        ];
        return vec![head("101 Switching Protocols", &fields), Step::Echo];
    }
    let seen = [request.method(), request.target(), &field("host"), &field("x-real-ip")].join(" ");
    let text = format!("{name} {seen}");
    let plain = ["content-type: text/plain", mark.as_str(), "x-powered-by: PHP"];
    match path {
        "go" => answer("302 Found", &["location: /next?a=b", &mark], ""),
        "login" => answer("200 OK", &[&plain[..], &["set-cookie: sid=1; Path=/; HttpOnly"]].concat(), text),
        "missing" => answer("404 Not Found", &plain, text),
        "large.css" => {
            let fields = ["content-type: text/css", "cache-control: public, max-age=600", &mark];
            answer("200 OK", &fields, "a { color: red }\n".repeat(500))
        }
        _ => answer("200 OK", &plain, text),
    }
}

/// An origin for each address of the configuration. Nobody listens for those in 10.0.9.0/24.
async fn origins(text: &str) -> BTreeMap<String, Origin> {
    let mut origins = BTreeMap::new();
    for (at, _) in text.match_indices("10.0.") {
        let address: String =
            text[at..].chars().take_while(|c| c.is_ascii_digit() || ".:".contains(*c)).collect();
        // Not a network of `allow`.
        if !address.contains(':') || origins.contains_key(&address) {
            continue;
        }
        let name = address.clone();
        let answers = move |request: &Request| [vec![Step::ReadBody], say(&name, request)].concat();
        let is_down = address.starts_with("10.0.9.");
        let origin = if is_down { Origin::down(answers, None) } else { Origin::start(answers).await };
        origins.insert(address, origin);
    }
    origins
}

/// The configuration with the addresses of this test.
fn adapted(text: &str, origins: &BTreeMap<String, Origin>, folder: Option<&Path>) -> String {
    let file = |name: &str| match folder {
        Some(folder) => folder.join(name).display().to_string(),
        None => name.to_owned(),
    };
    let mut text = text
        .replace("/etc/ssl/example.cn.pem", &file("site.pem"))
        .replace("/etc/ssl/example.cn.key", &file("site.key"))
        .replace("/etc/haproxy/certs/example.cn.pem", &file("both.pem"));
    for (address, origin) in origins {
        text = text.replace(address, &origin.address.to_string());
    }
    text
}

/// Imports, and starts icpgate with the outcome. What was noted is the second.
async fn imported(case: &Case, kind: &str, text: &str, origins: &BTreeMap<String, Origin>) -> (Edge, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let file: PathBuf = folder.path().join(case.file);
    fs_err::write(&file, adapted(text, origins, None)).expect("written");
    let run = icpgate(["import".as_ref(), kind.as_ref(), file.as_os_str()]).await;
    assert_eq!(run.code, 0, "{run:?}");
    let yaml = run
        .stdout
        .replace("{directory: /var/lib/icpgate/access}", "{directory: access, reserve: 1MiB}")
        .replace("0.0.0.0:443", "$HTTPS")
        .replace("0.0.0.0:80", "$HTTP")
        .replace("\"[::]:80\"", "\"[::1]:0\"")
        + "admin: {address: \"$ADMIN\"}\n";
    let folder = Edge::builder().config(&yaml).write();
    folder.authority.pair(&["example.cn", "*.example.cn"]).write(&folder.path(""), "site");
    let [chain, key] =
        ["site.pem", "site.key"].map(|name| fs_err::read_to_string(folder.path(name)).expect("a file"));
    folder.replace("both.pem", chain + &key);
    let checked = folder.check(&[]).await;
    assert_eq!(checked.code, 0, "{}: {checked:?}\n{yaml}", case.file);
    let edge = folder.start().await;
    edge.readyz_becomes(200).await;
    (edge, run.stderr)
}

/// The program that the configuration is for, at these addresses.
async fn original(edge: &Edge, kind: &str, text: &str, https: SocketAddr, http: SocketAddr) -> Peer {
    let with_tls = text.contains("listen 443") || text.contains("bind *:443");
    let address = if with_tls { https } else { http };
    if kind == "nginx" {
        let lines = text.lines().filter(|line| !line.contains("listen [::]"));
        let text: String = lines.map(|line| format!("{line}\n")).collect();
        let text = text
            .replace("listen 443 ", &format!("listen {https} "))
            .replace("listen 80;", &format!("listen {http};"));
        return nginx(edge, &text, address).await;
    }
    let text = text.replace("*:443", &https.to_string()).replace("*:80", &http.to_string());
    // Neither the machine's log nor another user.
    let lines = text
        .lines()
        .filter(|line| !["log ", "user ", "group "].iter().any(|word| line.trim().starts_with(word)));
    edge.replace("haproxy.cfg", lines.map(|line| format!("{line}\n")).collect::<String>());
    let file = edge.path("haproxy.cfg");
    Peer::start("/usr/sbin/haproxy", ["-db".as_ref(), "-f".as_ref(), file.as_os_str()], address).await
}

/// What clients notice of an answer: the status, fields, and the body if it is not a program's own.
fn shown(answer: &Answer) -> String {
    let mut names = vec!["location", "set-cookie", "x-powered-by", "content-encoding", "x-origin", "upgrade"];
    // nginx adds fields to these alone, unless it says `always`.
    if [200, 201, 204, 206, 301, 302, 303, 304, 307, 308].contains(&answer.status) {
        names.extend([
            "x-frame-options",
            "x-content-type-options",
            "strict-transport-security",
            "cache-control",
        ]);
    }
    let fields: Vec<String> =
        names.iter().map(|name| format!("{name}={:?}", answer.head.all(name))).collect();
    let is_readable = answer.field("content-encoding").is_none()
        && (answer.status == 200 || answer.field("x-origin").is_some());
    let text = if is_readable { answer.text() } else { String::new() };
    format!("{} {} {text}", answer.status, fields.join(" "))
}

async fn ask(target: &Target, asked: &Asked) -> Answer {
    let [_, method, host, path, fields] = asked;
    let body = if fields.contains("Content-Length: 5\r\n") { "hello" } else { "" };
    let mut http1 = target.http1(host).await;
    http1.send(format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n{body}")).await;
    http1.answer(method).await
}

/// Compares every answer. Returns the origins, which remember what they were asked.
async fn compare(case: Case) -> BTreeMap<String, Origin> {
    let kind = if case.file.ends_with(".cfg") { "haproxy" } else { "nginx" };
    let text = fixture(case.file);
    let origins = origins(&text).await;
    let (edge, notes) = imported(&case, kind, &text, &origins).await;
    for noted in case.noted {
        assert!(notes.contains(noted), "{}: {noted:?} is not in:\n{notes}", case.file);
    }
    let (https, http) = (edge.beside(7443), edge.beside(7080));
    let text = adapted(&text, &origins, Some(&edge.path("")));
    let _original = original(&edge, kind, &text, https, http).await;

    let ours = [Target::https(&edge), Target::http(&edge)];
    let theirs = [Target { address: https, ..ours[0].clone() }, Target { address: http, ..ours[1].clone() }];
    for (asked, expected) in case.requests {
        let index = usize::from(asked[0] == "http");
        let (ours, theirs) = (ask(&ours[index], asked).await, ask(&theirs[index], asked).await);
        let what = format!("{} {}", case.file, asked.join(" "));
        match expected {
            Same(status) => {
                assert_eq!(shown(&ours), shown(&theirs), "{what}");
                assert_eq!(ours.status, *status, "{what}");
            }
            Apart(our_status, their_status, why) => {
                assert_eq!((ours.status, theirs.status), (*our_status, *their_status), "{what}: {why}");
                assert_ne!(shown(&ours), shown(&theirs), "{what}: {why}");
                // A redirect leads to the same place all the same.
                if ours.status / 100 == 3 {
                    assert_eq!(ours.field("location"), theirs.field("location"), "{what}: {why}");
                }
            }
        }
    }
    origins
}

#[tokio::test]
async fn wordpress_behind_a_proxy() {
    compare(WORDPRESS).await;
}

#[tokio::test]
async fn a_single_page_application_and_its_api() {
    compare(SPA).await;
}

#[tokio::test]
async fn a_chat_over_websockets() {
    compare(WEBSOCKET).await;
}

#[tokio::test]
async fn grafana_in_clear_text() {
    compare(GRAFANA).await;
}

#[tokio::test]
async fn gitea_with_large_pushes() {
    compare(GITEA).await;
}

#[tokio::test]
async fn a_backup_while_the_servers_are_down() {
    compare(BALANCED).await;
}

#[tokio::test]
async fn old_names_and_paths_are_sent_to_new_ones() {
    compare(CANONICAL).await;
}

#[tokio::test]
async fn static_files_are_cached_and_pages_are_not() {
    let origins = compare(CACHE).await;
    let seen = origins["10.0.1.10:8080"].seen();
    let count = |target: &str| seen.iter().filter(|request| request.target() == target).count();
    assert_eq!(count("/static/large.css"), 2, "once by each program");
    assert_eq!(count("/page"), 4, "each time");
}

#[tokio::test]
async fn uploads_have_a_limit_and_the_administration_a_network() {
    compare(UPLOADS).await;
}

#[tokio::test]
async fn haproxy_with_hosts_and_health_checks() {
    compare(HOSTS).await;
}

#[tokio::test]
async fn haproxy_with_one_application() {
    compare(APPLICATION).await;
}
