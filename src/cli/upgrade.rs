//! `icpgate upgrade`: has the running process replaced by the program on disk, and waits for the outcome.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::run::runtime;
use super::{Answer, ConfigFile, running};
use crate::admin::process::started;
use crate::config::Config;

/// Between two looks at the status page.
const BETWEEN: Duration = Duration::from_millis(50);
/// How long the outcome may take, beyond the two steps that `limits.upgrade_timeout` bounds.
const BEYOND: Duration = Duration::from_secs(60);

/// The arguments of `upgrade`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct UpgradeArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// If the program on disk is the one that runs, has the files read again (SIGHUP) and does not wait.
    #[arg(long)]
    or_reload: bool,
}

/// Upgrades the running process. The answer is no if it serves on.
pub(super) fn upgrade(args: &UpgradeArgs, out: &mut dyn Write) -> anyhow::Result<Answer> {
    let config = running::configuration(&args.config.file)?;
    runtime()?.block_on(async {
        let old = Process::find(&config).await?;
        if args.or_reload && !old.is_replaced {
            old.signal(Signal::HUP)?;
            writeln!(out, "process {} runs the program on disk: it reads its files again", old.pid)?;
            return Ok(Answer::Yes);
        }
        ensure!(!old.is_upgrading, "process {}: an upgrade is under way already", old.pid);
        old.signal(Signal::USR2)?;
        outcome(&config, &old, out).await
    })
}

/// A process as the status page shows it.
struct Process {
    pid: u32,
    /// When it was started: an id alone may be of another process, or of another container.
    started: Option<u64>,
    version: String,
    /// Whether the program on disk is another one.
    is_replaced: bool,
    upgrades: u64,
    is_upgrading: bool,
    failure: String,
}

impl Process {
    async fn find(config: &Config) -> anyhow::Result<Self> {
        let status = running::status(config).await.with_context(|| {
            format!(
                "no running icpgate is found at admin.address {}; SIGUSR2 upgrades it as well",
                config.admin.address
            )
        })?;
        Self::of(&status["process"]).context("the running icpgate cannot be upgraded; restart it")
    }

    fn of(process: &Value) -> Option<Self> {
        let upgrades = &process["upgrades"];
        Some(Self {
            pid: process["pid"].as_u64()?.try_into().ok()?,
            started: process["started"].as_u64(),
            version: process["version"].as_str()?.to_owned(),
            is_replaced: process["program_replaced"] == true,
            upgrades: upgrades["begun"].as_u64()?,
            is_upgrading: upgrades["under_way"] == true,
            failure: upgrades["failure"].as_str().unwrap_or_default().to_owned(),
        })
    }

    fn is(&self, other: &Self) -> bool {
        (self.pid, self.started) == (other.pid, other.started)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = self.pid;
        ensure!(
            self.started.is_some() && self.started == started(pid),
            "the running icpgate is process {pid} of another container; run this command there"
        );
        let id = i32::try_from(pid).ok().and_then(Pid::from_raw).context("no process id")?;
        kill_process(id, signal)
            .with_context(|| format!("process {pid} cannot be signalled; run this command as its user"))
    }
}

/// Waits until another process serves, or the upgrade has failed.
async fn outcome(config: &Config, old: &Process, out: &mut dyn Write) -> anyhow::Result<Answer> {
    let deadline = Instant::now() + config.limits.upgrade_timeout * 2 + BEYOND;
    loop {
        // Fails while the socket changes hands, and if the process has died.
        if let Ok(now) = Process::find(config).await {
            if !now.is(old) {
                let (from, to) = (&old.version, &now.version);
                writeln!(out, "upgraded: process {} ({from}) is replaced by {} ({to})", old.pid, now.pid)?;
                return Ok(Answer::Yes);
            }
            if now.upgrades > old.upgrades && !now.is_upgrading {
                writeln!(out, "not upgraded, process {} serves on: {}", old.pid, now.failure)?;
                return Ok(Answer::No);
            }
        }
        ensure!(Instant::now() < deadline, "process {}: no outcome is known yet; see its log", old.pid);
        sleep(BETWEEN).await;
    }
}
