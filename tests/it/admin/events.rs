//! `/events`: what changes, as server-sent events.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::support::edge::{APPROVED, Edge, SUSPENDED};
use crate::support::hello::Handmade;
use crate::support::probe::probe;
use crate::support::time::{PATIENCE, eventually, within};

/// A reader of `/events`.
struct Events {
    lines: tokio::io::Lines<BufReader<TcpStream>>,
    /// Events that nobody has waited for yet: what follows from one change comes in any order.
    passed: Vec<Value>,
}

impl Events {
    /// Subscribed: from now on nothing is missed.
    async fn of(edge: &Edge) -> Self {
        let mut socket = TcpStream::connect(edge.admin()).await.unwrap();
        let request = format!("GET /events HTTP/1.1\r\nhost: {}\r\n\r\n", edge.admin());
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut events = Self { lines: BufReader::new(socket).lines(), passed: Vec::new() };
        while !events.line().await.expect("a stream").starts_with(": icpgate") {}
        events
    }

    async fn line(&mut self) -> Option<String> {
        within("a line", self.lines.next_line()).await.ok().flatten()
    }

    /// The first event that has all the members of `wanted`.
    async fn next(&mut self, wanted: Value) -> Value {
        let is_wanted =
            |event: &Value| wanted.as_object().unwrap().iter().all(|(key, value)| event[key] == *value);
        if let Some(place) = self.passed.iter().position(is_wanted) {
            return self.passed.remove(place);
        }
        let search = async {
            loop {
                let line = self.line().await.expect("the stream goes on");
                let Some(data) = line.strip_prefix("data: ") else { continue };
                let event: Value = serde_json::from_str(data).expect("JSON");
                if is_wanted(&event) {
                    return event;
                }
                self.passed.push(event);
            }
        };
        tokio::time::timeout(PATIENCE, search).await.unwrap_or_else(|_| panic!("no {wanted}"))
    }
}

#[tokio::test]
async fn a_revocation_is_told_of_the_filing_its_hosts_and_the_listeners() {
    let edge = Edge::builder().start().await;
    edge.ports_open().await;
    let mut events = Events::of(&edge).await;
    edge.replace("filings.yaml", SUSPENDED);
    events.next(json!({"domain": "example.cn", "status": "suspended"})).await;
    events.next(json!({"host": "www.example.cn", "status": "refused", "reason": "not_approved"})).await;
    events.next(json!({"listener": "https", "status": "unbound", "reason": "not_approved"})).await;
    edge.replace("filings.yaml", APPROVED);
    events.next(json!({"domain": "example.cn", "status": "approved"})).await;
    events.next(json!({"host": "www.example.cn", "listener": "https", "status": "permitted"})).await;
    events.next(json!({"listener": "https", "status": "bound"})).await;
    edge.replace("filings.yaml", "filings: {\n");
    let rejected = events.next(json!({"status": "rejected"})).await;
    assert!(rejected["reason"].as_str().unwrap().contains("filings.yaml"), "{rejected}");
    edge.replace("filings.yaml", "filings: []\n");
    events.next(json!({"domain": "example.cn", "status": "removed"})).await;
}

#[tokio::test]
async fn a_name_that_is_refused_for_the_first_time_is_told() {
    let edge = Edge::builder().start().await;
    edge.ports_open().await;
    let mut events = Events::of(&edge).await;
    // A name with a line break stays one event.
    probe(edge.https(), &Handmade::named("www.example.net\n\ndata: {}").bytes()).await;
    probe(edge.https(), &Handmade::named("www.example.org").bytes()).await;
    events.next(json!({"host": "www.example.org", "listener": "https", "reason": "not_filed"})).await;
}

#[tokio::test]
async fn streams_are_bounded_and_leave_room_for_pages() {
    let edge = Edge::builder().start().await;
    let mut readers = Vec::new();
    for _ in 0..16 {
        readers.push(Events::of(&edge).await);
    }
    let (status, text) = edge.get("/events").await.unwrap();
    assert_eq!((status, text.as_str()), (503, "too many streams of events are open; close one\n"));
    assert_eq!(edge.get("/livez").await.unwrap().0, 200);
    readers.clear();
    eventually("a place is free", PATIENCE, async || {
        let mut socket = TcpStream::connect(edge.admin()).await.ok()?;
        let request = format!("GET /events HTTP/1.1\r\nhost: {}\r\n\r\n", edge.admin());
        socket.write_all(request.as_bytes()).await.ok()?;
        let mut lines = BufReader::new(socket).lines();
        let first = tokio::time::timeout(Duration::from_secs(5), lines.next_line()).await.ok()?.ok()??;
        first.contains("200").then_some(())
    })
    .await;
}
