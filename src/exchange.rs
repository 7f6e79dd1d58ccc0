//! Serving requests: from a connection that may send them to origins and back.
//!
//! The host of every request is judged again, by the snapshot of that moment; every exchange leaves
//! exactly one record.

pub mod attempt;
mod candidates;
pub mod context;
mod grpc;
pub mod pump;
mod request;
pub mod response;
pub mod run;

use std::sync::Arc;

use crate::edge::Edge;
use crate::upstream::connect::Upstreams;

/// What serving needs.
#[derive(Debug)]
pub struct Proxy {
    pub(crate) edge: Arc<Edge>,
    pub(crate) upstreams: Arc<Upstreams>,
}

impl Proxy {
    /// Serves over connections to `upstreams`.
    pub fn new(edge: Arc<Edge>, upstreams: Arc<Upstreams>) -> Arc<Self> {
        Arc::new(Self { edge, upstreams })
    }
}

/// What becomes of the connection, or of the stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum After {
    /// The answer is whole.
    Continue,
    /// The answer is not whole, and the client must not take it for that.
    Abort,
}
