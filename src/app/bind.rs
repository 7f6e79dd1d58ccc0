//! Binds and unbinds addresses as the gate says: after every publication, at every date, and when the clock
//! is set.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::clock::{Moment, until};
use crate::edge::Edge;
use crate::listen::set::{BoundSockets, ListenerSet, ListenersStatus};
use crate::ship::status::SinkBoard;

/// How often the clock is checked, in case it was set, and a failed bind is retried.
const CHECK: Duration = Duration::from_secs(1);

/// Keeps the bound addresses true to the gate.
pub(super) struct Binding {
    set: ListenerSet,
    edge: Arc<Edge>,
    status: watch::Sender<ListenersStatus>,
    changed: watch::Receiver<u64>,
    sinks: SinkBoard,
    sinks_changed: watch::Receiver<u64>,
    checked: Moment,
}

impl Binding {
    pub(super) fn new(
        set: ListenerSet,
        edge: Arc<Edge>,
        status: watch::Sender<ListenersStatus>,
        sinks: SinkBoard,
    ) -> Self {
        let (changed, sinks_changed) = (edge.snapshots.subscribe(), sinks.changes());
        let checked = edge.moment();
        Self { set, edge, status, changed, sinks, sinks_changed, checked }
    }

    pub(super) async fn run(&mut self) {
        loop {
            let now = self.edge.clock.now();
            let next = self.edge.snapshots.load().next_date(now);
            // 1 ms more: a timer may fire up to 1 ms early.
            let pause = next.map_or(CHECK, |date| until(now, date) + Duration::from_millis(1)).min(CHECK);
            tokio::select! {
                changed = self.changed.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.reconcile().await;
                }
                _ = self.sinks_changed.changed() => self.reconcile().await,
                () = tokio::time::sleep(pause) => self.check().await,
            }
        }
    }

    /// Binds every address that is permitted, unbinds every other, and publishes the result.
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
                    tracing::error!(listener = %listener.name, %address, reason, "the address cannot be bound; retrying every second");
                }
            }
        }
    }

    /// Takes the sockets of the previous process, for the next reconciliation.
    pub(super) fn inherit(&mut self, sockets: Vec<(SocketAddr, TcpListener)>) {
        self.set.inherit(sockets);
    }

    /// The bound sockets, now and later.
    pub(super) fn sockets(&self) -> BoundSockets {
        self.set.sockets()
    }

    pub(super) async fn close(&mut self) {
        self.set.close().await;
    }

    /// Asks the gate again if the clock has passed a date since the last check, in either direction.
    async fn check(&mut self) {
        let before = std::mem::replace(&mut self.checked, self.edge.moment());
        let passed = |one: Timestamp, other: Timestamp| {
            let next = self.edge.snapshots.load().next_date(one.min(other));
            next.is_some_and(|date| date <= one.max(other))
        };
        if passed(before.now, self.checked.now) || passed(before.latest, self.checked.latest) {
            tracing::info!("the clock has passed a date: asking the gate again");
            self.edge.snapshots.announce();
        } else if self.status.borrow().wants_retry() {
            self.reconcile().await;
        }
    }
}
