//! `icpgate probe`: measures every upstream server, step by step.
//!
//! Rounds run one after the other; within a round servers are measured in parallel. Every wait is bounded by the
//! origin's timeouts, and the requests change nothing.

mod report;

use std::io::{IsTerminal as _, Write};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{Answer, ConfigFile};
use crate::app::examine;
use crate::clock::Clock;
use crate::config::report::Report;
use crate::metrics::Registry;
use crate::origin::OriginId;
use crate::snapshot::Snapshot;
use crate::upstream::measure::{self, Round};
use crate::upstream::metrics::UpstreamMetrics;
use report::{ProbeReport, ServerReport};

/// Servers measured at the same time.
const SIDE_BY_SIDE: usize = 16;
/// The pause between rounds, so that one does not disturb the next.
const PAUSE: Duration = Duration::from_millis(100);

/// The arguments of `probe`.
#[derive(Debug, clap::Args)]
pub(super) struct ProbeArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// The number of rounds.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    count: u32,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// Measures every server and prints the times. The answer is no if any of them failed.
pub(super) fn probe(args: &ProbeArgs, out: &mut dyn Write, notes: &mut dyn Write) -> anyhow::Result<Answer> {
    let built = examine(&args.config.file, Clock::system().now())?;
    let Some(snapshot) = built.snapshot else {
        let report: Report = built.problems.iter().collect();
        write!(notes, "{report}")?;
        anyhow::bail!("nothing was measured: mend the problems above (`icpgate check` shows them too)");
    };
    let servers = super::run::runtime()?.block_on(ask_all(Arc::new(snapshot), args.count))?;
    let failed = servers.iter().any(|server| server.failed() > 0);
    let report = ProbeReport { count: args.count, servers };
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &report)?;
        writeln!(out)?;
    } else {
        report::print(&report, out)?;
    }
    Ok(if failed { Answer::No } else { Answer::Yes })
}

async fn ask_all(snapshot: Arc<Snapshot>, count: u32) -> anyhow::Result<Vec<ServerReport>> {
    let mut servers = Vec::new();
    for (id, state) in snapshot.origins.iter().enumerate() {
        servers.extend((0..state.servers.len()).map(|place| (OriginId(id), place)));
    }
    let lookups = UpstreamMetrics::register(&Registry::default())?.name_lookups;
    let places = Arc::new(Semaphore::new(SIDE_BY_SIDE));
    let mut rounds: Vec<Vec<Result<Round, String>>> = vec![Vec::new(); servers.len()];
    let progress = Progress::start();
    for number in 1..=count {
        progress.show(number, count);
        let mut asked = JoinSet::new();
        for (server, (id, place)) in servers.iter().copied().enumerate() {
            let (snapshot, places, lookups) = (Arc::clone(&snapshot), Arc::clone(&places), lookups.clone());
            asked.spawn(async move {
                let _place = places.acquire_owned().await;
                let Some(state) = snapshot.origin(id) else { return (server, Err("gone".to_owned())) };
                (server, measure::round(state, place, &snapshot.config.name_servers, &lookups).await)
            });
        }
        while let Some(outcome) = asked.join_next().await {
            let (server, round) = outcome.context("a server could not be measured")?;
            rounds.get_mut(server).context("a server of this run")?.push(round);
        }
        if number < count {
            tokio::time::sleep(PAUSE).await;
        }
    }
    progress.end();
    let known = |(id, place): (OriginId, usize)| Some((snapshot.origin(id)?, place));
    let all = servers.into_iter().zip(rounds);
    Ok(all
        .filter_map(|(server, rounds)| {
            known(server).map(|(state, place)| ServerReport::new(state, place, &rounds))
        })
        .collect())
}

/// A progress line, shown on a terminal only.
struct Progress(bool);

impl Progress {
    fn start() -> Self {
        Self(std::io::stderr().is_terminal())
    }

    fn show(&self, round: u32, of: u32) {
        self.write(&format!("\rround {round} of {of} "));
    }

    fn end(&self) {
        self.write("\r\x1b[K");
    }

    fn write(&self, text: &str) {
        if self.0 {
            // A closed terminal does not matter.
            let _ = std::io::stderr().write_all(text.as_bytes());
        }
    }
}
