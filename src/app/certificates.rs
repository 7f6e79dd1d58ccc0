//! Runs the orders of certificates on a thread of their own, until the program stops serving.

use std::sync::Arc;

use tokio::signal::unix::Signal;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::acme::run;
use crate::acme::status::OrderBoard;
use crate::background;
use crate::edge::Edge;

/// Starts the thread. Cancel the token to stop it; an order that is not done goes on after the next start.
pub(super) fn start(
    edge: Arc<Edge>,
    board: OrderBoard,
    mut hangup: Signal,
) -> std::io::Result<CancellationToken> {
    let end = CancellationToken::new();
    let ended = end.clone();
    // Low priority: nothing that serves waits for a certificate.
    background::run_low("certificates", move || async move {
        let retry = Arc::new(Notify::new());
        let forward = async {
            while hangup.recv().await.is_some() {
                retry.notify_one();
            }
        };
        tokio::select! {
            () = ended.cancelled() => {}
            () = run::run(edge, board, Arc::clone(&retry)) => {}
            () = forward => {}
        }
    })?;
    Ok(end)
}
