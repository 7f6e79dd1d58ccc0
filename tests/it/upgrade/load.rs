//! Upgrades under load: no failed request, no lost record, no gap in their numbers.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::process::Signal;

use super::open::{Open, answer};
use super::{ended, proved, signal, upgrade, upgrades};
use crate::support::client::{Http1, Target};
use crate::support::edge::Edge;
use crate::support::origin::{Gate, Origin};
use crate::support::{HOST, PATIENCE, eventually};

const CLIENTS: usize = 4;

/// Requests one after the other, over kept connections and new ones by turns, until `over`; their paths.
async fn load(
    target: Target,
    client: usize,
    over: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
) -> io::Result<u64> {
    let mut sent = 0;
    let mut kept: Option<Http1> = None;
    while !over.load(Ordering::Relaxed) {
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => Http1::over(target.tls(HOST, b"http/1.1").await?),
        };
        let request = format!("GET /load/{client}/{sent} HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
        connection.try_send(request).await?;
        let answer = connection.try_answer("GET").await?;
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
        sent += 1;
        count.fetch_add(1, Ordering::Relaxed);
        if answer.field("connection") != Some("close") && sent % 8 != 0 {
            kept = Some(connection);
        }
    }
    Ok(sent)
}

/// Asks `/readyz` over and over; fails unless the answer is always 200.
async fn stay_ready(edge: &Edge, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        let (status, body) = edge.get("/readyz").await.expect("the admin port is open");
        assert_eq!(status, 200, "{body}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upgrades_under_load_lose_no_request_and_no_record() {
    let upgrades = upgrades();
    let gates: Arc<Vec<Gate>> = Arc::new((0..=upgrades).map(|_| Gate::default()).collect());
    let by_name = Arc::clone(&gates);
    let origin = Origin::start(move |request| {
        let name = request.target().strip_prefix("/slow/").and_then(|name| name.parse::<usize>().ok());
        answer(request, &by_name[name.unwrap_or(0)])
    })
    .await;
    let mut edge = Edge::builder().origin(origin.address).limit("drain_timeout", "60s").start().await;
    let target = Target::https(&edge);
    let (over, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| tokio::spawn(load(target.clone(), client, Arc::clone(&over), Arc::clone(&count))))
        .collect();

    let mut last = 0;
    let rounds = async {
        // Each process still has a download and a WebSocket when the next two have replaced it.
        let mut open: Vec<(usize, Open)> = Vec::new();
        for round in 0..upgrades {
            open.push((round, Open::begin(&target, round).await));
            let before = count.load(Ordering::Relaxed);
            last = upgrade(&edge).await;
            for (_, open) in &mut open {
                open.speak().await;
            }
            eventually("requests after the upgrade", PATIENCE, async || {
                (count.load(Ordering::Relaxed) > before + 20).then_some(())
            })
            .await;
            if open.len() > 2 {
                let (round, first) = open.remove(0);
                gates[round].open();
                first.finish().await;
            }
        }
        for (round, open) in open {
            gates[round].open();
            open.finish().await;
        }
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(rounds, stay_ready(&edge, &over));
    let mut sent = HashMap::new();
    for (client, task) in clients.into_iter().enumerate() {
        let requests =
            task.await.unwrap().unwrap_or_else(|error| panic!("client {client}: {error}\n{}", edge.log()));
        sent.extend((0..requests).map(|number| (format!("/load/{client}/{number}"), 0)));
    }
    assert_eq!(edge.wait_replaced().await, Some(0), "{}", edge.log());
    signal(last, Signal::TERM);
    ended(last).await;
    proved(&edge).await;
    let (mut slow, mut chats) = (0, 0);
    for record in edge.records().await {
        let path = record["path"].as_str().expect("every record is of a request").to_owned();
        match sent.get_mut(&path) {
            Some(records) => *records += 1,
            None if path == "/chat" => chats += 1,
            None => slow += 1,
        }
    }
    let wrong: Vec<_> = sent.iter().filter(|(_, records)| **records != 1).collect();
    assert!(wrong.is_empty(), "not one record each: {wrong:?}");
    assert_eq!((slow, chats), (upgrades, upgrades));
    println!("{upgrades} upgrades, {} requests, each with one record", sent.len());
}
