//! What the way to each server does, as families.

use std::time::Duration;

use super::family::Family;
use crate::origin::Server;
use crate::origin::measured::BOUNDS;
use crate::snapshot::{ServerState, Snapshot};

/// Every server of `snapshot`, its origin's name first.
fn servers(snapshot: &Snapshot) -> impl Iterator<Item = (&str, &Server, &ServerState)> {
    snapshot.origins.iter().flat_map(|state| {
        let servers = state.origin.servers.iter().zip(&state.servers);
        servers.map(|(server, known)| (&*state.origin.name, server, &**known))
    })
}

pub(super) fn render(family: &mut Family<'_>, snapshot: &Snapshot, now: Duration) {
    let name = "icpgate_upstream_server_seconds";
    family.start(name, "histogram", "What each server took: connect, tls, first_byte.");
    for (origin, server, known) in servers(snapshot) {
        for (part, measured) in known.measured.parts() {
            let labels =
                [("origin", origin), ("server", &*known.label), ("link", &*server.link), ("part", part)];
            let (within, count, took) = measured.in_all();
            let bucket = format!("{name}_bucket");
            let mut upto = |bound: &str, count: u64| {
                let [a, b, c, d] = labels;
                family.value(&bucket, &[a, b, c, d, ("le", bound)], count);
            };
            for (bound, count) in BOUNDS.iter().zip(within) {
                upto(&(*bound as f64 / 1e6).to_string(), count);
            }
            upto("+Inf", count);
            family.value(&format!("{name}_sum"), &labels, took.as_secs_f64());
            family.value(&format!("{name}_count"), &labels, count);
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
        &|known| known.measured.path.round_trip(now).map(|time| time.as_secs_f64()),
    );
    figures(
        "icpgate_upstream_segments_total",
        "counter",
        "Segments with data sent to the server, of connections that were sampled.",
        &|known| Some(known.measured.path.in_all().0 as f64),
    );
    figures(
        "icpgate_upstream_retransmits_total",
        "counter",
        "Segments sent to the server again.",
        &|known| Some(known.measured.path.in_all().1 as f64),
    );
}
