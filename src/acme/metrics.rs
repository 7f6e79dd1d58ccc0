//! Families of certificate orders. Their values are read on a scrape.

use std::sync::Arc;

use super::status::{OrderBoard, OrderResult};
use crate::edge::Edge;
use crate::metrics::{Error, Family, Registry};

const ORDERS: Family = Family::counter(
    "icpgate_acme_orders_total",
    "Orders of certificates that ended, by site and result.",
    &["site", "result"],
);
const LAST: Family = Family::gauge(
    "icpgate_acme_last_result",
    "1 for the result of a site's last order, 0 for every other.",
    &["site", "result"],
);
static FAMILIES: [Family; 2] = [ORDERS, LAST];

/// Registers the families. Every site that orders its certificate has every series from the start.
pub fn register(registry: &Registry, edge: &Arc<Edge>, board: OrderBoard) -> Result<(), Error> {
    let edge = Arc::clone(edge);
    registry.on_scrape(&FAMILIES, move |samples| {
        let snapshot = edge.snapshots.load();
        for site in snapshot.config.sites.iter().filter(|site| site.acme.is_some()) {
            let orders = board.of(&site.name);
            let last = orders.last.as_ref().map(|last| last.result);
            for result in OrderResult::ALL {
                let labels = [&*site.name, result.label()];
                samples.value(&ORDERS, &labels, orders.count(result) as f64);
                samples.value(&LAST, &labels, u8::from(last == Some(result)).into());
            }
        }
    })
}
