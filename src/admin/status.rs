//! `/status.json`: which hosts are open, which are not and why, and what is due when.

use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::{Moment, shanghai_time};
use crate::edge::Edge;
use crate::fleet::status::SourceLook;
use crate::gate::{self, Filing, ListenerId, SiteId};
use crate::listen::set::{ListenerStatus, ListenersStatus};
use crate::origin::Server;
use crate::origin::links::{Look, OriginLink};
use crate::retention::ClientCost;
use crate::ship::status::SinkBoard;
use crate::snapshot::{OriginState, ServerState, Snapshot};

/// Why the program is not ready; `None` while at least one listener is bound, and every permitted one is.
pub(super) fn unready(edge: &Edge, listeners: &ListenersStatus) -> Option<String> {
    // After an upgrade, another process is ready in the place of this one.
    if edge.is_draining() && !edge.is_succeeded() {
        return Some("draining".to_owned());
    }
    if let Some(reason) = &listeners.held {
        return Some(format!("nothing is bound: {reason}"));
    }
    let failed =
        listeners.listeners.iter().find_map(|listener| Some((&listener.name, listener.failed.first()?)));
    if let Some((name, (address, reason))) = failed {
        return Some(format!("listener {name}: {address} cannot be bound: {reason}"));
    }
    if listeners.listeners.iter().all(|listener| listener.bound.is_empty()) {
        let reasons: Vec<String> = listeners
            .listeners
            .iter()
            .filter_map(|listener| Some(format!("{}: {}", listener.name, listener.refusal?.label())))
            .collect();
        return Some(format!("nothing approved ({})", reasons.join(", ")));
    }
    None
}

/// The whole status. `uptime` is the time base of server measurements.
pub(super) fn status(edge: &Edge, listeners: &ListenersStatus, sinks: &SinkBoard, uptime: Duration) -> Value {
    let snapshot = edge.snapshots.load();
    let at = edge.moment();
    let stats = edge.recorder.stats();
    let log = &snapshot.config.access_log;
    let retention_days = log.retention.as_secs() / 86_400;
    let days_held = stats.days_held(log.reserve, at.now);
    let cost = ClientCost::of(log, stats.room(log.reserve));
    let listener = |(index, status)| listener(&snapshot, ListenerId(index), status, at);
    json!({
        "node": &*snapshot.config.node,
        "time": shanghai_time(at.now),
        "generation": snapshot.generation,
        "ready": unready(edge, listeners).is_none(),
        "not_ready": unready(edge, listeners),
        "connections": edge.admission.open(),
        "filings": snapshot.gate.filings.iter().map(|one| filing(one)).collect::<Vec<_>>(),
        "filings_source": filings_source(&edge.filings_source.current().look()),
        "listeners": listeners.listeners.iter().enumerate().map(listener).collect::<Vec<_>>(),
        "sites": sites(&snapshot),
        "certificates": certificates(&snapshot, at),
        "origins": snapshot.origins.iter().map(|state| origin(state, uptime)).collect::<Vec<_>>(),
        "retention": {
            "directory": log.directory.display().to_string(),
            "retention_days": retention_days,
            "records": stats.records(),
            "lost": stats.lost(),
            "turned_away": stats.turned_away(),
            "synced_before": stats.synced_before(),
            "failures": stats.failures(),
            "truncated": stats.truncated(),
            "client_cost": {"bytes_a_day": cost.bytes_a_day, "room_bytes": cost.room, "days": cost.days()},
            "days_held": days_held.map(f64::round),
            "warning": days_held.filter(|held| *held < retention_days as f64).map(|held| format!(
                "at the rate of the records in the store the disk holds {held:.0} days of them, less than \
                 access_log.retention"
            )),
            "bytes": stats.bytes(),
            "full": stats.full().map(|full| full.label()),
            "clock_synchronized": stats.clock_synchronized(),
            "sinks": super::sinks::document(sinks, at.now),
        },
    })
}

/// The source of the allowlist. The age is since it last confirmed what is in force.
fn filings_source(source: &SourceLook) -> Value {
    json!({
        "name": source.name,
        "age_seconds": source.age.as_secs(),
        "serial": source.serial,
        "failure": source.failure,
    })
}

fn filing(filing: &Filing) -> Value {
    json!({
        "domain": filing.domain.as_str(),
        "number": filing.number.as_ref().map(|number| number.as_str()),
        "status": filing.status.label(),
        "begins": filing.begins.map(shanghai_time),
        "ends": filing.ends.map(shanghai_time),
        "due": {
            "sms_verification": filing.sms_verification_due.map(shanghai_time),
            "public_security": filing.public_security_due.map(shanghai_time),
        },
    })
}

fn listener(snapshot: &Snapshot, id: ListenerId, status: &ListenerStatus, at: Moment) -> Value {
    let mut hosts = Vec::new();
    let mut refused = Vec::new();
    for (pattern, answer) in gate::permitted_patterns(&snapshot.gate, id, at) {
        match answer {
            Ok(_) => hosts.push(pattern.to_string()),
            Err(refusal) => refused.push(json!({"host": pattern.to_string(), "reason": refusal.label()})),
        }
    }
    let failed: Vec<Value> = status
        .failed
        .iter()
        .map(|(address, reason)| json!({"address": address.to_string(), "reason": reason}))
        .collect();
    json!({
        "name": &*status.name,
        "bound": status.bound.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "reason": status.refusal.map(|refusal| refusal.label()),
        "failed": failed,
        "hosts": hosts,
        "refused": refused,
    })
}

fn sites(snapshot: &Snapshot) -> Vec<Value> {
    let site = |site: &crate::config::Site| {
        json!({
            "name": &*site.name,
            "hosts": site.hosts.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "listeners": site
                .listeners
                .iter()
                .filter_map(|id| snapshot.listener_config(*id))
                .map(|listener| &*listener.name)
                .collect::<Vec<_>>(),
        })
    };
    snapshot.config.sites.iter().map(site).collect()
}

fn certificates(snapshot: &Snapshot, at: Moment) -> Vec<Value> {
    let certificate = |(index, site): (usize, &crate::config::Site)| {
        let files = site.certificate.as_ref()?;
        let certificate = snapshot.certificate(SiteId(index));
        let coverage = certificate.map(|certificate| &certificate.coverage);
        Some(json!({
            "site": &*site.name,
            "chain": files.chain.display().to_string(),
            "usable": certificate.is_some_and(|certificate| certificate.serves(&site.hosts, at)),
            "begins": coverage.map(|coverage| shanghai_time(coverage.begins)),
            "ends": coverage.map(|coverage| shanghai_time(coverage.ends)),
            "seconds_left": coverage.map(|coverage| coverage.ends.duration_since(at.latest).as_secs()),
        }))
    };
    snapshot.config.sites.iter().enumerate().filter_map(certificate).collect()
}

fn origin(state: &OriginState, now: Duration) -> Value {
    let servers = state.origin.servers.iter().zip(&state.servers).enumerate();
    let servers = servers.map(|(index, (server, known))| {
        self::server(server, known, state.links.first_bytes(index).and_then(|times| times.mean(now)), now)
    });
    json!({
        "name": &*state.origin.name,
        "region": state.origin.region.label(),
        "servers": servers.collect::<Vec<_>>(),
        "links": state.links.iter().map(link).collect::<Vec<_>>(),
    })
}

/// A link, with figures of the last one to two minutes.
fn link(link: &OriginLink) -> Value {
    let Look { at, observations, status } = link.last_look();
    let is_metered = link.metered.is_some();
    json!({
        "name": &*link.name,
        "metered": is_metered,
        "in_use": !is_metered || status.in_use,
        "reason": is_metered.then(|| status.reason.to_string()),
        "seconds": status.since.filter(|_| is_metered).map(|since| at.saturating_sub(since).as_secs()),
        "answers": observations.answers,
        "failures": observations.failures,
        "first_byte_p95_ms": observations.p95.map(|p95| p95.as_millis()),
    })
}

/// A server. Times are means of the last one to two minutes, in milliseconds.
fn server(server: &Server, known: &ServerState, first_byte: Option<Duration>, now: Duration) -> Value {
    let milliseconds = |time: Option<Duration>| time.map(|time| (time.as_secs_f64() * 1e5).round() / 1e2);
    json!({
        "address": known.label,
        "link": &*server.link,
        "backup": server.backup,
        "up": !known.health.is_ejected(),
        "in_flight": known.load.in_flight(),
        "connect_ms": milliseconds(known.connect_time.mean(now)),
        "tls_ms": milliseconds(known.tls_time.mean(now)),
        "first_byte_ms": milliseconds(first_byte),
        "round_trip_ms": milliseconds(known.path.round_trip(now)),
        "loss": known.path.loss(now).map(|loss| (loss * 1e4).round() / 1e4),
    })
}
