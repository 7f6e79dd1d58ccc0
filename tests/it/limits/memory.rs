//! What one connection can make the edge hold, whatever its client or its origin does.

use bytes::Bytes;
use http::{Method, Response};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::connect_from;
use crate::support::client::{
    DATA, Frames, GOAWAY, HEADERS, Http2, PREFACE, RST_STREAM, Target, answer, frame, get_block, head_of,
    next_data,
};
use crate::support::coding::encode;
use crate::support::edge::Edge;
use crate::support::http2_origin::{Http2Origin, send_all};
use crate::support::message::{Body, Wire};
use crate::support::origin::{Gate, Origin, Step, head, ok, raw};
use crate::support::slow::{download, slow};
use crate::support::time::settled;
use crate::support::{HOST, PATIENCE, eventually};

/// What a connection over HTTP/2 may hold, in MiB: its limits add up to about 4, and the allocator keeps
/// some besides.
const MOST: u64 = 6;
/// Connections that are measured at once.
const CLIENTS: u64 = 8;
/// Streams of each.
const STREAMS: u32 = 100;
/// Other memory that grows as well: of the runtime, of records.
const OTHER: u64 = 4;
const EVICTED_FOR_CLIENT: &str = "icpgate_memory_evictions_total{limit=\"client\"}";
const EVICTED_FOR_ALL: &str = "icpgate_memory_evictions_total{limit=\"process\"}";
const ENHANCE_YOUR_CALM: [u8; 4] = [0, 0, 0, 11];
const REFUSED_STREAM: [u8; 4] = [0, 0, 0, 7];
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const END_HEADERS: u8 = 4;
/// Ends the stream too.
const WHOLE: u8 = 5;

/// What a client sends first that announces this window for its streams, and the largest one for all together.
fn opening(window: u32) -> Vec<u8> {
    let window = [&4_u16.to_be_bytes()[..], &window.to_be_bytes()].concat();
    let wide = frame(WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes());
    [&PREFACE[..24], &frame(SETTINGS, 0, 0, &window), &wide].concat()
}

async fn connect(edge: &Edge, window: u32) -> Frames {
    let mut frames = Target::https(edge).frames(HOST).await;
    frames.send(&opening(window)).await.expect("sent");
    frames
}

fn stream_id(number: u32) -> u32 {
    2 * number + 1
}

/// What the program holds for each connection that `begin` begins, after a first one that fills its pools.
async fn measured<C>(edge: &Edge, mut begin: impl AsyncFnMut(u64) -> C) -> (u64, Vec<C>) {
    drop(begin(0).await);
    settled("the first one is gone", || edge.resident()).await;
    let before = edge.resident();
    let mut open = Vec::new();
    for number in 1..=CLIENTS {
        open.push(begin(number).await);
    }
    let held = settled("it holds no more", || edge.resident()).await.saturating_sub(before);
    let counted = edge.metric("icpgate_memory_held_bytes").await / f64::from(1 << 20);
    eprintln!("{held} MiB for {CLIENTS} connections, {counted:.1} MiB counted");
    (held, open)
}

/// An answer that never comes.
fn never() -> Vec<Step> {
    vec![Step::Wait(Gate::default())]
}

/// The header block of a POST, and these fields.
fn post_block(fields: &[u8]) -> Vec<u8> {
    let mut block = get_block(HOST, "/");
    block[0] = 0x83;
    block.extend_from_slice(fields);
    block
}

#[tokio::test]
async fn heads_of_many_references_are_not_held() {
    let origin = Origin::start(|_| never()).await;
    let edge = Edge::in_front_of(&origin).await;
    // Fields for the dynamic table, by literals with indexing; 120 distinct ones fill it.
    let literal = |name: u8| [0x40, 2, b'a' + name / 20, b'a' + name % 20, 0];
    let one: Vec<u8> = literal(0).to_vec();
    let distinct: Vec<u8> = (0..110).flat_map(literal).collect();
    for (kind, first, references) in [
        ("of one field", one, vec![0xbe_u8; 1800]),
        ("of distinct fields", distinct, (0..1800).map(|number| 0x80 + 62 + (number % 60) as u8).collect()),
    ] {
        let (held, mut open) = measured(&edge, async |_| {
            let mut frames = connect(&edge, 0).await;
            for number in 0..STREAMS {
                let fields = if number == 0 { &first } else { &references };
                let block = post_block(fields);
                // It may be cut off before all is sent.
                let _ = frames.send(&frame(HEADERS, END_HEADERS, stream_id(number), &block)).await;
            }
            frames
        })
        .await;
        assert!(held <= MOST * CLIENTS + OTHER, "{kind}: {held} MiB");
        let end = open[0].next_of(GOAWAY).await.expect("GOAWAY");
        assert_eq!(end.payload[4..8], ENHANCE_YOUR_CALM, "{kind}");
    }
}

#[tokio::test]
async fn heads_of_long_fields_are_not_held_on_every_stream() {
    let origin = Origin::start(|_| never()).await;
    let edge = Edge::in_front_of(&origin).await;
    // A field of 3,900 bytes for the dynamic table, and 15 references to it; and 15 literals without the table.
    let long = [&[0x40, 1, b'x', 0x7f, 0xbd, 0x1d][..], &[b'y'; 3900]].concat();
    let literals = [&[0x00, 1, b'x', 0x7f, 0xbd, 0x1d][..], &[b'y'; 3900]].concat().repeat(15);
    for (kind, first, others) in [("references", long, vec![0xbe; 15]), ("literals", Vec::new(), literals)] {
        let (held, mut open) = measured(&edge, async |_| {
            let mut frames = connect(&edge, 0).await;
            for number in 0..STREAMS {
                let block = post_block(if number == 0 { &first } else { &others });
                let (last, more) = block.split_at(block.len().min(16_384));
                let flags = if more.is_empty() { END_HEADERS } else { 0 };
                let _ = frames.send(&frame(HEADERS, flags, stream_id(number), last)).await;
                let pieces = more.chunks(16_384).collect::<Vec<_>>();
                for (index, piece) in pieces.iter().enumerate() {
                    let flags = if index + 1 == pieces.len() { END_HEADERS } else { 0 };
                    let _ = frames.send(&frame(9, flags, stream_id(number), piece)).await;
                }
            }
            frames
        })
        .await;
        assert!(held <= MOST * CLIENTS + OTHER, "{kind}: {held} MiB");
        // The client may ask again.
        let refused = open[0].next_of(RST_STREAM).await.expect("a reset");
        assert_eq!(*refused.payload, REFUSED_STREAM, "{kind}");
    }
}

#[tokio::test]
async fn small_frames_that_nobody_reads_are_not_held() {
    // Accepts connections and never finishes a handshake: nobody reads the bodies.
    let mute = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let origins = format!(
        "  - {{name: main, region: offshore, scheme: https, server_name: a.example.com, servers: [\"{}\"], timeouts: {{connect: 60s}}}}\n",
        mute.local_addr().expect("an address"),
    );
    let edge = Edge::builder().origins(&origins).start().await;
    let (held, _open) = measured(&edge, async |_| {
        let mut frames = connect(&edge, 0).await;
        for number in 0..4 {
            let asked = frame(HEADERS, END_HEADERS, stream_id(number), &post_block(b""));
            let _ = frames.send(&asked).await;
            let _ = frames.send(&frame(DATA, 0, stream_id(number), b"12345").repeat(50_000)).await;
        }
        frames
    })
    .await;
    assert!(held <= MOST * CLIENTS + OTHER, "{held} MiB");
}

#[tokio::test]
async fn answers_that_nobody_reads_are_not_held() {
    let origin =
        Origin::start(|_| vec![head("200 OK", &["content-length: 1000000000000"]), Step::Flood]).await;
    let edge = Edge::in_front_of(&origin).await;
    for window in [0, 0x7fff_ffff] {
        let so_far = origin.seen_count();
        let (held, _open) = measured(&edge, async |number| {
            let mut frames = connect(&edge, window).await;
            for number in 0..STREAMS {
                let asked = frame(HEADERS, WHOLE, stream_id(number), &get_block(HOST, "/"));
                frames.send(&asked).await.expect("sent");
            }
            let asked = so_far + (number as usize + 1) * STREAMS as usize;
            origin.until("the requests", |seen| seen.len() == asked).await;
            frames
        })
        .await;
        assert!(held <= MOST * CLIENTS + OTHER, "a window of {window}: {held} MiB");
    }
}

#[tokio::test]
async fn answers_of_an_http2_origin_that_nobody_reads_are_not_held() {
    let origin = Http2Origin::start(|mut exchange| async move {
        // The client may be gone already.
        let Ok(mut body) = exchange.respond.send_response(Response::new(()), false) else { return };
        let piece = Bytes::from(vec![b'x'; 64 * 1024]);
        while send_all(&mut body, piece.clone()).await.is_ok() {}
    })
    .await;
    let origins = "  - {name: main, region: mainland, scheme: h2c, servers: [\"$ORIGIN\"]}\n";
    let edge = Edge::builder().origin(origin.address).origins(origins).start().await;
    for window in [0, 0x7fff_ffff] {
        let (held, _open) = measured(&edge, async |_| {
            let mut frames = connect(&edge, window).await;
            for number in 0..STREAMS {
                let asked = frame(HEADERS, WHOLE, stream_id(number), &get_block(HOST, "/"));
                frames.send(&asked).await.expect("sent");
            }
            frames
        })
        .await;
        assert!(held <= MOST * CLIENTS + OTHER, "a window of {window}: {held} MiB");
    }
}

#[tokio::test]
async fn http1_clients_that_do_not_read_hold_little() {
    let origin =
        Origin::start(|_| vec![head("200 OK", &["content-length: 1000000000000"]), Step::Flood]).await;
    let edge = Edge::in_front_of(&origin).await;
    let (held, _open) = measured(&edge, async |_| {
        let mut open = Vec::new();
        for _ in 0..25 {
            let mut http1 = Target::https(&edge).http1(HOST).await;
            http1.ask("GET", HOST, "/").await;
            open.push(http1);
        }
        open
    })
    .await;
    // 256 KiB each.
    assert!(held <= 25 * CLIENTS / 4 + OTHER, "{held} MiB for {} clients", 25 * CLIENTS);
}

/// 64 MiB arrive whole however the client reads, beside others that do not read, and so does an upload.
#[tokio::test]
async fn long_bodies_pass_whole_however_the_client_reads() {
    const MIB: usize = 1024 * 1024;
    let origin = Origin::start(|request| match request.target() {
        "/upload" => [vec![Step::ReadBody], ok("taken")].concat(),
        _ => ok(vec![b'x'; 64 * MIB]),
    })
    .await;
    let edge = Edge::in_front_of(&origin).await;
    for (window, connection) in [(65_535, 65_535), (MIB as u32, 64 * MIB as u32)] {
        let stream = Target::https(&edge).tls(HOST, b"h2").await.expect("a handshake");
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(window).initial_connection_window_size(connection);
        let mut http2 = Http2::over(stream, builder).await;
        let mut unread = Vec::new();
        // With a small window for the connection, those that are not read take it from the others: that is the client's choice.
        for _ in 0..if window > 65_535 { 20 } else { 0 } {
            unread.push(http2.begin(Method::GET, HOST, "/", &[], true).await);
        }
        let (response, _) = http2.begin(Method::GET, HOST, "/", &[], true).await;
        let (_, mut body) = head_of(response).await.expect("a head");
        let mut read = 0;
        while let Some(bytes) = next_data(&mut body).await {
            read += bytes.expect("data").len();
        }
        assert_eq!(read, 64 * MIB);
    }
    let mut http2 = Target::https(&edge).http2(HOST).await;
    let (response, mut upload) = http2.begin(Method::POST, HOST, "/upload", &[], false).await;
    send_all(&mut upload, Bytes::from(vec![b'x'; 16 * MIB])).await.expect("sent");
    upload.send_data(Bytes::new(), true).expect("sent");
    assert_eq!(answer(response).await.expect("an answer").text(), "taken");
    origin.until("the upload", |seen| seen.iter().any(|one| one.body.len() == 16 * MIB)).await;
}

/// A client's connection with 100 answers that it does not read, from this address.
async fn stall_from(client: [u8; 4], edge: &Edge) -> Frames {
    let tcp = connect_from(client, edge.https()).await.expect("a connection");
    let stream = Target::https(edge).tls_over(tcp, HOST, b"h2").await.expect("a handshake");
    let mut frames = Frames { wire: Wire::new(stream) };
    frames.send(&opening(0x7fff_ffff)).await.expect("sent");
    for number in 0..STREAMS {
        let asked = frame(HEADERS, WHOLE, stream_id(number), &get_block(HOST, "/flood"));
        // It may have been closed already.
        let _ = frames.send(&asked).await;
    }
    frames
}

/// Waits until a counter is more than zero.
async fn grows(edge: &Edge, name: &str) {
    eventually("it grows", PATIENCE, async || (edge.metric(name).await > 0.0).then_some(())).await;
}

#[tokio::test]
async fn beyond_the_budget_the_greediest_client_loses_connections_and_others_go_on() {
    let gate = Gate::default();
    let waits = gate.clone();
    let origin = Origin::start(move |request| match request.target() {
        "/flood" => vec![head("200 OK", &["content-length: 1000000000000"]), Step::Flood],
        _ => slow(request, &waits),
    })
    .await;
    let limits = [("memory", "16MiB"), ("memory_per_client", "90%")];
    let builder = limits.iter().fold(Edge::builder(), |builder, (key, value)| builder.limit(key, value));
    let edge = builder.origin(origin.address).start().await;
    for name in ["icpgate_memory_held_bytes", EVICTED_FOR_ALL, EVICTED_FOR_CLIENT] {
        assert_eq!(edge.metric(name).await, 0.0, "{name}");
    }
    assert_eq!(edge.metric("icpgate_memory_limit_bytes").await, f64::from(16 << 20));
    let (mut honest, mut body) = download(&edge, HOST).await;
    let mut greedy = Vec::new();
    for _ in 0..32 {
        greedy.push(stall_from([127, 0, 0, 41], &edge).await);
    }
    grows(&edge, EVICTED_FOR_ALL).await;
    eventually("little is held", PATIENCE, async || {
        (edge.metric("icpgate_memory_held_bytes").await <= f64::from(16 << 20)).then_some(())
    })
    .await;
    assert_eq!(edge.metric(EVICTED_FOR_CLIENT).await, 0.0);
    gate.open();
    assert_eq!(body.next(&mut honest.wire).await.expect("a body").expect("more"), "ended");
}

#[tokio::test]
async fn a_client_has_a_budget_of_its_own() {
    let origin =
        Origin::start(|_| vec![head("200 OK", &["content-length: 1000000000000"]), Step::Flood]).await;
    let edge = Edge::builder().limit("memory_per_client", "16MiB").origin(origin.address).start().await;
    let mut greedy = Vec::new();
    for _ in 0..32 {
        greedy.push(stall_from([127, 0, 0, 42], &edge).await);
    }
    grows(&edge, EVICTED_FOR_CLIENT).await;
    assert_eq!(edge.metric(EVICTED_FOR_ALL).await, 0.0);
}

/// The window of a decoder is as large as the origin chose, 4 MiB here, and held as long as the page lasts.
#[tokio::test]
async fn pages_that_an_origin_holds_open_count_as_well() {
    let gate = Gate::default();
    let held = gate.clone();
    let noise: Vec<u8> =
        (0..6u32 << 20).map(|n| b'a' + (n.wrapping_mul(2_654_435_761) >> 27) as u8 % 26).collect();
    let page = encode("br", &[b"<!doctype html><html><body>", &noise[..], b"</body></html>"].concat());
    let origin = Origin::start(move |_| {
        let length = format!("content-length: {}", page.len());
        let fields = ["content-type: text/html; charset=utf-8", "content-encoding: br", &length];
        let (begin, end) = page.split_at(page.len() - 100);
        vec![head("200 OK", &fields), raw(begin), Step::Wait(held.clone()), raw(end)]
    })
    .await;
    let edge = Edge::builder().limit("memory_per_client", "16MiB").origin(origin.address).start().await;
    let mut readers = Vec::new();
    for _ in 0..8 {
        let mut http1 = Target::https(&edge).http1(HOST).await;
        http1.ask("GET", HOST, "/").await;
        let reads = async move {
            let head = http1.head().await;
            let mut body = Body::of_answer(&head, "GET");
            while let Ok(Some(_)) = body.next(&mut http1.wire).await {}
        };
        readers.push(AbortOnDropHandle::new(tokio::spawn(reads)));
    }
    grows(&edge, EVICTED_FOR_CLIENT).await;
}

/// What a browser asks for a page at once, over one connection, however slowly it reads.
#[tokio::test]
async fn a_page_of_a_hundred_streams_is_served_whole() {
    let origin = Origin::start(|_| ok(vec![b'x'; 100_000])).await;
    let edge = Edge::in_front_of(&origin).await;
    let cookie = "c".repeat(4000);
    let stream = Target::https(&edge).tls(HOST, b"h2").await.expect("a handshake");
    let mut builder = h2::client::Builder::new();
    let mut http2 = Http2::over(stream, builder.initial_connection_window_size(16 << 20).clone()).await;
    let mut answers = Vec::new();
    for _ in 0..STREAMS {
        answers.push(http2.begin(Method::GET, HOST, "/", &[("cookie", &cookie)], true).await.0);
    }
    origin.until("all of them", |seen| seen.len() == STREAMS as usize).await;
    for response in answers {
        assert_eq!(answer(response).await.expect("an answer").body.len(), 100_000);
    }
}
