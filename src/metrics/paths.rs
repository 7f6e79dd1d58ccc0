//! What the way to each server does, as families.

use std::time::Duration;

use super::family::Family;
use crate::origin::Server;
use crate::origin::first_bytes::FirstBytes;
use crate::origin::timing::{BOUNDS, Histogram};
use crate::snapshot::{ServerState, Snapshot};

/// Every server of `snapshot`, its origin's name first.
fn servers(snapshot: &Snapshot) -> impl Iterator<Item = (&str, &Server, &ServerState)> {
    snapshot.origins.iter().flat_map(|state| {
        let servers = state.origin.servers.iter().zip(&state.servers);
        servers.map(|(server, known)| (&*state.origin.name, server, &**known))
    })
}

pub(super) fn render(family: &mut Family<'_>, snapshot: &Snapshot, now: Duration) {
    let name = "icpgate_upstream_first_byte_seconds";
    family.start(name, "histogram", "From the request sent to the first byte of the answer.");
    for state in &snapshot.origins {
        for link in state.links.iter() {
            histogram(
                family,
                name,
                &[("link", &link.name), ("origin", &state.origin.name)],
                link.histogram(),
            );
        }
    }
    let name = "icpgate_upstream_server_seconds";
    family.start(name, "histogram", "What each server took: connect, tls, first_byte.");
    for state in &snapshot.origins {
        for (place, (server, known)) in state.origin.servers.iter().zip(&state.servers).enumerate() {
            let first_byte = state.links.first_bytes(place).map(FirstBytes::histogram).unwrap_or_default();
            for (part, histogram) in [
                ("connect", known.connect_time.histogram()),
                ("tls", known.tls_time.histogram()),
                ("first_byte", first_byte),
            ] {
                let labels = [
                    ("origin", &*state.origin.name),
                    ("server", &*known.label),
                    ("link", &*server.link),
                    ("part", part),
                ];
                self::histogram(family, name, &labels, histogram);
            }
        }
    }
    let mut figures = |name: &str, kind, help, figure: &dyn Fn(&ServerState) -> Option<f64>| {
        family.start(name, kind, help);
        for (origin, server, known) in servers(snapshot) {
            if let Some(value) = figure(known) {
                let labels = [("origin", origin), ("server", &*known.label), ("link", &*server.link)];
                family.value(name, &labels, value);
            }
        }
    };
    figures(
        "icpgate_upstream_round_trip_seconds",
        "gauge",
        "A round trip to the server of late, as the kernel estimates it.",
        &|known| known.path.round_trip(now).map(|time| time.as_secs_f64()),
    );
    figures(
        "icpgate_upstream_segments_total",
        "counter",
        "Segments with data sent to the server, of connections that were sampled.",
        &|known| Some(known.path.segments() as f64),
    );
    figures(
        "icpgate_upstream_retransmits_total",
        "counter",
        "Segments sent to the server again.",
        &|known| Some(known.path.retransmits() as f64),
    );
}

fn histogram(family: &mut Family<'_>, name: &str, labels: &[(&str, &str)], histogram: Histogram) {
    let Histogram { cumulative, count, sum } = histogram;
    let mut bucket = |bound: &str, count: u64| {
        family.value(&format!("{name}_bucket"), &[labels, &[("le", bound)]].concat(), count);
    };
    for (bound, count) in BOUNDS.iter().zip(cumulative) {
        bucket(&(*bound as f64 / 1e6).to_string(), count);
    }
    bucket("+Inf", count);
    family.value(&format!("{name}_sum"), labels, sum.as_secs_f64());
    family.value(&format!("{name}_count"), labels, count);
}
