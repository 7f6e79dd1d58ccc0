//! Peers that are no sink or a broken one: each failure is named, arrives in time and shows no secret.

use std::net::SocketAddr;
use std::time::Duration;

use icpgate::clock::Clock;
use icpgate::config::sinks::{
    CredentialsFrom, Endpoint, KafkaSettings, RelpSettings, SaslMechanism, SaslSettings, SlsSettings,
};
use icpgate::remote::failure::FailureKind;
use icpgate::ship::kafka::KafkaSink;
use icpgate::ship::relp::RelpSink;
use icpgate::ship::sink::RecordSink;
use icpgate::ship::sls::SlsSink;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::{NODE, messages, server_address};
use crate::support::PATIENCE;

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

/// The three sinks, each with a secret.
fn sinks(address: SocketAddr, folder: &TempDir) -> [(&'static str, Box<dyn RecordSink>); 3] {
    let (password_file, keys) = (folder.path().join("kafka.pw"), folder.path().join("sls.yaml"));
    fs_err::write(&password_file, PASSWORD).expect("written");
    fs_err::write(&keys, format!("access_key_id: AKID\naccess_key_secret: {PASSWORD}\n")).expect("written");
    let relp = RelpSettings { address: server_address(address), tls: None };
    let sasl = SaslSettings { mechanism: SaslMechanism::Plain, username: "edge".to_owned(), password_file };
    let brokers = vec![server_address(address)];
    let kafka = KafkaSettings { brokers, topic: "access".to_owned(), tls: None, sasl: Some(sasl) };
    let sls = SlsSettings {
        endpoint: Endpoint { is_tls: false, address: server_address(address) },
        trust: None,
        region: "cn-beijing".to_owned(),
        project: "audit".to_owned(),
        logstore: "edge".to_owned(),
        credentials: CredentialsFrom::File(keys),
    };
    [
        ("relp", Box::new(RelpSink::new(relp, NODE.into()))),
        ("kafka", Box::new(KafkaSink::new(kafka, NODE.into()))),
        ("sls", Box::new(SlsSink::new(sls, NODE.into(), Clock::system()))),
    ]
}

async fn check(manner: Manner, expected: [FailureKind; 3]) {
    let (address, _hears) = stranger(manner).await;
    let folder = tempfile::tempdir().expect("a folder");
    for ((name, mut sink), kind) in sinks(address, &folder).into_iter().zip(expected) {
        for _ in 0..2 {
            let sent = tokio::time::timeout(PATIENCE, async { sink.send(&messages(0..10)).await }).await;
            let failure = sent.unwrap_or_else(|_| panic!("{name}, {manner:?}: no end")).expect_err("no sink");
            assert_eq!(failure.kind, kind, "{name}, {manner:?}: {failure}");
            assert!(!failure.message.contains(PASSWORD), "{failure}");
            assert!(failure.message.contains("127.0.0.1"), "it names the peer: {failure}");
        }
    }
}

use FailureKind::{Protocol, Unavailable, Unreachable};

#[tokio::test]
async fn a_connection_that_ends_is_a_sink_out_of_reach() {
    check(Manner::Closes, [Unreachable; 3]).await;
    check(Manner::HalfCloses, [Unreachable; 3]).await;
    check(Manner::SaysAndCloses(b"1 rsp 92 200 O"), [Unreachable, Protocol, Protocol]).await;
    check(Manner::SaysAndCloses(b"\0\0\0\x40\0\0\0\x01\0"), [Protocol, Unreachable, Protocol]).await;
    check(Manner::SaysAndCloses(b"HTTP/1.1 200 OK\r\ncontent-le"), [Protocol, Protocol, Unreachable]).await;
}

#[tokio::test]
async fn another_protocol_is_told_apart() {
    check(Manner::Says(b"220 mail.example.cn ESMTP\r\n"), [Protocol; 3]).await;
    check(Manner::Says(b"SSH-2.0-OpenSSH_9.2\r\n"), [Protocol; 3]).await;
    check(Manner::Says(b"\x15\x03\x03\x00\x02\x02\x46"), [Protocol; 3]).await;
    let page = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>";
    check(Manner::Says(page), [Protocol; 3]).await;
    let busy = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
    check(Manner::Says(busy), [Protocol, Protocol, Unavailable]).await;
}

#[tokio::test]
async fn a_server_that_cannot_take_a_message_is_asked_again() {
    check(Manner::Says(b"1 rsp 20 500 no space is left\n"), [Unavailable, Protocol, Protocol]).await;
    check(Manner::Says(b"0 serverclose 0\n"), [Unreachable, Protocol, Protocol]).await;
    // An acknowledgement of something that was never sent.
    check(Manner::Says(b"7 rsp 6 200 OK\n"), [Protocol; 3]).await;
}

#[tokio::test]
async fn nobody_is_a_sink_out_of_reach() {
    let folder = tempfile::tempdir().expect("a folder");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    drop(listener);
    for (name, mut sink) in sinks(address, &folder) {
        let failure = sink.send(&messages(0..1)).await.expect_err("nobody");
        assert_eq!(failure.kind, Unreachable, "{name}: {failure}");
    }
}

#[tokio::test]
async fn silence_ends_after_a_while() {
    for place in 0..3 {
        let (address, hears) = stranger(Manner::IsSilent).await;
        let folder = tempfile::tempdir().expect("a folder");
        let mut sinks = sinks(address, &folder);
        let (name, sink) = &mut sinks[place];
        let sending = async {
            let failure = sink.send(&messages(0..1)).await.expect_err("silence");
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
