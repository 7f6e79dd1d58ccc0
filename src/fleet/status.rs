//! When the source of the allowlist last confirmed what is in force, for reloads, metrics and pages.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::copy::Copy;
use crate::config::{Config, FilingsSource};
use crate::remote::failure::FailureKind;

/// The least time that a source has to answer after a start or a success, even if `filings_stale_after` is less.
const GRACE: Duration = Duration::from_secs(120);

/// The source in force.
#[derive(Clone, Debug)]
pub struct SourceBoard {
    current: Arc<Mutex<SourceStatus>>,
    fetches: Fetches,
}

/// Fetches by result.
#[derive(Clone, Debug)]
struct Fetches(Arc<Mutex<BTreeMap<&'static str, u64>>>);

/// How one source does. Clones are the same.
#[derive(Clone, Debug)]
pub struct SourceStatus {
    state: Arc<Mutex<State>>,
    fetches: Fetches,
}

#[derive(Debug)]
struct State {
    name: String,
    is_remote: bool,
    /// When what is in force was last confirmed: an instant, and how much longer ago it was. `None` for a file that says
    /// what is in force.
    confirmed: Option<(Instant, Duration)>,
    serial: Option<u64>,
    failure: Option<String>,
}

/// A look at a source.
#[derive(Clone, Debug)]
pub struct SourceLook {
    /// The file, the URL, or the endpoints and the key.
    pub name: String,
    /// Since the source last confirmed what is in force; zero for a file that is in force.
    pub age: Duration,
    /// The serial in force, if allowlists are signed.
    pub serial: Option<u64>,
    /// Why the last attempt failed; `None` if it did not.
    pub failure: Option<String>,
}

/// The result of a fetch.
#[derive(Clone, Copy, Debug)]
pub(super) enum FetchResult {
    Changed,
    Unchanged,
    Rejected,
    Failed(FailureKind),
}

impl FetchResult {
    fn name(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Rejected => "rejected",
            Self::Failed(kind) => kind.name(),
        }
    }
}

impl SourceBoard {
    /// For the source of `config`. The age of a copy on disk counts.
    pub fn new(config: &Config, now: Timestamp) -> Self {
        let plain = [FetchResult::Changed, FetchResult::Unchanged, FetchResult::Rejected];
        let failed = FailureKind::ALL.map(FetchResult::Failed);
        let names = plain.into_iter().chain(failed).map(|result| (result.name(), 0));
        let fetches = Fetches(Arc::new(Mutex::new(names.collect())));
        let first = SourceStatus::new(config, &config.filings, fetches.clone(), now);
        Self { current: Arc::new(Mutex::new(first)), fetches }
    }

    /// The status of another source, which is not in force yet.
    pub fn another(&self, config: &Config, source: &FilingsSource, now: Timestamp) -> SourceStatus {
        SourceStatus::new(config, source, self.fetches.clone(), now)
    }

    /// Puts a source in force.
    pub fn switch(&self, to: SourceStatus) {
        *lock(&self.current) = to;
    }

    /// The source in force.
    pub fn current(&self) -> SourceStatus {
        lock(&self.current).clone()
    }

    /// How often fetches came to each result.
    pub fn fetches(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.fetches.0).clone()
    }
}

impl SourceStatus {
    fn new(config: &Config, source: &FilingsSource, fetches: Fetches, now: Timestamp) -> Self {
        let confirmed = source.remote().map(|remote| {
            let last = Copy::of(&config.access_log.directory, remote).last_confirmed();
            let age = last.map(|last| Duration::try_from(now.duration_since(last)).unwrap_or_default());
            (Instant::now(), age.unwrap_or_default())
        });
        let (name, is_remote) = (source.to_string(), source.remote().is_some());
        let state = State { name, is_remote, confirmed, serial: None, failure: None };
        Self { state: Arc::new(Mutex::new(state)), fetches }
    }

    /// A look.
    pub fn look(&self) -> SourceLook {
        let state = lock(&self.state);
        let age = state.confirmed.map(|(at, older)| at.elapsed().saturating_add(older));
        SourceLook {
            name: state.name.clone(),
            age: age.unwrap_or_default(),
            serial: state.serial,
            failure: state.failure.clone(),
        }
    }

    /// When everything closes for want of a confirmation; `None` for a file that says what is in force.
    pub fn closes_at(&self, stale_after: Duration) -> Option<Instant> {
        let state = lock(&self.state);
        let (at, older) = state.confirmed?;
        let is_asking = state.is_remote && state.failure.is_none();
        let allowed = if is_asking { stale_after.max(GRACE) } else { stale_after };
        at.checked_add(allowed.saturating_sub(older))
    }

    /// The file says what is in force.
    pub fn file_is_good(&self) {
        let mut state = lock(&self.state);
        if !state.is_remote {
            (state.confirmed, state.failure) = (None, None);
        }
    }

    /// The file is broken.
    pub fn file_is_broken(&self) {
        let mut state = lock(&self.state);
        if !state.is_remote {
            state.confirmed.get_or_insert((Instant::now(), Duration::ZERO));
            state.failure = Some("broken or unreadable".to_owned());
        }
    }

    /// The source confirmed what is in force, or gave what is to be in force.
    pub(super) fn confirmed(&self, serial: Option<u64>, result: FetchResult) {
        self.count(result);
        let mut state = lock(&self.state);
        state.confirmed = Some((Instant::now(), Duration::ZERO));
        (state.serial, state.failure) = (serial, None);
    }

    /// The source did not confirm it, for this reason.
    pub(super) fn failed(&self, reason: &str, result: FetchResult) {
        self.count(result);
        lock(&self.state).failure = Some(reason.to_owned());
    }

    fn count(&self, result: FetchResult) {
        *lock(&self.fetches.0).entry(result.name()).or_default() += 1;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
