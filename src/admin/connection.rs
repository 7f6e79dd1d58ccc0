//! How long an admin connection lasts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// The longest life of a connection, so that a stalled reader frees its place.
const LIFETIME: Duration = Duration::from_secs(60);
/// The longest life of a connection with a stream of events. A browser opens the next one by itself.
const STREAM_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// One admin connection, as its handlers know it.
#[derive(Clone, Debug, Default)]
pub(super) struct AdminConnection {
    streams: Arc<AtomicBool>,
    cut: CancellationToken,
    asked: CancellationToken,
}

impl AdminConnection {
    /// Lets the connection last for as long as a stream of events may.
    pub(super) fn stream(&self) {
        self.streams.store(true, Ordering::Relaxed);
    }

    /// Ends the connection, whatever its reader does.
    pub(super) fn cut(&self) {
        self.cut.cancel();
    }

    /// Notes that a request has come.
    pub(super) fn ask(&self) {
        self.asked.cancel();
    }

    /// Waits until a request has come.
    pub(super) async fn asked(&self) {
        self.asked.cancelled().await;
    }

    /// Waits until the connection must end.
    pub(super) async fn over(&self) {
        let time = async {
            sleep(LIFETIME).await;
            if self.streams.load(Ordering::Relaxed) {
                sleep(STREAM_LIFETIME).await;
            }
        };
        tokio::select! {
            () = self.cut.cancelled() => {}
            () = time => {}
        }
    }
}
