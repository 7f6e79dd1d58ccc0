//! `icpgate logs sinks`: each sink's promise, lag and last error.
//!
//! Asks the running program at its admin address. If none runs, asks the sinks for their promises and reads the
//! lag from the cursors.

use std::io::Write;
use std::sync::Arc;

use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cli::run::runtime;
use crate::cli::{Answer, ConfigFile, running};
use crate::clock::Clock;
use crate::config::Config;
use crate::config::sinks::Sink;
use crate::retention::{Follower, Found};
use crate::ship::cursor::CursorFile;
use crate::ship::open::{OpenSink, open};
use crate::ship::sink::Promise;

/// The arguments of `logs sinks`.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct SinksArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// Shows the sinks. The answer is no if one does not keep its promise.
pub(in crate::cli) fn sinks(args: &SinksArgs, out: &mut dyn Write) -> anyhow::Result<Answer> {
    let config = running::configuration(&args.config.file)?;
    let (running, sinks) = runtime()?.block_on(sinks_now(&config));
    if args.json {
        writeln!(out, "{}", json!({"running": running, "sinks": sinks}))?;
    } else {
        tell(running, &sinks, out)?;
    }
    let is_kept = |sink: &Value| sink["retention_ok"] == true;
    Ok(if sinks.iter().all(is_kept) { Answer::Yes } else { Answer::No })
}

/// Whether the program runs, and its sinks: as it reports them, or as they report themselves.
pub(in crate::cli) async fn sinks_now(config: &Config) -> (bool, Vec<Value>) {
    match ask_program(config).await {
        Ok(sinks) => (true, sinks),
        Err(_) => (false, ask_sinks(config).await),
    }
}

/// The sinks, as the running program reports them.
async fn ask_program(config: &Config) -> anyhow::Result<Vec<Value>> {
    let status = running::status(config).await?;
    let sinks = status["retention"]["sinks"].as_array().context("no sinks in the status")?;
    Ok(sinks.clone())
}

async fn ask_sinks(config: &Config) -> Vec<Value> {
    let clock = Clock::system();
    let mut sinks = Vec::with_capacity(config.sinks.len());
    for sink in &config.sinks {
        sinks.push(ask_sink(config, sink, &clock).await);
    }
    sinks
}

async fn ask_sink(config: &Config, sink: &Arc<Sink>, clock: &Clock) -> Value {
    let retention = config.access_log.retention;
    let promise = match open(sink, &config.node, clock) {
        OpenSink::Segments(mut sink) => sink.promise(retention).await,
        OpenSink::Records(mut sink) => sink.promise(retention).await,
    };
    let cursor = CursorFile::of(&config.access_log.directory, sink).read();
    let lag = oldest_waiting(config, cursor.next_seq)
        .map_or(0.0, |since| clock.now().duration_since(since).as_secs_f64().max(0.0));
    let unkept = match &promise {
        Ok(promise) => promise.suffices(retention).err(),
        Err(failure) => Some(failure.to_string()),
    };
    json!({
        "name": &*sink.name,
        "type": sink.settings.type_name(),
        "require": sink.require,
        "lag_seconds": (lag * 1e3).round() / 1e3,
        "acknowledged_seq": cursor.next_seq.saturating_sub(1),
        "retention_ok": unkept.is_none(),
        "promise": promise.as_ref().ok().map(Promise::to_string),
        "unkept": unkept,
        "last_error": promise.as_ref().err().map(ToString::to_string),
    })
}

/// The time of the first record that is not acknowledged.
fn oldest_waiting(config: &Config, next_seq: u64) -> Option<Timestamp> {
    let mut follower = Follower::new(&config.access_log.directory, next_seq).ok()?;
    loop {
        match follower.next(u64::MAX).ok()?? {
            Found::Missing(_) => {}
            Found::Records(mut records) => return records.next()?.ok().map(|fields| fields.time),
        }
    }
}

fn tell(running: bool, sinks: &[Value], out: &mut dyn Write) -> std::io::Result<()> {
    if sinks.is_empty() {
        return writeln!(out, "no sink is configured: access_log.sinks is empty");
    }
    if !running {
        writeln!(out, "icpgate does not run: nothing is shipped; the sinks were asked themselves")?;
    }
    for sink in sinks {
        let text = |key: &str| sink[key].as_str().map(str::to_owned);
        let (name, kind) = (text("name").unwrap_or_default(), text("type").unwrap_or_default());
        let lag = sink["lag_seconds"].as_f64().unwrap_or_default();
        writeln!(out, "{name} ({kind}): {lag:.1} s behind, up to record {}", sink["acknowledged_seq"])?;
        writeln!(out, "  promise: {}", text("promise").unwrap_or_else(|| "not known".to_owned()))?;
        if let Some(unkept) = text("unkept") {
            writeln!(out, "  NOT KEPT: {unkept}")?;
        }
        if let Some(error) = text("last_error") {
            writeln!(out, "  last error: {error}")?;
        }
    }
    Ok(())
}
