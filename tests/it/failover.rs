//! Requests while a server or a whole origin is down.

mod circuit;
mod flapping;
mod hedging;
mod links;
mod network;
mod paths;
mod sticky;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use http::Method;
use tokio::net::TcpListener;

use crate::support::client::Target;
use crate::support::edge::Edge;
use crate::support::origin::{Origin, Request, Script, Step, answer, ok};
use crate::support::time::not_before;
use crate::support::{HOST, PATIENCE, eventually};

const SITES: &str = "  - name: shop\n    hosts: [www.example.cn]\n    certificate: {chain: site.pem, key: site.key}\n    \
                     routes: [{origins: [first, second]}]\n";

/// A site with one origin.
const ONE_ORIGIN: &str = "  - name: shop\n    hosts: [www.example.cn]\n    certificate: {chain: site.pem, key: site.key}\n    \
                          routes: [{origins: [first]}]\n";

/// An edge with one origin that has these servers and further keys.
async fn edge_of(servers: &[SocketAddr], keys: &str) -> Edge {
    let servers: Vec<String> = servers.iter().map(|server| format!("\"{server}\"")).collect();
    let servers = servers.join(", ");
    let keys = if keys.is_empty() { String::new() } else { format!(", {keys}") };
    let origins =
        format!("  - {{name: first, region: offshore, scheme: http, servers: [{servers}]{keys}}}\n");
    Edge::builder().sites(ONE_ORIGIN).origins(&origins).start().await
}

/// The metric that says whether a server of the first origin is in service.
fn up(server: &Origin) -> String {
    format!("icpgate_origin_up{{origin=\"first\",server=\"{}\"}}", server.address)
}

fn origin(name: &str, servers: &[&Origin]) -> String {
    let servers: Vec<String> = servers.iter().map(|server| format!("\"{}\"", server.address)).collect();
    format!("  - {{name: {name}, region: mainland, scheme: http, servers: [{}]}}\n", servers.join(", "))
}

#[tokio::test]
async fn the_next_origin_serves_while_the_first_is_down() {
    let mut first = Origin::text("first").await;
    let second = Origin::text("second").await;
    let origins = [origin("first", &[&first]), origin("second", &[&second])].concat();
    let edge = Edge::builder().sites(SITES).origins(&origins).start().await;
    let mut http1 = Target::https(&edge).http1(HOST).await;
    let mut http2 = Target::https(&edge).http2(HOST).await;
    for round in 0..20 {
        if round == 5 {
            first.stop().await;
        }
        let expected = if round < 5 { "first" } else { "second" };
        assert_eq!(http1.get(HOST, "/").await.text(), expected, "round {round}");
        assert_eq!(http1.post(HOST, "/", "body").await.text(), expected, "round {round}");
        assert_eq!(http2.get(HOST, "/").await.text(), expected, "round {round}");
    }
    assert!(
        second
            .seen()
            .iter()
            .filter(|request| request.method() == "POST")
            .all(|request| request.body == b"body")
    );
    let up = up(&first);
    edge.metric_becomes(&up, 0.0).await;
    let records = edge.records_where(60, |_| true).await;
    assert!(records.iter().all(|record| record["status"] == 200));
    assert_eq!(records[59]["origin"], "second");

    first.up();
    eventually("the first origin serves again", PATIENCE, async || {
        (http1.get(HOST, "/").await.text() == "first").then_some(())
    })
    .await;
    edge.metric_becomes(&up, 1.0).await;
}

#[tokio::test]
async fn the_servers_of_an_origin_take_turns_and_stand_in_for_each_other() {
    let (mut one, two) = (Origin::text("one").await, Origin::text("two").await);
    let elsewhere = Origin::text("elsewhere").await;
    let origins = [origin("first", &[&one, &two]), origin("second", &[&elsewhere])].concat();
    let edge = Edge::builder().sites(SITES).origins(&origins).start().await;
    let mut client = Target::https(&edge).http1(HOST).await;
    for _ in 0..20 {
        assert_eq!(client.get(HOST, "/").await.status, 200);
    }
    // The shares also depend on the speed of the servers.
    assert!(!one.seen().is_empty() && !two.seen().is_empty(), "{} {}", one.seen().len(), two.seen().len());
    one.stop().await;
    for _ in 0..10 {
        assert_eq!(client.get(HOST, "/").await.text(), "two");
    }
    one.up();
    let before = one.seen().len();
    eventually("it has its turn again", PATIENCE, async || {
        assert_eq!(client.get(HOST, "/").await.status, 200);
        (one.seen().len() > before).then_some(())
    })
    .await;
    assert_eq!(elsewhere.connections(), 0, "the second origin is not asked while the first has a server");
}

#[tokio::test]
async fn with_all_servers_down_few_requests_are_tried_until_one_is_up() {
    let mut first = Origin::down(|_| ok("first"), None);
    let second = Origin::down(|_| ok("second"), None);
    // A refused connection fails at once, not at the connect timeout.
    let origins = [origin("first", &[&first]), origin("second", &[&second])]
        .concat()
        .replace("scheme: http,", "scheme: http, timeouts: {connect: 60s},");
    let edge = Edge::builder().sites(SITES).origins(&origins).start().await;
    let mut client = Target::https(&edge).http1(HOST).await;
    let mut statuses = Vec::new();
    for _ in 0..20 {
        statuses.push(client.get(HOST, "/").await.status);
    }
    assert_eq!(statuses[0], 502, "it was tried");
    assert!(
        statuses.iter().all(|status| [502, 503].contains(status)) && statuses.contains(&503),
        "{statuses:?}"
    );
    first.up();
    eventually("it is served", PATIENCE, async || (client.get(HOST, "/").await.status == 200).then_some(()))
        .await;
}

#[tokio::test]
async fn a_server_that_does_not_finish_its_handshake_fails_at_connect_timeout() {
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let second = Origin::text("second").await;
    let first = format!(
        "  - {{name: first, region: offshore, scheme: https, server_name: a.example.com, servers: [\"{}\"], timeouts: {{connect: 300ms}}}}\n",
        mute.local_addr().unwrap(),
    );
    let origins = [first, origin("second", &[&second])].concat();
    let edge = Edge::builder().sites(SITES).origins(&origins).start().await;
    let mut client = Target::https(&edge).http1(HOST).await;
    let first = not_before(Duration::from_millis(300), client.get(HOST, "/"));
    assert_eq!(first.await.text(), "second");
    // It is ejected now.
    assert_eq!(client.get(HOST, "/").await.text(), "second");
    let (_first, _) = mute.accept().await.unwrap();
    assert!(mute.accept().now_or_never().is_none(), "a second connection was made");
}

/// Two servers of one origin that answer alike.
async fn pair(answer: fn(&Request) -> Script) -> (Origin, Origin, Edge) {
    let (one, two) = (Origin::start(answer).await, Origin::start(answer).await);
    let edge = Edge::builder().sites(ONE_ORIGIN).origins(&origin("first", &[&one, &two])).start().await;
    (one, two, edge)
}

#[tokio::test]
async fn a_post_that_may_have_been_processed_is_not_retried() {
    let (one, two, edge) = pair(|request| match request.target() {
        "/gone" => vec![Step::Close],
        _ => ok("fine"),
    })
    .await;
    let mut http1 = Target::https(&edge).http1(HOST).await;
    let mut http2 = Target::https(&edge).http2(HOST).await;
    assert_eq!(http1.post(HOST, "/gone", "body").await.status, 502);
    assert_eq!(http2.request(Method::POST, HOST, "/gone", &[]).await.unwrap().status, 502);
    assert_eq!(one.seen().len() + two.seen().len(), 2);
    // A GET is idempotent: it is retried once.
    assert_eq!(http1.get(HOST, "/gone").await.status, 502);
    assert_eq!(one.seen().len() + two.seen().len(), 4);
    for _ in 0..2 {
        assert_eq!(http1.get(HOST, "/").await.text(), "fine");
    }
}

#[tokio::test]
async fn a_get_on_a_dying_kept_connection_is_retried_on_a_new_one() {
    let begun = Mutex::new(HashSet::new());
    let origin = Origin::start(move |request| {
        let first = begun.lock().unwrap().insert(request.connection);
        if first { ok("fine") } else { vec![Step::Reset] }
    })
    .await;
    let edge = Edge::in_front_of(&origin).await;
    let mut client = Target::https(&edge).http1(HOST).await;
    for round in 1..=5 {
        assert_eq!(client.get(HOST, "/").await.text(), "fine", "round {round}");
        // Every request but the first uses the kept connection of the one before.
        assert_eq!(origin.connections(), round);
    }
    assert_eq!(origin.seen().len(), 9);

    assert_eq!(client.post(HOST, "/", "body").await.status, 502, "nobody knows whether it was carried out");
    assert_eq!(origin.seen().len(), 10);
}

#[tokio::test]
async fn a_connection_that_the_server_has_closed_is_not_used() {
    let origin = Origin::start(|_| [ok("fine"), vec![Step::Close]].concat()).await;
    let edge = Edge::in_front_of(&origin).await;
    let mut client = Target::https(&edge).http1(HOST).await;
    for round in 1..=5 {
        assert_eq!(client.post(HOST, "/", "body").await.text(), "fine", "round {round}");
        eventually("it is closed", PATIENCE, async || (origin.open() == 0).then_some(())).await;
    }
    assert_eq!((origin.connections(), origin.seen().len()), (5, 5));
}

#[tokio::test]
async fn a_backup_serves_only_while_no_other_server_can() {
    let mut main = Origin::text("main").await;
    let spare = Origin::text("spare").await;
    let origins = format!(
        "  - {{name: first, region: offshore, scheme: http, servers: [{{address: \"{}\", link: public, backup: true}}, \
         {{address: \"{}\", link: cn2-gia, weight: 2}}]}}\n",
        spare.address, main.address
    );
    let edge = Edge::builder().sites(ONE_ORIGIN).origins(&origins).start().await;
    let mut client = Target::https(&edge).http1(HOST).await;
    for _ in 0..10 {
        assert_eq!(client.get(HOST, "/").await.text(), "main");
    }
    main.stop().await;
    for _ in 0..10 {
        assert_eq!(client.get(HOST, "/").await.text(), "spare");
    }
    main.up();
    eventually("the backup is not needed", PATIENCE, async || {
        (client.get(HOST, "/").await.text() == "main").then_some(())
    })
    .await;
    let records = edge.records_where(21, |record| record["status"] == 200).await;
    assert_eq!((&records[0]["link"], &records[10]["link"]), (&"cn2-gia".into(), &"public".into()));
    for link in ["public", "cn2-gia"] {
        let series = format!("icpgate_upstream_first_byte_seconds_count{{link=\"{link}\",origin=\"first\"}}");
        assert!(edge.metric(&series).await >= 10.0, "{series}");
    }
}

#[tokio::test]
async fn a_server_has_its_share_by_its_weight() {
    let (heavy, light) = (Origin::text("heavy").await, Origin::text("light").await);
    let origins = format!(
        "  - {{name: first, region: mainland, scheme: http, servers: [\"{}\", {{address: \"{}\", weight: 4}}]}}\n",
        light.address, heavy.address
    );
    let edge = Edge::builder().sites(ONE_ORIGIN).origins(&origins).start().await;
    let mut client = Target::https(&edge).http1(HOST).await;
    // A busy machine may make one server look slow for a while.
    eventually("the shares are as the weights", PATIENCE, async || {
        for _ in 0..10 {
            assert_eq!(client.get(HOST, "/").await.status, 200);
        }
        let (heavy, light) = (heavy.seen().len(), light.seen().len());
        (heavy >= light * 2 && light > 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_server_that_only_fails_is_ejected_while_another_serves() {
    for failure in ["500", "reset"] {
        let well = Arc::new(AtomicBool::new(false));
        let recovered = Arc::clone(&well);
        let sick = Origin::start(move |_| match failure {
            _ if recovered.load(Ordering::Relaxed) => ok("recovered"),
            "500" => answer("500 Internal Server Error", &[], "sick"),
            _ => vec![Step::Reset],
        })
        .await;
        let sound = Origin::text("sound").await;
        let origins = origin("first", &[&sick, &sound])
            .replace("scheme: http,", "scheme: http, retries: {attempts: 1},");
        let edge = Edge::builder().sites(ONE_ORIGIN).origins(&origins).start().await;
        let mut client = Target::https(&edge).http1(HOST).await;
        let up = up(&sick);
        let mut failed = 0;
        eventually("it is ejected", PATIENCE, async || {
            failed += usize::from(client.get(HOST, "/").await.status != 200);
            (edge.metric(&up).await == 0.0).then_some(())
        })
        .await;
        assert_eq!(failed, if failure == "500" { 10 } else { 3 }, "{failure}");
        edge.logged("is left alone for a while").await;
        well.store(true, Ordering::Relaxed);
        eventually("it serves again", PATIENCE, async || {
            let answer = client.get(HOST, "/").await;
            assert_eq!(answer.status, 200);
            (answer.text() == "recovered").then_some(())
        })
        .await;
        edge.metric_becomes(&up, 1.0).await;
    }
}

#[tokio::test]
async fn a_failing_server_without_an_alternative_is_still_used() {
    let alone = Origin::start(|_| answer("500 Internal Server Error", &[], "sick")).await;
    let edge = Edge::in_front_of(&alone).await;
    let mut client = Target::https(&edge).http1(HOST).await;
    for _ in 0..30 {
        assert_eq!(client.get(HOST, "/").await.status, 500);
    }
    assert_eq!(alone.seen().len(), 30);
}

#[tokio::test]
async fn no_get_fails_while_one_of_two_servers_resets() {
    let (sick, sound) = (Origin::start(|_| vec![Step::Reset]).await, Origin::text("sound").await);
    let edge = Edge::builder().sites(ONE_ORIGIN).origins(&origin("first", &[&sick, &sound])).start().await;
    let mut client = Target::https(&edge).http1(HOST).await;
    for round in 0..20 {
        assert_eq!(client.get(HOST, "/").await.text(), "sound", "{round}");
    }
    // Three failures in a row eject it; a trial may follow after a second.
    let tries = sick.seen().len();
    assert!((3..=5).contains(&tries), "{tries}");
    assert!((edge.metric("icpgate_retries_total{origin=\"first\"}").await - tries as f64).abs() < 0.5);
    assert_eq!(edge.records_where(20, |record| record["status"] == 200).await.len(), 20);
}

#[tokio::test]
async fn retries_stop_when_the_budget_is_spent() {
    let reset = |_: &Request| vec![Step::Reset];
    let (one, two) = (Origin::start(reset).await, Origin::start(reset).await);
    let origins =
        origin("first", &[&one, &two]).replace("scheme: http,", "scheme: http, retries: {budget: 0%},");
    let edge = Edge::builder().sites(ONE_ORIGIN).origins(&origins).start().await;
    let mut client = Target::https(&edge).http1(HOST).await;
    assert_eq!(client.get(HOST, "/").await.status, 502);
    assert_eq!(one.seen().len() + two.seen().len(), 1);
}

#[tokio::test]
async fn a_failed_health_check_takes_a_server_out_before_requests_fail() {
    let well = Arc::new(AtomicBool::new(true));
    let asked = Arc::clone(&well);
    let checked = Origin::start(move |request| match request.target() {
        "/healthz" if !asked.load(Ordering::Relaxed) => answer("503 Service Unavailable", &[], "no"),
        "/healthz" => answer("302 Found", &["location: /"], ""),
        _ => ok("checked"),
    })
    .await;
    let other = Origin::start(|request| match request.target() {
        "/healthz" => answer("204 No Content", &[], ""),
        _ => ok("other"),
    })
    .await;
    let health = "scheme: http, health: {path: /healthz, interval: 200ms},";
    let origins = origin("first", &[&checked, &other]).replace("scheme: http,", health);
    let edge = Edge::builder().sites(ONE_ORIGIN).origins(&origins).start().await;
    let up = up(&checked);
    checked.until("it is checked", |seen| seen.len() >= 3).await;
    assert!((edge.metric(&up).await - 1.0).abs() < 0.1);
    well.store(false, Ordering::Relaxed);
    edge.metric_becomes(&up, 0.0).await;
    edge.logged("fails its check").await;
    let mut client = Target::https(&edge).http1(HOST).await;
    let checks = checked.seen_count();
    eventually("more checks fail", PATIENCE, async || {
        assert_eq!(client.get(HOST, "/").await.text(), "other");
        (checked.seen_count() >= checks + 10).then_some(())
    })
    .await;
    well.store(true, Ordering::Relaxed);
    edge.metric_becomes(&up, 1.0).await;
    eventually("it serves again", PATIENCE, async || {
        (client.get(HOST, "/").await.text() == "checked").then_some(())
    })
    .await;
    assert!(edge.records().await.iter().all(|record| record["path"] != "/healthz"), "checks are no requests");
}

#[tokio::test]
async fn health_checks_detect_that_a_server_goes_down_and_comes_back() {
    let mut origin_server = Origin::down(|_| ok("back"), None);
    let origins = origin("first", &[&origin_server])
        .replace("scheme: http,", "scheme: http, health: {path: /, interval: 200ms},");
    let edge = Edge::builder().sites(ONE_ORIGIN).origins(&origins).start().await;
    let up = up(&origin_server);
    edge.metric_becomes(&up, 0.0).await;
    origin_server.up();
    edge.metric_becomes(&up, 1.0).await;
    assert_eq!(Target::https(&edge).get(HOST, "/").await.text(), "back");
}
