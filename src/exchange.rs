//! One request: judged, routed, sent to a server, answered, recorded.
//!
//! The gate judges the host of every request again, with the snapshot of that moment. Every exchange leaves
//! exactly one record.

pub mod attempt;
mod candidates;
pub mod context;
mod grpc;
pub mod pump;
pub mod response;
pub mod run;

use std::sync::Arc;

use crate::edge::Edge;
use crate::upstream::connect::Upstreams;

/// What every exchange needs.
#[derive(Debug)]
pub struct Proxy {
    pub(crate) edge: Arc<Edge>,
    pub(crate) upstreams: Arc<Upstreams>,
}

impl Proxy {
    /// Exchanges that connect through `upstreams`.
    pub fn new(edge: Arc<Edge>, upstreams: Arc<Upstreams>) -> Arc<Self> {
        Arc::new(Self { edge, upstreams })
    }
}

/// What happens to the connection or stream after an exchange.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// The response is complete: the connection may serve the next request.
    KeepAlive,
    /// The response is incomplete: the connection or stream is reset, so that the client notices.
    Abort,
}
