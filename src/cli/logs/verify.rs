//! `icpgate logs verify`: whether a store is what its node signed.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use jiff::Timestamp;
use serde_json::json;

use super::unreadable;
use crate::cli::Answer;
use crate::clock::{Clock, shanghai_time};
use crate::retention::{Against, Break, Verdict};

/// What `logs verify` is asked.
#[derive(Clone, Debug, clap::Args)]
pub struct VerifyArgs {
    /// The store: `access_log.directory`; or a file that `logs export --proof` wrote.
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// A verifier key that was kept outside the store; may be given more than once.
    #[arg(long = "key", value_name = "VKEY")]
    pub keys: Vec<String>,
    /// A file with a checkpoint that was kept outside the store, which must be of the same history. Not
    /// for a proof.
    #[arg(long, value_name = "CHECKPOINT")]
    pub since: Option<PathBuf>,
    /// When the store was copied, RFC 3339; now by default. Judges what may be unsigned at its end. Not
    /// for a proof.
    #[arg(long, value_name = "TIME")]
    pub at: Option<Timestamp>,
    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
}

/// Writes to `out` what is known of a store after verification.
pub(in crate::cli) fn verify(args: &VerifyArgs, out: &mut dyn Write) -> anyhow::Result<Answer> {
    if args.dir.is_file() && (args.since.is_some() || args.at.is_some()) {
        anyhow::bail!("--since and --at are for stores, and {} is a file", args.dir.display());
    }
    let since = args.since.as_ref().map(fs_err::read).transpose().context("--since")?;
    let clock = args.at.map_or_else(Clock::system, |at| Clock::from_fn(move || at));
    let against = Against { keys: args.keys.clone(), since, clock };
    let verdict = crate::retention::verify(&args.dir, &against).with_context(|| unreadable(&args.dir))?;
    if args.json {
        writeln!(out, "{}", document(&verdict))?;
    } else {
        tell(&verdict, args.keys.is_empty(), out)?;
    }
    Ok(if verdict.is_ok() { Answer::Yes } else { Answer::No })
}

fn document(verdict: &Verdict) -> serde_json::Value {
    let place = |found: &Break| {
        json!({
            "segment": found.segment.as_ref().map(|segment| segment.display().to_string()),
            "byte": found.byte,
            "block": found.block,
            "reason": found.reason.to_string(),
        })
    };
    json!({
        "ok": verdict.is_ok(),
        "records": verdict.records,
        "from": verdict.from.map(shanghai_time),
        "to": verdict.to.map(shanghai_time),
        "checkpoint": verdict.checkpoint,
        "first_break": verdict.first_break.as_ref().map(place),
    })
}

fn tell(verdict: &Verdict, own_key: bool, out: &mut dyn Write) -> std::io::Result<()> {
    let records = verdict.records;
    match &verdict.first_break {
        Some(found) => {
            writeln!(out, "broken: {found}")?;
            write!(out, "{records} records before it")?;
        }
        None => write!(out, "intact: {records} records")?,
    }
    match (verdict.from, verdict.to) {
        (Some(from), Some(to)) => writeln!(out, ", from {} to {}", shanghai_time(from), shanghai_time(to))?,
        _ => writeln!(out)?,
    }
    if let Some(checkpoint) = &verdict.checkpoint {
        write!(out, "checkpoint:\n{checkpoint}")?;
    }
    if own_key {
        writeln!(out, "checked with the store's own key; --key checks with one that was kept elsewhere")?;
    }
    Ok(())
}
