//! Admin pages: liveness, readiness with the reason, status.

mod events;
mod metrics;
mod page;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::client::{Http1, Target};
use crate::support::edge::{APPROVED, Edge, HOSTS, SUSPENDED};
use crate::support::origin::Origin;
use crate::support::pki::{Authority, KeyKind};
use crate::support::time::within;
use crate::support::{HOST, PATIENCE, eventually};

/// Waits until `/readyz` answers with `status` and a text that contains `reason`.
async fn readyz_becomes(edge: &Edge, status: u16, reason: &str) {
    eventually(&format!("readyz {status} {reason}"), PATIENCE, async || {
        let answer = edge.get("/readyz").await?;
        (answer.0 == status && answer.1.contains(reason)).then_some(())
    })
    .await;
    assert_eq!(edge.get("/livez").await.unwrap().0, 200, "alive it is in any case");
}

#[tokio::test]
async fn readyz_is_200_once_every_permitted_address_is_bound() {
    let folder = Edge::builder().filings("filings: []\n").write();
    let taken = TcpListener::bind(folder.https()).await.unwrap();
    let edge = folder.start().await;
    readyz_becomes(&edge, 503, "nothing approved (https: not_filed, http: not_filed)").await;
    edge.replace("filings.yaml", SUSPENDED);
    readyz_becomes(&edge, 503, "nothing approved (https: not_approved, http: not_approved)").await;
    edge.replace("filings.yaml", APPROVED);
    readyz_becomes(
        &edge,
        503,
        &format!("listener https: {} cannot be bound: Address already in use", edge.https()),
    )
    .await;
    drop(taken);
    readyz_becomes(&edge, 200, "ready").await;
    edge.replace("filings.yaml", "filings: []\n");
    readyz_becomes(&edge, 503, "nothing approved").await;
}

#[tokio::test]
async fn a_listener_that_is_not_permitted_does_not_affect_readiness() {
    // Without a certificate nothing is permitted on the TLS listener; the other listener serves.
    let folder = Edge::builder().write();
    fs_err::remove_file(folder.path("site.pem")).unwrap();
    let edge = folder.start().await;
    readyz_becomes(&edge, 200, "ready").await;
    let status = edge.status().await;
    let https = &status["listeners"][0];
    assert_eq!((https["name"].as_str(), https["reason"].as_str()), (Some("https"), Some("no_certificate")));
    assert_eq!(status["certificates"][0]["usable"], false);
    assert_eq!(edge.metric("icpgate_certificate_expiry_seconds{site=\"shop\"}").await, 0.0);
}

#[tokio::test]
async fn a_certificate_is_usable_within_its_dates_for_a_host_of_its_site() {
    let authority = Authority::new();
    let pairs = [
        ("ended", authority.expired(&HOSTS), false),
        ("not begun", authority.issue(&HOSTS, KeyKind::Ecdsa, ((2998, 1, 1), (2999, 1, 1))), false),
        ("for others", authority.pair(&["www.example.net"]), false),
        ("for one of the hosts", authority.pair(&HOSTS[..1]), true),
    ];
    for (what, pair, usable) in pairs {
        let folder = Edge::builder().write();
        pair.write(&folder.path(""), "site");
        let status = folder.start().await.status().await;
        assert_eq!(status["certificates"][0]["usable"], usable, "{what}");
        assert_eq!(status["listeners"][0]["reason"].is_null(), usable, "{what}");
    }
}

#[tokio::test]
async fn the_status_page_lists_filings_listeners_sites_and_origins() {
    let sites = "  - name: shop\n    hosts: [www.example.cn, www.example.net]\n    certificate: {chain: site.pem, key: site.key}\n    \
                 routes: [{origins: [main]}]\n";
    let folder = Edge::builder().sites(sites).write();
    folder.authority.pair(&["www.example.cn", "www.example.net"]).write(&folder.path(""), "site");
    let edge = folder.start().await;
    let status = edge.status().await;
    for key in ["filings", "listeners", "sites", "certificates", "origins", "retention"] {
        assert!(!status[key].is_null(), "{key}");
    }
    assert_eq!(status["filings"][0]["domain"], "example.cn");
    assert_eq!(status["filings"][0]["status"], "approved");
    let https = &status["listeners"][0];
    assert_eq!(https["bound"][0], edge.https().to_string());
    assert_eq!(https["hosts"], serde_json::json!(["www.example.cn"]));
    assert_eq!(https["refused"], serde_json::json!([{"host": "www.example.net", "reason": "not_filed"}]));
    assert_eq!(status["sites"][0]["name"], "shop");
    assert_eq!(status["certificates"][0]["usable"], true);
    assert_eq!(status["origins"][0]["region"], "mainland");
    assert_eq!(status["retention"]["lost"], 0);

    let (code, page) = edge.get("/").await.unwrap();
    assert!(code == 200 && page.starts_with("<!doctype html>") && page.contains("www.example.net"), "{page}");
    assert_eq!(edge.get("/elsewhere").await.unwrap().0, 404);
}

#[tokio::test]
async fn stalled_admin_clients_hold_up_neither_others_nor_the_proxy() {
    let origin = Origin::text("hello").await;
    let mut edge = Edge::builder().origin(origin.address).limit("drain_timeout", "60s").start().await;
    let mut readers = Vec::new();
    // Many times the connections that the pages have at a time.
    for number in 0..500 {
        let mut reader = TcpStream::connect(edge.admin()).await.unwrap();
        // The edge may have cut it already.
        let _ = match number % 3 {
            0 => Ok(()),
            1 => reader.write_all(b"GET /metrics HT").await,
            // The answers to these are never read.
            _ => reader.write_all(&b"GET /metrics HTTP/1.1\r\nhost: admin\r\n\r\n".repeat(200)).await,
        };
        readers.push(reader);
    }
    for page in ["/livez", "/readyz", "/metrics", "/status.json"] {
        assert_eq!(within("a page", edge.get(page)).await.unwrap().0, 200, "{page}");
    }
    let mut client = Target::https(&edge).http1(HOST).await;
    for _ in 0..50 {
        assert_eq!(client.get(HOST, "/").await.text(), "hello");
    }
    drop(client);
    edge.signal(Signal::TERM);
    // The drain timeout is beyond the test's patience.
    assert_eq!(edge.wait_exit().await, 0);
}

#[tokio::test]
async fn a_reader_who_stops_reading_is_cut_off() {
    let edge = Edge::builder().start().await;
    let mut reader = TcpStream::connect(edge.admin()).await.unwrap();
    let sending = async {
        // Ends when the edge closes the connection, whose answers fill every buffer on the way.
        while reader.write_all(b"GET /metrics HTTP/1.1\r\nhost: admin\r\n\r\n").await.is_ok() {}
    };
    within("the end of the connection", sending).await;
}

#[tokio::test]
async fn pages_about_the_configuration_answer_to_known_hosts_alone() {
    let folder = Edge::builder().write();
    let with_hosts = folder.configuration().replace(
        &format!("admin: {{address: \"{}\"}}", folder.admin()),
        &format!("admin: {{address: \"{}\", hosts: [edge.internal]}}", folder.admin()),
    );
    folder.replace("icpgate.yaml", &with_hosts);
    let edge = folder.start().await;
    let status = async |host: &str, path: &str| edge.get_as(host, path).await.unwrap().0;
    for host in
        ["127.0.0.1", "[::1]:9180", "localhost", "a.localhost:9180", "edge.internal", "EDGE.internal:1"]
    {
        assert_eq!((status(host, "/status.json").await, status(host, "/").await), (200, 200), "{host}");
    }
    for host in ["", "rebound.example", "localhost.rebound.example", "x.edge.internal", "admin"] {
        for page in ["/status.json", "/", "/elsewhere"] {
            assert_eq!(status(host, page).await, 421, "{host} {page}");
        }
        for page in ["/livez", "/readyz", "/metrics"] {
            assert_eq!(status(host, page).await, 200, "{host} {page}");
        }
    }
    // Two hosts, and an absolute target, which goes before the field.
    for head in [
        "GET /status.json HTTP/1.1\r\nhost: localhost\r\nhost: rebound.example\r\n",
        "GET http://rebound.example/status.json HTTP/1.1\r\nhost: localhost\r\n",
        "GET /status.json HTTP/1.0\r\n",
    ] {
        let mut socket = TcpStream::connect(edge.admin()).await.unwrap();
        socket.write_all(format!("{head}connection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        within("the answer", socket.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.split(' ').nth(1) == Some("421"), "{head}: {answer}");
    }
}

#[tokio::test]
async fn admin_pages_accept_get_and_head_alone() {
    let edge = Edge::builder().start().await;
    for method in ["POST", "PUT", "DELETE"] {
        let mut client = Http1::over(Box::new(TcpStream::connect(edge.admin()).await.unwrap()));
        client.ask(method, "admin", "/metrics").await;
        assert_eq!(client.answer(method).await.status, 405);
    }
    let mut client = Http1::over(Box::new(TcpStream::connect(edge.admin()).await.unwrap()));
    client.ask("HEAD", "admin", "/livez").await;
    assert_eq!(client.answer("HEAD").await.status, 200);
}
