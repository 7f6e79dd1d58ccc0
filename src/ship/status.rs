//! How every sink does: written by its lane, read by metrics, the status page and the binding.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;

use super::sink::Promise;
use crate::remote::failure::{FailureKind, RemoteFailure};

/// How one sink does.
#[derive(Debug)]
pub struct SinkStatus {
    name: Arc<str>,
    kind: &'static str,
    require: bool,
    /// The time of the oldest record that the sink has not acknowledged, in milliseconds; zero without one.
    oldest_waiting: AtomicI64,
    lag_bytes: AtomicU64,
    acknowledged_seq: AtomicU64,
    set_aside: AtomicU64,
    /// Blocks before this one are kept by the sink, immutable and for the whole retention; zero where none are.
    confirmed_before: AtomicU64,
    /// By the place of the kind in [`FailureKind::ALL`].
    errors: [AtomicU64; FailureKind::ALL.len()],
    words: Mutex<Words>,
}

/// What is not a number.
#[derive(Clone, Debug, Default)]
struct Words {
    promise: Option<Promise>,
    /// Why the promise is not enough; `None` while it is.
    unkept: Option<String>,
    last_error: Option<(Timestamp, RemoteFailure)>,
    is_parked: bool,
}

/// The same at one moment.
#[derive(Clone, Debug)]
pub struct SinkLook {
    /// The sink.
    pub name: Arc<str>,
    /// Its type.
    pub kind: &'static str,
    /// Whether nothing is bound while the promise is not kept.
    pub require: bool,
    /// The time of the oldest record that the sink has not acknowledged.
    pub oldest_waiting: Option<Timestamp>,
    /// Bytes of the store that the sink has not acknowledged.
    pub lag_bytes: u64,
    /// The number of the last record acknowledged; zero before the first.
    pub acknowledged_seq: u64,
    /// Records that the sink does not take and that were passed over.
    pub set_aside: u64,
    /// Failures by kind, in the order of [`FailureKind::ALL`].
    pub errors: Vec<(FailureKind, u64)>,
    /// What the sink promises; `None` until it was read.
    pub promise: Option<Promise>,
    /// Why the promise is not enough, or not known; `None` while it is enough.
    pub unkept: Option<String>,
    /// The last failure since the last success.
    pub last_error: Option<(Timestamp, RemoteFailure)>,
    /// Whether the lane waits for somebody to change something.
    pub is_parked: bool,
}

impl SinkLook {
    /// How long the oldest record has been waiting at `now`, in seconds.
    pub fn lag_seconds(&self, now: Timestamp) -> f64 {
        let waits = |since: Timestamp| now.duration_since(since).as_secs_f64().max(0.0);
        self.oldest_waiting.map_or(0.0, waits)
    }
}

impl SinkStatus {
    /// Of a sink that nothing is known of yet.
    pub fn new(name: Arc<str>, kind: &'static str, require: bool) -> Self {
        Self {
            name,
            kind,
            require,
            oldest_waiting: AtomicI64::new(0),
            lag_bytes: AtomicU64::new(0),
            acknowledged_seq: AtomicU64::new(0),
            set_aside: AtomicU64::new(0),
            confirmed_before: AtomicU64::new(0),
            errors: std::array::from_fn(|_| AtomicU64::new(0)),
            words: Mutex::default(),
        }
    }

    /// The time of the oldest record that waits to be acknowledged.
    pub(super) fn set_oldest_waiting(&self, oldest: Option<Timestamp>) {
        self.oldest_waiting.store(oldest.map_or(0, Timestamp::as_millisecond), Ordering::Relaxed);
    }

    /// How much waits to be acknowledged.
    pub(super) fn set_lag_bytes(&self, bytes: u64) {
        self.lag_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Every record up to `seq` is acknowledged.
    pub(super) fn set_acknowledged(&self, seq: u64) {
        self.acknowledged_seq.store(seq, Ordering::Relaxed);
    }

    /// Blocks before this one are kept by the sink as the law asks, whatever becomes of the store.
    pub(super) fn set_confirmed(&self, before_block: u64) {
        self.confirmed_before.store(before_block, Ordering::Relaxed);
    }

    /// The sink does not take one record, whatever is tried.
    pub(super) fn count_set_aside(&self) {
        self.set_aside.fetch_add(1, Ordering::Relaxed);
    }

    /// Something failed at `now`.
    pub(super) fn failed(&self, failure: &RemoteFailure, now: Timestamp) {
        if let Some(place) = FailureKind::ALL.iter().position(|kind| *kind == failure.kind) {
            self.errors[place].fetch_add(1, Ordering::Relaxed);
        }
        let mut words = self.words();
        words.is_parked = failure.kind.is_permanent();
        words.last_error = Some((now, failure.clone()));
    }

    /// Something succeeded; whether the lane was parked before.
    pub(super) fn succeeded(&self) -> bool {
        let mut words = self.words();
        words.last_error = None;
        std::mem::take(&mut words.is_parked)
    }

    /// What the sink promises, and why that is not enough, if so. Whether the answer changed.
    pub(super) fn set_promise(&self, promise: Promise, unkept: Option<String>) -> bool {
        let mut words = self.words();
        let changed = words.promise.is_none() || words.unkept != unkept;
        (words.promise, words.unkept) = (Some(promise), unkept);
        changed
    }

    /// How it does now.
    pub fn look(&self) -> SinkLook {
        let Words { promise, unkept, last_error, is_parked } = self.words().clone();
        let unknown = || "its promise is not known yet".to_owned();
        let unkept = if promise.is_none() { Some(unknown()) } else { unkept };
        let oldest = self.oldest_waiting.load(Ordering::Relaxed);
        let errors = FailureKind::ALL.iter().zip(&self.errors);
        SinkLook {
            name: Arc::clone(&self.name),
            kind: self.kind,
            require: self.require,
            oldest_waiting: Timestamp::from_millisecond(oldest).ok().filter(|_| oldest != 0),
            lag_bytes: self.lag_bytes.load(Ordering::Relaxed),
            acknowledged_seq: self.acknowledged_seq.load(Ordering::Relaxed),
            set_aside: self.set_aside.load(Ordering::Relaxed),
            errors: errors.map(|(kind, count)| (*kind, count.load(Ordering::Relaxed))).collect(),
            promise,
            unkept,
            last_error,
            is_parked,
        }
    }

    fn words(&self) -> MutexGuard<'_, Words> {
        self.words.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How all configured sinks do. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SinkBoard {
    sinks: Arc<Mutex<BTreeMap<Arc<str>, Arc<SinkStatus>>>>,
    changed: watch::Sender<u64>,
}

impl Default for SinkBoard {
    fn default() -> Self {
        Self { sinks: Arc::default(), changed: watch::Sender::new(0) }
    }
}

impl SinkBoard {
    /// Every sink, by name.
    pub fn look(&self) -> Vec<SinkLook> {
        self.sinks().values().map(|status| status.look()).collect()
    }

    /// The first required sink that does not keep its promise, and why: nothing may be bound.
    pub fn unkept_requirement(&self) -> Option<String> {
        let looks = self.look();
        let unkept = looks.iter().filter(|look| look.require);
        unkept.filter_map(|look| Some(format!("sink {}: {}", look.name, look.unkept.as_ref()?))).next()
    }

    /// Blocks before this one are kept by some sink, immutable and for the whole retention.
    pub(super) fn confirmed_before(&self) -> u64 {
        let confirmed = |status: &Arc<SinkStatus>| status.confirmed_before.load(Ordering::Relaxed);
        self.sinks().values().map(confirmed).max().unwrap_or(0)
    }

    /// Told whenever a promise is read that differs from before, or the sinks change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Tells whoever waits for changes.
    pub(super) fn announce(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(super) fn set(&self, status: Arc<SinkStatus>) {
        self.sinks().insert(Arc::clone(&status.name), status);
        self.announce();
    }

    pub(super) fn remove(&self, name: &str) {
        self.sinks().remove(name);
        self.announce();
    }

    fn sinks(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Arc<SinkStatus>>> {
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
