//! Upstream connections over long paths: preconnected, resumed, kept over reloads, tuned as configured.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::client::Target;
use crate::support::edge::{Edge, Folder, run};
use crate::support::netns::{Network, Trouble, network};
use crate::support::origin::{Gate, Origin, Step, ok};
use crate::support::pki::Authority;
use crate::support::relay::Relay;
use crate::support::{HOST, PATIENCE, eventually};

/// An origin over TLS at `server`, verified by `private.pem`.
fn origin(server: SocketAddr, more: &str) -> String {
    format!(
        "  - {{name: main, region: offshore, scheme: https, server_name: app.example.com, trust: private.pem, \
         servers: [\"{server}\"]{more}}}\n"
    )
}

/// An origin in clear text at `server`.
fn clear(server: SocketAddr, more: &str) -> String {
    format!("  - {{name: main, region: mainland, scheme: http, servers: [\"{server}\"]{more}}}\n")
}

async fn start(private: &Authority, origins: &str) -> Edge {
    let folder = Edge::builder().origins(origins).write();
    folder.replace("private.pem", &private.pem);
    folder.start().await
}

fn config(private: &Authority) -> Arc<rustls::ServerConfig> {
    Arc::new(private.pair(&["app.example.com"]).server_config(&[]))
}

/// Replaces `from` in the configuration, and waits for the reload.
async fn reload(edge: &Edge, from: &str, to: &str) {
    let folder: &Folder = edge;
    let text = fs_err::read_to_string(folder.config_path()).unwrap();
    assert!(text.contains(from), "{from}");
    let generation = edge.metric("icpgate_snapshot_generation").await;
    folder.replace("icpgate.yaml", text.replace(from, to));
    edge.metric_becomes("icpgate_snapshot_generation", generation + 1.0).await;
}

fn ready(server: SocketAddr) -> String {
    format!("icpgate_upstream_ready{{origin=\"main\",server=\"{server}\"}}")
}

#[tokio::test]
async fn preconnect_keeps_connections_ready_before_requests() {
    let private = Authority::new();
    let mut far = Origin::tls(config(&private), |_| ok("fine")).await;
    let edge = start(&private, &origin(far.address, ", pool: {max_idle: 8, preconnect: 3}")).await;
    let ready = ready(far.address);
    edge.metric_becomes(&ready, 3.0).await;
    assert_eq!((far.connections(), far.open(), far.seen().len()), (3, 3, 0));
    let mut client = Target::https(&edge).http1(HOST).await;
    for _ in 0..5 {
        assert_eq!(client.get(HOST, "/").await.text(), "fine");
    }
    // One more connection may be made while one is in use.
    assert!(far.connections() <= 4, "{}", far.connections());

    far.hang_up();
    eventually("they are replaced", PATIENCE, async || {
        (far.connections() >= 6 && far.open() >= 3).then_some(())
    })
    .await;
    eventually("they are ready", PATIENCE, async || (edge.metric(&ready).await >= 3.0).then_some(())).await;

    // An ejected server gets no new connections.
    far.stop().await;
    eventually("it is left alone", PATIENCE, async || {
        (client.get(HOST, "/").await.status != 200 && edge.metric(&ready).await == 0.0).then_some(())
    })
    .await;
    far.up();
    eventually("it serves again", PATIENCE, async || {
        (client.get(HOST, "/").await.status == 200).then_some(())
    })
    .await;
    eventually("they are ready", PATIENCE, async || (edge.metric(&ready).await >= 3.0).then_some(())).await;

    let elsewhere = Origin::tls(config(&private), |_| ok("elsewhere")).await;
    reload(&edge, &far.address.to_string(), &elsewhere.address.to_string()).await;
    eventually("the old ones are closed", PATIENCE, async || (far.open() == 0).then_some(())).await;
    eventually("the new ones are made", PATIENCE, async || (elsewhere.open() >= 3).then_some(())).await;
}

#[tokio::test]
async fn a_warm_request_takes_one_round_trip() {
    const ONE_WAY: Duration = Duration::from_millis(100);
    let private = Authority::new();
    let far = Origin::tls(config(&private), |_| ok("fine")).await;
    let relay = Relay::to(far.address, ONE_WAY).await;
    let edge = start(&private, &origin(relay.address, ", pool: {preconnect: 4}")).await;
    edge.metric_becomes(&ready(relay.address), 4.0).await;
    let mut client = Target::https(&edge).http1(HOST).await;
    let mut took = Vec::new();
    for round in 0..15 {
        let asked = Instant::now();
        assert_eq!(client.get(HOST, "/").await.text(), "fine");
        took.push(asked.elapsed());
        // The first request uses a connection that was ready.
        assert!(round > 0 || far.seen()[0].connection < 4, "{:?}", far.seen());
    }
    // One more connection is made while one is in use.
    assert!(relay.connections() <= 5, "{}", relay.connections());
    took.sort_unstable();
    // One round trip, with half a round trip for a busy machine; a cold connection needs two.
    assert!(took[took.len() / 2] < ONE_WAY * 3, "{took:?}");
}

#[tokio::test]
async fn sessions_are_resumed_and_outlive_a_reload() {
    let private = Authority::new();
    let far = Origin::tls(config(&private), |_| [ok("fine"), vec![Step::Close]].concat()).await;
    let edge = start(&private, &origin(far.address, "")).await;
    let mut client = Target::https(&edge).http1(HOST).await;
    for resumed in [0, 1, 2] {
        assert_eq!(client.get(HOST, "/").await.text(), "fine");
        assert_eq!(far.resumed(), resumed);
    }
    reload(&edge, "origins:", "# changed\norigins:").await;
    assert_eq!(client.get(HOST, "/").await.text(), "fine");
    assert_eq!(far.resumed(), 3);
    // Another verification resumes no session.
    let generation = edge.metric("icpgate_snapshot_generation").await;
    edge.replace("private.pem", [&*private.pem, &*Authority::new().pem].concat());
    edge.metric_becomes("icpgate_snapshot_generation", generation + 1.0).await;
    assert_eq!(client.get(HOST, "/").await.text(), "fine");
    assert_eq!((far.connections(), far.resumed()), (5, 3));
}

#[tokio::test]
async fn a_reload_that_keeps_the_verification_keeps_connections() {
    let private = Authority::new();
    let far = Origin::tls(config(&private), |_| ok("fine")).await;
    let edge = start(&private, &origin(far.address, "")).await;
    let mut client = Target::https(&edge).http1(HOST).await;
    assert_eq!(client.get(HOST, "/").await.text(), "fine");
    // A file of another name with the same bytes is the same verification.
    edge.replace("other.pem", &private.pem);
    reload(&edge, "private.pem", "other.pem").await;
    assert_eq!(client.get(HOST, "/").await.text(), "fine");
    assert_eq!(far.connections(), 1, "the kept connection is used");
    reload(&edge, "server_name: app.example.com", "server_name: other.example.com").await;
    assert_eq!(client.get(HOST, "/").await.status, 502, "another name is verified");
    assert_eq!(far.seen().len(), 2);
}

#[tokio::test]
async fn no_more_connections_are_kept_than_configured() {
    let far = Origin::text("fine").await;
    let origins = clear(far.address, ", pool: {max_idle: 0}");
    let edge = Edge::builder().origins(&origins).start().await;
    let mut client = Target::https(&edge).http1(HOST).await;
    for round in 1..=3 {
        assert_eq!(client.get(HOST, "/").await.text(), "fine");
        assert_eq!(far.connections(), round);
    }
    reload(&edge, "max_idle: 0", "max_idle: 1").await;
    for _ in 0..3 {
        assert_eq!(client.get(HOST, "/").await.text(), "fine");
        assert_eq!(far.connections(), 4);
    }
}

/// Each request comes on its own connection, so that any thread may serve it.
#[tokio::test]
async fn threads_share_the_connections_that_they_keep() {
    let gate = Gate::default();
    let held = gate.clone();
    let far = Origin::start(move |_| [vec![Step::Wait(held.clone())], ok("fine")].concat()).await;
    let origins = clear(far.address, ", pool: {max_idle: 3}");
    let edge = Edge::builder().origins(&origins).start().await;
    let target = Target::https(&edge);
    let ask = || target.get(HOST, "/");
    let (asked, _) = tokio::join!(futures_util::future::join_all((0..8).map(|_| ask())), async {
        far.until("all are there", |seen| seen.len() == 8).await;
        gate.open();
    });
    assert!(asked.iter().all(|answer| answer.text() == "fine"));
    let rest = async || (far.open() == 3).then_some(());
    eventually("more than configured are closed", PATIENCE, rest).await;
    for _ in 0..100 {
        assert_eq!(ask().await.text(), "fine");
    }
    assert_eq!((far.connections(), far.open()), (8, 3), "none is made while any is kept");
}

#[tokio::test]
async fn a_connection_has_the_congestion_control_of_its_origin() {
    let known = fs_err::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control").unwrap();
    let system = fs_err::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").unwrap();
    let far = Origin::text("fine").await;
    let origins = |congestion: &str| clear(far.address, &format!(", congestion: {congestion}"));
    let words = known.split_whitespace().filter(|word| *word != system.trim());
    for (word, has) in words.map(|word| (word, word)).chain([("unknown", system.trim())]) {
        let edge = Edge::builder().origins(&origins(word)).start().await;
        assert_eq!(Target::https(&edge).get(HOST, "/").await.text(), "fine");
        let to = far.address.to_string();
        let shown = run("ss", ["-tinH", "state", "established", "dst", &to]).await;
        assert_eq!(shown.code, 0, "{shown:?}");
        let kept = shown.stdout.lines().filter(|line| line.starts_with([' ', '\t']));
        let controls: Vec<&str> = kept.filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(controls, [has], "{word}: {shown:?}");
        let warned = edge.log().contains("no congestion control unknown");
        assert_eq!(warned, word == "unknown", "{}", edge.log());
    }
}

#[tokio::test]
async fn path_measurements_are_shown_in_status_and_metrics() {
    let private = Authority::new();
    let far = Origin::tls(config(&private), |_| ok("fine")).await;
    let relay = Relay::to(far.address, Duration::from_millis(40)).await;
    let servers = format!(
        "  - {{name: main, region: offshore, scheme: https, server_name: app.example.com, trust: private.pem, \
                           servers: [{{address: \"{}\", link: cn2-gia}}]}}\n",
        relay.address
    );
    let edge = start(&private, &servers).await;
    let server = async || edge.status().await["origins"][0]["servers"][0].clone();
    let before = server().await;
    assert_eq!(
        (&before["link"], &before["up"], &before["in_flight"]),
        (&"cn2-gia".into(), &true.into(), &0.into())
    );
    for unknown in ["connect_ms", "tls_ms", "first_byte_ms", "round_trip_ms", "loss"] {
        assert!(before[unknown].is_null(), "{unknown}: {before:#}");
    }
    let mut client = Target::https(&edge).http1(HOST).await;
    for _ in 0..5 {
        assert_eq!(client.get(HOST, "/").await.text(), "fine");
    }
    let shown = eventually("the kernel is asked", PATIENCE, async || {
        let shown = server().await;
        (!shown["round_trip_ms"].is_null()).then_some(shown)
    })
    .await;
    let time = |name: &str| shown[name].as_f64().unwrap_or_else(|| panic!("{name}: {shown:#}"));
    assert!(time("tls_ms") >= 80.0 && time("first_byte_ms") >= 80.0, "{shown:#}");
    // The relay accepts without delay, and the kernel measures up to the relay.
    assert!(time("connect_ms") < time("tls_ms") && time("round_trip_ms") < time("tls_ms"), "{shown:#}");
    assert_eq!(time("loss"), 0.0);
    let metrics = edge.metrics().await;
    let labels = format!("origin=\"main\",server=\"{}\",link=\"cn2-gia\"", relay.address);
    for (part, count) in [("connect", 1.0), ("tls", 1.0), ("first_byte", 5.0)] {
        let series = |end: &str, more: &str| {
            format!("icpgate_upstream_server_seconds_{end}{{{labels},part=\"{part}\"{more}}}")
        };
        assert_eq!(metrics.value(&series("count", "")), count);
        assert_eq!(metrics.value(&series("bucket", ",le=\"+Inf\"")), count);
        let fast = metrics.value(&series("bucket", ",le=\"0.05\""));
        assert!(part == "connect" || fast == 0.0, "{part}: {fast}");
    }
    assert!(metrics.value(&format!("icpgate_upstream_segments_total{{{labels}}}")) >= 5.0);
    assert_eq!(metrics.value(&format!("icpgate_upstream_retransmits_total{{{labels}}}")), 0.0);
    let tls = "icpgate_upstream_tls_seconds_count{link=\"cn2-gia\",origin=\"main\"}";
    assert_eq!(metrics.value(tls), 1.0);
}

#[tokio::test]
async fn a_path_that_has_died_is_noticed_by_keep_alive_probes() {
    let name = "long_haul::a_path_that_has_died_is_noticed_by_keep_alive_probes";
    if network(name).await == Network::Passed {
        return;
    }
    let far = Origin::start(|_| vec![Step::Wait(Gate::default())]).await;
    let origins = format!(
        "  - {{name: main, region: offshore, scheme: http, servers: [\"{}\"], timeouts: {{connect: 500ms, first_byte: 60s}}}}\n",
        far.address
    );
    let edge = Edge::builder().origins(&origins).start().await;
    let mut client = Target::https(&edge).http1(HOST).await;
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    far.until("it is asked", |seen| seen.len() == 1).await;
    Trouble::Cut.befalls(far.address.port()).await;
    let cut = Instant::now();
    // Long before first_byte, 60 s.
    assert_eq!(client.answer("GET").await.status, 502);
    let took = cut.elapsed();
    println!("a path that died under a request was noticed after {took:?}");
    assert!(took > Duration::from_secs(3), "{took:?}: probes must be lost for a while first");
}
