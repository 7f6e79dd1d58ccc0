//! `icpgate probe`: its measurements match the simulated delays.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use serde_json::Value;

use crate::support::dns::NameServer;
use crate::support::edge::{Edge, Folder, Loopback, Run, icpgate, run};
use crate::support::origin::{Origin, answer, ok};
use crate::support::pki::{Authority, Pair};
use crate::support::relay::{BlackHole, Relay};
use crate::support::{PATIENCE, eventually};

const SITES: &str = "  - hosts: [www.example.cn]\n    certificate: {chain: site.pem, key: site.key}\n    \
                     routes: [{origins: [first]}]\n";

fn origin(name: &str, server: SocketAddr, more: &str) -> String {
    format!("  - {{name: {name}, region: offshore, servers: [\"{server}\"], {more}}}\n")
}

fn serving(pair: &Pair) -> Arc<ServerConfig> {
    Arc::new(pair.server_config(&[]))
}

async fn probe(folder: &Folder, more: &[&str]) -> Run {
    let file = folder.config_path().display().to_string();
    icpgate([&["probe", "--config", &file], more].concat()).await
}

fn median(server: &Value, part: &str) -> f64 {
    server[part]["median"].as_f64().unwrap_or_else(|| panic!("{part} in {server:#}"))
}

#[tokio::test]
async fn a_known_delay_shows_in_its_own_column() {
    let private = Authority::new();
    let config = serving(&private.pair(&["app.example.com"]));
    let far = Origin::tls(config, |_| ok("far")).await;
    let near = Origin::text("near").await;
    let relay = Relay::to(far.address, Duration::from_millis(60)).await;
    let dns = NameServer::start().await;
    dns.set("far.origin.test", &[relay.address.ip()], 60);
    dns.takes(Duration::from_millis(250));
    let hole = BlackHole::at(Loopback::claim().at(8081)).await;
    let far_origin = format!(
        "  - {{name: far, region: offshore, scheme: https, server_name: app.example.com, trust: private.pem, servers: \
         [{{address: \"far.origin.test:{}\", link: cn2-gia}}]}}\n",
        relay.address.port()
    );
    let origins = [
        far_origin,
        origin("first", near.address, "scheme: http"),
        origin("late", hole.address, "scheme: http"),
    ];
    let resolver = format!("resolver: {{servers: [\"{}\"]}}\n", dns.address);
    let folder = Edge::builder().sites(SITES).origins(&origins.concat()).more(&resolver).write();
    folder.replace("private.pem", &private.pem);
    let opening = async {
        // By then, the first SYN to the other server was lost.
        eventually("the far one is reached", PATIENCE, async || (relay.connections() > 0).then_some(()))
            .await;
        hole.opens()
    };
    let (run, _open) = tokio::join!(probe(&folder, &["--count", "1", "--json"]), opening);
    assert_eq!(run.code, 0, "{run:?}");
    let probed = run.json();
    let [far, near, late] = probed["servers"].as_array().unwrap().as_slice() else { panic!("{probed:#}") };
    assert_eq!(
        (&far["link"], &far["region"], &near["link"]),
        (&"cn2-gia".into(), &"offshore".into(), &"default".into())
    );
    // A busy machine adds to every column; the simulated delays still show.
    let parts = ["dns", "connect", "tls", "first_byte"].map(|part| median(far, part));
    let [lookup, connect, tls, first_byte] = parts;
    assert!((250.0..450.0).contains(&lookup) && connect < 100.0, "{parts:?}");
    assert!((120.0..320.0).contains(&tls) && (120.0..320.0).contains(&first_byte), "{parts:?}");
    assert!(near["dns"].is_null() && near["tls"].is_null(), "{near:#}");
    assert!(median(near, "connect") < 100.0 && median(near, "first_byte") < 100.0, "{near:#}");
    assert!((900.0..1600.0).contains(&median(late, "connect")), "{late:#}");
    assert!(median(late, "first_byte") < 200.0, "{late:#}");
}

#[tokio::test]
async fn probe_names_a_failing_server_and_exits_with_1() {
    let private = Authority::new();
    let other = Authority::new();
    let good = Origin::tls(serving(&private.pair(&["app.example.com"])), |_| ok("fine")).await;
    let bad = Origin::tls(serving(&other.pair(&["app.example.com"])), |_| ok("not verified")).await;
    let broken = Origin::start(|request| match request.target() {
        "/healthz" => answer("500 Internal Server Error", &[], "broken"),
        _ => ok("fine"),
    })
    .await;
    let refusing = Origin::down(|_| ok("never"), None);
    let hole = BlackHole::at(Loopback::claim().at(8081)).await;
    let https = "scheme: https, server_name: app.example.com, trust: private.pem";
    let origins = [
        origin("first", good.address, https),
        origin("bad-certificate", bad.address, https),
        origin("broken", broken.address, "scheme: http, health: {path: /healthz}"),
        origin("refusing", refusing.address, "scheme: http"),
        origin("dark", hole.address, "scheme: http, timeouts: {connect: 400ms}"),
    ];
    let folder = Edge::builder().sites(SITES).origins(&origins.concat()).write();
    folder.replace("private.pem", &private.pem);
    let run = probe(&folder, &["--count", "2", "--json"]).await;
    assert_eq!(run.code, 1, "{run:?}");
    let probed = run.json();
    let servers = probed["servers"].as_array().unwrap();
    let reasons = ["", "certificate", "status 500", "refused", "no connection within 400ms"];
    for (server, reason) in servers.iter().zip(reasons) {
        let failed = if reason.is_empty() { 0 } else { 2 };
        assert_eq!(server["failed"], failed, "{server:#}");
        assert!(
            server["failures"].as_object().unwrap().keys().all(|told| told.contains(reason)),
            "{server:#}"
        );
    }
    assert_eq!((good.seen()[0].method(), broken.seen()[0].method()), ("HEAD", "GET"));
    assert!(bad.seen().is_empty());

    let run = probe(&folder, &["--count", "1"]).await;
    assert_eq!(run.code, 1);
    for expected in ["first byte", "0 of 1", "dark", "1 of 1 failed: status 500", "to compare"] {
        assert!(run.stdout.contains(expected), "{expected}: {}", run.stdout);
    }
    assert_eq!(run.stderr, "", "no progress is shown where nobody watches");
}

#[tokio::test]
async fn the_curl_command_that_probe_prints_does_the_same() {
    let private = Authority::new();
    let tls = Origin::tls(serving(&private.pair(&["app.example.com"])), |_| ok("fine")).await;
    let clear = Origin::text("fine").await;
    let https = "scheme: https, server_name: app.example.com, trust: private.pem, host: other.example.com";
    let origins = [
        origin("first", clear.address, "scheme: http, health: {path: /healthz}"),
        origin("second", tls.address, https),
    ];
    let folder = Edge::builder().sites(SITES).origins(&origins.concat()).write();
    folder.replace("private.pem", &private.pem);
    let probed = probe(&folder, &["--count", "1", "--json"]).await.json();
    for (server, origin) in probed["servers"].as_array().unwrap().iter().zip([&clear, &tls]) {
        let line = server["curl"].as_str().unwrap();
        let curl = run("sh", ["-c", line]).await;
        assert_eq!(curl.code, 0, "{line}\n{curl:?}");
        assert!(curl.stdout.contains("first byte 0."), "{curl:?}");
        let [ours, curls] = &origin.seen()[..] else { panic!("two requests") };
        assert_eq!(ours.head.start, curls.head.start);
        assert_eq!(ours.head.get("host"), curls.head.get("host"));
    }
}

#[tokio::test]
async fn probe_exits_with_2_when_it_cannot_run() {
    let folder = Edge::builder().write();
    folder.replace("icpgate.yaml", "nonsense: true\n");
    let run = probe(&folder, &[]).await;
    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.stderr.contains("nonsense"), "{run:?}");
    assert_eq!(icpgate(["probe", "--config", "/nowhere.yaml"]).await.code, 2);
    assert_eq!(probe(&folder, &["--count", "0"]).await.code, 2);
}
