//! Active health checks: this edge's own requests or connections to every server of an origin with a check.
//!
//! Two failed checks in a row take a server out of service; one passed check puts it back.

use std::sync::Arc;

use http::Method;
use tokio::task::JoinSet;

use super::connect::Upstreams;
use super::probe_request::{self, ProbeRequest};
use super::{AlpnOffer, ProxyHeader, UpstreamConnection};
use crate::edge::Edge;
use crate::origin::{HealthCheck, OriginId, Probe, ProxyProtocol, UpstreamHost};
use crate::snapshot::{OriginState, Snapshot};

/// Failed checks in a row that take a server out of service.
const FAILURES: u32 = 2;

/// Checks the servers of the current snapshot until dropped.
pub async fn run(edge: Arc<Edge>, upstreams: Arc<Upstreams>) {
    let mut changed = edge.snapshots.subscribe();
    loop {
        let snapshot = edge.snapshots.load_full();
        let mut checks = JoinSet::new();
        for (id, origin) in snapshot.origins.iter().enumerate() {
            for index in 0..origin.servers.len() {
                if let Some(check) = &origin.origin.health {
                    let upstreams = Arc::clone(&upstreams);
                    checks.spawn(keep_checking(
                        upstreams,
                        Arc::clone(&snapshot),
                        OriginId(id),
                        index,
                        check.clone(),
                    ));
                }
            }
        }
        let generation = snapshot.generation;
        drop(snapshot);
        // A notice may be about a date: then the servers have not changed.
        while edge.snapshots.load().generation == generation {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }
}

async fn keep_checking(
    upstreams: Arc<Upstreams>,
    snapshot: Arc<Snapshot>,
    id: OriginId,
    index: usize,
    check: HealthCheck,
) {
    let Some(origin) = snapshot.origin(id) else { return };
    let Some(server) = origin.servers.get(index) else { return };
    // The first check comes soon; jitter keeps edges and servers from falling into step.
    let mut pause = check.interval.mul_f64(fastrand::f64() / 2.0);
    let mut failures = 0;
    loop {
        tokio::time::sleep(pause).await;
        pause = check.interval.mul_f64(0.9 + fastrand::f64() / 5.0);
        let since = upstreams.now();
        let outcome = tokio::time::timeout(check.interval, ask(&upstreams, origin, index, &check)).await;
        let outcome = outcome.unwrap_or_else(|_| Err("no answer in time".to_owned()));
        match outcome {
            Ok(()) => {
                failures = 0;
                if server.health.succeeded(since, upstreams.now()) {
                    tracing::info!(origin = %origin.origin.name, server = %server.label, "the server passes its check again");
                }
            }
            Err(reason) => {
                failures += 1;
                // Held out until the check after the next, so that no request is the first to try the server.
                let hold = check.interval * 3;
                if failures >= FAILURES && server.health.failed_check(upstreams.now(), hold) {
                    tracing::warn!(origin = %origin.origin.name, server = %server.label, reason, "the server fails its check");
                }
            }
        }
    }
}

async fn ask(
    upstreams: &Upstreams,
    origin: &OriginState,
    index: usize,
    check: &HealthCheck,
) -> Result<(), String> {
    let proxy_header = match origin.origin.proxy_protocol {
        ProxyProtocol::None => None,
        ProxyProtocol::V2 => Some(ProxyHeader::Local),
    };
    let made = upstreams.connect(origin, index, proxy_header, AlpnOffer::Any).await;
    let UpstreamConnection { stream, protocol, .. } =
        made.map_err(|unreached| unreached.error.to_string())?;
    let Probe::Http { path, expect } = &check.probe else { return Ok(()) };
    let host = match (&origin.origin.host, origin.origin.servers.get(index)) {
        (UpstreamHost::Fixed(host), _) => host.to_string(),
        (UpstreamHost::Preserve, server) => server.map(ToString::to_string).unwrap_or_default(),
    };
    let request = ProbeRequest { method: &Method::GET, path, host: &host, scheme: &origin.origin.scheme };
    match probe_request::ask(stream, protocol, request).await {
        Ok(status) if expect.iter().any(|range| range.contains(&status.as_u16())) => Ok(()),
        Ok(status) => Err(format!("status {}", status.as_u16())),
        Err(failure) => Err(failure.to_string()),
    }
}
