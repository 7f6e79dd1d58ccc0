//! Not one byte is sent before the gate has decided, and none to a refused client, however the
//! ClientHello arrives.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::ClientConnection;
use tokio::io::AsyncWriteExt as _;

use crate::support::client::Target;
use crate::support::edge::Edge;
use crate::support::hello::{ECH, ESNI, Handmade, client_hello, message, records};
use crate::support::origin::Origin;
use crate::support::probe::{Answer, Ending, Split, connect, probe, read_to_end, send_split, taken};
use crate::support::time::{not_before, pause};
use crate::support::{HOST, PATIENCE, eventually};

const UNFILED: &str = "www.example.net";

/// The fatal alert `unrecognized_name`, as a record.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// Well-formed hellos that are refused, with the reason.
fn refused_hellos() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let long = format!("{}.example.cn", ["a"; 150].join("."));
    let named = |name: &[u8]| Handmade::named(name).bytes();
    vec![
        ("a host without a filing", client_hello(UNFILED), "not_filed"),
        ("a suffix of a filed name", client_hello("www.example.com.cn"), "not_filed"),
        ("a host that no site serves", client_hello("other.example.cn"), "no_site"),
        ("no name", Handmade::new().bytes(), "no_server_name"),
        ("an empty name", named(b""), "bad_server_name"),
        ("a trailing dot", named(b"www.example.cn."), "bad_server_name"),
        ("NUL at the end", named(b"www.example.cn\0"), "bad_server_name"),
        ("NUL in the middle", named(b"www.example.cn\0.example.net"), "bad_server_name"),
        ("UTF-8", named("例子.cn".as_bytes()), "bad_server_name"),
        ("not even UTF-8", named(b"www.example.\xff"), "bad_server_name"),
        ("an underscore", named(b"a_b.example.cn"), "bad_server_name"),
        ("a space", named(b"www.example.cn "), "bad_server_name"),
        ("a port", named(b"www.example.cn:443"), "bad_server_name"),
        ("a wildcard", named(b"*.example.cn"), "bad_server_name"),
        ("an empty label", named(b"www..example.cn"), "bad_server_name"),
        ("300 characters", named(long.as_bytes()), "bad_server_name"),
        (
            "two names",
            Handmade::new().server_names(&[b"www.example.cn", b"www.example.net"]).bytes(),
            "bad_server_name",
        ),
        (
            "the same name twice",
            Handmade::new().server_names(&[b"www.example.cn", b"www.example.cn"]).bytes(),
            "bad_server_name",
        ),
        ("an empty list", Handmade::new().server_names(&[]).bytes(), "bad_server_name"),
        (
            "the extension twice",
            Handmade::named(HOST).server_names(&[b"www.example.cn"]).bytes(),
            "bad_server_name",
        ),
        ("IPv4", named(b"192.0.2.1"), "ip_literal"),
        ("IPv6", named(b"2001:db8::1"), "ip_literal"),
        ("IPv6 in brackets", named(b"[2001:db8::1]"), "ip_literal"),
        ("ESNI beside a filed name", Handmade::named(HOST).extension(ESNI, &[0; 64]).bytes(), "esni"),
        ("ESNI alone", Handmade::new().extension(ESNI, &[]).bytes(), "esni"),
    ]
}

/// Bytes that are no valid ClientHello, with the reason.
fn no_hellos() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let hello = client_hello(HOST);
    let changed = |place: usize, byte: u8| {
        let mut bytes = hello.clone();
        bytes[place] = byte;
        bytes
    };
    let bare = message(&hello);
    let padded = |padding: usize| Handmade::named(HOST).extension(21, &vec![0; padding]).bytes();
    vec![
        ("clear text", b"GET / HTTP/1.1\r\nhost: www.example.cn\r\n\r\n".to_vec(), "not_tls"),
        ("one byte that is not TLS", b"\0".to_vec(), "not_tls"),
        ("an SSL 2 hello", b"\x80\x2e\x01\x03\x03".to_vec(), "not_tls"),
        ("an alert first", b"\x15\x03\x01\x00\x02\x01\x00".to_vec(), "not_tls"),
        ("a record of version 2", changed(1, 2), "bad_hello"),
        ("another handshake message", changed(5, 2), "bad_hello"),
        ("a record of no bytes", b"\x16\x03\x01\x00\x00".to_vec(), "bad_hello"),
        ("a record of 64 KiB", b"\x16\x03\x01\xff\xff".to_vec(), "bad_hello"),
        (
            "a record of another kind inside",
            [&records(&bare, 50)[0][..], b"\x15\x03\x01\x00\x02\x01\x00"].concat(),
            "bad_hello",
        ),
        (
            "bytes after the message in its record",
            records(&[&bare[..], b"x"].concat(), 1 << 14).concat(),
            "bad_hello",
        ),
        // The length of the extensions exceeds the message.
        (
            "a length that lies",
            records(
                &{
                    let mut cut = bare.clone();
                    cut.pop();
                    cut[3] -= 1;
                    cut
                },
                1 << 14,
            )
            .concat(),
            "bad_hello",
        ),
        ("more than 64 KiB", padded(65_430), "bad_hello"),
        ("a message that says 16 MiB", b"\x16\x03\x01\x00\x04\x01\xff\xff\xff".to_vec(), "bad_hello"),
    ]
}

/// Waits until `reason` has been counted and recorded `count` times on the https listener.
async fn reason_is(edge: &Edge, reason: &str, count: usize) {
    let series = format!("icpgate_connections_refused_total{{listener=\"https\",reason=\"{reason}\"}}");
    edge.metric_becomes(&series, count as f64).await;
    eventually(&format!("{count} records of {reason}"), PATIENCE, async || {
        let records = edge.records().await;
        let alike = records.iter().filter(|record| record["reason"] == reason);
        let recorded: u64 = alike.map(|record| record["count"].as_u64().unwrap_or(1)).sum();
        assert!(recorded <= count as u64, "{recorded} records of {reason}, not {count}");
        (recorded == count as u64).then_some(())
    })
    .await;
}

/// Waits until every reason of `cases` is counted and recorded as often as it occurs there.
async fn reasons_are(edge: &Edge, cases: &[(&str, Vec<u8>, &str)]) {
    for (_, _, reason) in cases {
        let count = cases.iter().filter(|(_, _, other)| other == reason).count();
        reason_is(edge, reason, count).await;
    }
}

#[tokio::test]
async fn every_refused_hello_is_reset_without_a_byte() {
    let edge = Edge::builder().start().await;
    let cases = [refused_hellos(), no_hellos()].concat();
    for (what, bytes, _) in &cases {
        assert_eq!(probe(edge.https(), bytes).await, Answer::RESET, "{what}");
    }
    reasons_are(&edge, &cases).await;
    assert_eq!(edge.metric("icpgate_connections_empty_total{listener=\"https\"}").await, 0.0);
    edge.metric_becomes("icpgate_connections_open{listener=\"https\"}", 0.0).await;
}

#[tokio::test]
async fn only_well_formed_hellos_get_the_alert() {
    let listeners = "  - {name: https, addresses: [\"$HTTPS\"], protocol: https, refusal: alert}\n";
    let edge = Edge::builder().listeners(listeners).start().await;
    let alert = Answer { bytes: UNRECOGNIZED_NAME.to_vec(), ending: Ending::Closed };
    let (refused, no_hellos) = (refused_hellos(), no_hellos());
    for (what, bytes, _) in &refused {
        assert_eq!(probe(edge.https(), bytes).await, alert, "{what}");
    }
    for (what, bytes, _) in &no_hellos {
        assert_eq!(probe(edge.https(), bytes).await, Answer::RESET, "{what}");
    }
    reasons_are(&edge, &[refused, no_hellos].concat()).await;
}

#[tokio::test]
async fn only_well_formed_hellos_are_closed_silently() {
    let listeners = "  - {name: https, addresses: [\"$HTTPS\"], protocol: https, refusal: silent}\n";
    let edge = Edge::builder().listeners(listeners).start().await;
    for (what, bytes, _) in refused_hellos() {
        assert_eq!(probe(edge.https(), &bytes).await, Answer::CLOSED, "{what}");
    }
    for (what, bytes, _) in no_hellos() {
        assert_eq!(probe(edge.https(), &bytes).await, Answer::RESET, "{what}");
    }
}

/// Connections in parallel.
const GROUP: usize = 100;

/// Ways of splitting a hello, those with many pieces first.
fn splits(hello: &[u8]) -> Vec<Split> {
    let bare = message(hello);
    let mut splits = vec![hello.iter().map(|byte| vec![*byte]).collect()];
    for offset in 1..hello.len() {
        splits.push(vec![hello[..offset].to_vec(), hello[offset..].to_vec()]);
    }
    for length in 1..=bare.len() {
        // All records in one segment, and one segment per record.
        splits.push(vec![records(&bare, length).concat()]);
        splits.push(records(&bare, length));
    }
    // Records of one byte, in segments that end inside a record.
    splits.push(records(&bare, 1).concat().chunks(4).map(<[u8]>::to_vec).collect());
    splits.sort_by_key(|split| std::cmp::Reverse(split.len()));
    splits
}

#[tokio::test]
async fn an_unfiled_hello_is_reset_without_a_byte_however_it_is_split() {
    // Each piece waits until the previous one is read, which is slow on a busy machine.
    let edge = Edge::builder().limit("client_hello_timeout", "10m").start().await;
    let splits = splits(&client_hello(UNFILED));
    for group in splits.chunks(GROUP) {
        for (sent, split) in send_split(edge.https(), group).await.into_iter().zip(group) {
            assert_eq!(sent.answer().await, Answer::RESET, "{split:?}");
        }
    }
    reason_is(&edge, "not_filed", splits.len()).await;
}

#[tokio::test]
async fn a_filed_hello_is_answered_however_it_is_split() {
    // Each piece waits until the previous one is read, which is slow on a busy machine.
    let edge = Edge::builder().limit("client_hello_timeout", "10m").start().await;
    for group in splits(&client_hello(HOST)).chunks(GROUP) {
        for (sent, split) in send_split(edge.https(), group).await.into_iter().zip(group) {
            assert!(is_server_hello(&sent.first_bytes::<6>().await), "{split:?}");
        }
    }
}

fn is_server_hello(answer: &[u8]) -> bool {
    matches!(answer, [22, 3, 3, _, _, 2, ..])
}

#[tokio::test]
async fn odd_hellos_for_a_filed_host_are_answered() {
    let edge = Edge::builder().limit("handshake_timeout", "100ms").start().await;
    let named = || Handmade::named(HOST);
    // Outer hello, HKDF-SHA256 and AES-128-GCM, a configuration id, a key and a payload: any bytes.
    let grease = [&[0, 0, 1, 0, 1, 42, 0, 32], &[5; 32][..], &[0, 144], &[6; 144]].concat();
    let cases = [
        ("by hand", named().bytes()),
        ("in capitals", Handmade::named("WWW.Example.CN").bytes()),
        ("with ECH, as browsers grease it", named().extension(ECH, &grease).bytes()),
        ("with an unknown extension", named().extension(0x0a0a, &[]).bytes()),
        ("of 60 KiB, in four records", named().extension(21, &vec![0; 60 << 10]).bytes()),
    ];
    for (what, bytes) in cases {
        let answer = probe(edge.https(), &bytes).await;
        assert!(is_server_hello(&answer.bytes), "{what}: {answer:?}");
    }
}

#[tokio::test]
async fn a_hello_in_records_of_one_byte_completes_the_handshake() {
    let edge = Edge::builder().start().await;
    let config = Arc::new(edge.authority.client_config(&["http/1.1"]));
    let mut client = ClientConnection::new(config, HOST.try_into().expect("a name")).expect("a client");
    let mut first = Vec::new();
    client.write_tls(&mut first).expect("into memory");

    let mut socket = std::net::TcpStream::connect(edge.https()).expect("open");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket.write_all(&records(&message(&first), 1).concat()).expect("sent");
    let mut stream = rustls::Stream::new(&mut client, &mut socket);
    stream.write_all(b"GET / HTTP/1.1\r\nhost: www.example.cn\r\nconnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    // Nothing listens at the origin.
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
}

#[tokio::test]
async fn a_hello_that_is_late_is_reset_at_one_deadline_for_all_of_it() {
    const LIMIT: Duration = Duration::from_millis(300);
    let listeners = "  - {name: https, addresses: [\"$HTTPS\"], protocol: https, refusal: alert}\n";
    let edge = Edge::builder().listeners(listeners).limit("client_hello_timeout", "300ms").start().await;
    let hello = client_hello(HOST);
    // Half of it; nothing at all; and, below, a byte now and then.
    for beginning in [&hello[..100], &[]] {
        assert_eq!(not_before(LIMIT, probe(edge.https(), beginning)).await, Answer::RESET);
    }
    let error = not_before(LIMIT, drip(edge.https(), &hello, LIMIT / 15)).await;
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    reason_is(&edge, "hello_timeout", 3).await;
}

/// Sends byte by byte; the error that ends the connection, after not one byte received.
async fn drip(address: SocketAddr, hello: &[u8], between: Duration) -> std::io::Error {
    let socket = connect(address).await;
    let (mut reading, mut writing) = socket.into_split();
    let drip = async {
        for byte in hello {
            if let Err(error) = writing.write_all(&[*byte]).await {
                return error;
            }
            pause(between).await;
        }
        panic!("the whole hello was awaited")
    };
    let mut buffer = [0; 64];
    // The kernel reports a reset once: to the write or to the read.
    tokio::select! {
        read = tokio::io::AsyncReadExt::read(&mut reading, &mut buffer) => read.expect_err("no byte"),
        error = drip => error,
    }
}

#[tokio::test]
async fn a_hello_that_is_cut_off_is_malformed() {
    let edge = Edge::builder().start().await;
    let mut socket = connect(edge.https()).await;
    socket.write_all(&client_hello(HOST)[..100]).await.expect("sent");
    socket.shutdown().await.expect("half closed");
    assert_eq!(read_to_end(&mut socket, PATIENCE).await, Answer::RESET);
    reason_is(&edge, "bad_hello", 1).await;
}

#[tokio::test]
async fn a_connection_without_a_byte_is_only_counted() {
    let edge = Edge::builder().start().await;
    drop(connect(edge.https()).await);
    let reset = connect(edge.https()).await;
    socket2::SockRef::from(&reset).set_linger(Some(Duration::ZERO)).expect("a socket");
    drop(reset);
    drop(connect(edge.http()).await);
    edge.metric_becomes("icpgate_connections_empty_total{listener=\"https\"}", 2.0).await;
    edge.metric_becomes("icpgate_connections_empty_total{listener=\"http\"}", 1.0).await;
    for line in edge.metrics().await.0.lines().filter(|line| line.contains("connections_refused_total{")) {
        assert!(line.ends_with(" 0"), "{line}");
    }
    // Records are in order: once this refusal is recorded, earlier records would be there.
    probe(edge.https(), &client_hello(UNFILED)).await;
    let records = edge.records_where(1, |_| true).await;
    assert_eq!(records.len(), 1, "{records:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_refused_connections_does_not_starve_clients() {
    const REQUESTS: u32 = 100;
    // With a single worker thread, accepting competes with serving.
    let origin = Origin::html("a page").await;
    let edge = Edge::builder().origin(origin.address).env("TOKIO_WORKER_THREADS", "1").start().await;
    let mut client = Target::https(&edge).http1(HOST).await;
    let (address, over) = (edge.https(), Arc::new(AtomicBool::new(false)));
    let strangers: Vec<_> = (0..16)
        .map(|_| {
            let (hello, over) = (client_hello(UNFILED), Arc::clone(&over));
            std::thread::spawn(move || {
                let mut count = 0;
                while !over.load(Ordering::Relaxed) {
                    let mut socket = std::net::TcpStream::connect(address).expect("connected");
                    // The connection may be reset already.
                    let _ = socket.write_all(&hello);
                    let _ = socket.read(&mut [0]);
                    count += 1;
                }
                count
            })
        })
        .collect();
    for _ in 0..REQUESTS {
        assert_eq!(client.get(HOST, "/").await.status, 200);
    }
    over.store(true, Ordering::Relaxed);
    let strangers: u32 = strangers.into_iter().map(|stranger| stranger.join().expect("ended")).sum();
    // A request takes five or six polls of the thread, and each lets at most 128 connections in: about 750
    // between two answers. Without that budget, 3,000 and more get in.
    assert!(
        strangers < REQUESTS * 1_500,
        "{strangers} strangers came while {REQUESTS} requests were answered"
    );
}

#[tokio::test]
async fn a_refusal_is_recorded_with_every_known_field() {
    let edge = Edge::builder().start().await;
    let mut socket = connect(edge.https()).await;
    let port = socket.local_addr().expect("an address").port();
    socket.write_all(&client_hello(UNFILED)).await.expect("sent");
    taken(&[&socket]).await;
    assert_eq!(read_to_end(&mut socket, PATIENCE).await, Answer::RESET);
    let records = edge.records_where(1, |_| true).await;
    let record = &records[0];
    let expected = serde_json::json!({
        "seq": 1, "event": "refused", "reason": "not_filed", "node": "test", "generation": 1,
        "peer_ip": "127.0.0.1", "peer_port": port, "client_ip": "127.0.0.1", "client_port": port,
        "local_ip": edge.ip().to_string(), "local_port": 8443, "listener": "https", "server_name": UNFILED,
    });
    for (key, value) in expected.as_object().expect("an object") {
        assert_eq!(&record[key], value, "{key} of {record}");
    }
    for absent in ["status", "host", "method", "path", "request_id", "tls_version", "site", "origin"] {
        assert!(record.get(absent).is_none(), "{absent} of {record}");
    }
    let time = record["time"].as_str().expect("a time");
    assert!(time.ends_with("+08:00") && time.len() == "2026-03-02T00:00:00.000+08:00".len(), "{time}");
}
