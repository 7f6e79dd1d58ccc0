//! What listeners count.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use super::refused_names::RefusedNames;
use crate::gate::Refusal;
use crate::metrics::{Error, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};
use crate::net::untaken::Refused;
use crate::snapshot::Snapshot;

/// The families of listeners.
#[derive(Clone, Debug)]
pub struct ListenMetrics {
    /// 1 while all of a listener's addresses are bound.
    pub bound: IntGaugeVec,
    refused: IntCounterVec,
    open: IntGaugeVec,
    empty: IntCounterVec,
    http2_refused: IntCounterVec,
    /// By listener.
    refused_names: Arc<Mutex<BTreeMap<Arc<str>, Arc<RefusedNames>>>>,
    /// Pauses of accepting for want of descriptors or memory.
    pub accept_pauses: IntCounter,
    /// Idle connections closed while descriptors were scarce.
    pub made_room: IntCounter,
}

/// The counters of one listener, looked up once for all of its connections.
#[derive(Clone, Debug)]
pub struct ListenerCounters {
    /// Open connections.
    pub open: IntGauge,
    /// Connections that ended before they sent a byte.
    pub empty: IntCounter,
    /// In the order of [`Refusal::ALL`].
    refused: Vec<IntCounter>,
    /// In the order of [`Refused::ALL`].
    http2_refused: Vec<IntCounter>,
    refused_names: Arc<RefusedNames>,
}

impl ListenMetrics {
    /// Registers the families.
    pub fn register(registry: &Registry) -> Result<Self, Error> {
        let listener = &["listener"];
        Ok(Self {
            bound: registry.gauges("icpgate_listener_bound", "1 while the listener is bound.", listener)?,
            refused: registry.counters(
                "icpgate_connections_refused_total",
                "Connections and requests refused.",
                &["listener", "reason"],
            )?,
            open: registry.gauges("icpgate_connections_open", "Open connections.", listener)?,
            empty: registry.counters(
                "icpgate_connections_empty_total",
                "Connections that ended before they sent a byte.",
                listener,
            )?,
            http2_refused: registry.counters(
                "icpgate_http2_refused_total",
                "HTTP/2 streams that were refused before they were requests.",
                &["listener", "result"],
            )?,
            refused_names: Arc::default(),
            accept_pauses: registry.counter(
                "icpgate_accept_pauses_total",
                "Times that accepting paused for want of descriptors or memory.",
            )?,
            made_room: registry.counter(
                "icpgate_connections_made_room_total",
                "Idle connections that were closed because descriptors were scarce.",
            )?,
        })
    }

    /// Creates every series of `snapshot` at zero.
    pub fn prepare(&self, snapshot: &Snapshot) {
        for listener in &snapshot.config.listeners {
            self.bound.with_label_values(&[&*listener.name]);
            self.of(&listener.name);
        }
    }

    /// The counters of the listener of that name.
    pub fn of(&self, listener: &str) -> ListenerCounters {
        let refused = |refusal: &Refusal| self.refused.with_label_values(&[listener, refusal.label()]);
        let http2_refused =
            |refused: Refused| self.http2_refused.with_label_values(&[listener, refused.label()]);
        ListenerCounters {
            open: self.open.with_label_values(&[listener]),
            empty: self.empty.with_label_values(&[listener]),
            refused: Refusal::ALL.iter().map(refused).collect(),
            http2_refused: Refused::ALL.map(http2_refused).into(),
            refused_names: self.refused_names(listener),
        }
    }

    /// The names that the listener refused.
    pub fn refused_names(&self, listener: &str) -> Arc<RefusedNames> {
        let mut known = self.refused_names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(names) = known.get(listener) {
            return Arc::clone(names);
        }
        Arc::clone(known.entry(listener.into()).or_default())
    }
}

impl ListenerCounters {
    /// Counts an HTTP/2 stream that was no request.
    pub fn http2_refused(&self, refused: Refused) {
        if let Some(counter) = self.http2_refused.get(refused as usize) {
            counter.inc();
        }
    }

    /// Counts a refused connection or request; `name` is the host that it asked for.
    pub fn refused(&self, refusal: Refusal, name: Option<&Arc<str>>, now: Timestamp) {
        self.refused_names.count(refusal, name, now);
        if let Some(counter) = self.refused.get(refusal as usize) {
            counter.inc();
        }
    }
}
