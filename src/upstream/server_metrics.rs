//! Families of upstream servers whose values are read on a scrape.

use std::sync::Arc;
use std::time::Duration;

use super::connect::Upstreams;
use crate::edge::Edge;
use crate::metrics::{Error, Family, Registry, Samples};
use crate::origin::first_bytes::FirstBytes;
use crate::origin::timing::{BOUNDS, Histogram};
use crate::snapshot::{OriginState, ServerState, Snapshot};

const UP: Family = Family::gauge(
    "icpgate_origin_up",
    "0 while an upstream server is ejected after failures.",
    &["origin", "server"],
);
const READY: Family = Family::gauge(
    "icpgate_upstream_ready",
    "Connections that are kept ready to an upstream server.",
    &["origin", "server"],
);
const LINK_IN_USE: Family = Family::gauge(
    "icpgate_link_in_use",
    "1 while a metered link is used in index of the others.",
    &["link", "origin"],
);
const FIRST_BYTE: Family = Family::histogram(
    "icpgate_upstream_first_byte_seconds",
    "From the request sent to the first byte of the answer.",
    &["link", "origin"],
);
const SERVER_TIME: Family = Family::histogram(
    "icpgate_upstream_server_seconds",
    "Time of each step of a request to a server: connect, tls, first_byte.",
    &["origin", "server", "link", "part"],
);
const ROUND_TRIP: Family = Family::gauge(
    "icpgate_upstream_round_trip_seconds",
    "Round trip to a server as the kernel estimates it, of connections used in the last two minutes.",
    &["origin", "server", "link"],
);
const SEGMENTS: Family = Family::counter(
    "icpgate_upstream_segments_total",
    "TCP segments with data sent to a server, of the connections that are sampled.",
    &["origin", "server", "link"],
);
const RETRANSMITS: Family = Family::counter(
    "icpgate_upstream_retransmits_total",
    "TCP segments sent to a server again, of the connections that are sampled.",
    &["origin", "server", "link"],
);
static FAMILIES: [Family; 8] =
    [UP, READY, LINK_IN_USE, FIRST_BYTE, SERVER_TIME, ROUND_TRIP, SEGMENTS, RETRANSMITS];

/// Registers the families; their values are those of the snapshot in use.
pub fn register(registry: &Registry, edge: Arc<Edge>, upstreams: Arc<Upstreams>) -> Result<(), Error> {
    registry.on_scrape(&FAMILIES, move |samples| read(samples, &edge.snapshots.load(), &upstreams))
}

fn read(samples: &mut Samples, snapshot: &Snapshot, upstreams: &Upstreams) {
    for state in &snapshot.origins {
        let origin = &*state.origin.name;
        for link in state.links.iter() {
            let labels = [&*link.name, origin];
            if link.metered.is_some() {
                samples.value(&LINK_IN_USE, &labels, link.last_look().status.in_use.into());
            }
            histogram(samples, &FIRST_BYTE, &labels, link.histogram());
        }
        for (index, server) in state.servers.iter().enumerate() {
            let labels = [origin, &*server.label];
            samples.value(&UP, &labels, (!server.health.is_ejected()).into());
            if state.origin.pool.preconnect > 0 {
                samples.value(&READY, &labels, upstreams.ready(server) as f64);
            }
            read_server(samples, state, index, server, upstreams.now());
        }
    }
}

fn read_server(
    samples: &mut Samples,
    state: &OriginState,
    index: usize,
    server: &ServerState,
    now: Duration,
) {
    let link = state.links.to(index).map_or("", |link| &*link.name);
    let [origin, server_label, link] = [&*state.origin.name, &*server.label, link];
    for (part, times) in [
        ("connect", server.connect_time.histogram()),
        ("tls", server.tls_time.histogram()),
        ("first_byte", state.links.first_bytes(index).map(FirstBytes::histogram).unwrap_or_default()),
    ] {
        histogram(samples, &SERVER_TIME, &[origin, server_label, link, part], times);
    }
    let labels = [origin, server_label, link];
    if let Some(round_trip) = server.path.round_trip(now) {
        samples.value(&ROUND_TRIP, &labels, round_trip.as_secs_f64());
    }
    samples.value(&SEGMENTS, &labels, server.path.segments() as f64);
    samples.value(&RETRANSMITS, &labels, server.path.retransmits() as f64);
}

fn histogram(samples: &mut Samples, family: &Family, labels: &[&str], times: Histogram) {
    let buckets = BOUNDS.iter().zip(times.cumulative).map(|(micros, upto)| (*micros as f64 / 1e6, upto));
    samples.histogram(family, labels, buckets, times.count, times.sum.as_secs_f64());
}
