//! `icpgate check`: every problem, or what would be bound, served and refused.

use std::io::Write;

use serde::Serialize;

use super::{Answer, At, ConfigFile};
use crate::app::examine;
use crate::clock::Moment;
use crate::config::report::Report;
use crate::gate::{self, ListenerId};
use crate::snapshot::Snapshot;

/// What `check` is asked.
#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    at: At,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Serialize)]
struct Checked {
    #[serde(flatten)]
    report: Report,
    listeners: Vec<CheckedListener>,
    refused: Vec<RefusedHost>,
}

#[derive(Serialize)]
struct CheckedListener {
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

/// Checks, and prints what was found. Warnings change no answer, and neither does a state in which
/// nothing is approved yet.
pub(super) fn check(args: &CheckArgs, out: &mut dyn Write) -> anyhow::Result<Answer> {
    let at = args.at.or_now();
    let built = examine(&args.config.file, at)?;
    let (listeners, refused) =
        built.snapshot.as_ref().map_or_else(Default::default, |snapshot| state(snapshot, Moment::at(at)));
    let checked = Checked { report: built.problems.iter().collect(), listeners, refused };
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &checked)?;
        writeln!(out)?;
    } else {
        print(&checked, out)?;
    }
    Ok(if checked.report.problems.is_empty() { Answer::Yes } else { Answer::No })
}

fn state(snapshot: &Snapshot, at: Moment) -> (Vec<CheckedListener>, Vec<RefusedHost>) {
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
        listeners.push(CheckedListener {
            name: listener.name.to_string(),
            addresses: listener.addresses.iter().map(ToString::to_string).collect(),
            would_bind: gate::bind(&snapshot.gate, id, at).is_ok(),
            hosts,
        });
    }
    (listeners, refused)
}

fn print(checked: &Checked, out: &mut dyn Write) -> std::io::Result<()> {
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
    if checked.report.problems.is_empty() {
        writeln!(out, "no problems")?;
    }
    Ok(())
}
