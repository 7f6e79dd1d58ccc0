//! The program's own log, on stderr.

use std::io;

use anyhow::Context as _;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, fmt, reload};

use crate::config::problem::{Problem, Severity};
use crate::config::{Log, LogFormat};

type LogLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Changes the log's format and level while the program runs.
pub(super) struct LogControl {
    handle: reload::Handle<LogLayer, Registry>,
}

pub(super) fn start(log: Log) -> anyhow::Result<LogControl> {
    let (layer, handle) = reload::Layer::new(layer(log));
    tracing_subscriber::registry().with(layer).try_init().context("the log cannot be started")?;
    Ok(LogControl { handle })
}

impl LogControl {
    pub(super) fn set(&self, log: Log) {
        if let Err(error) = self.handle.reload(layer(log)) {
            tracing::warn!(%error, "the log settings cannot be changed; the previous ones stay in use");
        }
    }
}

/// The level is a layer of its own: a filter attached to the format layer could not be replaced at run time.
fn layer(log: Log) -> LogLayer {
    let level = LevelFilter::from_level(log.level);
    match log.format {
        LogFormat::Text => {
            let colours = io::IsTerminal::is_terminal(&io::stderr());
            let text = fmt::layer().with_writer(io::stderr).with_ansi(colours).with_target(false);
            text.and_then(level).boxed()
        }
        LogFormat::Json => fmt::layer().json().with_writer(io::stderr).and_then(level).boxed(),
    }
}

/// Logs the problems found while a snapshot was built.
pub(super) fn problems(problems: &[Problem]) {
    for problem in problems {
        match problem.severity {
            Severity::Warning | Severity::Degraded => tracing::warn!("{problem}"),
            Severity::Fatal => tracing::error!("{problem}"),
        }
    }
}
