//! Families of the sinks. Their values are read on a scrape.

use super::status::{SinkBoard, SinkLook};
use crate::clock::Clock;
use crate::metrics::{Error, Family, Registry, Samples};

const LAG: Family = Family::gauge(
    "icpgate_sink_lag_seconds",
    "Age of the oldest record that a sink has not acknowledged.",
    &["sink"],
);
const LAG_BYTES: Family = Family::gauge(
    "icpgate_sink_lag_bytes",
    "Bytes of the record store that a sink has not acknowledged.",
    &["sink"],
);
const ACKNOWLEDGED: Family = Family::gauge(
    "icpgate_sink_acknowledged_seq",
    "Number of the last record that a sink has acknowledged.",
    &["sink"],
);
const RETENTION_OK: Family = Family::gauge(
    "icpgate_sink_retention_ok",
    "1 while a sink's promise is known and is at least access_log.retention.",
    &["sink"],
);
const SET_ASIDE: Family = Family::counter(
    "icpgate_sink_set_aside_total",
    "Records that a sink does not take and that were passed over.",
    &["sink"],
);
const ERRORS: Family =
    Family::counter("icpgate_sink_errors_total", "Failures of a sink, by class.", &["sink", "class"]);
static FAMILIES: [Family; 6] = [LAG, LAG_BYTES, ACKNOWLEDGED, RETENTION_OK, SET_ASIDE, ERRORS];

/// Registers the families.
pub fn register(registry: &Registry, board: SinkBoard, clock: Clock) -> Result<(), Error> {
    registry.on_scrape(&FAMILIES, move |samples| {
        let now = clock.now();
        board.look().iter().for_each(|sink| read(samples, sink, sink.lag_seconds(now)));
    })
}

fn read(samples: &mut Samples, sink: &SinkLook, lag_seconds: f64) {
    let name = &*sink.name;
    samples.value(&LAG, &[name], lag_seconds);
    samples.value(&LAG_BYTES, &[name], sink.lag_bytes as f64);
    samples.value(&ACKNOWLEDGED, &[name], sink.acknowledged_seq as f64);
    samples.value(&RETENTION_OK, &[name], sink.unkept.is_none().into());
    samples.value(&SET_ASIDE, &[name], sink.set_aside as f64);
    for (kind, count) in &sink.errors {
        samples.value(&ERRORS, &[name, kind.name()], *count as f64);
    }
}
