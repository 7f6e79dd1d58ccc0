//! Runs the shipper: it follows the configuration, pauses during a handover, and stops after the store is closed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::edge::Edge;
use crate::retention::StoreFeed;
use crate::ship::shipper::Shipper;
use crate::ship::status::SinkBoard;

/// How long the sinks may take for the last records when the program stops. Records that are left are shipped
/// after the next start.
const LAST_RECORDS: Duration = Duration::from_secs(3);

/// How long a sink may take to pause. Its records are shipped again by the process that goes on.
const PAUSING: Duration = Duration::from_secs(5);

/// How often the store learns which segments it may free early.
const FREE_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Shipping {
    board: SinkBoard,
    orders: mpsc::Sender<Order>,
    task: JoinHandle<Option<Shipper>>,
}

#[derive(Debug)]
enum Order {
    /// Ship nothing, so that another process can.
    Pause(oneshot::Sender<Result<(), String>>),
    /// Ship on.
    Resume(StoreFeed),
    /// End, with the last records if the store was closed here.
    Finish,
}

impl Shipping {
    /// Ships to the sinks of the snapshot in use.
    pub(super) fn start(feed: StoreFeed, edge: Arc<Edge>) -> Self {
        let config = Arc::clone(&edge.snapshots.load().config);
        let mut shipper = Shipper::new(feed, edge.clock.clone(), &config);
        shipper.configure(&config);
        let board = shipper.board();
        let (orders, received) = mpsc::channel(4);
        Self { board, orders, task: tokio::spawn(follow(shipper, edge, received)) }
    }

    pub(super) fn board(&self) -> SinkBoard {
        self.board.clone()
    }

    /// Orders for the shipper, for a task of its own.
    pub(super) fn control(&self) -> ShippingControl {
        ShippingControl(self.orders.clone())
    }

    /// Ships the last records. The store must be closed before. After a pause, nothing is left to do.
    pub(super) async fn finish(self) {
        // Fails if the shipper has failed, which is logged below.
        let _ = self.orders.send(Order::Finish).await;
        match self.task.await {
            Ok(Some(shipper)) => shipper.finish(LAST_RECORDS).await,
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "the shipper failed"),
        }
    }
}

/// Pauses and resumes shipping.
#[derive(Clone, Debug)]
pub(super) struct ShippingControl(mpsc::Sender<Order>);

impl ShippingControl {
    /// Pauses shipping; fails with the name of a sink that does not pause.
    pub(super) async fn pause(&self) -> anyhow::Result<()> {
        let (paused, outcome) = oneshot::channel();
        self.0.send(Order::Pause(paused)).await?;
        outcome.await?.map_err(anyhow::Error::msg)
    }

    pub(super) async fn resume(&self, feed: StoreFeed) {
        // Fails only if the program ends.
        let _ = self.0.send(Order::Resume(feed)).await;
    }
}

/// Returns the shipper, unless it is paused.
async fn follow(mut shipper: Shipper, edge: Arc<Edge>, mut orders: mpsc::Receiver<Order>) -> Option<Shipper> {
    let mut changed = edge.snapshots.subscribe();
    let mut is_paused = false;
    loop {
        if !is_paused {
            shipper.free_confirmed();
        }
        tokio::select! {
            () = tokio::time::sleep(FREE_EVERY) => {}
            order = orders.recv() => match order {
                Some(Order::Pause(paused)) => {
                    is_paused = true;
                    let _ = paused.send(shipper.pause(PAUSING).await);
                }
                Some(Order::Resume(feed)) => {
                    is_paused = false;
                    shipper.resume(feed).await;
                    shipper.configure(&edge.snapshots.load().config);
                }
                Some(Order::Finish) | None => return (!is_paused).then_some(shipper),
            },
            announced = changed.changed(), if !is_paused => {
                if announced.is_err() {
                    return Some(shipper);
                }
                let config = Arc::clone(&edge.snapshots.load().config);
                shipper.configure(&config);
            }
        }
    }
}
