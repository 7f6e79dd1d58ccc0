//! Reloading: from a change of a file, or SIGHUP, to a new snapshot or a rejection.
//!
//! The last good snapshot goes on until the next one is whole; an allowlist that stays broken for too
//! long is taken for an empty one.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::Signal;
use tokio::time::{Instant, sleep_until};

use super::log::{self, LogControl};
use super::watch::Watch;
use crate::config::Unreadable;
use crate::config::problem::{Problem, Severity};
use crate::listen::Edge;
use crate::snapshot::{self, Built, Snapshot, Stamps};
use crate::tls::Tickets;

/// A file that was written to so lately is waited for.
const QUIET: Duration = Duration::from_millis(100);
/// How long at most.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the files are looked at where nothing tells of their changes.
const LOOKING: Duration = Duration::from_secs(5);
/// How soon a reading is tried again that failed for want of descriptors or memory: what the files say
/// now, a revocation perhaps, must not wait for their next change.
const AGAIN: Duration = Duration::from_millis(250);

/// Keeps the snapshot true to the files.
pub(super) struct Reload {
    file: PathBuf,
    edge: Arc<Edge>,
    tickets: Tickets,
    log: LogControl,
    watch: Watch,
    /// What the files were when they were last read.
    read: Stamps,
    /// Whether the system had not what the last reading needed.
    again: bool,
    /// Since when the allowlist has been unreadable or broken; a monotonic time, whatever the clock shows.
    broken_since: Option<Instant>,
}

/// What came of reading the files.
enum Outcome {
    Applied(Box<Snapshot>),
    Rejected(Allowlist),
}

/// What a rejected reload says of the allowlist in use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Allowlist {
    Good,
    Broken,
    /// It was not looked at.
    Unknown,
}

impl Reload {
    /// `read` is what the snapshot in use was built from.
    pub(super) fn new(
        file: PathBuf,
        edge: Arc<Edge>,
        tickets: Tickets,
        log: LogControl,
        read: Stamps,
    ) -> Self {
        let watch = Watch::new(read.files());
        Self { file, edge, tickets, log, watch, read, again: false, broken_since: None }
    }

    /// Reloads until the program ends.
    pub(super) async fn run(mut self, mut hangup: Signal) {
        // What changed between the first reading and the first watching shows here.
        self.reload_when_changed().await;
        loop {
            let pause = if self.again { AGAIN } else { LOOKING };
            let stale = self.broken_since.map(|since| since + self.stale_after());
            tokio::select! {
                _ = hangup.recv() => {
                    super::notify(&[NotifyState::Reloading]);
                    self.read_and_apply().await;
                    super::notify(&[NotifyState::Ready]);
                }
                () = self.watch.event() => self.reload_when_changed().await,
                () = tokio::time::sleep(pause) => self.reload_when_changed().await,
                () = sleep_until(stale.unwrap_or_else(Instant::now)), if stale.is_some() => self.close_everything(),
            }
        }
    }

    fn stale_after(&self) -> Duration {
        self.edge.snapshots.load().config.limits.filings_stale_after
    }

    async fn reload_when_changed(&mut self) {
        if self.again || !self.read.still_hold() {
            self.reload_when_quiet().await;
        }
    }

    /// Reads the files while waiting for their writers to end, so that the wait costs nothing more.
    async fn reload_when_quiet(&mut self) {
        let patience = Instant::now() + PATIENCE;
        loop {
            let quiet = Instant::now() + QUIET;
            let built = self.build().await;
            sleep_until(quiet.min(patience)).await;
            if self.read.still_hold() || Instant::now() >= patience {
                return self.apply(built);
            }
        }
    }

    async fn read_and_apply(&mut self) {
        let built = self.build().await;
        self.apply(built);
    }

    /// Builds beside the connections, which must not wait for it, and watches what was read.
    async fn build(&mut self) -> Option<Result<Built, Unreadable>> {
        let (file, tickets, at) = (self.file.clone(), self.tickets.clone(), self.edge.clock.now());
        let previous = self.edge.snapshots.load_full();
        let mut again = Stamps::default();
        self.read.files().for_each(|file| again.take(file));
        let building =
            tokio::task::spawn_blocking(move || snapshot::build(&file, Some(&previous), &tickets, at));
        let built =
            building.await.inspect_err(|error| tracing::error!(%error, "reading the files failed")).ok()?;
        self.read = built.as_ref().map_or(again, |built| built.files.clone());
        self.again = built.as_ref().is_err_and(Unreadable::is_for_want_of_resources);
        self.watch.follow(self.read.files());
        Some(built)
    }

    fn apply(&mut self, built: Option<Result<Built, Unreadable>>) {
        let Some(built) = built else { return };
        let outcome = self.judge(built);
        let result = match &outcome {
            Outcome::Applied(_) => "applied",
            Outcome::Rejected(_) => "rejected",
        };
        self.edge.metrics.reloads.with_label_values(&[result]).inc();
        match outcome {
            Outcome::Applied(snapshot) => {
                self.broken_since = None;
                self.log.set(snapshot.config.log);
                self.edge.metrics.prepare(&snapshot);
                self.edge.recorder.configure(&snapshot.config.access_log);
                tracing::info!(
                    generation = snapshot.generation,
                    filings = snapshot.gate.filings.len(),
                    "reloaded"
                );
                self.edge.snapshots.publish(*snapshot);
            }
            Outcome::Rejected(allowlist) => {
                match allowlist {
                    Allowlist::Good => self.broken_since = None,
                    Allowlist::Broken => self.broken_since = self.broken_since.or(Some(Instant::now())),
                    Allowlist::Unknown => {}
                }
                tracing::error!("the reload is rejected; the last good state goes on");
                if allowlist == Allowlist::Broken && self.stale_after().is_zero() {
                    self.close_everything();
                }
            }
        }
    }

    fn judge(&mut self, built: Result<Built, Unreadable>) -> Outcome {
        let current = self.edge.snapshots.load_full();
        let is_allowlist = |file: &std::path::Path| file == current.config.filings;
        let built = match built {
            Ok(built) => built,
            Err(unreadable) => {
                tracing::error!("{unreadable}");
                let allowlist =
                    if is_allowlist(&unreadable.path) { Allowlist::Broken } else { Allowlist::Unknown };
                return Outcome::Rejected(allowlist);
            }
        };
        log::problems(&built.problems);
        let Some(mut snapshot) = built.snapshot else {
            let fatal = |problem: &&Problem| problem.severity == Severity::Fatal;
            let broken = built.problems.iter().filter(fatal).any(|problem| is_allowlist(&problem.file));
            let allowlist = match (broken, built.files.files().any(is_allowlist)) {
                (true, _) => Allowlist::Broken,
                (false, true) => Allowlist::Good,
                (false, false) => Allowlist::Unknown,
            };
            return Outcome::Rejected(allowlist);
        };
        keep_what_needs_a_restart(&current, &mut snapshot);
        Outcome::Applied(Box::new(snapshot))
    }

    /// The allowlist has been broken for too long: nothing counts as approved any more.
    fn close_everything(&mut self) {
        self.broken_since = None;
        let current = self.edge.snapshots.load_full();
        if current.gate.filings.is_empty() {
            return;
        }
        tracing::error!(
            file = %current.config.filings.display(),
            "the allowlist has been unreadable or broken for filings_stale_after: everything closes"
        );
        let snapshot = current.without_filings();
        self.edge.metrics.prepare(&snapshot);
        self.edge.snapshots.publish(snapshot);
    }
}

/// Settings that a running program cannot change stay as they are, and say so.
fn keep_what_needs_a_restart(current: &Snapshot, next: &mut Snapshot) {
    let (now, wanted) = (&current.config, &mut next.config);
    let keep = |key: &str, changed: bool| {
        if changed {
            tracing::warn!(file = %now.file.display(), "{key} has changed; that takes a restart");
        }
    };
    keep("node", wanted.node != now.node);
    keep("access_log.directory", wanted.access_log.directory != now.access_log.directory);
    keep("admin", wanted.admin != now.admin);
    wanted.node = Arc::clone(&now.node);
    wanted.access_log.directory.clone_from(&now.access_log.directory);
    wanted.admin = now.admin;
}
