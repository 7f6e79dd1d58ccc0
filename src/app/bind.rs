//! Keeping the listeners true to the gate: after every publication, on every date, whatever the
//! clock does.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::clock::{Moment, until};
use crate::edge::Edge;
use crate::listen::set::{ListenerSet, ListenersStatus};
use crate::ship::status::SinkBoard;

/// How often the clock is looked at, in case it was set, and a failed bind is tried again.
const LOOKING: Duration = Duration::from_secs(1);

/// Binds and unbinds.
pub(super) struct Binding {
    set: ListenerSet,
    edge: Arc<Edge>,
    status: watch::Sender<ListenersStatus>,
    changed: watch::Receiver<u64>,
    sinks: SinkBoard,
    sinks_changed: watch::Receiver<u64>,
    looked: Moment,
}

impl Binding {
    pub(super) fn new(
        set: ListenerSet,
        edge: Arc<Edge>,
        status: watch::Sender<ListenersStatus>,
        sinks: SinkBoard,
    ) -> Self {
        let (changed, sinks_changed) = (edge.snapshots.subscribe(), sinks.changes());
        let looked = edge.moment();
        Self { set, edge, status, changed, sinks, sinks_changed, looked }
    }

    /// Follows changes until the program ends.
    pub(super) async fn run(&mut self) {
        loop {
            let now = self.edge.clock.now();
            let next = self.edge.snapshots.load().next_date(now);
            // A millisecond more, since a timer may be early by a part of one.
            let pause = next.map_or(LOOKING, |date| until(now, date) + Duration::from_millis(1)).min(LOOKING);
            tokio::select! {
                changed = self.changed.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.reconcile().await;
                }
                _ = self.sinks_changed.changed() => self.reconcile().await,
                () = tokio::time::sleep(pause) => self.look().await,
            }
        }
    }

    /// Binds what may be bound, unbinds what may not, and tells how that went.
    pub(super) async fn reconcile(&mut self) {
        let status = self.set.reconcile(self.sinks.unkept_requirement()).await;
        let before = self.status.send_replace(status.clone());
        match (&before.held, &status.held) {
            (_, Some(reason)) if before.held != status.held => {
                tracing::error!("Nothing is bound while a required sink does not keep its promise: {reason}");
            }
            (Some(_), None) => {
                tracing::info!("Every required sink keeps its promise: listeners may be bound")
            }
            _ => {}
        }
        for listener in &status.listeners {
            for (address, reason) in &listener.failed {
                let known = before.listeners.iter().any(|known| {
                    known.name == listener.name && known.failed.iter().any(|(failed, _)| failed == address)
                });
                if !known {
                    tracing::error!(listener = %listener.name, %address, reason, "cannot be bound; trying on");
                }
            }
        }
    }

    /// Closes every port.
    pub(super) async fn close(&mut self) {
        self.set.close().await;
    }

    /// Looks at the clock: whether a date has passed since, in either direction.
    async fn look(&mut self) {
        let before = std::mem::replace(&mut self.looked, self.edge.moment());
        let passed = |one: Timestamp, other: Timestamp| {
            let next = self.edge.snapshots.load().next_date(one.min(other));
            next.is_some_and(|date| date <= one.max(other))
        };
        if passed(before.now, self.looked.now) || passed(before.latest, self.looked.latest) {
            tracing::info!("a date has passed: the gate is asked again");
            self.edge.snapshots.announce();
        } else if self.status.borrow().wants_retry() {
            self.reconcile().await;
        }
    }
}
