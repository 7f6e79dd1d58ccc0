//! What the writer thread has whether it writes the store or forwards its records.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::AccessLog;
use crate::retention::write::lock::StoreLock;

/// How often records are written: a killed process loses no more than this.
pub(super) const TICK: Duration = Duration::from_millis(24);
/// How long the writer sleeps when no slot is taken and nobody wakes it.
pub(super) const IDLE: Duration = Duration::from_millis(250);

/// What the writer thread needs to open the store, again if a handover fails.
pub(super) struct Premises {
    pub(super) log: AccessLog,
    pub(super) node: Arc<str>,
    pub(super) clock: Clock,
    pub(super) lock: StoreLock,
}
