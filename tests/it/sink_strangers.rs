//! Peers that are no sink or a broken one: each failure is named, arrives in time, is not repeated in a hot loop and
//! shows no secret.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use icpgate::clock::Clock;
use icpgate::remote::failure::{FailureKind, RemoteFailure};
use icpgate::ship::open::{OpenSink, open};
use icpgate::ship::sink::Body;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::record_sinks::messages;
use crate::support::edge::{Edge, icpgate};
use crate::support::time::pause;
use crate::support::{PATIENCE, eventually};

const PASSWORD: &str = "s3cret-password";

/// What a peer does with a connection.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// Closes it at once.
    Closes,
    /// Reads and says nothing.
    IsSilent,
    /// Closes its sending side, and reads on.
    HalfCloses,
    /// Answers every read with these bytes.
    Says(&'static [u8]),
    /// Answers once, and closes.
    SaysAndCloses(&'static [u8]),
}

/// A server that behaves so, and a notification of its first bytes.
async fn stranger(manner: Manner) -> (SocketAddr, oneshot::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let (heard, hears) = oneshot::channel();
    tokio::spawn(async move {
        let mut heard = Some(heard);
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut buffer = [0; 4096];
            match manner {
                Manner::Closes => continue,
                Manner::HalfCloses => drop(socket.shutdown().await),
                Manner::IsSilent | Manner::Says(_) | Manner::SaysAndCloses(_) => {}
            }
            while socket.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                if let Some(heard) = heard.take() {
                    let _ = heard.send(());
                }
                if let Manner::Says(bytes) | Manner::SaysAndCloses(bytes) = manner {
                    let _ = socket.write_all(bytes).await;
                }
                if matches!(manner, Manner::SaysAndCloses(_)) {
                    break;
                }
            }
        }
    });
    (address, hears)
}

/// The types of sinks that a network leads to, as `sinks` has them.
const TYPES: [&str; 5] = ["relp", "kafka", "sls", "s3", "oss"];

/// Items of `access_log.sinks`, each with a secret where its type has one, that lead to `addresses`.
fn sinks(addresses: [SocketAddr; 5]) -> [String; 5] {
    let [relp, kafka, sls, s3, oss] = addresses;
    let keys = "credentials: {from: file, path: keys.yaml}";
    [
        format!("{{name: relp, type: relp, address: \"{relp}\"}}"),
        format!(
            "{{name: kafka, type: kafka, brokers: [\"{kafka}\"], topic: access, \
             sasl: {{mechanism: plain, username: edge, password_file: password}}}}"
        ),
        format!(
            "{{name: sls, type: sls, endpoint: \"http://{sls}\", region: cn-beijing, project: audit, logstore: edge, {keys}}}"
        ),
        format!(
            "{{name: s3, type: s3, endpoint: \"http://{s3}\", region: cn-north-1, bucket: audit, path_style: true, {keys}}}"
        ),
        format!(
            "{{name: oss, type: oss, endpoint: \"http://{oss}\", region: cn-beijing, bucket: audit, {keys}}}"
        ),
    ]
}

/// The files that hold the secrets.
fn secrets() -> [(&'static str, String); 2] {
    let keys =
        format!("access_key_id: AKID\naccess_key_secret: {PASSWORD}\nsecurity_token: {PASSWORD}-token\n");
    [("password", PASSWORD.to_owned()), ("keys.yaml", keys)]
}

/// The sinks, all at one address.
fn opened(address: SocketAddr, folder: &TempDir) -> Vec<OpenSink> {
    for (name, text) in secrets() {
        fs_err::write(folder.path().join(name), text).expect("written");
    }
    let text = format!(
        "node: test\nfilings: filings.yaml\nlisteners: [{{name: https, addresses: [\"127.0.0.1:1\"], protocol: https}}]\nsites: []\n\
         access_log: {{directory: access, sinks: [{}]}}\nadmin: {{address: \"127.0.0.1:2\"}}\n",
        sinks([address; 5]).join(", ")
    );
    let loaded = icpgate::config::parse(&folder.path().join("icpgate.yaml"), text.as_bytes());
    let config = loaded.value.unwrap_or_else(|| panic!("{:#?}", loaded.problems));
    config.sinks.iter().map(|sink| open(sink, &config.node, &Clock::system())).collect()
}

/// Sends something; the failure.
async fn failure(sink: &mut OpenSink) -> RemoteFailure {
    let sent = match sink {
        OpenSink::Records(sink) => sink.send(&messages(0..10)).await,
        OpenSink::Segments(sink) => {
            let body = Body::Bytes(Bytes::from_static(b"a segment"));
            sink.put("access-1.seg", &body, Clock::system().now()).await.map(drop)
        }
    };
    sent.expect_err("no sink")
}

async fn check(manner: Manner, expected: [FailureKind; 5]) {
    let (address, _hears) = stranger(manner).await;
    let folder = tempfile::tempdir().expect("a folder");
    for ((name, mut sink), kind) in TYPES.iter().zip(opened(address, &folder)).zip(expected) {
        for _ in 0..2 {
            let failed = tokio::time::timeout(PATIENCE, failure(&mut sink)).await;
            let failure = failed.unwrap_or_else(|_| panic!("{name}, {manner:?}: no end"));
            assert_eq!(failure.kind, kind, "{name}, {manner:?}: {failure}");
            assert!(!failure.message.contains(PASSWORD), "{failure}");
            assert!(failure.message.contains("127.0.0.1"), "it names the peer: {failure}");
        }
    }
}

use FailureKind::{
    ClockSkew, Expired, Full, Missing, Protocol, Throttled, Unauthorized, Unavailable, Unreachable,
};

/// What a peer of HTTP comes to, for the other protocols and for each service of HTTP.
fn over_http(sls: FailureKind, s3: FailureKind, oss: FailureKind) -> [FailureKind; 5] {
    [Protocol, Protocol, sls, s3, oss]
}

#[tokio::test]
async fn a_connection_that_ends_is_a_sink_out_of_reach() {
    check(Manner::Closes, [Unreachable; 5]).await;
    check(Manner::HalfCloses, [Unreachable; 5]).await;
    check(Manner::SaysAndCloses(b"1 rsp 92 200 O"), [Unreachable, Protocol, Protocol, Protocol, Protocol])
        .await;
    check(
        Manner::SaysAndCloses(b"\0\0\0\x40\0\0\0\x01\0"),
        [Protocol, Unreachable, Protocol, Protocol, Protocol],
    )
    .await;
    let cut_head = Manner::SaysAndCloses(b"HTTP/1.1 200 OK\r\ncontent-le");
    check(cut_head, over_http(Unreachable, Unreachable, Unreachable)).await;
    let cut_body =
        Manner::SaysAndCloses(b"HTTP/1.1 200 OK\r\netag: \"1\"\r\ncontent-length: 100\r\n\r\n<Obj");
    check(cut_body, over_http(Unreachable, Unreachable, Unreachable)).await;
}

#[tokio::test]
async fn another_protocol_is_told_apart() {
    check(Manner::Says(b"220 mail.example.cn ESMTP\r\n"), [Protocol; 5]).await;
    check(Manner::Says(b"SSH-2.0-OpenSSH_9.2\r\n"), [Protocol; 5]).await;
    check(Manner::Says(b"\x15\x03\x03\x00\x02\x02\x46"), [Protocol; 5]).await;
    let page = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>";
    check(Manner::Says(page), [Protocol; 5]).await;
    check(Manner::Says(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"), [Protocol; 5]).await;
    let portal = b"HTTP/1.1 302 Found\r\nlocation: http://portal.example/\r\ncontent-length: 0\r\n\r\n";
    check(Manner::Says(portal), [Protocol; 5]).await;
}

#[tokio::test]
async fn a_status_without_a_code_has_its_name() {
    for (status, kind) in [
        ("429 Too Many Requests", Throttled),
        ("500 Internal Server Error", Unavailable),
        ("503 Service Unavailable", Unavailable),
    ] {
        let answer: &'static str = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").leak();
        check(Manner::Says(answer.as_bytes()), over_http(kind, kind, kind)).await;
    }
}

/// What the services of objects say in XML. That of the log service, in JSON, is no answer that has a code for it.
#[tokio::test]
async fn each_code_of_an_object_store_has_its_name() {
    for (status, codes, kind) in [
        (400, ["ExpiredToken", "SecurityTokenExpired"], Expired),
        (403, ["AccessDenied", "AccessDenied"], Unauthorized),
        (403, ["RequestTimeTooSkewed", "RequestTimeTooSkewed"], ClockSkew),
        (404, ["NoSuchBucket", "NoSuchBucket"], Missing),
        (503, ["SlowDown", "QpsLimitExceeded"], Throttled),
        (507, ["InsufficientStorage", ""], Full),
    ] {
        for (place, code) in codes.into_iter().enumerate() {
            let body = format!("<Error><Code>{code}</Code><Message>no {PASSWORD}-token</Message></Error>");
            let answer = format!("HTTP/1.1 {status} No\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            let (address, _hears) = stranger(Manner::Says(answer.leak().as_bytes())).await;
            let folder = tempfile::tempdir().expect("a folder");
            let mut sinks = opened(address, &folder);
            let failure = failure(&mut sinks[3 + place]).await;
            assert_eq!(failure.kind, kind, "{}, {status} {code}: {failure}", TYPES[3 + place]);
            assert!(!failure.message.contains(PASSWORD), "a message may quote the request: {failure}");
        }
    }
}

#[tokio::test]
async fn a_server_that_cannot_take_a_message_is_asked_again() {
    let relp = |kind| [kind, Protocol, Protocol, Protocol, Protocol];
    check(Manner::Says(b"1 rsp 20 500 no space is left\n"), relp(Unavailable)).await;
    check(Manner::Says(b"0 serverclose 0\n"), relp(Unreachable)).await;
    // An acknowledgement of something that was never sent.
    check(Manner::Says(b"7 rsp 6 200 OK\n"), [Protocol; 5]).await;
}

#[tokio::test]
async fn nobody_is_a_sink_out_of_reach() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, mut sink) in TYPES.iter().zip(opened(nobody(), &folder)) {
        let failure = failure(&mut sink).await;
        assert_eq!(failure.kind, Unreachable, "{name}: {failure}");
    }
}

/// An address where nothing listens.
fn nobody() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("it is bound")
}

#[tokio::test]
async fn silence_ends_after_a_while() {
    for (place, name) in TYPES.iter().enumerate() {
        let (address, hears) = stranger(Manner::IsSilent).await;
        let folder = tempfile::tempdir().expect("a folder");
        let mut sinks = opened(address, &folder);
        let sending = async {
            let failure = failure(&mut sinks[place]).await;
            assert_eq!(failure.kind, FailureKind::TimedOut, "{name}: {failure}");
        };
        let passing = async {
            hears.await.expect("it was sent something");
            // Nothing arrives from here on, and the paused clock may advance.
            tokio::time::pause();
        };
        let began = tokio::time::Instant::now();
        tokio::join!(sending, passing);
        assert!(began.elapsed() <= Duration::from_secs(60), "{name}: {:?}", began.elapsed());
        tokio::time::resume();
    }
}

/// How often a lane may try within [`WATCHED`]: the pauses grow from half a second, a quarter with jitter. A promise that
/// cannot be read counts as a failure too.
const ATTEMPTS: f64 = 10.0;
const WATCHED: Duration = Duration::from_secs(3);

/// Every failure of one kind, of all sinks.
const CLASSES: [&str; 4] = ["unreachable", "unavailable", "unauthorized", "protocol"];

#[tokio::test]
async fn the_program_names_each_failure_tries_it_seldom_and_shows_no_secret() {
    let (closes, _one) = stranger(Manner::Closes).await;
    let (page, _two) = stranger(Manner::Says(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>")).await;
    let (busy, _three) = stranger(Manner::Says(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n")).await;
    let (denies, _four) =
        stranger(Manner::Says(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")).await;
    let addresses = [closes, page, busy, denies, nobody()];
    let expected = ["unreachable", "protocol", "unavailable", "unauthorized", "unreachable"];
    let folder = Edge::builder()
        .access_log(&format!(
            "{{directory: access, reserve: 1MiB, sinks: [{}]}}",
            sinks(addresses).join(", ")
        ))
        .write();
    for (name, text) in secrets() {
        folder.replace(name, text);
    }
    let edge = folder.start().await;
    for path in 0..100 {
        crate::support::client::Target::http(&edge).get(crate::support::HOST, &format!("/{path}")).await;
    }
    let shown = eventually("each failure is named", PATIENCE, async || {
        let shown = edge.status().await["retention"]["sinks"].clone();
        let is_named = |(name, class): (&&str, &str)| {
            let sink = shown.as_array().expect("a list").iter().find(|sink| sink["name"] == **name);
            let error = &sink.expect("it is listed")["last_error"];
            error.to_string().contains(class)
        };
        TYPES.iter().zip(expected).all(is_named).then_some(shown)
    })
    .await;
    pause(WATCHED).await;
    let metrics = edge.metrics().await;
    for name in TYPES {
        let series = |class| format!("icpgate_sink_errors_total{{sink=\"{name}\",class=\"{class}\"}}");
        let attempts: f64 = CLASSES.iter().map(|class| metrics.value(&series(class))).sum();
        assert!((1.0..=ATTEMPTS).contains(&attempts), "{name}: {attempts} attempts");
    }
    let config = edge.config_path().display().to_string();
    let told = icpgate(["logs", "sinks", "--config", &config]).await;
    for text in [shown.to_string(), metrics.0, edge.log(), format!("{told:?}")] {
        assert!(!text.contains(PASSWORD), "{text}");
    }
    // No record is lost: every one waits.
    assert_eq!(edge.metric("icpgate_access_records_total").await, 100.0);
    assert!(shown.as_array().expect("a list").iter().all(|sink| sink["acknowledged_seq"] == 0), "{shown}");
}
