//! What is announced to whatever is open: a new snapshot, a date, the end of the program.

use std::future::poll_fn;

use tokio::sync::watch;
use tokio_util::sync::ReusableBoxFuture;

use super::Edge;
use crate::hostname::Hostname;

/// Sees the changes that concern what is open: of the gate's answers, and of the program's phase.
///
/// It waits in one place for as long as a connection lives, whoever asks meanwhile: requests are many,
/// changes few.
pub(crate) struct Changes {
    next: ReusableBoxFuture<'static, watch::Receiver<u64>>,
    /// One was seen by an exchange, and not by its connection yet.
    untold: bool,
}

impl Changes {
    pub(crate) fn of(edge: &Edge) -> Self {
        let changes = edge.snapshots.subscribe();
        // What changed while the connection was being made is news to it.
        Self { next: ReusableBoxFuture::new(change(changes)), untold: true }
    }

    /// Until something changes. Nothing is lost where it is dropped.
    pub(crate) async fn next(&mut self) {
        if !std::mem::take(&mut self.untold) {
            self.seen().await;
        }
    }

    /// Until `host` is refused on `listener`.
    pub(crate) async fn until_refused(&mut self, edge: &Edge, listener: &str, host: &Hostname) {
        loop {
            self.seen().await;
            self.untold = true;
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

/// The sender lives as long as the edge, which whoever waits holds.
async fn change(mut changes: watch::Receiver<u64>) -> watch::Receiver<u64> {
    if changes.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
    changes
}
