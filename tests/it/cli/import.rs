//! `import`: what nginx and HAProxy say becomes a configuration, and what does not is named with its place.

use std::path::Path;

use crate::support::edge::{Edge, Run, icpgate};

const NGINX: &str = r#"user www-data;
events {}
http {
    gzip on;
    gzip_min_length 256;
    gzip_types text/css application/json text/css;
    client_max_body_size 64m;
    limit_req_zone $binary_remote_addr zone=api:10m rate=10r/s;
    upstream app { server 127.0.0.1:3000 weight=2; server 127.0.0.1:3001 backup; hash $cookie_sid consistent; }
    include sites/*.conf;
}
"#;

const SHOP: &str = r#"server {
    listen 80;
    listen [::]:80;
    server_name example.cn www.example.cn;
    return 301 https://$host$request_uri;
}
server {
    listen 443 ssl http2;
    server_name example.cn;
    ssl_certificate example.cn.pem;
    ssl_certificate_key example.cn.key;
    return 301 https://www.example.cn$request_uri;
}
server {
    listen 443 ssl http2;
    server_name www.example.cn;
    ssl_certificate example.cn.pem;
    ssl_certificate_key example.cn.key;
    limit_req zone=api burst=20;
    proxy_set_header Host $host;
    proxy_set_header X-Real-IP $remote_addr;
    proxy_set_header X-Note "{\"a\": \"b\"}";
    add_header Strict-Transport-Security "max-age=31536000";
    location / { proxy_pass http://app; }
    location = /health { return 200 "ok: \"fine\""; }
    location /api/ { proxy_pass http://127.0.0.1:4000/v2/; proxy_read_timeout 120s; }
    location /api/static/ { proxy_cache static; proxy_pass http://app; }
    location ~ \.php$ { fastcgi_pass unix:/run/php.sock; }
    location /files { root /srv; }
}
"#;

async fn import(kind: &str, folder: &Path, name: &str) -> Run {
    icpgate(["import".as_ref(), kind.as_ref(), folder.join(name).as_os_str()]).await
}

/// Asserts that the lines stand in `text`, in this order.
#[track_caller]
fn assert_in_order(text: &str, lines: &[&str]) {
    let mut rest = text;
    for line in lines {
        let found = rest.find(line);
        let at = found.unwrap_or_else(|| panic!("{line:?} is not there, or too early, in:\n{text}"));
        rest = &rest[at + line.len()..];
    }
}

#[tokio::test]
async fn nginx_becomes_a_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    fs_err::create_dir(folder.path().join("sites")).expect("created");
    fs_err::write(folder.path().join("nginx.conf"), NGINX).expect("written");
    fs_err::write(folder.path().join("sites/shop.conf"), SHOP).expect("written");
    let run = import("nginx", folder.path(), "nginx.conf").await;
    assert_eq!(run.code, 0, "{run:?}");
    let expected = [
        "addresses: [\"0.0.0.0:443\"]",
        "protocol: https",
        "hosts: [\"www.example.cn\"]",
        "listeners: [\"http\", \"http-2\", \"https\"]",
        "match: {path: \"/api/static/\"}",
        "match: {path: \"/api/\"}",
        "match: {path: \"/\"}",
        "origins: [\"app\"]",
        "{address: \"127.0.0.1:3000\", weight: 2}",
        "{address: \"127.0.0.1:3001\", backup: true}",
        "timeouts: {first_byte: 120s}",
    ];
    assert_in_order(&run.stdout, &expected);
    // Each of these is carried over where this version has the key, and named where it has not.
    for (key, written) in [
        ("sites[].max_body", "max_body: 64MiB"),
        ("sites[].compress", "compress: on"),
        (
            "compress",
            "compress: {min_bytes: 256, types: [\"text/html\", \"text/css\", \"application/json\"]}",
        ),
        ("sites[].rate_limit", "rate_limit: {requests: 10/s, burst: 20, per: client}"),
        ("sites[].routes[].redirect", "redirect: {to: \"https://www.example.cn{path}{query}\", status: 301}"),
        ("sites[].routes[].respond", "respond: {status: 200, body: \"ok: \\\"fine\\\"\"}"),
        ("sites[].routes[].cache", "cache: on"),
        ("sites[].routes[].path", "path: {strip: \"/api\", prepend: \"/v2\"}"),
        ("sites[].routes[].request_headers", "\"x-real-ip\": \"{client_ip}\""),
        ("sites[].routes[].response_headers", "\"strict-transport-security\": \"max-age=31536000\""),
        ("origins[].balance", "balance: {hash: {cookie: sid}}"),
    ] {
        let is_lacking = run.stderr.contains(&format!("not carried over: this version has no {key}"));
        assert_ne!(run.stdout.contains(written), is_lacking, "{key}: {run:?}");
    }
    // What has no counterpart is named with its place.
    for note in [
        "nginx.conf:1: user www-data: not carried over",
        "shop.conf:28: location ~ \\.php$: not carried over: routes match prefixes",
        "shop.conf:29: root /srv: not carried over: icpgate serves no files",
        "proxy_set_header X-Note",
    ] {
        assert!(run.stderr.contains(note), "{note} is not in:\n{}", run.stderr);
    }
}

#[tokio::test]
async fn haproxy_becomes_a_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "global\n  maxconn 4096\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 30s\n\
        frontend web\n  bind *:80\n  bind *:443 ssl crt /etc/haproxy/example.pem\n  redirect scheme https if !{ ssl_fc }\n\
        \x20 acl shop hdr(host) -i WWW.example.cn\n  acl api path_beg /api\n  use_backend api if shop api\n\
        \x20 use_backend app if shop\n  use_backend other if !shop\nbackend app\n  option httpchk GET /healthz\n\
        \x20 server a 10.0.1.10:8080 check weight 2\nbackend api\n  balance source\n\
        \x20 server a 10.0.1.20:443 ssl verify none sni str(api.example.com)\n";
    fs_err::write(folder.path().join("haproxy.cfg"), text).expect("written");
    let run = import("haproxy", folder.path(), "haproxy.cfg").await;
    assert_eq!(run.code, 0, "{run:?}");
    let expected = [
        "hosts: [\"www.example.cn\"]",
        "listeners: [\"http\", \"https\"]",
        "certificate: {chain: \"/etc/haproxy/example.pem\", key: \"/etc/haproxy/example.pem\"}",
        "match: {path: \"/api\"}",
        "origins: [\"api\"]",
        "match: {path: \"/\"}",
        "origins: [\"app\"]",
        "server_name: \"api.example.com\"",
        "timeouts: {connect: 5s}",
        "health: {path: \"/healthz\", interval: 5s}",
    ];
    assert_in_order(&run.stdout, &expected);
    for note in ["maxconn 4096", "timeout client 30s", "use_backend other if !shop", "verify none"] {
        assert!(run.stderr.contains(note), "{note} is not in:\n{}", run.stderr);
    }
}

#[tokio::test]
async fn what_was_imported_passes_check() {
    let folder = Edge::builder().write();
    fs_err::create_dir(folder.path("sites")).expect("created");
    folder.replace("nginx.conf", NGINX);
    let own_pair = SHOP.replace("example.cn.pem", "site.pem").replace("example.cn.key", "site.key");
    folder.replace("sites/shop.conf", own_pair);
    let run = import("nginx", &folder.path(""), "nginx.conf").await;
    folder.replace("icpgate.yaml", &run.stdout);
    let check = folder.check(&[]).await;
    assert_eq!(check.code, 0, "{check:?}\n{}", run.stdout);
}

#[tokio::test]
async fn import_reports_broken_files_and_missing_includes() {
    let folder = tempfile::tempdir().expect("a folder");
    for (text, code, word) in [
        ("server { listen 80", 2, "nginx.conf:1"),
        ("server { listen 80; }}", 2, "closes no block"),
        ("include nginx.conf;", 2, "within each other"),
        ("server { listen 80; server_name a.cn; root /srv; }", 1, "leads to an origin"),
        ("", 1, ""),
    ] {
        fs_err::write(folder.path().join("nginx.conf"), text).expect("written");
        let run = import("nginx", folder.path(), "nginx.conf").await;
        assert_eq!(run.code, code, "{text}: {run:?}");
        assert!(run.stderr.contains(word), "{text}: {run:?}");
    }
}
