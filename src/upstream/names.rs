//! The addresses of servers' names, refreshed beside the requests.
//!
//! A request waits for an answer only while none is known. A good answer is used until a better one arrives,
//! however long the name servers fail; an answer that the name does not exist is believed. Only configured
//! names are resolved, and others are forgotten.

mod lookup;
pub(crate) mod records;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::hostname::Hostname;
use crate::metrics::IntCounterVec;
use lookup::{Lookup, LookupResult};

/// The shortest time between two lookups of a name, whatever its TTL.
const SHORTEST: Duration = Duration::from_secs(1);
/// The longest, so that changes are noticed within minutes.
const LONGEST: Duration = Duration::from_secs(300);
/// The longest time that a missing name is not looked up again.
const LONGEST_MISSING: Duration = Duration::from_secs(10);
/// The longest pause between retries while name servers fail.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long an address that failed, or lost a race, is tried last.
const SHUNNED_FOR: Duration = Duration::from_secs(60);
/// The most addresses kept per name.
const ADDRESSES: usize = 16;

#[derive(Debug)]
pub(crate) struct NameCache {
    known: Mutex<HashMap<Hostname, Arc<KnownName>>>,
    lookup: ArcSwap<Lookup>,
    /// By result.
    lookups: IntCounterVec,
}

#[derive(Debug)]
struct KnownName {
    state: watch::Sender<NameState>,
    request: AtomicBool,
    turn: AtomicUsize,
    shunned: Mutex<HashMap<IpAddr, Instant>>,
}

/// The result of the last lookups.
#[derive(Clone, Debug)]
struct NameState {
    addresses: Arc<[IpAddr]>,
    /// Why there are no addresses, or no newer ones.
    problem: Option<String>,
    /// When the next lookup is due.
    due: Instant,
    failures: u32,
    answers: u64,
}

impl NameCache {
    /// Asks `servers`, or the system's name servers if there are none.
    pub(crate) fn new(servers: &[SocketAddr], lookups: IntCounterVec) -> Self {
        Self { known: Mutex::default(), lookup: ArcSwap::from_pointee(Lookup::new(servers)), lookups }
    }

    /// Follows the configuration: its name servers and exactly these names.
    pub(crate) fn configure<'n>(&self, servers: &[SocketAddr], names: impl Iterator<Item = &'n Hostname>) {
        if self.lookup.load().servers() != servers {
            self.lookup.store(Arc::new(Lookup::new(servers)));
        }
        let names: std::collections::HashSet<&Hostname> = names.collect();
        self.known().retain(|name, _| names.contains(name));
        for name in names {
            self.entry(name);
        }
    }

    /// Starts a lookup of every name that is due.
    pub(crate) fn refresh(&self) {
        let all: Vec<_> =
            self.known().iter().map(|(name, entry)| (name.clone(), Arc::clone(entry))).collect();
        for (name, entry) in all {
            self.ask_if_due(&name, &entry);
        }
    }

    /// The addresses of a name in the order to try: families alternate, recently failed addresses come last.
    pub(crate) async fn addresses(&self, name: &Hostname) -> io::Result<Vec<IpAddr>> {
        let entry = self.entry(name);
        let mut state = entry.state.subscribe();
        let before = state.borrow().answers;
        self.ask_if_due(name, &entry);
        loop {
            let known = state.borrow_and_update().clone();
            if !known.addresses.is_empty() {
                return Ok(entry.arrange(&known.addresses));
            }
            if let Some(problem) =
                known.problem.filter(|_| known.answers != before || known.due > Instant::now())
            {
                return Err(io::Error::other(format!("{name}: {problem}")));
            }
            state.changed().await.map_err(io::Error::other)?;
        }
    }

    /// Moves these addresses of a name to the end for `SHUNNED_FOR`.
    pub(crate) fn shun(&self, name: &Hostname, addresses: impl IntoIterator<Item = IpAddr>) {
        let until = Instant::now() + SHUNNED_FOR;
        let entry = self.entry(name);
        entry.shunned().extend(addresses.into_iter().map(|address| (address, until)));
    }

    fn entry(&self, name: &Hostname) -> Arc<KnownName> {
        Arc::clone(self.known().entry(name.clone()).or_insert_with(|| {
            let (addresses, due) = (Arc::from([]), Instant::now());
            let state = NameState { addresses, problem: None, due, failures: 0, answers: 0 };
            let state = watch::Sender::new(state);
            Arc::new(KnownName {
                state,
                request: AtomicBool::default(),
                turn: AtomicUsize::default(),
                shunned: Mutex::default(),
            })
        }))
    }

    /// Starts a lookup in the background, unless one is running or it is too early.
    fn ask_if_due(&self, name: &Hostname, entry: &Arc<KnownName>) {
        if entry.state.borrow().due > Instant::now() || entry.request.swap(true, Ordering::AcqRel) {
            return;
        }
        let (name, entry, lookup) = (name.clone(), Arc::clone(entry), self.lookup.load_full());
        let lookups = self.lookups.clone();
        tokio::spawn(async move {
            let answer = lookup.ask(&name).await;
            lookups.with_label_values(&[answer.label()]).inc();
            entry.take(&name, answer);
            entry.request.store(false, Ordering::Release);
        });
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Hostname, Arc<KnownName>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KnownName {
    fn take(&self, name: &Hostname, answer: LookupResult) {
        let before = self.state.borrow().clone();
        let next = before.after(answer, Instant::now());
        if next.addresses != before.addresses {
            tracing::debug!(%name, addresses = ?next.addresses, "the name has new addresses");
        }
        match (&before.problem, &next.problem) {
            (None, Some(problem)) if next.addresses.is_empty() => {
                tracing::warn!(%name, problem, "the name has no address");
            }
            (None, Some(problem)) => {
                tracing::warn!(%name, problem, "the name cannot be looked up; its last addresses stay in use");
            }
            (Some(_), None) => {
                tracing::info!(%name, addresses = ?next.addresses, "the name can be looked up again")
            }
            _ => {}
        }
        self.shunned().retain(|address, until| *until > Instant::now() && next.addresses.contains(address));
        self.state.send_replace(next);
    }

    fn arrange(&self, addresses: &[IpAddr]) -> Vec<IpAddr> {
        let (turn, now) = (self.turn.fetch_add(1, Ordering::Relaxed), Instant::now());
        let shunned = self.shunned();
        let is_shunned = |address: &IpAddr| shunned.get(address).is_some_and(|until| *until > now);
        arrange(addresses, turn, is_shunned)
    }

    fn shunned(&self) -> MutexGuard<'_, HashMap<IpAddr, Instant>> {
        self.shunned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NameState {
    /// The state after `answer` arrived at `now`.
    fn after(&self, answer: LookupResult, now: Instant) -> Self {
        let answers = self.answers + 1;
        match answer {
            LookupResult::Addresses { addresses, lifetime } => {
                // Refreshed before it expires, so that no request waits for the next answer.
                let due = now + lifetime.clamp(SHORTEST, LONGEST).mul_f64(0.8);
                let addresses = addresses.into_iter().take(ADDRESSES).collect();
                Self { addresses, problem: None, due, failures: 0, answers }
            }
            LookupResult::Missing { lifetime } => {
                let due = now + lifetime.clamp(SHORTEST, LONGEST_MISSING);
                let problem = Some("there is no such name".to_owned());
                Self { addresses: Arc::from([]), problem, due, failures: 0, answers }
            }
            LookupResult::None(problem) => {
                let pause = SHORTEST.saturating_mul(1 << self.failures.min(5)).min(LONGEST_PAUSE);
                let addresses = Arc::clone(&self.addresses);
                let failures = self.failures.saturating_add(1);
                Self { addresses, problem: Some(problem), due: now + pause, failures, answers }
            }
        }
    }
}

/// Happy Eyeballs (RFC 8305): alternates families, IPv6 first, each rotated by `turn`; addresses that failed
/// recently come last.
fn arrange(addresses: &[IpAddr], turn: usize, is_shunned: impl Fn(&IpAddr) -> bool) -> Vec<IpAddr> {
    let family = |is_v6: bool| {
        let mut all: Vec<IpAddr> = addresses.iter().copied().filter(|one| one.is_ipv6() == is_v6).collect();
        let begin = turn.checked_rem(all.len()).unwrap_or(0);
        all.rotate_left(begin);
        all
    };
    let (v6, v4) = (family(true), family(false));
    let mut arranged = Vec::with_capacity(addresses.len());
    for index in 0..v6.len().max(v4.len()) {
        arranged.extend(v6.get(index));
        arranged.extend(v4.get(index));
    }
    // The sort is stable.
    arranged.sort_by_key(is_shunned);
    arranged
}

#[cfg(test)]
mod tests;
