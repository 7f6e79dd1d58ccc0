//! `icpgate filings`: what is due for each filing, in how many hours, and what happens if it is missed.

use std::io::Write;

use jiff::Timestamp;
use serde::Serialize;

use super::answer::Answer;
use super::arguments::{At, ConfigFile};
use crate::app::examine;
use crate::clock::shanghai_time;
use crate::config::report::Report;
use crate::gate::FilingStatus;
use crate::gate::deadline::Deadline;
use crate::snapshot::Snapshot;

/// The arguments of `filings`.
#[derive(Debug, clap::Args)]
pub(super) struct FilingsArgs {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    at: At,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Due {
    /// The most urgent first.
    due: Vec<DueDeadline>,
    #[serde(flatten)]
    report: Option<Report>,
}

#[derive(Serialize)]
struct DueDeadline {
    domain: String,
    deadline: &'static str,
    /// The first instant at which it is missed, in Shanghai.
    at: String,
    /// Negative once it is missed.
    hours_left: f64,
    consequence: &'static str,
}

impl DueDeadline {
    fn new(domain: &str, deadline: Deadline, now: Timestamp) -> Self {
        Self {
            domain: domain.to_owned(),
            deadline: deadline.kind.label(),
            at: shanghai_time(deadline.at),
            hours_left: deadline.hours_left(now),
            consequence: deadline.kind.consequence(),
        }
    }
}

/// Lists deadlines. The answer is no if one is over, or if the files have problems.
pub(super) fn filings(
    args: &FilingsArgs,
    out: &mut dyn Write,
    notes: &mut dyn Write,
) -> anyhow::Result<Answer> {
    let now = args.at.or_now();
    let built = examine(&args.config.file, now)?;
    let Some(snapshot) = built.snapshot else {
        let report: Report = built.problems.iter().collect();
        write!(notes, "{report}")?;
        if args.json {
            print_json(&Due { due: Vec::new(), report: Some(report) }, out)?;
        }
        return Ok(Answer::No);
    };
    let due = deadlines(&snapshot, now);
    let is_over = due.iter().any(|one| one.hours_left <= 0.0);
    let listed = Due { due, report: None };
    if args.json {
        print_json(&listed, out)?;
    } else {
        print(&snapshot, &listed.due, out)?;
    }
    Ok(if is_over { Answer::No } else { Answer::Yes })
}

/// Every deadline of the allowlist, the most urgent first.
fn deadlines(snapshot: &Snapshot, now: Timestamp) -> Vec<DueDeadline> {
    let due = snapshot.gate.filings.deadlines().into_iter();
    due.map(|(filing, deadline)| DueDeadline::new(filing.domain.as_str(), deadline, now)).collect()
}

fn print(snapshot: &Snapshot, due: &[DueDeadline], out: &mut dyn Write) -> anyhow::Result<()> {
    for one in due {
        let left = if one.hours_left <= 0.0 {
            format!("OVER for {:.0} hours", -one.hours_left)
        } else {
            format!("{:.0} hours left", one.hours_left)
        };
        writeln!(out, "{}: {}: {left}, until {}", one.domain, one.deadline, one.at)?;
        writeln!(out, "    if missed: {}", one.consequence)?;
    }
    for filing in snapshot.gate.filings.iter().filter(|filing| filing.status == FilingStatus::BureauReview) {
        // The term is in working days, and public holidays are announced year by year.
        writeln!(out, "{}: bureau_review: usually 20 working days at most (estimate)", filing.domain)?;
    }
    if due.is_empty() {
        writeln!(out, "nothing is due")?;
    }
    Ok(())
}

fn print_json(due: &Due, out: &mut dyn Write) -> anyhow::Result<()> {
    serde_json::to_writer_pretty(&mut *out, due)?;
    Ok(writeln!(out)?)
}
