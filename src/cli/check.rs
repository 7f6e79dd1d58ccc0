//! `icpgate check`: every problem, or what would be bound, served and refused.

use std::io::Write;
use std::sync::Arc;

use anyhow::Context as _;
use serde::Serialize;

use super::{Answer, At, ConfigFile};
use crate::acme::examine::{self as acme, PlannedOrder};
use crate::app::{Failure, examine, problems};
use crate::clock::Moment;
use crate::config::AccessLog;
use crate::config::report::Report;
use crate::gate::{self, ListenerId};
use crate::retention::{Capacity, ClientCost};
use crate::snapshot::Snapshot;

/// The arguments of `check`.
#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    at: At,
    /// Also show for how many days the disk holds access records at N requests a second.
    #[arg(long, value_name = "N", value_parser = positive)]
    rate: Option<f64>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

fn positive(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    rate.ok_or_else(|| format!("{text:?} is not a number of requests a second; write one such as 100"))
}

#[derive(Serialize)]
struct CheckReport {
    #[serde(flatten)]
    report: Report,
    listeners: Vec<ListenerReport>,
    refused: Vec<RefusedHost>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    orders: Vec<OrderReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    capacity: Option<CapacityReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_cost: Option<ClientCostReport>,
}

/// A certificate that `run` would order, or keeps.
#[derive(Serialize)]
struct OrderReport {
    site: String,
    names: Vec<String>,
    directory: String,
    provider: &'static str,
    file: String,
    kept: bool,
}

/// For how long the disk holds access records.
#[derive(Serialize)]
struct CapacityReport {
    rate: f64,
    days: f64,
    bytes_per_record: f64,
    measured: bool,
    retention_days: u64,
    sufficient: bool,
}

/// What one client can cost the disk.
#[derive(Serialize)]
struct ClientCostReport {
    bytes_a_day: u64,
    room_bytes: u64,
    days: f64,
}

#[derive(Serialize)]
struct ListenerReport {
    name: String,
    addresses: Vec<String>,
    would_bind: bool,
    hosts: Vec<String>,
}

#[derive(Serialize)]
struct RefusedHost {
    host: String,
    listener: String,
    reason: &'static str,
}

/// Prints every problem, or what would be bound, served and refused. Warnings do not change the answer, nor does
/// an allowlist without an approval.
pub(super) fn check(args: &CheckArgs, out: &mut dyn Write) -> anyhow::Result<Answer> {
    let at = args.at.or_now();
    let mut built = match examine(&args.config.file, at) {
        Ok(built) => built,
        Err(failure) => {
            // An allowlist that cannot be read does not hide the problems of other files.
            if let Failure::Unreadable(unreadable) = &failure
                && let Ok(problems) = problems(&args.config.file, at)
                && problems.iter().any(|problem| problem.file != unreadable.path)
            {
                let report = problems.iter().collect();
                let nothing = CheckReport {
                    report,
                    listeners: Vec::new(),
                    refused: Vec::new(),
                    orders: Vec::new(),
                    capacity: None,
                    client_cost: None,
                };
                show(&nothing, args.json, out)?;
            }
            return Err(failure.into());
        }
    };
    let config = built.snapshot.as_ref().map(|snapshot| Arc::clone(&snapshot.config));
    built.problems.extend(config.as_ref().map_or_else(Vec::new, |config| acme::problems(config)));
    let orders = config.map_or_else(Vec::new, |config| acme::planned(&config, at));
    let (listeners, refused) =
        built.snapshot.as_ref().map_or_else(Default::default, |snapshot| state(snapshot, Moment::at(at)));
    let capacity = match (args.rate, &built.snapshot) {
        (Some(rate), Some(snapshot)) => Some(capacity(&snapshot.config.access_log, rate)?),
        _ => None,
    };
    let client_cost = built.snapshot.as_ref().and_then(|snapshot| client_cost(&snapshot.config.access_log));
    let report = built.problems.iter().collect();
    let checked = CheckReport {
        report,
        listeners,
        refused,
        orders: orders.into_iter().map(order).collect(),
        capacity,
        client_cost,
    };
    show(&checked, args.json, out)?;
    Ok(if checked.report.problems.is_empty() { Answer::Yes } else { Answer::No })
}

fn show(checked: &CheckReport, as_json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    if as_json {
        serde_json::to_writer_pretty(&mut *out, checked)?;
        writeln!(out)?;
    } else {
        print(checked, out)?;
    }
    Ok(())
}

fn order(planned: PlannedOrder) -> OrderReport {
    let PlannedOrder { site, names, directory, provider, file, is_kept } = planned;
    OrderReport { site, names, directory, provider, file, kept: is_kept }
}

fn state(snapshot: &Snapshot, at: Moment) -> (Vec<ListenerReport>, Vec<RefusedHost>) {
    let mut listeners = Vec::new();
    let mut refused = Vec::new();
    for (place, listener) in snapshot.config.listeners.iter().enumerate() {
        let id = ListenerId(place);
        let mut hosts = Vec::new();
        for (pattern, answer) in gate::permitted_patterns(&snapshot.gate, id, at) {
            match answer {
                Ok(_) => hosts.push(pattern.to_string()),
                Err(refusal) => refused.push(RefusedHost {
                    host: pattern.to_string(),
                    listener: listener.name.to_string(),
                    reason: refusal.label(),
                }),
            }
        }
        listeners.push(ListenerReport {
            name: listener.name.to_string(),
            addresses: listener.addresses.iter().map(ToString::to_string).collect(),
            would_bind: gate::bind(&snapshot.gate, id, at).is_ok(),
            hosts,
        });
    }
    (listeners, refused)
}

fn capacity(log: &AccessLog, rate: f64) -> anyhow::Result<CapacityReport> {
    let place = || format!("access_log.directory {}", log.directory.display());
    let Capacity { rate, days, bytes_per_record, measured } =
        Capacity::at_rate(log, rate).with_context(place)?;
    let retention_days = log.retention.as_secs() / 86_400;
    let sufficient = days >= retention_days as f64;
    Ok(CapacityReport { rate, days, bytes_per_record, measured, retention_days, sufficient })
}

/// `None` if the disk cannot be asked, which is no problem of the files.
fn client_cost(log: &AccessLog) -> Option<ClientCostReport> {
    let cost = ClientCost::on_disk(log).ok()?;
    let ClientCost { bytes_a_day, room } = cost;
    Some(ClientCostReport { bytes_a_day, room_bytes: room, days: cost.days() })
}

fn print(checked: &CheckReport, out: &mut dyn Write) -> std::io::Result<()> {
    write!(out, "{}", checked.report)?;
    for listener in &checked.listeners {
        let verb = if listener.would_bind { "binds" } else { "stays closed on" };
        writeln!(out, "listener {} {verb} {}", listener.name, listener.addresses.join(", "))?;
        for host in &listener.hosts {
            writeln!(out, "  serves  {host}")?;
        }
        for refused in checked.refused.iter().filter(|refused| refused.listener == listener.name) {
            writeln!(out, "  refuses {}: {}", refused.host, refused.reason)?;
        }
    }
    for OrderReport { site, names, directory, provider, file, kept } in &checked.orders {
        let verb = if *kept { "keeps and renews" } else { "orders" };
        let names = names.join(", ");
        writeln!(
            out,
            "site {site} {verb} a certificate for {names}, by DNS-01 ({provider}) from {directory}, in {file}"
        )?;
    }
    if let Some(capacity) = &checked.capacity {
        let CapacityReport { rate, days, bytes_per_record, retention_days, .. } = capacity;
        let source = if capacity.measured { "as in the store" } else { "estimated" };
        let verdict = if capacity.sufficient { "enough" } else { "too few" };
        writeln!(
            out,
            "at {rate} requests a second the disk holds {days:.0} days of access records ({bytes_per_record:.0} \
             bytes each, {source}): {verdict} for the retention of {retention_days} days"
        )?;
    }
    if let Some(ClientCostReport { bytes_a_day, room_bytes, days }) = &checked.client_cost {
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        let (a_day, room) = (gib(*bytes_a_day), gib(*room_bytes));
        writeln!(
            out,
            "one hostile client can add {a_day:.1} GiB of access records a day (access_log.client_budget); the disk \
             has room for {room:.1} GiB beyond the reserve, {days:.1} days of that"
        )?;
    }
    if checked.report.problems.is_empty() {
        writeln!(out, "no problems")?;
    }
    Ok(())
}
