//! The PROXY protocol: from load balancers to the edge, and from the edge to origins.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};

use crate::support::client::{Answer as Reply, Http1, Target};
use crate::support::edge::{Builder, Edge, Folder};
use crate::support::hello::client_hello;
use crate::support::origin::Origin;
use crate::support::peer::{Peer, nginx};
use crate::support::probe::{Answer, Ending, connect, probe, read_to_end, send_split};
use crate::support::{HOST, PATIENCE};

const LISTENERS: &str = r#"  - {name: https, addresses: ["$HTTPS"], protocol: https, proxy_protocol: {trusted: [127.0.0.1]}}
  - {name: http, addresses: ["$HTTP"], protocol: http, redirect: none, proxy_protocol: {trusted: [127.0.0.1]}}
"#;
const REFUSED: &str = "icpgate_connections_refused_total{listener=\"https\",reason=\"proxy_protocol\"}";
const LINE: &[u8] = b"PROXY TCP4 192.0.2.7 203.0.113.1 40001 443\r\n";
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: www.example.cn\r\nConnection: close\r\n\r\n";

/// A PROXY header of version 2: command, family, addresses and TLVs.
fn binary(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, content].concat()
}

/// 192.0.2.7:40001 to 203.0.113.1:443, with one TLV.
fn binary_ipv4() -> Vec<u8> {
    binary(0x21, 0x11, &[192, 0, 2, 7, 203, 0, 113, 1, 0x9c, 0x41, 1, 0xbb, 0x04, 0, 3, 1, 2, 3])
}

fn behind_load_balancer(origin: &Origin) -> Builder {
    Edge::builder().origin(origin.address).listeners(LISTENERS)
}

/// A connection to `address` that begins with `header`.
async fn after(header: &[u8], address: SocketAddr) -> TcpStream {
    let mut tcp = connect(address).await;
    tcp.write_all(header).await.unwrap();
    tcp
}

#[tokio::test]
async fn the_client_is_the_one_that_the_proxy_header_names() {
    let origin = Origin::text("hello").await;
    let edge = behind_load_balancer(&origin).start().await;
    let target = Target::https(&edge);
    let ipv6 = b"PROXY TCP6 2001:db8::7 2001:db8::1 40001 443\r\n";
    for (round, (header, ip, port)) in [
        (LINE.to_vec(), "192.0.2.7", 40001),
        (binary_ipv4(), "192.0.2.7", 40001),
        (ipv6.to_vec(), "2001:db8::7", 40001),
        (binary(0x20, 0x00, b""), "127.0.0.1", 0),
        (binary(0x21, 0x00, b""), "127.0.0.1", 0),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1", 0),
    ]
    .into_iter()
    .enumerate()
    {
        let tcp = after(&header, edge.https()).await;
        let local = tcp.local_addr().unwrap();
        let mut client = Http1::over(target.tls_over(tcp, HOST, b"http/1.1").await.unwrap());
        assert_eq!(client.get(HOST, "/").await.text(), "hello");
        assert_eq!(origin.seen()[round].head.get("x-forwarded-for"), Some(ip));
        let records = edge.records_where(round + 1, |record| record["status"] == 200).await;
        let record = &records[round];
        assert_eq!((&record["client_ip"], &record["peer_ip"]), (&ip.into(), &"127.0.0.1".into()));
        assert_eq!(record["peer_port"], local.port());
        assert_eq!(record["client_port"], if port == 0 { local.port() } else { port });
    }
    // A refusal is recorded with the same client.
    let answer = probe(edge.https(), &[LINE, &client_hello("www.example.net")].concat()).await;
    assert_eq!(answer, Answer::RESET);
    let record = edge.records_where(1, |record| record["reason"] == "not_filed").await.remove(0);
    assert_eq!((&record["client_ip"], &record["client_port"]), (&"192.0.2.7".into(), &40001.into()));
}

#[tokio::test]
async fn a_proxy_header_may_arrive_in_any_pieces() {
    let origin = Origin::text("hello").await;
    let edge = behind_load_balancer(&origin)
        .limit("client_hello_timeout", "60s")
        .limit("request_head_timeout", "60s")
        .start()
        .await;
    let mut splits = Vec::new();
    for header in [LINE.to_vec(), binary_ipv4()] {
        let whole = [&header, REQUEST].concat();
        splits.extend((1..=header.len() + 1).map(|cut| vec![whole[..cut].to_vec(), whole[cut..].to_vec()]));
        let (drops, rest) = whole.split_at(header.len() + 1);
        splits.push(drops.chunks(1).chain([rest]).map(<[u8]>::to_vec).collect());
    }
    let count = splits.len();
    for sent in send_split(edge.http(), &splits).await {
        assert_eq!(sent.answer().await.status(), 200);
    }
    let records = edge.records_where(count, |record| record["client_ip"] == "192.0.2.7").await;
    assert!(records.iter().all(|record| record["client_port"] == 40001), "{records:?}");
}

#[tokio::test]
async fn connections_without_a_valid_proxy_header_from_a_trusted_peer_are_reset() {
    let origin = Origin::text("hello").await;
    let edge = behind_load_balancer(&origin).limit("client_hello_timeout", "300ms").start().await;
    let whole = client_hello(HOST);
    for bytes in [
        whole.clone(),
        REQUEST.to_vec(),
        [b"PROXY TCP4 192.0.2.7 203.0.113.1 65536 443\r\n", &whole[..]].concat(),
        [binary(0x21, 0x12, &[0; 12]), whole.clone()].concat(),
        b"PROXY TCP4".to_vec(),
        binary_ipv4()[..20].to_vec(),
    ] {
        assert_eq!(probe(edge.https(), &bytes).await, Answer::RESET);
        assert_eq!(probe(edge.http(), &bytes).await, Answer::RESET);
    }
    edge.metric_becomes(REFUSED, 6.0).await;
    // A header that is cut off.
    let mut cut = after(&LINE[..10], edge.https()).await;
    let _ = cut.shutdown().await; // unless the time is over already
    assert_eq!(read_to_end(&mut cut, PATIENCE).await, Answer::RESET);
    edge.metric_becomes(REFUSED, 7.0).await;
    // Header and hello share one deadline.
    assert_eq!(probe(edge.https(), LINE).await, Answer::RESET);
    let late = "icpgate_connections_refused_total{listener=\"https\",reason=\"hello_timeout\"}";
    edge.metric_becomes(late, 1.0).await;
    // A peer that is not trusted is reset, whatever it sends.
    let stranger = TcpSocket::new_v4().unwrap();
    stranger.bind((Ipv4Addr::new(127, 0, 0, 31), 0).into()).unwrap();
    match stranger.connect(edge.https()).await {
        Ok(mut stranger) => {
            // The kernel reports a reset once: to the write or to the read.
            let sent = stranger.write_all(&[LINE, &whole].concat()).await;
            let told = sent.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset);
            let answer = read_to_end(&mut stranger, PATIENCE).await;
            assert!(answer.bytes.is_empty() && (told || answer.ending == Ending::Reset), "{answer:?}");
        }
        // Reset before the connection was established.
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
    edge.metric_becomes(REFUSED, 8.0).await;
    let records = edge.records_where(1, |record| record["peer_ip"] == "127.0.0.31").await;
    assert_eq!(
        (&records[0]["reason"], &records[0]["client_ip"]),
        (&"proxy_protocol".into(), &"127.0.0.31".into())
    );
    // A load balancer's TCP check connects and closes.
    drop(connect(edge.https()).await);
    edge.metric_becomes("icpgate_connections_empty_total{listener=\"https\"}", 1.0).await;
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn connection_limits_apply_to_the_client_of_the_proxy_header() {
    let origin = Origin::text("hello").await;
    let edge = behind_load_balancer(&origin).limit("connections_per_client", "2").start().await;
    let line = |client: &str| format!("PROXY TCP4 {client} 203.0.113.1 40001 443\r\n").into_bytes();
    let mut held = Vec::new();
    for client in ["192.0.2.7", "192.0.2.8", "192.0.2.7", "192.0.2.8"] {
        let tcp = after(&line(client), edge.https()).await;
        held.push(Target::https(&edge).tls_over(tcp, HOST, b"http/1.1").await.unwrap());
    }
    assert_eq!(probe(edge.https(), &line("192.0.2.7")).await, Answer::RESET);
    let record = edge.records_where(1, |record| record["reason"] == "too_many_connections").await.remove(0);
    assert_eq!(record["client_ip"], "192.0.2.7");
    drop(held);
    edge.metric_becomes("icpgate_connections_open{listener=\"https\"}", 0.0).await;
    let tcp = after(&line("192.0.2.7"), edge.https()).await;
    Target::https(&edge).tls_over(tcp, HOST, b"http/1.1").await.unwrap();
}

#[tokio::test]
async fn trusted_proxies_apply_to_the_client_of_the_proxy_header() {
    let origin = Origin::text("hello").await;
    let listeners = LISTENERS.replace("redirect: none", "redirect: none, trusted_proxies: [192.0.2.7]");
    let edge = Edge::builder().origin(origin.address).listeners(&listeners).start().await;
    for (client, expected) in
        [("192.0.2.7", "198.51.100.9"), ("192.0.2.8", "192.0.2.8"), ("127.0.0.1", "127.0.0.1")]
    {
        let header = format!("PROXY TCP4 {client} 203.0.113.1 40001 443\r\n");
        let request = "GET / HTTP/1.1\r\nHost: www.example.cn\r\nX-Forwarded-For: 198.51.100.9\r\nConnection: close\r\n\r\n";
        assert_eq!(probe(edge.http(), format!("{header}{request}").as_bytes()).await.status(), 200);
        let record = edge.records_where(1, |record| record["client_ip"] == expected).await.remove(0);
        assert_eq!(record["peer_ip"], "127.0.0.1");
    }
    let chains = origin.seen().into_iter().map(|seen| seen.head.get("x-forwarded-for").unwrap().to_owned());
    assert_eq!(chains.collect::<Vec<_>>(), ["198.51.100.9, 192.0.2.7", "192.0.2.8", "127.0.0.1"]);
}

/// HAProxy in front of both listeners, with `option` on its `server` lines.
async fn haproxy(
    edge: &Folder,
    name: &str,
    option: &str,
    ports: (u16, u16),
) -> (Peer, SocketAddr, SocketAddr) {
    let (https, http) = (edge.beside(ports.0), edge.beside(ports.1));
    let mut text =
        "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n".to_owned();
    for (listener, bind, server) in [("https", https, edge.https()), ("http", http, edge.http())] {
        text += &format!("listen {listener}\n  bind {bind}\n  server edge {server} {option}\n");
    }
    edge.replace(name, text);
    let file = edge.path(name);
    let peer =
        Peer::start("/usr/sbin/haproxy", ["-db".as_ref(), "-f".as_ref(), file.as_os_str()], http).await;
    (peer, https, http)
}

/// A connection from another address of this machine.
async fn connect_from(client: [u8; 4], address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((IpAddr::from(client), 0).into()).unwrap();
    socket.connect(address).await.unwrap()
}

#[tokio::test]
async fn haproxy_in_front_passes_the_client_address() {
    let origin = Origin::text("hello").await;
    let edge = behind_load_balancer(&origin).start().await;
    let mut count = 0;
    for (name, option, ports) in [
        ("v1.cfg", "send-proxy", (7001, 7002)),
        ("v2.cfg", "send-proxy-v2", (7003, 7004)),
        ("tlv.cfg", "send-proxy-v2 proxy-v2-options crc32c,unique-id", (7005, 7006)),
    ] {
        let (_haproxy, https, http) = haproxy(&edge, name, option, ports).await;
        let tcp = connect_from([127, 0, 0, 32], https).await;
        let local = tcp.local_addr().unwrap();
        let mut client = Http1::over(Target::https(&edge).tls_over(tcp, HOST, b"http/1.1").await.unwrap());
        assert_eq!(client.get(HOST, "/").await.text(), "hello", "{option}");
        let tcp = connect_from([127, 0, 0, 32], http).await;
        let clear = tcp.local_addr().unwrap();
        assert_eq!(Http1::over(Box::new(tcp)).get(HOST, "/").await.text(), "hello", "{option}");
        count += 2;
        let records = edge.records_where(count, |record| record["status"] == 200).await;
        for (record, local) in records[count - 2..].iter().zip([local, clear]) {
            assert_eq!(
                (&record["client_ip"], &record["peer_ip"]),
                (&"127.0.0.32".into(), &"127.0.0.1".into())
            );
            assert_eq!(record["client_port"], local.port(), "{option}");
        }
    }
    assert!(origin.seen().iter().all(|seen| seen.head.get("x-forwarded-for") == Some("127.0.0.32")));
}

/// The client address that nginx received, and the number of its connection.
fn client_and_connection(reply: &Reply) -> (String, String) {
    assert_eq!(reply.status, 200);
    let text = reply.text();
    let (told, connection) = text.trim().split_once(" over ").unwrap();
    (told.to_owned(), connection.to_owned())
}

#[tokio::test]
async fn nginx_behind_receives_the_client_address() {
    let origins = r#"  - {name: main, region: mainland, scheme: http, servers: ["$IP:7001"], proxy_protocol: v2}
  - {name: tls, region: mainland, scheme: https, server_name: www.example.cn, trust: ca.pem, servers: ["$IP:7002"], proxy_protocol: v2}
"#;
    let sites = "  - name: shop\n    hosts: [www.example.cn]\n    certificate: {chain: site.pem, key: site.key}\n    \
                 routes: [{match: {path: /tls}, origins: [tls]}, {origins: [main]}]\n";
    let edge = Edge::builder().sites(sites).origins(origins).start().await;
    let (plain, tls) = (edge.beside(7001), edge.beside(7002));
    let http = format!(
        "  server {{\n    listen {plain} proxy_protocol;\n    listen {tls} ssl proxy_protocol;\n    \
         ssl_certificate site.pem;\n    ssl_certificate_key site.key;\n    \
         location / {{ return 200 \"$proxy_protocol_addr:$proxy_protocol_port to $proxy_protocol_server_addr:$proxy_protocol_server_port over $connection\"; }}\n  }}\n"
    );
    let _nginx = nginx(&edge, &http, plain).await;
    for path in ["/", "/tls"] {
        let mut clients = Vec::new();
        for ip in [[127, 0, 0, 33], [127, 0, 0, 34], [127, 0, 0, 33]] {
            let tcp = connect_from(ip, edge.https()).await;
            let local = tcp.local_addr().unwrap();
            let http1 = Http1::over(Target::https(&edge).tls_over(tcp, HOST, b"http/1.1").await.unwrap());
            clients.push((local, http1));
        }
        let mut connections = Vec::new();
        for round in 0..3 {
            for (place, (local, http1)) in clients.iter_mut().enumerate() {
                let (told, connection) = client_and_connection(&http1.get(HOST, path).await);
                assert_eq!(told, format!("{local} to {}", edge.https()), "{path} {round}");
                if round == 0 {
                    assert!(!connections.contains(&connection), "no connection of another client");
                    connections.push(connection);
                } else {
                    assert_eq!(connections[place], connection, "the client's own is used again");
                }
            }
        }
    }
}
