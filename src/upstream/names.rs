//! The addresses of upstream servers' names, kept fresh beside the requests.
//!
//! A request waits for an answer only while none is known. A good answer is used until a better one
//! comes, however long the name servers do not answer; that there is no such name is believed. Names come
//! from the configuration alone, and those that it does not name any more are forgotten.

mod lookup;

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
use crate::metrics::Metrics;
use lookup::{Answer, Lookup};

/// A name is asked for no more often than this, whatever its time to live.
const SHORTEST: Duration = Duration::from_secs(1);
/// And no less often than this, so that a change is noticed within minutes.
const LONGEST: Duration = Duration::from_secs(300);
/// The longest that a missing name is taken for missing.
const LONGEST_MISSING: Duration = Duration::from_secs(10);
/// The longest pause between two tries while the name servers do not answer.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long an address that failed, or was overtaken by another one, comes last.
const SHUNNED_FOR: Duration = Duration::from_secs(60);
/// The most addresses of a name that are kept.
const ADDRESSES: usize = 16;

/// What is known of names.
#[derive(Debug)]
pub(crate) struct Names {
    known: Mutex<HashMap<Hostname, Arc<Name>>>,
    lookup: ArcSwap<Lookup>,
    metrics: Metrics,
}

#[derive(Debug)]
struct Name {
    standing: watch::Sender<Standing>,
    asking: AtomicBool,
    turn: AtomicUsize,
    shunned: Mutex<HashMap<IpAddr, Instant>>,
}

/// What the last answers said.
#[derive(Clone, Debug)]
struct Standing {
    addresses: Arc<[IpAddr]>,
    /// Why there are none, or no newer ones.
    problem: Option<String>,
    /// When it is asked for again.
    due: Instant,
    /// In a row.
    failures: u32,
    answers: u64,
}

impl Names {
    /// Asks the name servers given, or the system's where none is.
    pub(crate) fn new(servers: &[SocketAddr], metrics: Metrics) -> Self {
        Self { known: Mutex::default(), lookup: ArcSwap::from_pointee(Lookup::new(servers)), metrics }
    }

    /// Follows the configuration: other name servers, and no more names than those.
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

    /// Asks for every name whose answer is about to be too old.
    pub(crate) fn refresh(&self) {
        let all: Vec<_> =
            self.known().iter().map(|(name, entry)| (name.clone(), Arc::clone(entry))).collect();
        for (name, entry) in all {
            self.ask_if_due(&name, &entry);
        }
    }

    /// The addresses of a name, in the order of trying them: both families by turns, first those that
    /// have not failed lately.
    pub(crate) async fn addresses(&self, name: &Hostname) -> io::Result<Vec<IpAddr>> {
        let entry = self.entry(name);
        let mut standing = entry.standing.subscribe();
        let before = standing.borrow().answers;
        self.ask_if_due(name, &entry);
        loop {
            let known = standing.borrow_and_update().clone();
            if !known.addresses.is_empty() {
                return Ok(entry.arrange(&known.addresses));
            }
            if let Some(problem) =
                known.problem.filter(|_| known.answers != before || known.due > Instant::now())
            {
                return Err(io::Error::other(format!("{name}: {problem}")));
            }
            standing.changed().await.map_err(io::Error::other)?;
        }
    }

    /// These addresses of a name come last for a while.
    pub(crate) fn shun(&self, name: &Hostname, addresses: impl IntoIterator<Item = IpAddr>) {
        let until = Instant::now() + SHUNNED_FOR;
        let entry = self.entry(name);
        entry.shunned().extend(addresses.into_iter().map(|address| (address, until)));
    }

    fn entry(&self, name: &Hostname) -> Arc<Name> {
        Arc::clone(self.known().entry(name.clone()).or_insert_with(|| {
            let (addresses, due) = (Arc::from([]), Instant::now());
            let standing = Standing { addresses, problem: None, due, failures: 0, answers: 0 };
            let standing = watch::Sender::new(standing);
            Arc::new(Name {
                standing,
                asking: AtomicBool::default(),
                turn: AtomicUsize::default(),
                shunned: Mutex::default(),
            })
        }))
    }

    /// Begins to ask for a name beside whoever wants it, unless somebody does or it is too early.
    fn ask_if_due(&self, name: &Hostname, entry: &Arc<Name>) {
        if entry.standing.borrow().due > Instant::now() || entry.asking.swap(true, Ordering::AcqRel) {
            return;
        }
        let (name, entry, lookup) = (name.clone(), Arc::clone(entry), self.lookup.load_full());
        let metrics = self.metrics.clone();
        tokio::spawn(async move {
            let answer = lookup.ask(&name).await;
            metrics.name_lookups.with_label_values(&[answer.label()]).inc();
            entry.take(&name, answer);
            entry.asking.store(false, Ordering::Release);
        });
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Hostname, Arc<Name>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Name {
    fn take(&self, name: &Hostname, answer: Answer) {
        let before = self.standing.borrow().clone();
        let next = before.after(answer, Instant::now());
        if next.addresses != before.addresses {
            tracing::debug!(%name, addresses = ?next.addresses, "leads elsewhere");
        }
        match (&before.problem, &next.problem) {
            (None, Some(problem)) if next.addresses.is_empty() => {
                tracing::warn!(%name, problem, "has no address");
            }
            (None, Some(problem)) => {
                tracing::warn!(%name, problem, "cannot be looked up; its last addresses stay in use");
            }
            (Some(_), None) => tracing::info!(%name, addresses = ?next.addresses, "is looked up again"),
            _ => {}
        }
        self.shunned().retain(|address, until| *until > Instant::now() && next.addresses.contains(address));
        self.standing.send_replace(next);
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

impl Standing {
    /// What is known once `answer` has come at `now`.
    fn after(&self, answer: Answer, now: Instant) -> Self {
        let answers = self.answers + 1;
        match answer {
            Answer::Addresses { addresses, lifetime } => {
                // Before it is over, so that nobody ever waits for the next one.
                let due = now + lifetime.clamp(SHORTEST, LONGEST).mul_f64(0.8);
                let addresses = addresses.into_iter().take(ADDRESSES).collect();
                Self { addresses, problem: None, due, failures: 0, answers }
            }
            Answer::Missing { lifetime } => {
                let due = now + lifetime.clamp(SHORTEST, LONGEST_MISSING);
                let problem = Some("there is no such name".to_owned());
                Self { addresses: Arc::from([]), problem, due, failures: 0, answers }
            }
            Answer::None(problem) => {
                let pause = SHORTEST.saturating_mul(1 << self.failures.min(5)).min(LONGEST_PAUSE);
                let addresses = Arc::clone(&self.addresses);
                let failures = self.failures.saturating_add(1);
                Self { addresses, problem: Some(problem), due: now + pause, failures, answers }
            }
        }
    }
}

/// Takes the families by turns, IPv6 first, each begun at its `turn`; the shunned come last.
fn arrange(addresses: &[IpAddr], turn: usize, is_shunned: impl Fn(&IpAddr) -> bool) -> Vec<IpAddr> {
    let family = |is_v6: bool| {
        let mut all: Vec<IpAddr> = addresses.iter().copied().filter(|one| one.is_ipv6() == is_v6).collect();
        let begin = turn.checked_rem(all.len()).unwrap_or(0);
        all.rotate_left(begin);
        all
    };
    let (v6, v4) = (family(true), family(false));
    let mut arranged = Vec::with_capacity(addresses.len());
    for place in 0..v6.len().max(v4.len()) {
        arranged.extend(v6.get(place));
        arranged.extend(v4.get(place));
    }
    // The sort is stable.
    arranged.sort_by_key(is_shunned);
    arranged
}

#[cfg(test)]
mod tests;
