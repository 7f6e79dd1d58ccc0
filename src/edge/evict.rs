//! Adds up what connections hold, and closes those of the greediest beyond [`limits.memory`](crate::config::Limits::memory).
//!
//! Connections say what they hold. A pass every 250 ms adds it up, so that requests do not pay for it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Edge;
use super::memory::{Exceeded, Most, Share, evictions};
use crate::metrics::{Error, Family, Registry};

/// Between two passes.
const INTERVAL: Duration = Duration::from_millis(250);
const HELD: Family = Family::gauge(
    "icpgate_memory_held_bytes",
    "Bytes that connections hold for requests under way, beside what every connection takes.",
    &[],
);
const LIMIT: Family = Family::gauge(
    "icpgate_memory_limit_bytes",
    "Bytes that connections may hold: limits.memory of what the machine or the cgroup has.",
    &[],
);
const EVICTED: Family = Family::counter(
    "icpgate_memory_evictions_total",
    "Connections closed because their client, or all clients together, held more than they may.",
    &["limit"],
);
static FAMILIES: [Family; 3] = [HELD, LIMIT, EVICTED];

/// Registers the families.
pub fn register(registry: &Registry, edge: &Arc<Edge>) -> Result<(), Error> {
    let edge = Arc::clone(edge);
    registry.on_scrape(&FAMILIES, move |samples| {
        let memory = &edge.memory;
        let limit = memory.bytes(edge.snapshots.load().config.limits.memory);
        samples.value(&HELD, &[], memory.held() as f64);
        samples.value(&LIMIT, &[], limit as f64);
        for (label, exceeded) in [("client", Exceeded::Client), ("process", Exceeded::Process)] {
            samples.value(&EVICTED, &[label], memory.evicted(exceeded) as f64);
        }
    })
}

/// Closes the connections of the greediest whenever they hold too much.
pub async fn run(edge: Arc<Edge>) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        let memory = &edge.memory;
        let snapshot = edge.snapshots.load_full();
        let limits = &snapshot.config.limits;
        let most = Most { client: memory.bytes(limits.memory_per_client), all: memory.bytes(limits.memory) };
        let holders = edge.admission.holders();
        // Connections of a trusted proxy are not one client's.
        let is_proxy = |client: &IpAddr| {
            let listeners = snapshot.config.listeners.iter();
            listeners.flat_map(|listener| &listener.trusted_proxies).any(|network| network.contains(client))
        };
        let mut shares = Vec::with_capacity(holders.len());
        for (client, holder) in &holders {
            let bytes = holder.holding.bytes() as u64;
            shares.push(Share { client: client.filter(|client| !is_proxy(client)), bytes });
        }
        let evicted = evictions(&shares, most);
        let freed: u64 = evicted.iter().map(|(number, _)| shares[*number].bytes).sum();
        let held = shares.iter().map(|share| share.bytes).sum::<u64>();
        memory.hold(held - freed);
        for (number, exceeded) in evicted {
            let (client, holder) = &holders[number];
            if edge.admission.close(holder) {
                memory.evict(exceeded);
                log(*client, shares[number].bytes, held, exceeded, most);
            }
        }
    }
}

fn log(client: Option<IpAddr>, bytes: u64, held: u64, exceeded: Exceeded, most: Most) {
    let client = client.map(tracing::field::display);
    match exceeded {
        Exceeded::Client => tracing::warn!(
            client,
            bytes,
            limit = most.client,
            "a connection is closed: its client makes the program hold more than limits.memory_per_client"
        ),
        Exceeded::Process => tracing::warn!(
            client,
            bytes,
            held,
            limit = most.all,
            "a connection is closed: clients make the program hold more than limits.memory, and this one the most"
        ),
    }
}
