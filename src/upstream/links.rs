//! Judges the links of origins once a second, and reports every switch to or from a metered link.

use std::sync::Arc;
use std::time::Duration;

use super::connect::Upstreams;
use crate::clock::SHANGHAI;
use crate::edge::Edge;

const PERIOD: Duration = Duration::from_secs(1);

/// Judges the links of the current snapshot until dropped.
pub async fn run(edge: Arc<Edge>, upstreams: Arc<Upstreams>) {
    let mut looks = tokio::time::interval(PERIOD);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let time = SHANGHAI.to_datetime(edge.clock.now());
        let minute = u16::from(time.hour().unsigned_abs()) * 60 + u16::from(time.minute().unsigned_abs());
        let snapshot = edge.snapshots.load();
        for state in &snapshot.origins {
            let origin = &*state.origin.name;
            for (link, status) in state.links.judge(minute, upstreams.now()) {
                let (name, reason) = (&*link.name, status.reason);
                upstreams.metrics.link_switches.with_label_values(&[origin, name]).inc();
                match status.in_use {
                    true => tracing::warn!(origin, link = name, %reason, "the metered link is used"),
                    false => tracing::info!(origin, link = name, %reason, "the metered link is spared again"),
                }
            }
        }
    }
}
