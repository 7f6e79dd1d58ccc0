//! What every listener, connection and request shares.

pub mod admission;
pub mod available;
pub mod client_use;
pub mod descriptors;
pub mod evict;
pub mod holding;
pub mod journal;
pub mod memory;
pub mod metrics;
pub mod presence;
pub mod updates;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::watch;

use crate::clock::{Clock, Moment};
use crate::fleet::status::SourceBoard;
use crate::retention::Recorder;
use crate::snapshot::Snapshots;
use admission::Admission;
use descriptors::Descriptors;
use memory::Memory;

/// The state that the whole program shares.
#[derive(Debug)]
pub struct Edge {
    /// The snapshots by which everything is judged and served.
    pub snapshots: Snapshots,
    /// The program's clock.
    pub clock: Clock,
    /// Takes access records.
    pub recorder: Recorder,
    /// Whether the program serves or drains.
    pub phase: watch::Sender<Phase>,
    /// Mirrors `phase`, for cheap checks on the hot path.
    pub draining: AtomicBool,
    /// Set while this process drains because another serves in its place.
    pub succeeded: AtomicBool,
    /// Counts open connections.
    pub admission: Admission,
    /// How many descriptors there are.
    pub descriptors: Descriptors,
    /// What clients make the program hold.
    pub memory: Memory,
    /// The source of the allowlist.
    pub filings_source: SourceBoard,
    /// The number of the next connection.
    pub connections: AtomicU64,
}

/// Whether the program serves or drains.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// Normal operation.
    Serving,
    /// Graceful shutdown: idle connections close, requests in flight may finish.
    Draining,
}

impl Edge {
    /// The moment to judge by.
    pub fn moment(&self) -> Moment {
        self.clock.moment()
    }

    /// Whether a graceful shutdown has begun.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Whether another process serves in the place of this one, which drains.
    pub fn is_succeeded(&self) -> bool {
        self.succeeded.load(Ordering::Relaxed)
    }

    /// Begins a graceful shutdown, since another process serves from now on.
    pub fn drain_for_successor(&self) {
        self.succeeded.store(true, Ordering::Relaxed);
        self.drain();
    }

    /// Begins a graceful shutdown and notifies everything that is open.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.phase.send_replace(Phase::Draining);
        self.snapshots.announce();
    }
}
