//! The state of every sink, as JSON.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::clock::shanghai_time;
use crate::ship::status::{SinkBoard, SinkLook};

/// Every sink, in the shape of `icpgate logs sinks --json`.
pub(super) fn document(board: &SinkBoard, now: Timestamp) -> Vec<Value> {
    let sink = |look: SinkLook| {
        let (error_at, error) = look
            .last_error
            .as_ref()
            .map_or((None, None), |(at, failure)| (Some(shanghai_time(*at)), Some(failure.to_string())));
        json!({
            "name": &*look.name,
            "type": look.kind,
            "require": look.require,
            "lag_seconds": (look.lag_seconds(now) * 1e3).round() / 1e3,
            "lag_bytes": look.lag_bytes,
            "acknowledged_seq": look.acknowledged_seq,
            "retention_ok": look.unkept.is_none(),
            "promise": look.promise.as_ref().map(ToString::to_string),
            "unkept": look.unkept,
            "parked": look.is_parked,
            "set_aside": look.set_aside,
            "last_error": error,
            "last_error_at": error_at,
        })
    };
    board.look().into_iter().map(sink).collect()
}
