//! Request smuggling: messages that two parsers could read differently. Whatever the edge makes of them,
//! the origin never sees a request that was hidden in another.

use std::sync::Arc;

use super::HOST;
use crate::support::client::{Frames, HEADERS, PREFACE, Target, frame};
use crate::support::edge::Edge;
use crate::support::origin::{Origin, ok};
use crate::support::time::within;

/// Heads and bodies with a hidden request. `N` is the number of the case.
const HIDING: [&str; 36] = [
    // Length and coding at once.
    "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /hidden-N HTTP/1.1\r\nHost: www.example.cn\r\n\r\n",
    "Transfer-Encoding: chunked\r\nContent-Length: 60\r\n\r\n0\r\n\r\nGET /hidden-N HTTP/1.1\r\nHost: www.example.cn\r\n\r\n",
    // Several lengths, or one that is no number.
    "Content-Length: 0\r\nContent-Length: 60\r\n\r\nGET /hidden-N HTTP/1.1\r\nHost: www.example.cn\r\n\r\n",
    "Content-Length: 60\r\nContent-Length: 0\r\n\r\nGET /hidden-N HTTP/1.1\r\nHost: www.example.cn\r\n\r\n",
    "Content-Length: 0, 60\r\n\r\nGET /hidden-N HTTP/1.1\r\nHost: www.example.cn\r\n\r\n",
    "Content-Length: +0\r\n\r\nGET /hidden-N HTTP/1.1\r\nHost: www.example.cn\r\n\r\n",
    "Content-Length: -1\r\n\r\nGET /hidden-N HTTP/1.1\r\nHost: www.example.cn\r\n\r\n",
    "Content-Length: 0x0\r\n\r\nGET /hidden-N HTTP/1.1\r\nHost: www.example.cn\r\n\r\n",
    "Content-Length: 0 0\r\n\r\nGET /hidden-N HTTP/1.1\r\nHost: www.example.cn\r\n\r\n",
    "Content-Length:\r\n\r\nGET /hidden-N HTTP/1.1\r\nHost: www.example.cn\r\n\r\n",
    "Content-Length: 18446744073709551616\r\n\r\nGET /hidden-N HTTP/1.1\r\nHost: www.example.cn\r\n\r\n",
    // Codings other than a single `chunked`.
    "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\nGET /hidden-N HTTP/1.1\r\nHost: www.example.cn\r\n\r\n",
    "Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\nGET /hidden-N HTTP/1.1\r\nHost: www.example.cn\r\n\r\n",
    "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\nGET /hidden-N HTTP/1.1\r\nHost: www.example.cn\r\n\r\n",
    "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\nGET /hidden-N HTTP/1.1\r\nHost: www.example.cn\r\n\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\nGET /hidden-N HTTP/1.1\r\nHost: www.example.cn\r\n\r\n",
    "Transfer-Encoding: identity\r\nContent-Length: 0\r\n\r\nGET /hidden-N HTTP/1.1\r\nHost: www.example.cn\r\n\r\n",
    "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\nGET /hidden-N HTTP/1.1\r\nHost: www.example.cn\r\n\r\n",
    "Transfer-Encoding: \x0bchunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\nGET /hidden-N HTTP/1.1\r\nHost: www.example.cn\r\n\r\n",
    "Transfer-Encoding:\r\nContent-Length: 0\r\n\r\nGET /hidden-N HTTP/1.1\r\nHost: www.example.cn\r\n\r\n",
    // Malformed fields.
    "Transfer-Encoding : chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\nGET /hidden-N HTTP/1.1\r\nHost: www.example.cn\r\n\r\n",
    "Content-Length : 60\r\n\r\nGET /hidden-N HTTP/1.1\r\nHost: www.example.cn\r\n\r\n",
    " Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\nGET /hidden-N HTTP/1.1\r\nHost: www.example.cn\r\n\r\n",
    "Transfer-Encoding:\r\n chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\nGET /hidden-N HTTP/1.1\r\nHost: www.example.cn\r\n\r\n",
    "X: a\r\n folded\r\nContent-Length: 60\r\n\r\nGET /hidden-N HTTP/1.1\r\nHost: www.example.cn\r\n\r\n",
    "X: a\rTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\nGET /hidden-N HTTP/1.1\r\nHost: www.example.cn\r\n\r\n",
    "X: a\r\r\nContent-Length: 0\r\n\r\nGET /hidden-N HTTP/1.1\r\nHost: www.example.cn\r\n\r\n",
    "X: a\0\r\nContent-Length: 60\r\n\r\nGET /hidden-N HTTP/1.1\r\nHost: www.example.cn\r\n\r\n",
    ": x\r\nContent-Length: 60\r\n\r\nGET /hidden-N HTTP/1.1\r\nHost: www.example.cn\r\n\r\n",
    "no colon\r\nContent-Length: 60\r\n\r\nGET /hidden-N HTTP/1.1\r\nHost: www.example.cn\r\n\r\n",
    // Malformed chunks.
    "Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\nGET /hidden-N HTTP/1.1\r\nHost: www.example.cn\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\nGET /hidden-N HTTP/1.1\r\nHost: www.example.cn\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n\r\nGET /hidden-N HTTP/1.1\r\nHost: www.example.cn\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n2\r\nabcd\r\n0\r\n\r\nGET /hidden-N HTTP/1.1\r\nHost: www.example.cn\r\n\r\n",
    // An upgrade with a body.
    "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 51\r\n\r\nGET /hidden-N HTTP/1.1\r\nHost: www.example.cn\r\n\r\n",
    "Connection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n\r\n40\r\nGET /hidden-N HTTP/1.1\r\nHost: www.example.cn\r\n\r\n",
];

/// Valid spellings of `chunked`.
const PLAIN_CODINGS: [&str; 6] = [
    "Transfer-Encoding: chunked",
    "transfer-encoding:chunked",
    "Transfer-Encoding: CHUNKED",
    "Transfer-Encoding:\tchunked",
    "Transfer-Encoding: chunked\t",
    "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked",
];

/// Spellings that some parsers take for `chunked`.
const DOUBTFUL_CODINGS: [&str; 8] = [
    "Transfer-Encoding: chunked,",
    "Transfer-Encoding: ,chunked",
    "Transfer-Encoding: chunked;q=1",
    "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding: chunked\r\n\t, identity",
    "Transfer-Encoding\t: chunked",
    "Transfer-Encoding: chu\0nked",
    "X: y\r\nTransfer-Encoding: x\r\nTransfer-Encoding: chunked",
];

/// Lengths beside the coding: right, short, long, oddly spelled.
const LENGTHS: [&str; 6] = [
    "Content-Length: 5\r\n",
    "Content-Length: 0\r\n",
    "Content-Length: 400\r\n",
    "Content-Length: 5,5\r\n",
    "Content-Length: 05 \r\n",
    "Connection: Content-Length\r\nContent-Length: 5\r\n",
];

/// Every coding combined with every length in both orders, and every doubtful coding alone; a request
/// is hidden where one of the two readings sees a body.
fn crossed() -> impl Iterator<Item = String> {
    let hidden = "0\r\n\r\nGET /hidden-N HTTP/1.1\r\nHost: www.example.cn\r\n\r\n";
    let alone = DOUBTFUL_CODINGS.into_iter().map(move |coding| format!("{coding}\r\n\r\n{hidden}"));
    let beside = PLAIN_CODINGS.into_iter().chain(DOUBTFUL_CODINGS).flat_map(move |coding| {
        LENGTHS.into_iter().flat_map(move |length| {
            let first = format!("{length}{coding}\r\n\r\n{hidden}");
            [first, format!("{coding}\r\n{length}\r\n{hidden}")]
        })
    });
    alone.chain(beside)
}

async fn edge(origin: &Origin) -> Edge {
    let builder = Edge::builder().origin(origin.address);
    builder
        .limit("request_head_timeout", "2s")
        .limit("body_idle_timeout", "2s")
        .limit("idle_timeout", "2s")
        .start()
        .await
}

#[tokio::test]
async fn no_request_is_smuggled_inside_another() {
    let origin = Origin::start(|request| ok(request.target())).await;
    let edge = Arc::new(edge(&origin).await);
    let mut cases = tokio::task::JoinSet::new();
    let room = Arc::new(tokio::sync::Semaphore::new(32));
    let hiding: Vec<String> = HIDING.map(str::to_owned).into_iter().chain(crossed()).collect();
    for (number, case) in hiding.iter().cloned().enumerate() {
        let (target, room) = (Target::https(&edge), Arc::clone(&room));
        cases.spawn(async move {
            let _place = room.acquire_owned().await.unwrap();
            let mut client = target.http1(HOST).await;
            let method = if case.contains("websocket") { "GET" } else { "POST" };
            let case = case.replace("-N ", &format!("-{number:03} "));
            client.send(format!("{method} /case-{number:03} HTTP/1.1\r\nHost: {HOST}\r\n{case}")).await;
            let (bytes, _) = client.end().await;
            (number, String::from_utf8_lossy(&bytes).into_owned())
        });
    }
    while let Some(outcome) = cases.join_next().await {
        let (number, answers) = outcome.unwrap();
        let served = answers.matches("HTTP/1.1 ").count() - answers.matches("HTTP/1.1 400 ").count();
        assert!(served <= 1, "case {number} was served {served} times: {:?}", hiding[number]);
    }
    for request in origin.seen() {
        assert!(request.target().starts_with("/case-"), "{request:?}");
    }
    assert_eq!(origin.nonsense(), 0);
    // Leftover bytes would spoil the next request on the kept connection.
    let mut client = Target::https(&edge).http1(HOST).await;
    for _ in 0..origin.connections() + 1 {
        assert_eq!(client.get(HOST, "/honest").await.text(), "/honest");
    }
}

#[tokio::test]
async fn wrong_framing_is_400() {
    let origin = Origin::text("hello").await;
    let edge = edge(&origin).await;
    for case in [
        "GET / HTTP/1.1\r\nHost: www.example.cn\r\nHost: www.example.cn\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: www.example.cn\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: www.example.cn\r\nContent-Length: x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: www.example.cn\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: www.example.cn\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: www.example.cn\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: www.example.cn\r\nTransfer-Encoding : chunked\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: www.example.cn\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: www.example.cn\r\nX: a\r\n b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: www.example.cn\r\nX: a\rb\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: www.example.cn\r\n\r\n",
        "GET / HTTP/1.2\r\nHost: www.example.cn\r\n\r\n",
        "GET http://www.example.cn/ HTTP/1.1\r\nHost: example.cn\r\n\r\n",
        "\x16\x03\x01\r\n\r\n",
    ] {
        let mut client = Target::https(&edge).http1(HOST).await;
        client.send(case).await;
        let answer = client.answer("GET").await;
        assert_eq!(answer.status, 400, "{case:?}");
        assert_eq!(answer.field("connection"), Some("close"), "{case:?}");
        assert!(client.end().await.0.is_empty(), "{case:?}");
    }
    assert_eq!(origin.seen().len(), 0);
}

#[tokio::test]
async fn unusual_but_valid_messages_are_served() {
    let origin = Origin::text("hello").await;
    let edge = edge(&origin).await;
    for case in [
        // Repeated equal lengths, a chunk extension, a coding in capitals, an absolute target.
        "POST / HTTP/1.1\r\nHost: www.example.cn\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: www.example.cn\r\nContent-Length: 5, 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: www.example.cn\r\nContent-Length: 005\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: www.example.cn\r\nTransfer-Encoding: chunked\r\n\r\n5;a=\"b\"\r\nhello\r\n0\r\nX: y\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: www.example.cn\r\nTransfer-Encoding: Chunked\r\n\r\n05\r\nhello\r\n000\r\n\r\n",
        "POST http://www.example.cn/ HTTP/1.1\r\nHost: www.example.cn\r\nContent-Length: 5\r\n\r\nhello",
    ] {
        let before = origin.seen().len();
        let mut client = Target::https(&edge).http1(HOST).await;
        client.send(case).await;
        assert_eq!(client.answer("POST").await.text(), "hello", "{case:?}");
        let request = origin.seen().remove(before);
        assert_eq!((request.target(), request.body.as_slice()), ("/", &b"hello"[..]), "{case:?}");
        assert!(request.head.get("content-length").is_none_or(|length| length == "5"), "{request:?}");
        assert_eq!(request.head.all("content-length").len() + request.head.all("transfer-encoding").len(), 1);
    }
}

/// A literal header field without Huffman coding and indexing.
pub(super) fn literal(name: &str, value: &str) -> Vec<u8> {
    let sized = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    [&[0][..], &sized(name), &sized(value)].concat()
}

/// The answer to a request with this header block, unless the edge refuses it.
async fn sent(frames: &mut Frames, fields: &[(&str, &str)]) -> bool {
    let block: Vec<u8> = fields.iter().flat_map(|(name, value)| literal(name, value)).collect();
    frames.send(PREFACE).await.unwrap();
    frames.send(&frame(HEADERS, 5, 1, &block)).await.unwrap();
    within("an answer or an end", async {
        while let Some(frame) = frames.next().await {
            match frame.kind {
                // `:status: 400` in the static table; any other status comes from the origin.
                HEADERS => return frame.payload.first() != Some(&0x8c),
                3 | 7 => return false,
                _ => {}
            }
        }
        false
    })
    .await
}

#[tokio::test]
async fn no_request_is_smuggled_in_http2_fields() {
    let origin = Origin::start(|request| ok(request.target())).await;
    let edge = edge(&origin).await;
    let hidden = "GET /hidden HTTP/1.1\r\nHost: www.example.cn\r\n\r\n";
    let plain = [(":method", "GET"), (":scheme", "https"), (":authority", HOST), (":path", "/plain")];
    let with = |name: &'static str, value: &str| {
        let mut fields: Vec<(&str, String)> = plain.map(|(name, value)| (name, value.to_owned())).to_vec();
        match fields.iter_mut().find(|(known, _)| *known == name) {
            Some(field) => field.1 = value.to_owned(),
            None => fields.push((name, value.to_owned())),
        }
        fields
    };
    for fields in [
        with(":path", &format!("/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n{hidden}")),
        with(":path", "/a b"),
        with(":method", &format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n{hidden}GET")),
        with(":authority", &format!("{HOST}\r\nx: y")),
        with("x-field", &format!("a\r\n\r\n{hidden}")),
        with("x-field", "a\nb"),
        with("x-field", "a\0b"),
        with("x\r\nhidden", "a"),
        with("X-Upper", "a"),
        with("transfer-encoding", "chunked"),
        with("connection", "close"),
        with("content-length", "5"),
        with("host", "example.cn"),
    ] {
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut frames = Target::https(&edge).frames(HOST).await;
        assert!(!sent(&mut frames, &fields).await, "{fields:?}");
    }
    assert_eq!((origin.seen().len(), origin.nonsense()), (0, 0), "{:?}", origin.seen());
    let mut frames = Target::https(&edge).frames(HOST).await;
    assert!(sent(&mut frames, &plain).await);
    assert_eq!(origin.only().target(), "/plain");
}
