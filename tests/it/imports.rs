//! Configurations of real shapes, imported: icpgate and the program they were written for run side by side before the
//! same origins, and give the same answers. Where they do not, the table of the test says so.
//!
//! The files in `imports/` have the shape of configurations that projects publish, or that are found everywhere.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::support::client::{Answer, Target};
use crate::support::edge::{Edge, icpgate};
use crate::support::origin::{Origin, Request, Script, Step, answer, head};
use crate::support::peer::{Peer, nginx};

/// What both programs answer to a request.
enum Expected {
    /// The same, with this status.
    Same(u16),
    /// Not the same: the statuses of icpgate and of the other program, and why.
    Apart(u16, u16, &'static str),
}
use Expected::{Apart, Same};

/// A request: `https` or `http`, method, host, target, further fields.
type Asked = [&'static str; 5];

/// A configuration with the requests that are compared.
struct Case {
    file: &'static str,
    /// Directives that are named on stderr, since they were not carried over.
    noted: &'static [&'static str],
    requests: &'static [(Asked, Expected)],
}

const REDIRECT: &str = "a redirect to TLS keeps the method: 308 in place of 301";
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// What a body of that length is declared with, without one byte of it.
const NINE_MIB: &str = "Content-Length: 9437184\r\nExpect: 100-continue\r\n";

const WORDPRESS: Case = Case {
    file: "wordpress.conf",
    noted: &[
        "location ~* /(?:uploads|files)/.*\\.php$",
        "log_not_found off",
        "ssl_protocols TLSv1.2 TLSv1.3",
    ],
    requests: &[
        (["http", "GET", "www.example.cn", "/2026/03/?p=1", ""], Same(301)),
        (["http", "GET", "example.cn", "/", ""], Same(301)),
        (["https", "GET", "example.cn", "/about", ""], Same(301)),
        (["https", "GET", "www.example.cn", "/", ""], Same(200)),
        (["https", "GET", "www.example.cn", "/?s=%E4%BA%AC", "X-Real-IP: 192.0.2.1\r\n"], Same(200)),
        (["https", "GET", "www.example.cn", "/large.css", "Accept-Encoding: gzip\r\n"], Same(200)),
        (["https", "GET", "www.example.cn", "/large.css", ""], Same(200)),
        (["https", "POST", "www.example.cn", "/wp-login.php", "Content-Length: 5\r\n"], Same(200)),
        (["https", "GET", "www.example.cn", "/wp-admin/go", ""], Same(302)),
        (["https", "POST", "www.example.cn", "/xmlrpc.php", "Content-Length: 5\r\n"], Same(403)),
        (["https", "GET", "www.example.cn", "/favicon.ico", ""], Same(200)),
        (["https", "GET", "www.example.cn", "/missing", ""], Same(404)),
        (
            ["https", "POST", "www.example.cn", "/", "Content-Length: 67108865\r\nExpect: 100-continue\r\n"],
            Same(413),
        ),
        (
            ["https", "GET", "www.example.cn", "/wp-content/uploads/x.php", ""],
            Apart(200, 403, "a location of a regular expression is named on stderr, and not carried over"),
        ),
    ],
};

const SPA: Case = Case {
    file: "spa-api.conf",
    noted: &["ssl_session_cache shared:SSL:10m", "absolute_redirect off"],
    requests: &[
        (["http", "GET", "app.example.cn", "/x?y=1", ""], Apart(308, 301, REDIRECT)),
        (["https", "GET", "app.example.cn", "/", ""], Same(200)),
        (["https", "GET", "app.example.cn", "/deep/link", ""], Same(200)),
        (["https", "GET", "app.example.cn", "/api/users?page=2", ""], Same(200)),
        (["https", "DELETE", "app.example.cn", "/api/users/1", ""], Same(200)),
        (["https", "GET", "app.example.cn", "/api/v1/legacy/a", ""], Same(200)),
        (["https", "GET", "app.example.cn", "/api/missing", ""], Same(404)),
        (["https", "GET", "app.example.cn", "/apis", ""], Same(200)),
        (
            ["https", "GET", "app.example.cn", "/api", ""],
            Apart(200, 301, "a prefix matches without its slash, too; nginx adds the slash by a redirect"),
        ),
    ],
};

const WEBSOCKET: Case = Case {
    file: "websocket.conf",
    noted: &["map $http_upgrade $connection_upgrade", "proxy_send_timeout 3600s"],
    requests: &[
        (["https", "GET", "chat.example.cn", "/ws", UPGRADE], Same(101)),
        (["https", "GET", "chat.example.cn", "/ws/room", UPGRADE], Same(101)),
        (["https", "GET", "chat.example.cn", "/ws?transport=polling", ""], Same(200)),
        (["https", "GET", "chat.example.cn", "/", ""], Same(200)),
        (
            ["https", "GET", "chat.example.cn", "/plain", UPGRADE],
            Apart(101, 200, "icpgate passes an upgrade on everywhere, nginx where it is told to"),
        ),
        (
            ["https", "GET", "chat.example.cn", "/wsx", ""],
            Apart(200, 200, "a prefix ends at a slash: /wsx is not under /ws"),
        ),
    ],
};

const GRAFANA: Case = Case {
    file: "grafana.conf",
    noted: &["root /usr/share/nginx/html", "index index.html index.htm"],
    requests: &[
        (["http", "GET", "grafana.example.cn", "/", ""], Same(200)),
        (["http", "GET", "grafana.example.cn", "/d/abc?orgId=1", ""], Same(200)),
        (["http", "POST", "grafana.example.cn", "/api/ds/query", "Content-Length: 5\r\n"], Same(200)),
        (["http", "GET", "grafana.example.cn", "/go", ""], Same(302)),
        (["http", "GET", "grafana.example.cn", "/api/live/ws", UPGRADE], Same(101)),
    ],
};

const GITEA: Case = Case {
    file: "gitea.conf",
    noted: &[],
    requests: &[
        (["http", "GET", "git.example.cn", "/team/repo", ""], Apart(308, 301, REDIRECT)),
        (
            ["https", "GET", "git.example.cn", "/team/repo.git/info/refs?service=git-upload-pack", ""],
            Same(200),
        ),
        (
            ["https", "POST", "git.example.cn", "/team/repo.git/git-receive-pack", "Content-Length: 5\r\n"],
            Same(200),
        ),
        (["https", "GET", "git.example.cn", "/login", ""], Same(200)),
        (
            ["https", "POST", "git.example.cn", "/", "Content-Length: 536870913\r\nExpect: 100-continue\r\n"],
            Same(413),
        ),
    ],
};

const BALANCED: Case = Case {
    file: "balanced.conf",
    noted: &["proxy_next_upstream error timeout http_502", "keepalive 32"],
    requests: &[
        (["https", "GET", "www.example.cn", "/", ""], Same(200)),
        (["https", "GET", "www.example.cn", "/a?b", "Cookie: sid=1\r\n"], Same(200)),
        (["https", "HEAD", "www.example.cn", "/", ""], Same(200)),
        (["https", "GET", "www.example.cn", "/missing", ""], Same(404)),
    ],
};

const CANONICAL: Case = Case {
    file: "canonical.conf",
    noted: &["absolute_redirect off"],
    requests: &[
        (["http", "GET", "old.example.cn", "/a?b=c", ""], Same(301)),
        (["https", "GET", "old.example.cn", "/a?b=c", ""], Same(308)),
        (["https", "POST", "example.cn", "/form", "Content-Length: 0\r\n"], Same(308)),
        (["https", "GET", "www.example.cn", "/about.html", ""], Same(301)),
        (["https", "GET", "www.example.cn", "/shop/cart?x", ""], Same(302)),
        (["https", "GET", "www.example.cn", "/beta", ""], Same(410)),
        (["https", "GET", "www.example.cn", "/robots.txt", ""], Same(200)),
        (["https", "GET", "www.example.cn", "/", ""], Same(200)),
    ],
};

const CACHE: Case = Case {
    file: "static-cache.conf",
    noted: &["proxy_cache_path nginx-cache", "proxy_cache_valid 200 1h", "add_header X-Cache-Status"],
    requests: &[
        (["https", "GET", "www.example.cn", "/static/large.css", ""], Same(200)),
        (["https", "GET", "www.example.cn", "/static/large.css", ""], Same(200)),
        (["https", "HEAD", "www.example.cn", "/static/large.css", ""], Same(200)),
        (["https", "GET", "www.example.cn", "/page", ""], Same(200)),
        (["https", "GET", "www.example.cn", "/page", ""], Same(200)),
    ],
};

const UPLOADS: Case = Case {
    file: "uploads.conf",
    noted: &["client_body_timeout 30s", "proxy_request_buffering off"],
    requests: &[
        (["https", "POST", "www.example.cn", "/upload", "Content-Length: 5\r\n"], Same(200)),
        (["https", "POST", "www.example.cn", "/upload", NINE_MIB], Same(413)),
        (["https", "POST", "www.example.cn", "/", NINE_MIB], Same(413)),
        (["https", "GET", "www.example.cn", "/healthz", ""], Same(200)),
        (["https", "GET", "www.example.cn", "/admin/", ""], Same(403)),
        (["https", "GET", "www.example.cn", "/admin/users", ""], Same(403)),
        (["https", "GET", "www.example.cn", "/office/x", ""], Same(200)),
        (["https", "GET", "www.example.cn", "/", ""], Same(200)),
    ],
};

const HOSTS: Case = Case {
    file: "hosts.cfg",
    noted: &["maxconn 2000", "option forwardfor"],
    requests: &[
        (["http", "GET", "shop.example.cn", "/x?y", ""], Apart(308, 301, REDIRECT)),
        (["https", "GET", "shop.example.cn", "/", ""], Same(200)),
        (["https", "GET", "shop.example.cn", "/api/items?n=1", ""], Same(200)),
        (["https", "GET", "shop.example.cn", "/apis", ""], Same(200)),
        (["https", "GET", "blog.example.cn", "/go", ""], Same(302)),
        (["https", "POST", "blog.example.cn", "/comment", "Content-Length: 5\r\n"], Same(200)),
        (["https", "GET", "blog.example.cn", "/api/x", ""], Same(200)),
    ],
};

const APPLICATION: Case = Case {
    file: "application.cfg",
    noted: &["http-request deny if { path_beg /internal }", "no rule names a host"],
    requests: &[
        (["https", "GET", "example.cn", "/", ""], Same(200)),
        (["https", "GET", "example.cn", "/static/a.css", ""], Same(200)),
        (["https", "GET", "example.cn", "/images/a.png", ""], Same(200)),
        (["https", "POST", "example.cn", "/static/a.css", "Content-Length: 5\r\n"], Same(200)),
        (["https", "GET", "example.cn", "/server-status", ""], Same(200)),
        (
            ["https", "GET", "example.cn", "/internal/x", ""],
            Apart(200, 403, "a rule that denies is named on stderr, and not carried over"),
        ),
    ],
};

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
