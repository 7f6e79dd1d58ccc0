//! Commands that run to their end.

use std::ffi::OsStr;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::PATIENCE;

/// How a command of the program ended.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// stdout as one JSON document.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Runs the program to its end.
pub(crate) async fn icpgate<W: AsRef<OsStr>>(words: impl IntoIterator<Item = W>) -> Run {
    run(env!("CARGO_BIN_EXE_icpgate"), words).await
}

/// Runs a program to its end.
pub(crate) async fn run<W: AsRef<OsStr>>(program: &str, words: impl IntoIterator<Item = W>) -> Run {
    run_within(PATIENCE, program, words).await
}

/// Runs a program that takes long, such as a compiler, to its end.
pub(crate) async fn run_within<W: AsRef<OsStr>>(
    limit: Duration,
    program: &str,
    words: impl IntoIterator<Item = W>,
) -> Run {
    let mut command = tokio::process::Command::new(program);
    command.args(words).stdin(Stdio::null()).kill_on_drop(true);
    let Output { status, stdout, stderr } = tokio::time::timeout(limit, command.output())
        .await
        .unwrap_or_else(|_| panic!("{program} does not end within {limit:?}"))
        .unwrap_or_else(|error| panic!("{program} cannot be run: {error}"));
    Run {
        code: status.code().unwrap_or(-1),
        stdout: String::from_utf8(stdout).expect("UTF-8"),
        stderr: String::from_utf8(stderr).expect("UTF-8"),
    }
}
