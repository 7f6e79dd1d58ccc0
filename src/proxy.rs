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
mod http1;
mod http2;
mod pump;
mod request;
mod response;
pub mod upkeep;
mod upstream;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::gate::Refusal;
use crate::hostname::Hostname;
use crate::listen::accept::Serve;
use crate::listen::{Connection, Edge, HttpVersion, Phase};

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
#[derive(Debug)]
struct Changes {
    answers: watch::Receiver<u64>,
    phase: watch::Receiver<Phase>,
}

impl Changes {
    fn of(edge: &Edge) -> Self {
        let mut answers = edge.snapshots.subscribe();
        // What changed while the connection was being made is news to it.
        answers.mark_changed();
        Self { answers, phase: edge.phase.subscribe() }
    }

    /// Until either changes. The senders live as long as the edge, which the caller holds.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.answers.changed() => {}
            _ = self.phase.changed() => {}
        }
    }
}

/// Until `host` is refused on `listener`, with the refusal.
async fn refused(
    edge: &Edge,
    answers: &mut watch::Receiver<u64>,
    listener: &str,
    host: &Hostname,
) -> Refusal {
    loop {
        if answers.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        if let Err(refusal) = edge.snapshots.load().decide(listener, host, edge.moment()) {
            return refusal;
        }
    }
}
