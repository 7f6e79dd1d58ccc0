//! `icpgate run`: serves.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;

use super::Answer;
use crate::app::{self, Failure};
use crate::clock::Clock;
use crate::config::report::Report;

/// Serves until a signal stops it. An error at start means that nothing was bound.
pub(super) fn run(file: PathBuf) -> anyhow::Result<Answer> {
    let runtime = runtime()?;
    let outcome = runtime.block_on(app::run(file, Clock::system()));
    // Tasks that still run belong to connections that were cut.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => Ok(Answer::Yes),
        Err(Failure::Problems(problems)) => {
            let report: Report = problems.iter().collect();
            write!(std::io::stderr(), "{report}")?;
            anyhow::bail!("not started: mend the problems above (`icpgate check` shows them too)")
        }
        Err(error @ Failure::Unkept(_)) => Err(error.into()),
        Err(error) => Err(anyhow::Error::from(error).context("not started")),
    }
}

pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("the runtime cannot be started")
}
