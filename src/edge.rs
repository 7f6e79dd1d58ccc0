//! What every listener, connection and request shares.

pub mod admission;
pub mod updates;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::watch;

use crate::clock::{Clock, Moment};
use crate::metrics::Metrics;
use crate::retention::Recorder;
use crate::snapshot::Snapshots;
use admission::Admission;

/// What every listener and every connection shares.
#[derive(Debug)]
pub struct Edge {
    /// What is judged and served by.
    pub snapshots: Snapshots,
    /// What time it is.
    pub clock: Clock,
    /// What is counted.
    pub metrics: Metrics,
    /// Where records go.
    pub recorder: Recorder,
    /// How far the program is from its end.
    pub phase: watch::Sender<Phase>,
    /// Whether it ends, for whoever asks often.
    pub draining: AtomicBool,
    /// How many connections there are.
    pub admission: Admission,
    /// Numbers connections.
    pub connections: AtomicU64,
}

/// How far the program is from its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// It serves.
    Serving,
    /// It ends: what is idle closes, what is in flight may finish.
    Draining,
}

impl Edge {
    /// The moment that is judged at.
    pub fn moment(&self) -> Moment {
        self.clock.moment()
    }

    /// Whether the program ends.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Lets the program end; whatever is open is told.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.phase.send_replace(Phase::Draining);
        self.snapshots.announce();
    }
}
