//! The program's own log, on stderr.
//!
//! No stranger writes it: libraries log errors only, and no place in the code logs without limit. Nobody who logs
//! waits for stderr.

mod lines;
mod repeats;

use std::io;
use std::time::Duration;

use anyhow::Context as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, fmt, reload};

use crate::config::problem::{Problem, Severity};
use crate::config::{Log, LogFormat};
use crate::metrics::{Error, Family, Registry as Metrics};
use lines::LineQueue;
use repeats::{OPERATOR, RepeatLimit};

/// How long the end of the program waits for the last lines to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

static DROPPED: [Family; 1] = [Family::counter(
    "icpgate_log_lines_dropped_total",
    "Lines of the log that were not written: repeated too often, or stderr too slow.",
    &[],
)];

type LogLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Changes the log's format and level while the program runs.
pub(super) struct LogControl {
    handle: reload::Handle<LogLayer, Registry>,
    output: Output,
}

/// Where lines go, and how many of them.
#[derive(Clone, Debug, Default)]
struct Output {
    lines: LineQueue,
    repeats: RepeatLimit,
}

/// Dropped at the end of the program, it waits for the last lines.
pub(super) struct LastLines(LineQueue);

impl Drop for LastLines {
    fn drop(&mut self) {
        self.0.flush(LAST_LINES);
    }
}

pub(super) fn start(log: Log) -> anyhow::Result<(LogControl, LastLines)> {
    let output = Output::default();
    let repeats = output.repeats.clone();
    output.lines.start(move || repeats.report()).context("the thread of the log cannot be started")?;
    let (layer, handle) = reload::Layer::new(layer(log, &output));
    tracing_subscriber::registry().with(layer).try_init().context("the log cannot be started")?;
    // The default hook would wait for stderr.
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    let last_lines = LastLines(output.lines.clone());
    Ok((LogControl { handle, output }, last_lines))
}

impl LogControl {
    pub(super) fn set(&self, log: Log) {
        if let Err(error) = self.handle.reload(layer(log, &self.output)) {
            tracing::warn!(%error, "the log settings cannot be changed; the previous ones stay in use");
        }
    }

    /// Registers the count of lines that were not written.
    pub(super) fn register(&self, metrics: &Metrics) -> Result<(), Error> {
        let Output { lines, repeats } = self.output.clone();
        metrics.on_scrape(&DROPPED, move |samples| {
            samples.value(&DROPPED[0], &[], (lines.dropped() + repeats.left_out()) as f64);
        })
    }
}

/// The filters are layers of their own: a filter attached to the format layer could not be replaced at run time.
fn layer(log: Log, output: &Output) -> LogLayer {
    // The levels come last: only the last layer tells the library which levels nobody wants, and without that every
    // trace line of a library is asked about.
    let filters = output.repeats.clone().and_then(levels(log));
    let lines = output.lines.clone();
    match log.format {
        LogFormat::Text => {
            let colours = io::IsTerminal::is_terminal(&io::stderr());
            let text = fmt::layer().with_writer(lines).with_ansi(colours).with_target(false);
            text.and_then(filters).boxed()
        }
        LogFormat::Json => fmt::layer().json().with_writer(lines).and_then(filters).boxed(),
    }
}

/// Libraries log their errors, and everything only at `trace`: many of their warnings are about what a peer sent.
fn levels(log: Log) -> Targets {
    let own = LevelFilter::from_level(log.level);
    let libraries = if own == LevelFilter::TRACE { own } else { LevelFilter::ERROR };
    Targets::new().with_default(libraries).with_target("icpgate", own)
}

/// Logs the problems found while a snapshot was built.
pub(super) fn problems(problems: &[Problem]) {
    for problem in problems {
        match problem.severity {
            Severity::Warning | Severity::Degraded => tracing::warn!(target: OPERATOR, "{problem}"),
            Severity::Fatal => tracing::error!(target: OPERATOR, "{problem}"),
        }
    }
}
