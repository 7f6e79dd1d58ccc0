//! What is done for upstream servers beside the requests: names are kept fresh, connections ready, paths
//! measured.
//!
//! It follows the snapshot in use. A server that is left alone is left alone here as well.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::connect::Upstreams;
use super::reach::Target;
use crate::edge::Edge;
use crate::origin::OriginId;
use crate::snapshot::Snapshot;

/// How often it is looked at what there is to do.
const LOOKING: Duration = Duration::from_millis(250);
/// How often it is looked at what connections do.
const SAMPLING: Duration = Duration::from_secs(2);
/// The first pause after a connection could not be made.
const SHORTEST: Duration = Duration::from_millis(500);
/// The longest.
const LONGEST: Duration = Duration::from_secs(30);

/// Goes on until the value is dropped.
pub async fn run(edge: Arc<Edge>, upstreams: Arc<Upstreams>) {
    let mut generation = 0;
    let mut warming = JoinSet::new();
    let mut sampled = Instant::now();
    loop {
        let snapshot = edge.snapshots.load_full();
        if snapshot.generation != generation {
            generation = snapshot.generation;
            upstreams.configure(&snapshot.config);
            warming = JoinSet::new();
            for (id, state) in snapshot.origins.iter().enumerate() {
                let places = if state.origin.pool.preconnect > 0 { state.servers.len() } else { 0 };
                for place in 0..places {
                    let (edge, upstreams) = (Arc::clone(&edge), Arc::clone(&upstreams));
                    warming.spawn(keep_warm(edge, upstreams, Arc::clone(&snapshot), OriginId(id), place));
                }
            }
        }
        drop(snapshot);
        upstreams.refresh_names();
        if sampled.elapsed() >= SAMPLING {
            sampled = Instant::now();
            upstreams.sample();
        }
        // They do not end by themselves, but for a server that is not there.
        while warming.try_join_next().is_some() {}
        sleep(LOOKING).await;
    }
}

/// Keeps connections to the server at `place` of an origin ready for requests to come.
async fn keep_warm(
    edge: Arc<Edge>,
    upstreams: Arc<Upstreams>,
    snapshot: Arc<Snapshot>,
    id: OriginId,
    place: usize,
) {
    let Some(state) = snapshot.origin(id) else { return };
    let Some(server) = state.servers.get(place) else { return };
    let labels = [&*state.origin.name, &*server.label];
    let warm = edge.metrics.upstream_ready.with_label_values(&labels);
    let mut pause = SHORTEST;
    loop {
        // One that is shared has room for many requests.
        let (ready, shared) = (upstreams.kept.ready(server), upstreams.shared_with(server));
        warm.set(i64::try_from(ready + shared).unwrap_or(i64::MAX));
        if ready >= state.origin.pool.preconnect || shared > 0 || server.health.is_ejected() {
            sleep(jittered(LOOKING)).await;
            continue;
        }
        let result = match upstreams.prepare(&edge, Target { origin: state, place, told: None }).await {
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
        edge.metrics.upstream_preconnects.with_label_values(&[&*state.origin.name, result]).inc();
    }
}

/// Give or take a quarter, so that no two edges and servers keep step.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.75 + fastrand::f64() / 2.0)
}
