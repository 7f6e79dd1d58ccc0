//! `icpgate logs verify`: verifies that a store is as its node signed it.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context;
use jiff::Timestamp;
use serde_json::json;

use super::unreadable;
use crate::cli::Answer;
use crate::cli::run::runtime;
use crate::cli::running;
use crate::clock::{Clock, shanghai_time};
use crate::retention::{Against, Break, SegmentName, Verdict, encrypted_segments, verify_copy};
use crate::ship::holdings::holdings;
use crate::ship::open::{OpenSink, open};

/// The arguments of `logs verify`.
#[derive(Clone, Debug, clap::Args)]
pub struct VerifyArgs {
    /// The store: `access_log.directory`; or a file that `logs export --proof` wrote.
    #[arg(value_name = "DIR", required_unless_present = "sink", conflicts_with = "sink")]
    pub dir: Option<PathBuf>,
    /// Verify what this sink holds, in place of a store: one of type directory, s3 or oss.
    #[arg(long, value_name = "NAME")]
    pub sink: Option<String>,
    /// The configuration that names the sink.
    #[arg(
        long = "config",
        value_name = "FILE",
        default_value = "/etc/icpgate/icpgate.yaml",
        requires = "sink"
    )]
    pub config: PathBuf,
    /// The private key of `access_log.encrypt_to`, for a sink whose segments are encrypted.
    #[arg(long, value_name = "FILE", visible_alias = "key-file", requires = "sink")]
    pub identity: Option<PathBuf>,
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

/// Verifies a store or a proof, and writes the result to `out`.
pub(in crate::cli) fn verify(args: &VerifyArgs, out: &mut dyn Write) -> anyhow::Result<Answer> {
    let since = args.since.as_ref().map(fs_err::read).transpose().context("--since")?;
    let clock = args.at.map_or_else(Clock::system, |at| Clock::from_fn(move || at));
    let against = Against { keys: args.keys.clone(), since, clock };
    let verdict = match (&args.dir, &args.sink) {
        (_, Some(sink)) => of_sink(args, sink, &against)?,
        (Some(dir), None) => {
            if dir.is_file() && (args.since.is_some() || args.at.is_some()) {
                anyhow::bail!("--since and --at are for stores, and {} is a file", dir.display());
            }
            let encrypted = encrypted_segments(dir);
            if encrypted > 0 {
                anyhow::bail!(
                    "{}: {encrypted} segments are encrypted; verify the copy by `logs verify --sink NAME --identity FILE`",
                    dir.display()
                );
            }
            crate::retention::verify(dir, &against).with_context(|| unreadable(dir))?
        }
        (None, None) => anyhow::bail!("neither a store nor a sink was given"),
    };
    if args.json {
        writeln!(out, "{}", document(&verdict))?;
    } else {
        tell(&verdict, args.keys.is_empty(), out)?;
    }
    Ok(if verdict.is_ok() { Answer::Yes } else { Answer::No })
}

/// Verifies what the sink `name` of the configuration holds, a segment at a time.
fn of_sink(args: &VerifyArgs, name: &str, against: &Against) -> anyhow::Result<Verdict> {
    let config = running::configuration(&args.config)?;
    let sink = config.sinks.iter().find(|sink| *sink.name == *name);
    let sink = sink.with_context(|| {
        let known: Vec<&str> = config.sinks.iter().map(|sink| &*sink.name).collect();
        format!("no sink is named {name:?}; known: {}", known.join(", "))
    })?;
    let OpenSink::Segments(mut sink) = open(sink, &config.node, &Clock::system()) else {
        anyhow::bail!(
            "the sink {name} holds a message per record, and no segments: only directory, s3 and oss can be verified"
        );
    };
    let scratch = tempfile::tempdir().context("no temporary folder")?;
    let runtime = runtime()?;
    let holdings =
        runtime.block_on(holdings(&mut *sink, scratch.path())).with_context(|| format!("sink {name}"))?;
    let key = args.identity.as_deref().map(super::private_key).transpose()?;
    if key.is_none() && holdings.encrypted() > 0 {
        anyhow::bail!(
            "sink {name}: {} segments are encrypted; name the private key with --identity",
            holdings.encrypted()
        );
    }
    let mut fetch = |segment: SegmentName| {
        let (fetched, plain) = (scratch.path().join("fetched"), scratch.path().join("segment"));
        for file in [&fetched, &plain] {
            let _ = std::fs::remove_file(file);
        }
        runtime.block_on(sink.get(&holdings.key(segment), &fetched)).map_err(io::Error::other)?;
        match &key {
            Some(key) if holdings.is_encrypted(segment) => key.decrypt(&fetched, &plain).map(|()| plain),
            _ => Ok(fetched),
        }
    };
    verify_copy(&holdings.copy, against, config.access_log.retention, &mut fetch)
        .with_context(|| format!("sink {name}"))
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
