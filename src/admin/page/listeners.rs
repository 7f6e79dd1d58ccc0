//! Listeners: which addresses are bound, and which hosts are open on them.

use std::collections::HashMap;

use super::language::Language;
use super::listing::{Level, Search};
use crate::clock::Moment;
use crate::gate::{self, ListenerId};
use crate::hostname::HostPattern;
use crate::listen::set::{ListenerStatus, ListenersStatus};
use crate::snapshot::Snapshot;

/// Listeners that are shown.
const LISTENERS: usize = 50;
/// Closed hosts of a listener that are shown.
const CLOSED: usize = 50;

#[derive(Debug)]
pub(crate) struct ListenerRow {
    pub(crate) name: String,
    pub(crate) level: Level,
    pub(crate) state: &'static str,
    /// Why it is not bound.
    pub(crate) reason: Option<Explained>,
    pub(crate) addresses: Vec<String>,
    /// Addresses that cannot be bound, with the system's reason.
    pub(crate) failed: Vec<String>,
    pub(crate) open: usize,
    pub(crate) hosts: usize,
    pub(crate) closed: Vec<ClosedHost>,
    /// Closed hosts that match and are not shown.
    pub(crate) more: usize,
}

/// A host that is not served on a listener.
#[derive(Debug)]
pub(crate) struct ClosedHost {
    pub(crate) host: String,
    pub(crate) reason: Explained,
}

/// A reason as a word of the program, and what it means.
#[derive(Debug)]
pub(crate) struct Explained {
    pub(crate) word: String,
    pub(crate) meaning: &'static str,
}

/// All listeners in numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    /// Hosts that are open on every listener that serves them.
    pub(crate) open: usize,
    pub(crate) hosts: usize,
    pub(crate) bound: usize,
    pub(crate) addresses: usize,
}

/// Every listener, and all of them in numbers.
pub(crate) fn rows(
    snapshot: &Snapshot,
    status: &ListenersStatus,
    at: Moment,
    search: &Search,
    language: Language,
) -> (Vec<ListenerRow>, Totals) {
    let (mut rows, mut totals) = (Vec::new(), Totals::default());
    let mut hosts: HashMap<&HostPattern, bool> = HashMap::new();
    for (index, listener) in status.listeners.iter().enumerate() {
        let mut row = row(listener, status.held.as_deref(), language);
        for (pattern, answer) in gate::permitted_patterns(&snapshot.gate, ListenerId(index), at) {
            row.hosts += 1;
            *hosts.entry(pattern).or_insert(true) &= answer.is_ok();
            match answer {
                Ok(_) => row.open += 1,
                Err(_) if !search.is_in([pattern]) => {}
                Err(_) if row.closed.len() >= CLOSED => row.more += 1,
                Err(refusal) => {
                    let reason = explained(refusal, language);
                    row.closed.push(ClosedHost { host: pattern.to_string(), reason });
                }
            }
        }
        totals.bound += listener.bound.len();
        let configured = snapshot.config.listeners.get(index);
        totals.addresses += configured.map_or(0, |listener| listener.addresses.len());
        if rows.len() < LISTENERS {
            rows.push(row);
        }
    }
    totals.hosts = hosts.len();
    totals.open = hosts.values().filter(|is_open| **is_open).count();
    (rows, totals)
}

fn row(listener: &ListenerStatus, held: Option<&str>, language: Language) -> ListenerRow {
    let words = language.words();
    let (state, level) = match (listener.failed.is_empty(), listener.bound.is_empty()) {
        (false, _) => (words.cannot_bind, Level::Bad),
        (true, true) => (words.not_bound, Level::Bad),
        (true, false) => (words.bound, Level::Good),
    };
    let held = held.map(|reason| Explained { word: reason.to_owned(), meaning: "" });
    ListenerRow {
        name: listener.name.to_string(),
        level,
        state,
        reason: listener.refusal.map(|refusal| explained(refusal, language)).or(held),
        addresses: listener.bound.iter().map(ToString::to_string).collect(),
        failed: listener.failed.iter().map(|(address, reason)| format!("{address}: {reason}")).collect(),
        open: 0,
        hosts: 0,
        closed: Vec::new(),
        more: 0,
    }
}

/// A refusal with its meaning.
pub(crate) fn explained(refusal: gate::Refusal, language: Language) -> Explained {
    Explained { word: refusal.label().to_owned(), meaning: language.refusal(refusal) }
}
