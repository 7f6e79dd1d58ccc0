//! Serving requests: from a connection that may send them to origins and back.
//!
//! The host of every request is judged again, by the snapshot of that moment; every exchange leaves
//! exactly one record. The engine lends HTTP's framing; time, order and policy are ours.

mod attempt;
mod candidates;
pub mod checks;
mod connect;
mod context;
mod deadline;
mod downstream;
mod exchange;
mod grpc;
mod http1;
mod http2;
pub mod links;
mod outflow;
mod pump;
mod request;
mod response;
pub mod upkeep;
mod upstream;
mod websocket;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::ReusableBoxFuture;

use crate::hostname::Hostname;
use crate::listen::accept::Serve;
use crate::listen::{Connection, Edge, HttpVersion};

pub use connect::{Upstreams, measure};

/// How long a connection that has not sent its first request may still do so once the program ends.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// What serving needs.
#[derive(Debug)]
pub struct Proxy {
    edge: Arc<Edge>,
    upstreams: Arc<Upstreams>,
}

impl Proxy {
    /// Serves over connections to `upstreams`.
    pub fn new(edge: Arc<Edge>, upstreams: Arc<Upstreams>) -> Arc<Self> {
        Arc::new(Self { edge, upstreams })
    }

    /// What accept loops do with a connection that may send requests.
    pub fn serve(self: Arc<Self>) -> Serve {
        Arc::new(move |connection: Connection| {
            let proxy = Arc::clone(&self);
            let served: Pin<Box<dyn Future<Output = ()> + Send>> = match connection.protocol {
                HttpVersion::Http1 => Box::pin(http1::serve(proxy, connection)),
                HttpVersion::Http2 => Box::pin(http2::serve(proxy, connection)),
            };
            served
        })
    }
}

/// Sees the changes that concern what is open: of the gate's answers, and of the program's phase.
///
/// It waits in one place for as long as a connection lives, whoever asks meanwhile: requests are many,
/// changes few.
struct Changes {
    next: ReusableBoxFuture<'static, watch::Receiver<u64>>,
    /// One was seen by an exchange, and not by its connection yet.
    untold: bool,
}

impl Changes {
    fn of(edge: &Edge) -> Self {
        let changes = edge.snapshots.subscribe();
        // What changed while the connection was being made is news to it.
        Self { next: ReusableBoxFuture::new(change(changes)), untold: true }
    }

    /// Until something changes. Nothing is lost where it is dropped.
    async fn next(&mut self) {
        if !std::mem::take(&mut self.untold) {
            self.seen().await;
        }
    }

    /// Until `host` is refused on `listener`.
    async fn until_refused(&mut self, edge: &Edge, listener: &str, host: &Hostname) {
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
