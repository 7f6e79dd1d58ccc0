//! Resolution of server names, and requests while name servers fail.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::support::client::{Http1, Target};
use crate::support::dns::{Mood, NameServer};
use crate::support::edge::{Edge, Loopback};
use crate::support::origin::{Origin, Step, ok};
use crate::support::relay::BlackHole;
use crate::support::{HOST, PATIENCE, eventually, tried};

const NAME: &str = "app.origin.test";
const PORT: u16 = 8081;

/// An edge whose server is named [`NAME`], resolved by `dns`.
async fn edge(dns: &NameServer, port: u16) -> Edge {
    edge_with(dns, port, "2s").await
}

/// An edge with this connect timeout.
async fn edge_with(dns: &NameServer, port: u16, connect: &str) -> Edge {
    let origins = format!(
        "  - {{name: main, region: mainland, scheme: http, servers: [\"{NAME}:{port}\"], timeouts: {{connect: {connect}}}}}\n"
    );
    let resolver = format!("resolver: {{servers: [\"{}\"]}}\n", dns.address);
    Edge::builder().origins(&origins).more(&resolver).start().await
}

/// The answer's text, and how long it took.
async fn ask(client: &mut Http1) -> (String, Duration) {
    let asked = Instant::now();
    let answer = client.get(HOST, "/").await;
    (answer.text(), asked.elapsed())
}

const FAILED: &str = "icpgate_name_lookups_total{result=\"failed\"}";

#[tokio::test]
async fn a_dns_change_is_followed_without_delaying_a_request() {
    let (here, there) = (Loopback::claim(), Loopback::claim());
    let first = Origin::start_at(here.at(PORT), |_| [ok("first"), vec![Step::Close]].concat()).await;
    let _second = Origin::text_at(there.at(PORT), "second").await;
    let dns = NameServer::start().await;
    dns.set(NAME, &[here.ip], 1);
    let edge = edge(&dns, PORT).await;
    let mut client = Target::https(&edge).http1(HOST).await;
    assert_eq!(ask(&mut client).await.0, "first");
    const LOOKUP: Duration = Duration::from_millis(600);
    dns.takes(LOOKUP);
    let asked = dns.asked();
    let mut slow = 0;
    // Two lookups, each with an A and an AAAA question.
    eventually("it is asked again", PATIENCE, async || {
        slow += usize::from(ask(&mut client).await.1 >= LOOKUP);
        (dns.asked() >= asked + 4).then_some(())
    })
    .await;
    // A busy machine may delay one request; waiting for DNS would delay one per lookup.
    assert!(slow <= 1, "{slow} requests waited for a name server");
    dns.set(NAME, &[there.ip], 1);
    eventually("the second serves", PATIENCE, async || (ask(&mut client).await.0 == "second").then_some(()))
        .await;
    let before = first.seen().len();
    assert_eq!(ask(&mut client).await.0, "second");
    assert_eq!(first.seen().len(), before);
}

#[tokio::test]
async fn the_last_good_dns_answer_is_used_while_name_servers_fail() {
    let here = Loopback::claim();
    let _origin = Origin::start_at(here.at(PORT), |_| [ok("fine"), vec![Step::Close]].concat()).await;
    let dns = NameServer::start().await;
    dns.set(NAME, &[here.ip], 1);
    let edge = edge(&dns, PORT).await;
    let mut client = Target::https(&edge).http1(HOST).await;
    assert_eq!(ask(&mut client).await.0, "fine");
    for mood in [Mood::Fails, Mood::Silent] {
        let (asked, failed) = (dns.asked(), edge.metric(FAILED).await);
        let mut during_the_lookup = 0;
        dns.mood(mood);
        eventually("asking fails", PATIENCE, async || {
            let is_asked = dns.asked() > asked;
            assert_eq!(ask(&mut client).await.0, "fine", "{mood:?}");
            let has_failed = edge.metric(FAILED).await > failed;
            during_the_lookup += usize::from(is_asked && !has_failed);
            has_failed.then_some(())
        })
        .await;
        // A lookup without an answer takes three seconds.
        assert!(mood == Mood::Fails || during_the_lookup > 1, "requests waited for a name server");
    }
    edge.logged("its last addresses stay in use").await;
    // NXDOMAIN is an answer.
    dns.set(NAME, &[], 1);
    dns.mood(Mood::Answers);
    eventually("it is believed", PATIENCE, async || {
        (client.get(HOST, "/").await.status == 502).then_some(())
    })
    .await;
    dns.set(NAME, &[here.ip], 1);
    eventually("and its return as well", PATIENCE, async || {
        (ask(&mut client).await.0 == "fine").then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_unreachable_server_is_recorded_with_its_address_if_known() {
    let here = Loopback::claim();
    // It speaks clear text where TLS is expected.
    let _origin = Origin::text_at(here.at(PORT), "clear").await;
    let dns = NameServer::start().await;
    dns.set(NAME, &[here.ip], 60);
    let unknown = "unknown.origin.test";
    dns.set(unknown, &[], 60);
    let server = |name: &str, server: &str, scheme: &str| {
        format!(
            "  - {{name: {name}, region: offshore, {scheme}, servers: [{{address: \"{server}:{PORT}\", link: cn2}}], timeouts: {{connect: 1s}}}}\n"
        )
    };
    let edge = Edge::builder()
        .sites(
            "  - name: shop\n    hosts: [www.example.cn]\n    certificate: {chain: site.pem, key: site.key}\n    \
             routes: [{match: {path: /tls}, origins: [tls]}, {match: {path: /name}, origins: [name, tls]}]\n",
        )
        .origins(&[
            server("tls", NAME, "scheme: https, server_name: app.example.com"),
            server("name", unknown, "scheme: http"),
        ].concat())
        .more(&format!("resolver: {{servers: [\"{}\"]}}\n", dns.address))
        .start()
        .await;
    let mut client = Target::https(&edge).http1(HOST).await;
    for path in ["/tls", "/name"] {
        assert_eq!(client.get(HOST, path).await.status, 502, "{path}");
    }
    let records = edge.records_where(2, |record| record["status"] == 502).await;
    assert_eq!(tried(&records[0]), ["tls", "offshore", "cn2", &here.at(PORT).to_string()]);
    assert_eq!(tried(&records[1]), ["name", "offshore", "cn2", ""], "the first that was tried");
}

#[tokio::test]
async fn an_unresolved_name_costs_a_request_at_most_connect_timeout() {
    let here = Loopback::claim();
    let _origin = Origin::text_at(here.at(PORT), "fine").await;
    let dns = NameServer::start().await;
    dns.set(NAME, &[here.ip], 60);
    dns.mood(Mood::Silent);
    let edge = edge_with(&dns, PORT, "200ms").await;
    let mut client = Target::https(&edge).http1(HOST).await;
    let asked = Instant::now();
    assert_eq!(client.get(HOST, "/").await.status, 502);
    // Ten times the connect timeout; the lookup itself takes three seconds.
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    dns.mood(Mood::Answers);
    eventually("it is found", PATIENCE, async || (ask(&mut client).await.0 == "fine").then_some(())).await;
}

#[tokio::test]
async fn the_reachable_address_family_serves() {
    let nobody = Loopback::claim();
    let six = Origin::text_at(SocketAddr::from((Ipv6Addr::LOCALHOST, 0)), "six").await;
    let dns = NameServer::start().await;
    dns.set(NAME, &[nobody.ip, IpAddr::from(Ipv6Addr::LOCALHOST)], 60);
    let edge = edge(&dns, six.address.port()).await;
    let mut client = Target::https(&edge).http1(HOST).await;
    assert_eq!(ask(&mut client).await.0, "six");
    drop(edge);

    let four = Loopback::claim();
    let port = six.address.port();
    drop(six);
    let _four = Origin::text_at(four.at(port), "four").await;
    dns.set(NAME, &[four.ip, IpAddr::from(Ipv6Addr::LOCALHOST)], 60);
    let edge = self::edge(&dns, port).await;
    let mut client = Target::https(&edge).http1(HOST).await;
    assert_eq!(ask(&mut client).await.0, "four");
}

#[tokio::test]
async fn an_unreachable_address_costs_one_head_start() {
    let (dark, bright) = (Loopback::claim(), Loopback::claim());
    let _hole = BlackHole::at(dark.at(PORT)).await;
    let origin = Origin::start_at(bright.at(PORT), |_| [ok("bright"), vec![Step::Close]].concat()).await;
    let dns = NameServer::start().await;
    dns.set(NAME, &[dark.ip, bright.ip], 60);
    let edge = edge(&dns, PORT).await;
    let mut client = Target::https(&edge).http1(HOST).await;
    let mut all = Vec::new();
    for round in 0..10 {
        let (text, took) = ask(&mut client).await;
        assert_eq!(text, "bright", "round {round}");
        all.push(took);
    }
    assert_eq!(origin.connections(), 10);
    // The first request pays; a busy machine may delay some of the others.
    all.sort();
    assert!(all[5] < HEAD_START, "{all:?}");
}

/// The delay before the next address is tried too (RFC 8305).
const HEAD_START: Duration = Duration::from_millis(250);

#[tokio::test]
async fn the_hosts_file_takes_precedence_over_dns() {
    let origin = Origin::text("here").await;
    let dns = NameServer::start().await;
    dns.mood(Mood::Silent);
    let origins = format!(
        "  - {{name: main, region: mainland, scheme: http, servers: [\"localhost:{}\"]}}\n",
        origin.address.port()
    );
    let resolver = format!("resolver: {{servers: [\"{}\"]}}\n", dns.address);
    let edge = Edge::builder().origins(&origins).more(&resolver).start().await;
    let mut client = Target::https(&edge).http1(HOST).await;
    assert_eq!(ask(&mut client).await.0, "here");
    assert_eq!(dns.asked(), 0);
}
