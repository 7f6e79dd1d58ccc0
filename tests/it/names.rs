//! Where servers that have names are found, and what becomes of requests while name servers are in trouble.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::support::client::{Http1, Target};
use crate::support::dns::{Mood, NameServer};
use crate::support::edge::{Edge, Loopback};
use crate::support::origin::{Origin, Step, ok};
use crate::support::relay::BlackHole;
use crate::support::{PATIENCE, eventually, tried};

const HOST: &str = "www.example.cn";
const NAME: &str = "app.origin.test";
const PORT: u16 = 8081;

/// An edge whose server is found by its name, which `dns` knows.
async fn edge(dns: &NameServer, port: u16) -> Edge {
    let origins = format!(
        "  - {{name: main, region: mainland, scheme: http, servers: [\"{NAME}:{port}\"], timeouts: {{connect: 2s}}}}\n"
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
async fn a_change_of_address_is_followed_and_no_request_waits_for_it() {
    let (here, there) = (Loopback::claim(), Loopback::claim());
    let first = Origin::start_at(here.at(PORT), |_| [ok("first"), vec![Step::Close]].concat()).await;
    let _second = Origin::text_at(there.at(PORT), "second").await;
    let dns = NameServer::start().await;
    dns.set(NAME, &[here.ip], 1);
    let edge = edge(&dns, PORT).await;
    let mut client = Target::https(&edge).http1(HOST).await;
    assert_eq!(ask(&mut client).await.0, "first");
    dns.takes(Duration::from_millis(600));
    let asked = dns.asked();
    let mut slowest = Duration::ZERO;
    eventually("it is asked again", PATIENCE, async || {
        slowest = slowest.max(ask(&mut client).await.1);
        (dns.asked() >= asked + 4).then_some(())
    })
    .await;
    assert!(slowest < Duration::from_millis(500), "{slowest:?}: a request waited for a name server");
    dns.set(NAME, &[there.ip], 1);
    let changed = Instant::now();
    eventually("the second serves", PATIENCE, async || (ask(&mut client).await.0 == "second").then_some(()))
        .await;
    assert!(changed.elapsed() < Duration::from_secs(8), "{:?} after the change", changed.elapsed());
    let before = first.seen().len();
    assert_eq!(ask(&mut client).await.0, "second");
    assert_eq!(first.seen().len(), before);
}

#[tokio::test]
async fn the_last_good_answer_serves_while_name_servers_do_not() {
    let here = Loopback::claim();
    let _origin = Origin::start_at(here.at(PORT), |_| [ok("fine"), vec![Step::Close]].concat()).await;
    let dns = NameServer::start().await;
    dns.set(NAME, &[here.ip], 1);
    let edge = edge(&dns, PORT).await;
    let mut client = Target::https(&edge).http1(HOST).await;
    assert_eq!(ask(&mut client).await.0, "fine");
    for mood in [Mood::Fails, Mood::Silent] {
        let before = edge.metric(FAILED).await;
        dns.mood(mood);
        eventually("asking fails", PATIENCE, async || {
            let (text, took) = ask(&mut client).await;
            assert_eq!(text, "fine", "{mood:?}");
            assert!(took < Duration::from_millis(500), "{took:?}: a request waited for a name server");
            (edge.metric(FAILED).await > before).then_some(())
        })
        .await;
    }
    edge.logged("its last addresses stay in use").await;
    // That there is no such name is an answer.
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
async fn a_server_that_is_not_reached_is_recorded_with_its_address_where_that_is_known() {
    let here = Loopback::claim();
    // It waits for a request where TLS would begin.
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
async fn a_name_that_nobody_knows_yet_costs_no_request_more_than_its_limit() {
    let here = Loopback::claim();
    let _origin = Origin::text_at(here.at(PORT), "fine").await;
    let dns = NameServer::start().await;
    dns.set(NAME, &[here.ip], 60);
    dns.mood(Mood::Silent);
    let edge = edge(&dns, PORT).await;
    let mut client = Target::https(&edge).http1(HOST).await;
    let asked = Instant::now();
    assert_eq!(client.get(HOST, "/").await.status, 502);
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
    dns.mood(Mood::Answers);
    eventually("it is found", PATIENCE, async || (ask(&mut client).await.0 == "fine").then_some(())).await;
}

#[tokio::test]
async fn the_family_that_can_be_reached_serves() {
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
async fn an_address_that_does_not_answer_costs_one_head_start() {
    let (dark, bright) = (Loopback::claim(), Loopback::claim());
    let _hole = BlackHole::at(dark.at(PORT)).await;
    let origin = Origin::start_at(bright.at(PORT), |_| [ok("bright"), vec![Step::Close]].concat()).await;
    let dns = NameServer::start().await;
    dns.set(NAME, &[dark.ip, bright.ip], 60);
    let edge = edge(&dns, PORT).await;
    let mut client = Target::https(&edge).http1(HOST).await;
    let mut slow = 0;
    for round in 0..10 {
        let (text, took) = ask(&mut client).await;
        assert_eq!(text, "bright", "round {round}");
        slow += usize::from(took >= Duration::from_millis(250));
        assert!(took < Duration::from_millis(1000), "{took:?} in round {round}");
    }
    assert_eq!(origin.connections(), 10);
    assert!(slow <= 2, "{slow} of 10 requests paid for it");
}

#[tokio::test]
async fn the_file_of_hosts_goes_first() {
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
    let (text, took) = ask(&mut client).await;
    assert_eq!((text.as_str(), dns.asked()), ("here", 0));
    assert!(took < Duration::from_millis(800), "{took:?}");
}
