//! Independent implementations: nginx and the h2 crate behind the edge, h2load and curl in front.

use std::net::SocketAddr;

use crate::support::edge::{Edge, Run, icpgate, run};
use crate::support::http2_origin::{Exchange, Http2Origin};
use crate::support::peer::nginx;
use crate::support::{PATIENCE, eventually};

use super::HOST;

/// nginx as an HTTP/2 server over TLS.
const BEHIND: &str = r#"  - {name: main, region: offshore, scheme: https, server_name: www.example.cn, trust: ca.pem, servers: ["$IP:7001"],
     health: {path: /, interval: 200ms}, pool: {preconnect: 1}}
"#;

/// h2load: many requests over three connections, twenty at a time on each.
const REQUESTS: usize = 3000;

async fn h2load(edge: &Edge) -> Run {
    let (url, to) = (format!("https://{HOST}:{}/", edge.https().port()), edge.https().to_string());
    let (requests, connect) = (REQUESTS.to_string(), format!("--connect-to={to}"));
    run("h2load", ["-n", &requests, "-c", "3", "-m", "20", &connect, &url]).await
}

#[track_caller]
fn all_are_answered(load: &Run) {
    let told =
        format!("{REQUESTS} total, {REQUESTS} started, {REQUESTS} done, {REQUESTS} succeeded, 0 failed");
    assert!(load.stdout.contains(&told) && load.stdout.contains("Application protocol: h2"), "{load:?}");
}

fn behind(at: SocketAddr) -> String {
    format!(
        "  log_format seen '$server_protocol $connection $request_method $uri $status $ssl_session_reused';\n  server {{\n    \
         access_log seen.log seen;\n    listen {at} ssl http2;\n    \
         ssl_certificate site.pem;\n    ssl_certificate_key site.key;\n    keepalive_requests 1000000;\n    \
         client_max_body_size 64m;\n    location / {{ return 200 \"nginx\"; }}\n    \
         location /files/ {{ alias files/; dav_methods PUT; }}\n  }}\n"
    )
}

#[tokio::test]
async fn nginx_answers_over_http2() {
    let edge = Edge::builder().origins(BEHIND).start().await;
    let at = edge.beside(7001);
    fs_err::create_dir(edge.path("files")).expect("a folder");
    let _nginx = nginx(&edge, &behind(at), at).await;
    edge.metric_becomes(&format!("icpgate_origin_up{{origin=\"main\",server=\"{at}\"}}"), 1.0).await;
    let seen = || fs_err::read_to_string(edge.path("seen.log")).expect("a log");
    eventually("it is checked", PATIENCE, async || seen().contains("HTTP/2.0").then_some(())).await;

    all_are_answered(&h2load(&edge).await);
    eventually("all is logged", PATIENCE, async || (seen().lines().count() >= REQUESTS).then_some(())).await;
    assert!(seen().lines().all(|line| line.starts_with("HTTP/2.0 ")), "nothing came over HTTP/1.1");
    let count = |seen: &str| {
        let mut many: Vec<(String, usize)> = Vec::new();
        for connection in seen.lines().filter_map(|line| line.split(' ').nth(1)) {
            match many.iter_mut().find(|(known, _)| known == connection) {
                Some((_, requests)) => *requests += 1,
                None => many.push((connection.to_owned(), 1)),
            }
        }
        many.into_iter().filter(|(_, requests)| *requests > 1).count()
    };
    let shared = count(&seen());
    assert!((1..=4).contains(&shared), "{shared} connections for 60 requests at once");

    // Large bodies in both directions, over both protocols of a client.
    let body: Vec<u8> = (0..5_000_000_u32).map(|place| (place / 7) as u8).collect();
    edge.replace("body", &body);
    let resolve = format!("{HOST}:{}:{}", edge.https().port(), edge.ip());
    let [ca, from, back] = ["ca.pem", "body", "back"].map(|name| edge.path(name).display().to_string());
    for version in ["--http1.1", "--http2"] {
        let url = format!("https://{HOST}:{}/files/{}", edge.https().port(), version.trim_matches('-'));
        let usual = ["-sS", "--fail", version, "--cacert", &ca, "--resolve", &resolve];
        let put = run("curl", usual.into_iter().chain(["-T", &from, &url])).await;
        assert_eq!(put.code, 0, "{version}: {put:?}");
        let got = run("curl", usual.into_iter().chain(["-o", &back, &url])).await;
        assert_eq!(got.code, 0, "{version}: {got:?}");
        assert!(fs_err::read(&back).expect("it is there") == body, "{version}");
        let head = run("curl", usual.into_iter().chain(["-I", &url])).await;
        assert!(head.code == 0 && head.stdout.contains("5000000"), "{version}: {head:?}");
    }
    let config = edge.config_path().display().to_string();
    let probed = icpgate(["probe", "--config", &config, "--count", "2"]).await;
    assert_eq!(probed.code, 0, "{probed:?}");
}

#[tokio::test]
async fn h2load_gets_every_answer_of_a_rust_server() {
    let origin = Http2Origin::start(|mut exchange: Exchange| async move { exchange.text("rust") }).await;
    let edge = super::h2c().origin(origin.address).start().await;
    all_are_answered(&h2load(&edge).await);
    assert_eq!(origin.requests(), REQUESTS);
    assert!(origin.connections() <= 4, "{} connections", origin.connections());
}
