//! Notices for open connections: a new snapshot, a date that changes an answer of the gate, the start of a
//! shutdown.

use std::future::poll_fn;

use tokio::sync::watch;
use tokio_util::sync::ReusableBoxFuture;

use super::Edge;
use crate::hostname::Hostname;

/// A connection's subscription to these notices.
///
/// One future waits for the connection's whole life, across requests: requests are many, notices few.
pub(crate) struct SnapshotUpdates {
    next: ReusableBoxFuture<'static, watch::Receiver<u64>>,
    /// A notice was seen by an exchange but not yet by its connection.
    pending: bool,
}

impl SnapshotUpdates {
    pub(crate) fn of(edge: &Edge) -> Self {
        let changes = edge.snapshots.subscribe();
        // A notice may have been published while the connection was being established.
        Self { next: ReusableBoxFuture::new(change(changes)), pending: true }
    }

    /// Waits for the next notice. Cancel-safe.
    pub(crate) async fn next(&mut self) {
        if !std::mem::take(&mut self.pending) {
            self.seen().await;
        }
    }

    /// Waits until the gate refuses `host` on `listener`.
    pub(crate) async fn until_refused(&mut self, edge: &Edge, listener: &str, host: &Hostname) {
        loop {
            self.seen().await;
            self.pending = true;
            if edge.snapshots.load().decide(listener, host, edge.moment()).is_err() {
                return;
            }
        }
    }

    async fn seen(&mut self) {
        let changes = poll_fn(|cx| self.next.poll(cx)).await;
        self.next.set(change(changes));
    }
}

/// The sender lives as long as the edge, which the caller holds.
async fn change(mut changes: watch::Receiver<u64>) -> watch::Receiver<u64> {
    if changes.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
    changes
}
