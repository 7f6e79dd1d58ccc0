//! One request: judged, routed, sent to a server, answered, recorded.
//!
//! The gate judges the host of every request again, with the snapshot of that moment. Every exchange leaves
//! exactly one record.

pub mod attempt;
mod cached;
mod candidates;
pub mod context;
mod families;
mod grpc;
mod own_paths;
pub mod pump;
mod refresh;
pub mod response;
mod routed;
pub mod run;
mod sticky;
pub mod thread_counters;

use std::sync::{Arc, Weak};

use crate::cache::Cache;
use crate::edge::Edge;
use crate::upstream::connect::Upstreams;
use crate::upstream::loops::LoopId;
use thread_counters::ThreadCounters;

/// What every exchange needs.
#[derive(Debug)]
pub struct Proxy {
    pub(crate) edge: Arc<Edge>,
    pub(crate) upstreams: Arc<Upstreams>,
    pub(crate) counters: ThreadCounters,
    pub(crate) loop_id: LoopId,
    /// The edge cache, if there is one.
    pub(crate) cache: Option<Arc<Cache>>,
    /// Itself, for what goes on after an exchange.
    this: Weak<Self>,
}

impl Proxy {
    /// Exchanges that connect through `upstreams`, and are answered from `cache` where they can be.
    pub fn new(
        edge: Arc<Edge>,
        upstreams: Arc<Upstreams>,
        counters: ThreadCounters,
        cache: Option<Arc<Cache>>,
    ) -> Arc<Self> {
        let loop_id = LoopId::default();
        Arc::new_cyclic(|this| Self { edge, upstreams, counters, loop_id, cache, this: Weak::clone(this) })
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
