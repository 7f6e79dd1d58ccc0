//! The program's own log, which no stranger writes and which stops nothing, and its watchdog.

use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;
use tokio::net::UnixDatagram;

use crate::support::client::{PREFACE, Target, frame};
use crate::support::edge::{Edge, run};
use crate::support::machine::{Need, require};
use crate::support::origin::{Origin, head};
use crate::support::probe::connect;
use crate::support::time::{holds, within};
use crate::support::{HOST, PATIENCE, eventually};

const DROPPED: &str = "icpgate_log_lines_dropped_total";

#[tokio::test]
async fn unasked_ping_acks_are_not_logged() {
    const PING: u8 = 6;
    let origin = Origin::text("hello").await;
    let edge = Edge::builder().origin(origin.address).more("log: {level: debug}\n").start().await;
    let mut frames = Target::https(&edge).frames(HOST).await;
    frames.send(PREFACE).await.expect("sent");
    let acks = frame(PING, 1, 0, &[0; 8]).repeat(1_000);
    for _ in 0..10 {
        // The edge may end the connection for it.
        let _ = frames.send(&acks).await;
    }
    // Its answer comes after all of them.
    let _ = frames.send(&frame(PING, 0, 0, &[1; 8])).await;
    while frames.next().await.is_some_and(|frame| frame.kind != PING) {}
    assert_eq!(Target::https(&edge).get(HOST, "/").await.text(), "hello");
    assert!(!edge.log().to_lowercase().contains("ping"), "{}", edge.log());
    assert_eq!(edge.metric(DROPPED).await, 0.0);
}

#[tokio::test]
async fn lines_that_repeat_are_left_out_and_counted() {
    // Each such answer is worth a line.
    let origin =
        Origin::start(|_| vec![head("200 OK", &["content-length: 1", "transfer-encoding: chunked"])]).await;
    let edge = Edge::in_front_of(&origin).await;
    let mut asked = 0;
    eventually("lines are left out", PATIENCE, async || {
        Target::https(&edge).get(HOST, "/").await;
        asked += 1;
        (edge.metric(DROPPED).await > 0.0).then_some(())
    })
    .await;
    edge.logged("lines left out: src/exchange/context.rs").await;
    let written = edge.log().matches("a server's answer is refused").count();
    assert!((50..asked).contains(&written), "{written} of {asked}");
}

#[tokio::test]
async fn a_blocked_stderr_stops_neither_requests_nor_probes_nor_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("stderr");
    let made = run("mkfifo", [&pipe]).await;
    assert_eq!(made.code, 0, "{made:?}");
    // Open for reading too, so that opening it for writing does not wait. Nobody reads, and it is full.
    let full = rustix::fs::open(&pipe, OFlags::RDWR | OFlags::NONBLOCK, Mode::empty()).expect("opened");
    while rustix::io::write(&full, &[b'x'; 1024]).is_ok() {}
    let origin = Origin::text("hello").await;
    let redirect = format!("exec \"$@\" 2>{}", pipe.display());
    let mut edge = Edge::builder()
        .origin(origin.address)
        .wrapper(&["sh", "-c", &redirect, "sh"])
        .more("log: {level: trace}\n")
        .start()
        .await;
    let mut client = Target::https(&edge).http2(HOST).await;
    eventually("lines are dropped", PATIENCE, async || {
        assert_eq!(client.get(HOST, "/").await.text(), "hello");
        assert_eq!(within("an answer", edge.get("/livez")).await.expect("open").0, 200);
        (edge.metric(DROPPED).await > 0.0).then_some(())
    })
    .await;
    for _ in 0..50 {
        assert_eq!(Target::https(&edge).get(HOST, "/").await.text(), "hello");
    }
    edge.signal(Signal::TERM);
    assert_eq!(edge.wait_exit().await, 0);
}

#[tokio::test]
async fn the_last_lines_are_written_before_the_end() {
    let mut edge = Edge::builder().start().await;
    edge.signal(Signal::TERM);
    assert_eq!(edge.wait_exit().await, 0);
    assert!(edge.log().trim_end().ends_with("stopped"), "{}", edge.log());
}

/// A socket that hears what the program tells systemd.
struct Notices {
    socket: UnixDatagram,
    _folder: tempfile::TempDir,
    path: String,
}

impl Notices {
    fn open() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        Self { socket, path: path.display().to_string(), _folder: folder }
    }

    async fn next(&self) -> String {
        let mut bytes = [0; 256];
        let length = within("a notice", self.socket.recv(&mut bytes)).await.expect("received");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    async fn until(&self, wanted: &str) {
        while !self.next().await.contains(wanted) {}
    }

    /// Takes what has arrived; whether the watchdog was fed.
    fn is_fed(&self) -> bool {
        let mut bytes = [0; 256];
        let mut fed = false;
        while let Ok(length) = self.socket.try_recv(&mut bytes) {
            fed |= bytes[..length].starts_with(b"WATCHDOG=1");
        }
        fed
    }
}

#[tokio::test]
async fn the_watchdog_is_fed_while_the_workers_make_progress_and_not_while_one_is_stuck() {
    require([Need::Strace]).await;
    let notices = Notices::open();
    // Accept loops poll after each accept. The first such poll takes 15 s.
    let strace = ["strace", "-D", "-f", "-qq", "-o", "/dev/null"];
    let slow_poll = ["-e", "trace=ppoll,poll", "-e", "inject=ppoll:delay_enter=15000000:when=1"];
    let edge = Edge::builder()
        .wrapper(&[&strace[..], &slow_poll[..]].concat())
        .env("NOTIFY_SOCKET", &notices.path)
        .env("WATCHDOG_USEC", "400000")
        .start()
        .await;
    notices.until("READY=1").await;
    for _ in 0..3 {
        notices.until("WATCHDOG=1").await;
    }
    let _client = connect(edge.https()).await;
    edge.logged("the runtime makes no progress").await;
    notices.is_fed();
    holds("nobody feeds the watchdog", Duration::from_secs(2), || !notices.is_fed()).await;
    // It goes on by itself.
    notices.until("WATCHDOG=1").await;
}

#[tokio::test]
async fn without_a_watchdog_nothing_is_fed() {
    let notices = Notices::open();
    let mut edge = Edge::builder().env("NOTIFY_SOCKET", &notices.path).start().await;
    notices.until("READY=1").await;
    edge.signal(Signal::TERM);
    notices.until("STOPPING=1").await;
    assert_eq!(edge.wait_exit().await, 0);
    assert!(!notices.is_fed());
}
