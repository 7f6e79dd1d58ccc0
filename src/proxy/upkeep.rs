//! What is done for upstream servers beside the requests: their names are kept fresh.
//!
//! It follows the snapshot in use.

use std::sync::Arc;
use std::time::Duration;

use super::connect::Upstreams;
use crate::listen::Edge;

/// How often it is looked at what there is to do.
const LOOKING: Duration = Duration::from_millis(250);

/// Goes on until the value is dropped.
pub async fn run(edge: Arc<Edge>, upstreams: Arc<Upstreams>) {
    let mut generation = 0;
    loop {
        let snapshot = edge.snapshots.load_full();
        if snapshot.generation != generation {
            generation = snapshot.generation;
            upstreams.configure(&snapshot.config);
        }
        drop(snapshot);
        upstreams.refresh_names();
        tokio::time::sleep(LOOKING).await;
    }
}
