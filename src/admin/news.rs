//! What has changed since the last look, as the objects of `/events`.
//!
//! The gate is a pure function: what a host's answer was before follows from the snapshot and the moment of the last look.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::events::Subscribers;
use super::filing_state::FilingState;
use super::pages::Pages;
use crate::clock::Moment;
use crate::edge::journal::{ReloadEntry, ReloadOutcome};
use crate::gate::{self, Filings, ListenerId, Refusal};
use crate::hostname::HostPattern;
use crate::listen::set::{ListenerStatus, ListenersStatus};
use crate::ship::status::SinkLook;
use crate::snapshot::Snapshot;

/// How often those states are looked at that announce no change: sinks, servers, refused names.
const EVERY: Duration = Duration::from_secs(1);
/// Events of one look; what is beyond is counted in a last one.
const MOST: usize = 256;

/// The state at the last look.
pub(super) struct News {
    pages: Pages,
    /// What the gate answered by when its last change was announced.
    snapshot: Arc<Snapshot>,
    at: Moment,
    listeners: ListenersStatus,
    /// By name: status and reason.
    sinks: BTreeMap<Arc<str>, (&'static str, Option<String>)>,
    /// Servers that are ejected: origin and server.
    ejected: BTreeSet<(Arc<str>, String)>,
    /// The number of the last reload.
    reloads: u64,
}

impl News {
    pub(super) fn new(pages: Pages) -> Self {
        let (snapshot, at) = (pages.edge.snapshots.load_full(), pages.edge.moment());
        let listeners = pages.listeners_status.borrow().clone();
        let (sinks, ejected) = (sinks(&pages.sinks.look()), ejected(&snapshot));
        let reloads = *pages.journal.changes().borrow();
        Self { pages, snapshot, at, listeners, sinks, ejected, reloads }
    }

    /// Publishes every change for as long as it is polled.
    pub(super) async fn run(mut self, subscribers: &Subscribers) {
        let mut published = self.pages.edge.snapshots.subscribe();
        let mut listeners = self.pages.listeners_status.clone();
        let mut sinks = self.pages.sinks.changes();
        let mut reloads = self.pages.journal.changes();
        loop {
            let has_published = tokio::select! {
                () = changed(&mut published) => true,
                () = changed(&mut listeners) => false,
                () = changed(&mut sinks) => false,
                () = changed(&mut reloads) => false,
                () = tokio::time::sleep(EVERY) => false,
            };
            let is_read = !subscribers.is_empty();
            // Many hosts take a while: no thread that serves does this.
            let looked = tokio::task::spawn_blocking(move || {
                let news = self.look(has_published, is_read);
                (self, news)
            });
            let Ok((next, news)) = looked.await else { return };
            self = next;
            news.iter().for_each(|event| subscribers.publish(event));
        }
    }

    /// What has changed since the last look; nothing if nobody reads.
    fn look(&mut self, has_published: bool, is_read: bool) -> Vec<Value> {
        let edge = &self.pages.edge;
        let current = edge.snapshots.load_full();
        let before = has_published.then(|| {
            let snapshot = std::mem::replace(&mut self.snapshot, Arc::clone(&current));
            (snapshot, std::mem::replace(&mut self.at, edge.moment()))
        });
        let listeners = self.pages.listeners_status.borrow().clone();
        let listeners_before = std::mem::replace(&mut self.listeners, listeners);
        let sinks_before = std::mem::replace(&mut self.sinks, sinks(&self.pages.sinks.look()));
        let ejected_before = std::mem::replace(&mut self.ejected, ejected(&current));
        let reloads = self.pages.journal.look();
        let reloads_before = self.reloads;
        self.reloads = reloads.first().map_or(0, |entry| entry.number);
        let listeners = current.config.listeners.iter();
        let newcomers: Vec<Value> = listeners.flat_map(|it| self.newcomers(&it.name)).collect();
        if !is_read {
            return Vec::new();
        }
        let mut news = Vec::new();
        if let Some((before, then)) = before {
            filings(&before.gate.filings, then, &self.snapshot.gate.filings, self.at, &mut news);
            hosts((&before, then), (&self.snapshot, self.at), &mut news);
        }
        self::listeners(&listeners_before, &self.listeners, &mut news);
        for (sink, (status, reason)) in &self.sinks {
            if sinks_before.get(sink).is_none_or(|(before, _)| before != status) {
                news.push(json!({"sink": &**sink, "status": status, "reason": reason}));
            }
        }
        for (origin, server) in self.ejected.symmetric_difference(&ejected_before) {
            let is_down = self.ejected.contains(&(Arc::clone(origin), server.clone()));
            let status = if is_down { "down" } else { "up" };
            news.push(json!({"origin": &**origin, "server": server, "status": status}));
        }
        news.extend(reloads.iter().rev().filter(|entry| entry.number > reloads_before).map(reload));
        news.extend(newcomers);
        let more = news.len().saturating_sub(MOST);
        if more > 0 {
            news.truncate(MOST);
            news.push(json!({"host": "*", "status": "changed", "more": more}));
        }
        news
    }

    /// Names of strangers that were refused for the first time in a while.
    fn newcomers(&self, listener: &str) -> Vec<Value> {
        let event = |(name, refusal): (Arc<str>, Refusal)| json!({"host": &*name, "listener": listener, "reason": refusal.label()});
        self.pages.listen.refused_names(listener).take_newcomers().into_iter().map(event).collect()
    }
}

/// Waits for a change; for ever if there will be none.
async fn changed<T>(receiver: &mut watch::Receiver<T>) {
    if receiver.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn filings(before: &Filings, then: Moment, after: &Filings, now: Moment, news: &mut Vec<Value>) {
    for filing in after.iter() {
        let state = FilingState::of(filing, now);
        let known = before.of_domain(filing.domain.as_str());
        let known = known.iter().any(|it| it.number == filing.number && FilingState::of(it, then) == state);
        if !known {
            news.push(json!({"domain": filing.domain.as_str(), "status": state.label()}));
        }
    }
    for filing in before.iter().filter(|filing| after.of_domain(filing.domain.as_str()).is_empty()) {
        news.push(json!({"domain": filing.domain.as_str(), "status": "removed"}));
    }
}

type Answers<'s> = HashMap<(&'s str, &'s HostPattern), Option<Refusal>>;

/// The gate's answer for every configured host of every listener.
fn answers(snapshot: &Snapshot, at: Moment) -> Answers<'_> {
    let mut answers = HashMap::new();
    for (index, listener) in snapshot.config.listeners.iter().enumerate() {
        for (pattern, answer) in gate::permitted_patterns(&snapshot.gate, ListenerId(index), at) {
            answers.insert((&*listener.name, pattern), answer.err());
        }
    }
    answers
}

fn hosts(before: (&Snapshot, Moment), after: (&Snapshot, Moment), news: &mut Vec<Value>) {
    let (before, after) = (answers(before.0, before.1), answers(after.0, after.1));
    for ((listener, pattern), refusal) in &after {
        if before.get(&(*listener, *pattern)).is_some_and(|known| known == refusal) {
            continue;
        }
        let status = if refusal.is_none() { "permitted" } else { "refused" };
        let reason = refusal.map(Refusal::label);
        let host = pattern.to_string();
        news.push(json!({"host": host, "listener": listener, "status": status, "reason": reason}));
    }
    for (listener, pattern) in before.keys().filter(|key| !after.contains_key(*key)) {
        let (host, reason) = (pattern.to_string(), Refusal::NoSite.label());
        news.push(json!({"host": host, "listener": listener, "status": "refused", "reason": reason}));
    }
}

fn listeners(before: &ListenersStatus, after: &ListenersStatus, news: &mut Vec<Value>) {
    for listener in &after.listeners {
        let state = listener_state(listener, after.held.as_deref());
        let known = before.listeners.iter().find(|known| known.name == listener.name);
        if known.is_none_or(|known| listener_state(known, before.held.as_deref()) != state) {
            let (status, reason) = state;
            news.push(json!({"listener": &*listener.name, "status": status, "reason": reason}));
        }
    }
    for listener in &before.listeners {
        if !after.listeners.iter().any(|known| known.name == listener.name) {
            news.push(json!({"listener": &*listener.name, "status": "removed"}));
        }
    }
}

/// The word for what a listener is, and why.
fn listener_state(listener: &ListenerStatus, held: Option<&str>) -> (&'static str, Option<String>) {
    match (listener.failed.first(), listener.refusal) {
        (Some((address, reason)), _) => ("failed", Some(format!("{address}: {reason}"))),
        (None, Some(refusal)) => ("unbound", Some(refusal.label().to_owned())),
        (None, None) if listener.bound.is_empty() => ("unbound", held.map(str::to_owned)),
        (None, None) => ("bound", None),
    }
}

fn sinks(looks: &[SinkLook]) -> BTreeMap<Arc<str>, (&'static str, Option<String>)> {
    let state = |look: &SinkLook| {
        let error = look.last_error.as_ref().map(|(_, failure)| failure.to_string());
        match (&look.unkept, error) {
            (_, error) if look.is_parked => ("parked", error),
            (_, Some(error)) => ("failing", Some(error)),
            (Some(unkept), None) => ("unkept", Some(unkept.clone())),
            (None, None) => ("kept", None),
        }
    };
    looks.iter().map(|look| (Arc::clone(&look.name), state(look))).collect()
}

fn ejected(snapshot: &Snapshot) -> BTreeSet<(Arc<str>, String)> {
    let of_origin = snapshot.origins.iter().flat_map(|origin| {
        let down = origin.servers.iter().filter(|server| server.health.is_ejected());
        down.map(|server| (Arc::clone(&origin.origin.name), server.label.clone()))
    });
    of_origin.collect()
}

fn reload(entry: &ReloadEntry) -> Value {
    let reason = match &entry.outcome {
        ReloadOutcome::Rejected(rejection) => rejection.problems.first().map(String::as_str),
        ReloadOutcome::Stale => Some("filings_stale_after"),
        ReloadOutcome::Applied(_) => None,
    };
    json!({"reload": entry.number, "status": entry.outcome.label(), "generation": entry.generation, "reason": reason})
}
