//! Maintenance of servers beside the requests: fresh names, ready connections, measured paths, closed
//! leftovers.
//!
//! It follows the current snapshot. Ejected servers are left alone.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use super::connect::Upstreams;
use super::reach::ConnectTarget;
use crate::edge::Edge;
use crate::edge::holding::Ahead;
use crate::origin::OriginId;
use crate::snapshot::Snapshot;

/// How often names are checked for refresh.
const NAMES: Duration = Duration::from_millis(250);
/// How often the kernel's statistics are sampled.
const SAMPLING: Duration = Duration::from_secs(2);
/// How often expired idle connections are closed.
const SWEEPING: Duration = Duration::from_secs(1);
/// How often the number of ready connections to a server is checked.
const READY: Duration = Duration::from_millis(250);
/// The first pause after a failed connect; it doubles up to `LONGEST`.
const SHORTEST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// Runs until dropped.
pub async fn run(edge: Arc<Edge>, upstreams: Arc<Upstreams>) {
    let mut changed = edge.snapshots.subscribe();
    let (mut names, mut samples, mut sweeps) = (every(NAMES), every(SAMPLING), every(SWEEPING));
    let mut generation = 0;
    let mut warming = JoinSet::new();
    loop {
        let snapshot = edge.snapshots.load_full();
        // A notice may be about a date: then the servers have not changed.
        if snapshot.generation != generation {
            generation = snapshot.generation;
            upstreams.configure(&snapshot.config);
            warming = keep_all_warm(&upstreams, &snapshot);
        }
        drop(snapshot);
        tokio::select! {
            changed = changed.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            _ = names.tick() => upstreams.refresh_names(),
            _ = samples.tick() => upstreams.sample(),
            _ = sweeps.tick() => upstreams.sweep(),
            // A task ends by itself only if its server does not exist.
            Some(_) = warming.join_next() => {}
        }
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// One task per server of each origin with `preconnect`.
fn keep_all_warm(upstreams: &Arc<Upstreams>, snapshot: &Arc<Snapshot>) -> JoinSet<()> {
    let mut warming = JoinSet::new();
    for (id, state) in snapshot.origins.iter().enumerate() {
        let servers = if state.origin.pool.preconnect > 0 { state.servers.len() } else { 0 };
        for index in 0..servers {
            let upstreams = Arc::clone(upstreams);
            warming.spawn(keep_warm(upstreams, Arc::clone(snapshot), OriginId(id), index));
        }
    }
    warming
}

/// Keeps `preconnect` connections to a server ready.
async fn keep_warm(upstreams: Arc<Upstreams>, snapshot: Arc<Snapshot>, id: OriginId, index: usize) {
    let Some(state) = snapshot.origin(id) else { return };
    let Some(server) = state.servers.get(index) else { return };
    let mut pause = SHORTEST;
    loop {
        // A shared HTTP/2 connection has room for many requests.
        let (ready, shared) = (upstreams.idle.ready(server), upstreams.shared_with(server));
        if ready >= state.origin.pool.preconnect || shared > 0 || server.health.is_ejected() {
            sleep(jittered(READY)).await;
            continue;
        }
        let result = match upstreams
            .prepare(ConnectTarget { origin: state, index, proxy_header: None, ahead: Ahead::Much })
            .await
        {
            Ok(()) => {
                pause = SHORTEST;
                "made"
            }
            Err(_) => {
                sleep(jittered(pause)).await;
                pause = (pause * 2).min(LONGEST);
                "failed"
            }
        };
        upstreams.metrics.preconnects.with_label_values(&[&*state.origin.name, result]).inc();
    }
}

/// Jitter of 25 %, so that edges and servers do not fall into step.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.75 + fastrand::f64() / 2.0)
}
