//! What every topic needs: the program, certificates, ClientHellos, and waiting.

#![allow(dead_code, reason = "topics come one by one")]

pub(crate) mod chromium;
pub(crate) mod client;
pub(crate) mod dns;
pub(crate) mod edge;
pub(crate) mod faketime;
pub(crate) mod hello;
pub(crate) mod http2_origin;
pub(crate) mod machine;
pub(crate) mod message;
pub(crate) mod netns;
pub(crate) mod origin;
pub(crate) mod peer;
pub(crate) mod pki;
pub(crate) mod probe;
pub(crate) mod python;
pub(crate) mod relay;

use std::time::{Duration, Instant};

/// More than anything takes on a busy machine: what has not happened by then does not happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `condition` gives something, and says what it waited for when that takes too long.
#[track_caller]
pub(crate) fn eventually<T, F>(what: &str, within: Duration, mut condition: F) -> impl Future<Output = T>
where
    F: AsyncFnMut() -> Option<T>,
{
    let caller = std::panic::Location::caller();
    async move {
        let started = Instant::now();
        loop {
            if let Some(found) = condition().await {
                return found;
            }
            assert!(started.elapsed() < within, "{caller}: not within {within:?}: {what}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Where a record says that its request was sent, or was to be: origin, region, link and address.
pub(crate) fn tried(record: &serde_json::Value) -> [&str; 4] {
    ["origin", "region", "link", "upstream_address"].map(|field| record[field].as_str().unwrap_or_default())
}
