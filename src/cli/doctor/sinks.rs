//! What each sink promises, and how records get there.

use std::time::Duration;

use serde_json::Value;
use tokio::time::timeout;

use super::finding::{Check, Finding};
use crate::cli::logs;
use crate::config::Config;
use crate::config::sinks::{Endpoint, SinkSettings};

/// For all sinks together; one that is not reachable takes its own time to give up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sinks that records travel to in clear text. No network is asked.
pub(super) fn clear_text(config: &Config) -> Vec<Finding> {
    let in_clear = config.sinks.iter().filter_map(|sink| {
        let endpoint = endpoint(&sink.settings).filter(|endpoint| !endpoint.is_tls)?;
        Some(Finding::warn(
            Check::Sink,
            &sink.name,
            format!("records travel to {endpoint} in clear text"),
            "write https://; http:// is for tests and private networks",
        ))
    });
    in_clear.collect()
}

fn endpoint(settings: &SinkSettings) -> Option<&Endpoint> {
    match settings {
        SinkSettings::S3(s3) => Some(&s3.endpoint),
        SinkSettings::Oss(oss) => Some(&oss.endpoint),
        SinkSettings::Sls(sls) => Some(&sls.endpoint),
        SinkSettings::Directory(_) | SinkSettings::Kafka(_) | SinkSettings::Relp(_) => None,
    }
}

/// The promise of every sink, as `logs sinks` reports it.
pub(super) async fn promises(config: &Config) -> Vec<Finding> {
    if config.sinks.is_empty() {
        return Vec::new();
    }
    match timeout(PATIENCE, logs::sinks_now(config)).await {
        Ok((_, sinks)) => sinks.iter().map(promise).collect(),
        Err(_) => vec![Finding::fail(
            Check::Sink,
            "access_log.sinks",
            format!("the sinks do not answer within {} s", PATIENCE.as_secs()),
            "`icpgate logs sinks` shows them one by one",
        )],
    }
}

fn promise(sink: &Value) -> Finding {
    let text = |key: &str| sink[key].as_str().unwrap_or_default();
    let (name, promise) = (text("name"), text("promise"));
    if sink["retention_ok"] != true {
        let unkept = if text("unkept").is_empty() { "its promise is not known yet" } else { text("unkept") };
        return Finding::fail(
            Check::Sink,
            name,
            unkept,
            "set the retention or lock of the sink to at least access_log.retention: docs/sinks.md has the steps",
        );
    }
    if promise.starts_with("nothing") {
        let hint = "beside it, ship to a sink that locks: an object store or a log service";
        return Finding::warn(Check::Sink, name, format!("it promises {promise}"), hint);
    }
    Finding::ok(Check::Sink, name, format!("it promises {promise}"))
}
