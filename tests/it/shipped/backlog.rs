//! Records that wait for a sink that is down: the memory of the program does not grow with them. Ten million records, and
//! the rate of catching up, are measured by `cargo bench --bench backlog`.

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use super::acknowledged;
use super::servers::{Server, Share};
use crate::record_sinks::kafka::{Guarded, USER};
use crate::record_sinks::relp::Rsyslog;
use crate::segment_sinks::{Spool, object_lock, oss};
use crate::support::client::Target;
use crate::support::edge::Edge;
use crate::support::time::{pause, settled};
use crate::support::{HOST, PATIENCE, eventually};

/// Records that wait: some fifty times what a lane may hold.
const BACKLOG: u64 = 200_000;
/// The most that a sink may cost, in MiB, whatever waits for it.
const MEMORY: u64 = 16;
const ATTEMPTS: usize = 3;
/// Between two looks at the program.
const BETWEEN: Duration = Duration::from_millis(20);
/// The time from the sink's return to the last record: a debug build on two busy cores, after a pause that has grown.
const CATCHING_UP: Duration = Duration::from_secs(120);

/// The program over `store`, with one sink that is down.
async fn start(store: &Path, sink: &str) -> Edge {
    let access_log = format!("{{directory: {}, reserve: 1MiB, sinks: [{sink}]}}", store.display());
    let folder = Edge::builder().access_log(&access_log).write();
    folder.replace("keys.yaml", object_lock::KEYS);
    let edge = folder.start().await;
    // A lane that has nothing to send does not connect.
    Target::http(&edge).get(HOST, "/").await;
    eventually("the sink is down", PATIENCE, async || {
        edge.status().await["retention"]["sinks"][0]["last_error"].is_string().then_some(())
    })
    .await;
    edge
}

/// The sink costs at most [`MEMORY`] in one of a few attempts: freed memory stays with the allocator for a while.
async fn costs_no_memory<S: Server>(server: &mut S, store: &Path) {
    let mut costs = Vec::new();
    for _ in 0..ATTEMPTS {
        costs.push(cost(server, store).await);
        if costs.last().is_some_and(|cost| *cost <= MEMORY) {
            return;
        }
        // The cursors: everything is shipped again.
        fs_err::remove_dir_all(store.join("sinks")).expect("removed");
    }
    panic!("{}: {costs:?} MiB", server.name());
}

/// What the backlog costs in MiB, while the sink is down and while it catches up: the same program over the same store,
/// with a backlog and without one.
async fn cost<S: Server>(server: &mut S, store: &Path) -> u64 {
    let (name, sink) = (server.name(), server.sink());
    server.stop().await;
    let edge = start(store, &sink).await;
    let waiting = settled("memory with a backlog", || edge.anonymous()).await;
    server.start().await;
    let (mut most, mut scrapes) = (waiting, 0);
    eventually(&format!("{name} has every record"), CATCHING_UP, async || {
        most = most.max(edge.anonymous());
        scrapes += 1;
        pause(BETWEEN).await;
        (acknowledged(&edge, name).await >= BACKLOG).then_some(())
    })
    .await;
    end(edge).await;

    server.stop().await;
    let edge = start(store, &sink).await;
    // The page of metrics has its own cost: it is asked for as often.
    for _ in 0..scrapes {
        pause(BETWEEN).await;
        acknowledged(&edge, name).await;
    }
    let without = settled("memory without a backlog", || edge.anonymous()).await;
    println!(
        "{name}: {without} MiB without a backlog, {waiting} MiB with it, at most {most} MiB while catching up"
    );
    end(edge).await;
    waiting.max(most).saturating_sub(without)
}

/// Ends the program in good order, so that it keeps its cursors.
async fn end(mut edge: Edge) {
    edge.signal(Signal::TERM);
    assert_eq!(edge.wait_exit().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_costs_no_memory_while_it_waits_and_while_a_sink_catches_up() {
    let mut spool = Spool::new();
    let config = spool.configure("");
    spool.start(&config);
    spool.record(BACKLOG).await;
    spool.close().await;
    let store = spool.path("access");
    costs_no_memory(&mut Share::new(), &store).await;
    costs_no_memory(&mut oss::Service::start().await, &store).await;
    costs_no_memory(&mut Rsyslog::start().await, &store).await;
    let mut kafka = Guarded::start(USER).await;
    kafka.topic("SCRAM-SHA-512").await;
    costs_no_memory(&mut kafka, &store).await;
}
