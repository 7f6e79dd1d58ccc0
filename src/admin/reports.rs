//! What is due, refused and reloaded, as JSON.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::cache_state::{CacheState, SiteCache, Space};
use crate::acme::status::OrderBoard;
use crate::cache::Cache;
use crate::clock::shanghai_time;
use crate::edge::journal::{ReloadEntry, ReloadJournal, ReloadOutcome};
use crate::exchange::thread_counters::ThreadCounters;
use crate::gate::Filings;
use crate::listen::metrics::ListenMetrics;
use crate::snapshot::Snapshot;
use crate::snapshot::changes::{Names, PartChanges};

/// Deadlines that are listed, the most urgent.
const DUE: usize = 200;
/// Names of each listener that are listed, the most refused.
const NAMES: usize = 100;

/// What is due for the filings, in the shape of `icpgate filings --json`.
pub(super) fn due(filings: &Filings, now: Timestamp) -> Vec<Value> {
    let due = filings.deadlines().into_iter().take(DUE).map(|(filing, deadline)| {
        json!({
            "domain": filing.domain.as_str(),
            "deadline": deadline.kind.label(),
            "at": shanghai_time(deadline.at),
            "hours_left": deadline.hours_left(now),
            "consequence": deadline.kind.consequence(),
        })
    });
    due.collect()
}

/// What every listener refused in the last hour.
pub(super) fn refused(snapshot: &Snapshot, listen: &ListenMetrics, now: Timestamp) -> Vec<Value> {
    let of_listener = snapshot.config.listeners.iter().map(|listener| {
        let look = listen.refused_names(&listener.name).look(now);
        let reasons: serde_json::Map<String, Value> = look
            .reasons
            .iter()
            .map(|(refusal, count)| (refusal.label().to_owned(), (*count).into()))
            .collect();
        let names = look.names.iter().take(NAMES).map(|name| {
            json!({
                "name": &*name.name,
                "reason": name.refusal.label(),
                "count": name.count,
                "last": shanghai_time(name.last),
            })
        });
        json!({"listener": &*listener.name, "reasons": reasons, "names": names.collect::<Vec<_>>()})
    });
    of_listener.collect()
}

/// The last order of every site that orders its certificate.
pub(super) fn orders(snapshot: &Snapshot, board: &OrderBoard) -> Vec<Value> {
    let ordering = snapshot.config.sites.iter().filter(|site| site.acme.is_some());
    let orders = ordering.map(|site| {
        let last = board.of(&site.name).last;
        json!({
            "site": &*site.name,
            "result": last.as_ref().map(|last| last.result.label()),
            "at": last.as_ref().map(|last| shanghai_time(last.at)),
            "message": last.as_ref().map(|last| last.message.as_str()),
        })
    });
    orders.collect()
}

/// The last reloads, the newest first.
pub(super) fn reloads(journal: &ReloadJournal) -> Vec<Value> {
    journal.look().iter().map(reload).collect()
}

fn reload(entry: &ReloadEntry) -> Value {
    let mut shown = json!({
        "at": shanghai_time(entry.at),
        "generation": entry.generation,
        "result": entry.outcome.label(),
    });
    match &entry.outcome {
        ReloadOutcome::Applied(changes) => {
            shown["changes"] = changes.parts.iter().map(part).collect();
        }
        ReloadOutcome::Rejected(rejection) => {
            shown["problems"] = rejection.problems.clone().into();
            shown["problem_count"] = rejection.count.into();
        }
        ReloadOutcome::Stale => {}
    }
    shown
}

fn part(part: &PartChanges) -> Value {
    let names = |names: &Names| json!({"count": names.count, "first": names.first});
    json!({
        "part": part.part.label(),
        "added": names(&part.added),
        "removed": names(&part.removed),
        "replaced": names(&part.replaced),
    })
}

/// How full the edge cache is, and what it did for each site since the start; null without a cache.
pub(super) fn cache(cache: Option<&Cache>, snapshot: &Snapshot, exchanges: &ThreadCounters) -> Value {
    let Some(state) = CacheState::of(cache, snapshot, exchanges) else { return Value::Null };
    let space =
        |space: Space| json!({"bytes": space.bytes, "responses": space.responses, "limit": space.limit});
    let site = |site: &SiteCache<'_>| {
        let mut shown: serde_json::Map<String, Value> =
            site.counts().map(|(result, count)| (result.label().to_owned(), count.into())).collect();
        shown.insert("site".to_owned(), site.site.into());
        shown.insert("hit_rate".to_owned(), site.hit_rate().into());
        Value::from(shown)
    };
    json!({
        "memory": space(state.memory),
        "disk": state.disk.map(space),
        "sites": state.sites.iter().map(site).collect::<Vec<_>>(),
    })
}

/// The references of pages to foreign hosts since the start, by site and domain, of the sites that count them.
pub(super) fn foreign_assets(snapshot: &Snapshot, exchanges: &ThreadCounters) -> Value {
    let of_site = |site: &str| -> Value {
        let found = exchanges.foreign_assets(site).into_iter();
        found.map(|(domain, count)| (domain.to_owned(), Value::from(count))).collect()
    };
    let sites = snapshot.config.sites.iter().filter(|site| site.reports_assets);
    sites.map(|site| (site.name.to_string(), of_site(&site.name))).collect()
}
