//! What a client may take of connections, time and descriptors.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::support::client::{HEADERS, PREFACE, RST_STREAM, Target, frame, get_block, within};
use crate::support::edge::{Edge, SUSPENDED};
use crate::support::hello::{Handmade, client_hello};
use crate::support::origin::{Origin, Step, head};
use crate::support::probe::{Answer, Ending, connect, is_refused, probe, read_to_end};
use crate::support::{PATIENCE, eventually};

const FILED: &str = "www.example.cn";
const OPEN: &str = "icpgate_connections_open{listener=\"https\"}";
const TOO_MANY: &str =
    "icpgate_connections_refused_total{listener=\"https\",reason=\"too_many_connections\"}";

/// A connection from another address of this machine.
async fn connect_from(client: [u8; 4], address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((IpAddr::from(Ipv4Addr::from(client)), 0).into())?;
    socket.connect(address).await
}

/// What becomes of a connection that says nothing, as long as `patience` lasts.
async fn fate(client: [u8; 4], address: SocketAddr, patience: Duration) -> Answer {
    match connect_from(client, address).await {
        Ok(mut socket) => read_to_end(&mut socket, patience).await,
        // Reset before the system said that it was open.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Answer::RESET,
        Err(error) => panic!("{address}: {error}"),
    }
}

/// Long enough for a refusal to come.
const A_WHILE: Duration = Duration::from_millis(200);
const STAYS_OPEN: Answer = Answer { bytes: Vec::new(), ending: Ending::Open };

#[tokio::test]
async fn connections_beyond_the_limit_of_all_are_reset_until_one_is_given_up() {
    let edge = Edge::builder().limit("connections", "3").start().await;
    // Over both listeners, from different clients: the limit is of all.
    let held = [
        connect_from([127, 0, 0, 11], edge.https()).await.expect("open"),
        connect_from([127, 0, 0, 12], edge.https()).await.expect("open"),
        connect_from([127, 0, 0, 13], edge.http()).await.expect("open"),
    ];
    edge.metric_becomes(OPEN, 2.0).await;
    edge.metric_becomes("icpgate_connections_open{listener=\"http\"}", 1.0).await;

    assert_eq!(fate([127, 0, 0, 14], edge.https(), PATIENCE).await, Answer::RESET);
    assert_eq!(fate([127, 0, 0, 14], edge.http(), PATIENCE).await, Answer::RESET);
    edge.metric_becomes(TOO_MANY, 1.0).await;
    let records = edge.records_where(2, |record| record["reason"] == "too_many_connections").await;
    assert_eq!(records[0]["peer_ip"], "127.0.0.14");
    assert_eq!(edge.status().await["connections"], 3);

    drop(held);
    edge.metric_becomes(OPEN, 0.0).await;
    assert_eq!(fate([127, 0, 0, 14], edge.https(), A_WHILE).await, STAYS_OPEN);
}

#[tokio::test]
async fn one_client_has_its_limit_and_leaves_the_others_theirs() {
    let edge = Edge::builder().limit("connections_per_client", "2").start().await;
    let one = [127, 0, 0, 21];
    let first = connect_from(one, edge.https()).await.expect("open");
    let _second = connect_from(one, edge.https()).await.expect("open");
    edge.metric_becomes(OPEN, 2.0).await;
    assert_eq!(fate(one, edge.https(), PATIENCE).await, Answer::RESET);
    assert_eq!(fate([127, 0, 0, 22], edge.https(), A_WHILE).await, STAYS_OPEN);
    edge.metric_becomes(TOO_MANY, 1.0).await;

    drop(first);
    edge.metric_becomes(OPEN, 1.0).await;
    assert_eq!(fate(one, edge.https(), A_WHILE).await, STAYS_OPEN);
}

#[tokio::test]
async fn a_handshake_that_is_not_finished_in_time_ends_the_connection() {
    let edge = Edge::builder().limit("handshake_timeout", "300ms").start().await;
    let started = Instant::now();
    // The server's flight comes, and the client never answers it.
    let answer = probe(edge.https(), &Handmade::named(FILED).bytes()).await;
    println!("ended after {:?}: {:?}", started.elapsed(), answer.ending);
    assert!(started.elapsed() >= Duration::from_millis(300));
    assert_eq!(answer.bytes.first(), Some(&22), "{answer:?}");
    assert_ne!(answer.ending, Ending::Open);
    edge.metric_becomes(OPEN, 0.0).await;
}

#[tokio::test]
async fn a_connection_without_a_request_ends_after_the_idle_time() {
    let idle = Duration::from_millis(400);
    let edge = Edge::builder().limit("idle_timeout", "400ms").start().await;
    let started = Instant::now();
    let mut stream = Target::https(&edge).tls(FILED, b"http/1.1").await.expect("a handshake");
    let mut rest = Vec::new();
    // With TLS's farewell or without: it is over.
    let _ = within("the end", stream.read_to_end(&mut rest)).await;
    println!("without a request: ended after {:?}", started.elapsed());
    assert!(started.elapsed() >= idle);

    // The time begins anew with every answer.
    let mut socket = connect(edge.http()).await;
    let started = Instant::now();
    for _ in 0..3 {
        use tokio::io::AsyncWriteExt as _;
        tokio::time::sleep(idle / 2).await;
        socket.write_all(b"GET / HTTP/1.1\r\nhost: www.example.cn\r\n\r\n").await.expect("still open");
        let mut answer = [0; 12];
        socket.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 308");
        let mut rest = [0; 4096];
        let _ = tokio::time::timeout(Duration::from_millis(20), socket.read(&mut rest)).await;
    }
    assert_ne!(read_to_end(&mut socket, PATIENCE).await.ending, Ending::Open);
    println!("kept in use: ended after {:?}", started.elapsed());
    assert!(started.elapsed() >= idle / 2 * 3 + idle);
    edge.metric_becomes(OPEN, 0.0).await;
}

#[tokio::test]
async fn an_idle_http2_connection_ends_and_one_without_a_preface_too() {
    let edge =
        Edge::builder().limit("idle_timeout", "300ms").limit("request_head_timeout", "600ms").start().await;
    let started = Instant::now();
    let _client = Target::https(&edge).http2(FILED).await;
    edge.metric_becomes(OPEN, 1.0).await;
    edge.metric_becomes(OPEN, 0.0).await;
    println!("idle: ended after {:?}", started.elapsed());
    assert!(started.elapsed() >= Duration::from_millis(300));

    // A preface is owed like a head.
    let started = Instant::now();
    let mut stream = Target::https(&edge).tls(FILED, b"h2").await.expect("a handshake");
    let _ = within("the end", stream.read_to_end(&mut Vec::new())).await;
    println!("without a preface: ended after {:?}", started.elapsed());
    assert!(started.elapsed() >= Duration::from_millis(600));
}

/// The processor time that the program has taken, of all its threads.
fn processor_time(edge: &Edge) -> Duration {
    let stat = fs_err::read_to_string(format!("/proc/{}/stat", edge.pid())).expect("it runs");
    let (_, fields) = stat.rsplit_once(") ").expect("a name in parentheses");
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
    // The kernel shows hundredths of a second, whatever it counts in (proc(5), sysconf(3)).
    Duration::from_millis(ticks * 10)
}

#[tokio::test]
async fn a_stream_that_is_reset_gives_up_the_connection_that_is_being_made_for_it() {
    // It accepts connections, and never finishes a handshake.
    let mute = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let origins = format!(
        "  - {{name: main, region: offshore, scheme: https, server_name: a.example.com, servers: [\"{}\"], timeouts: {{connect: 60s}}}}\n",
        mute.local_addr().expect("an address"),
    );
    let edge = Edge::builder().origins(&origins).start().await;
    let mut frames = Target::https(&edge).frames(FILED).await;
    frames.send(PREFACE).await.expect("sent");
    frames.send(&frame(HEADERS, 5, 1, &get_block(FILED, "/"))).await.expect("sent");
    let (mut server, _) = within("a connection", mute.accept()).await.expect("accepted");
    frames.send(&frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes())).await.expect("sent");
    let _ = within("its end", server.read_to_end(&mut Vec::new())).await;
    let records = edge.records_where(1, |record| record["path"] == "/").await;
    assert!(records.len() == 1 && records[0].get("status").is_none(), "{records:#?}");
}

#[tokio::test]
async fn answers_that_a_client_asks_for_and_does_not_take_are_not_held() {
    let origin =
        Origin::start(|_| vec![head("200 OK", &["content-length: 1000000000000"]), Step::Flood]).await;
    let edge = Edge::builder().origin(origin.address).start().await;
    let before = edge.resident();
    let mut clients = Vec::new();
    for asked in 1..=3 {
        let mut frames = Target::https(&edge).frames(FILED).await;
        frames.send(&PREFACE[..24]).await.expect("sent");
        // Windows as wide as there are, so that only the client's reading holds the edge back.
        let wide = [&4_u16.to_be_bytes()[..], &0x7fff_ffff_u32.to_be_bytes()].concat();
        frames.send(&frame(4, 0, 0, &wide)).await.expect("sent");
        frames.send(&frame(8, 0, 0, &0x7fff_0000_u32.to_be_bytes())).await.expect("sent");
        for stream in 0..100 {
            frames.send(&frame(HEADERS, 5, 2 * stream + 1, &get_block(FILED, "/"))).await.expect("sent");
        }
        origin.until("the requests", |seen| seen.len() == 100 * asked).await;
        clients.push(frames);
    }
    let mut last = 0;
    let held = eventually("it holds no more", PATIENCE, async || {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = edge.resident() - before;
        (std::mem::replace(&mut last, now) == now).then_some(now)
    })
    .await;
    println!("{held} MiB for 300 streams");
    assert!(held < 110, "{held} MiB for 300 streams");
}

#[tokio::test]
async fn accepting_pauses_while_there_are_no_descriptors_and_goes_on_after() {
    let edge = Edge::builder()
        .wrapper(&["prlimit", "--nofile=64:64"])
        .limit("client_hello_timeout", "60s")
        .start()
        .await;
    // More than there are descriptors: the kernel's queue takes the rest.
    let mut held = Vec::new();
    for _ in 0..80 {
        held.push(connect(edge.https()).await);
    }
    edge.logged("accepting pauses").await;
    edge.logged("Too many open files").await;

    let (before, began) = (processor_time(&edge), Instant::now());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (taken, elapsed) = (processor_time(&edge) - before, began.elapsed());
    println!("without descriptors: {taken:?} of processor time in {elapsed:?}");
    assert!(taken < elapsed / 5, "{taken:?} of processor time in {elapsed:?}");

    drop(held);
    let freed = Instant::now();
    assert_eq!(probe(edge.https(), &client_hello("www.example.net")).await, Answer::RESET);
    println!("accepted {:?} after descriptors were free", freed.elapsed());
    edge.metric_becomes(OPEN, 0.0).await;
    assert!(edge.metric("icpgate_accept_pauses_total").await > 0.0);
}

#[tokio::test]
async fn a_revocation_that_could_not_be_read_for_want_of_descriptors_takes_effect_after() {
    let edge = Edge::builder()
        .wrapper(&["prlimit", "--nofile=64:64"])
        .limit("client_hello_timeout", "60s")
        .start()
        .await;
    let mut held = Vec::new();
    for _ in 0..80 {
        held.push(connect(edge.https()).await);
    }
    edge.logged("accepting pauses").await;
    edge.replace("filings.yaml", SUSPENDED);
    edge.logged("the reload is rejected").await;

    drop(held);
    let freed = Instant::now();
    eventually("the revocation takes effect", PATIENCE, async || {
        is_refused(edge.https()).await.then_some(())
    })
    .await;
    println!("closed {:?} after descriptors were free", freed.elapsed());
}
