//! Runs the shipper: it follows the configuration, and stops after the store is closed.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::edge::Edge;
use crate::retention::StoreFeed;
use crate::ship::shipper::Shipper;
use crate::ship::status::SinkBoard;

/// How long the sinks may take for the last records when the program stops. Records that are left are shipped
/// after the next start.
const LAST_RECORDS: Duration = Duration::from_secs(3);

/// How often the store learns which segments it may free early.
const FREE_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Shipping {
    board: SinkBoard,
    end: CancellationToken,
    task: JoinHandle<Shipper>,
}

impl Shipping {
    /// Ships to the sinks of the snapshot in use.
    pub(super) fn start(feed: StoreFeed, edge: Arc<Edge>) -> Self {
        let config = Arc::clone(&edge.snapshots.load().config);
        let mut shipper = Shipper::new(feed, edge.clock.clone(), &config);
        shipper.configure(&config);
        let (board, end) = (shipper.board(), CancellationToken::new());
        let ended = end.clone();
        let task = tokio::spawn(async move {
            let mut changed = edge.snapshots.subscribe();
            loop {
                shipper.free_confirmed();
                tokio::select! {
                    () = tokio::time::sleep(FREE_EVERY) => {}
                    () = ended.cancelled() => return shipper,
                    announced = changed.changed() => {
                        if announced.is_err() {
                            return shipper;
                        }
                        let config = Arc::clone(&edge.snapshots.load().config);
                        shipper.configure(&config);
                    }
                }
            }
        });
        Self { board, end, task }
    }

    pub(super) fn board(&self) -> SinkBoard {
        self.board.clone()
    }

    /// Ships the last records. The store must be closed before.
    pub(super) async fn finish(self) {
        self.end.cancel();
        match self.task.await {
            Ok(shipper) => shipper.finish(LAST_RECORDS).await,
            Err(error) => tracing::error!(%error, "the shipper failed"),
        }
    }
}
