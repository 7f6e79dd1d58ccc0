//! Reloading: from a change of a file, or SIGHUP, to a new snapshot or a rejection.
//!
//! All of it happens on a thread of its own, so that those that serve neither read files nor free what was
//! replaced. The last good snapshot goes on until the next one is whole; an allowlist that stays broken
//! for too long is taken for an empty one.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::Signal;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::file_watch::Watch;
use super::log::{self, LogControl};
use super::metrics::Metrics;
use super::systemd;
use crate::background::{self, Priority};
use crate::config::Unreadable;
use crate::config::problem::{Problem, Severity};
use crate::edge::Edge;
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

/// With more filings and sites, reading them takes long enough to give way to those that serve.
const MANY: usize = 20_000;

/// Keeps the snapshot true to the files.
pub(super) struct Reload {
    file: PathBuf,
    edge: Arc<Edge>,
    metrics: Metrics,
    tickets: Tickets,
    log: LogControl,
    watch: Watch,
    /// What the files were when they were last read.
    read: Stamps,
    /// Whether the system had not what the last reading needed.
    again: bool,
    /// Since when the allowlist has been unreadable or broken; a monotonic time, whatever the clock shows.
    broken_since: Option<Instant>,
    /// What was replaced, until nothing is judged by it any more: whoever is last to let go of it frees
    /// all of it.
    retired: Vec<Arc<Snapshot>>,
    /// Ends the reloading.
    end: CancellationToken,
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
        metrics: Metrics,
        tickets: Tickets,
        log: LogControl,
        read: Stamps,
    ) -> Self {
        let watch = Watch::new(read.files());
        let (retired, end) = (Vec::new(), CancellationToken::new());
        Self {
            file,
            edge,
            metrics,
            tickets,
            log,
            watch,
            read,
            again: false,
            broken_since: None,
            retired,
            end,
        }
    }

    /// Reloads on a thread of its own until the token is cancelled.
    pub(super) fn start(self, hangup: Signal) -> std::io::Result<CancellationToken> {
        let end = self.end.clone();
        background::run("reload", move || self.run(hangup))?;
        Ok(end)
    }

    async fn run(mut self, mut hangup: Signal) {
        let end = self.end.clone();
        // What changed between the first reading and the first watching shows here.
        self.reload_when_changed().await;
        loop {
            self.free_what_is_retired();
            let pause = if self.again { AGAIN } else { LOOKING };
            let stale = self.broken_since.map(|since| since + self.stale_after());
            tokio::select! {
                () = end.cancelled() => return,
                _ = hangup.recv() => {
                    systemd::notify(&[NotifyState::Reloading]);
                    let built = self.build();
                    self.apply(built);
                    systemd::notify(&[NotifyState::Ready]);
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

    fn has_changed(&self) -> bool {
        !apart(&self.edge, "looking at files", || self.read.still_hold()).unwrap_or(true)
    }

    async fn reload_when_changed(&mut self) {
        if self.again || self.has_changed() {
            self.reload_when_quiet().await;
        }
    }

    /// Reads the files while waiting for their writers to end, so that the wait costs nothing more.
    async fn reload_when_quiet(&mut self) {
        let patience = Instant::now() + PATIENCE;
        loop {
            let quiet = Instant::now() + QUIET;
            let built = self.build();
            sleep_until(quiet.min(patience)).await;
            if !self.has_changed() || Instant::now() >= patience {
                return self.apply(built);
            }
        }
    }

    /// Builds what the files say now, and watches what was read.
    fn build(&mut self) -> Option<Result<Built, Unreadable>> {
        let Self { file, edge, tickets, watch, read, .. } = self;
        let (previous, at) = (edge.snapshots.load_full(), edge.clock.now());
        let (built, stamps) = apart(edge, "reading the files", || {
            let mut again = Stamps::default();
            read.files().for_each(|file| again.take(file));
            let built = snapshot::build(file, Some(&previous), tickets, at);
            let stamps = built.as_ref().map_or(again, |built| built.files.clone());
            watch.follow(stamps.files());
            (built, stamps)
        })?;
        self.read = stamps;
        self.again = built.as_ref().is_err_and(Unreadable::is_for_want_of_resources);
        Some(built)
    }

    /// Frees the snapshots that nothing is judged by any more.
    fn free_what_is_retired(&mut self) {
        let (free, held): (Vec<_>, Vec<_>) =
            self.retired.drain(..).partition(|snapshot| Arc::strong_count(snapshot) == 1);
        self.retired = held;
        if !free.is_empty() {
            apart(&self.edge, "freeing what was replaced", || drop(free));
        }
    }

    fn apply(&mut self, built: Option<Result<Built, Unreadable>>) {
        let Some(built) = built.filter(|_| !self.end.is_cancelled()) else { return };
        let outcome = self.judge(built);
        let result = match &outcome {
            Outcome::Applied(_) => "applied",
            Outcome::Rejected(_) => "rejected",
        };
        self.metrics.reloads.with_label_values(&[result]).inc();
        match outcome {
            Outcome::Applied(snapshot) => {
                self.broken_since = None;
                self.log.set(snapshot.config.log);
                apart(&self.edge, "preparing metrics", || self.metrics.prepare(&snapshot));
                self.edge.recorder.configure(&snapshot.config.access_log);
                tracing::info!(
                    generation = snapshot.generation,
                    filings = snapshot.gate.filings.len(),
                    "reloaded"
                );
                self.retired.push(self.edge.snapshots.publish(*snapshot));
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
        self.metrics.prepare(&snapshot);
        self.retired.push(self.edge.snapshots.publish(snapshot));
    }
}

/// Does what takes long where there are many names.
fn apart<T: Send>(edge: &Edge, name: &str, work: impl FnOnce() -> T + Send) -> Option<T> {
    let snapshot = edge.snapshots.load_full();
    let names = snapshot.gate.filings.len() + snapshot.config.sites.len();
    background::run_blocking(name, if names > MANY { Priority::Low } else { Priority::Usual }, work)
}

/// Settings that a running program cannot change stay as they are, and say so.
fn keep_what_needs_a_restart(current: &Snapshot, next: &mut Snapshot) {
    let (now, wanted) = (&current.config, &next.config);
    let keep = |key: &str, changed: bool| {
        if changed {
            tracing::warn!(file = %now.file.display(), "{key} has changed; that takes a restart");
        }
        changed
    };
    let node = keep("node", wanted.node != now.node);
    let directory = keep("access_log.directory", wanted.access_log.directory != now.access_log.directory);
    let admin = keep("admin", wanted.admin != now.admin);
    if node || directory || admin {
        let wanted = Arc::make_mut(&mut next.config);
        wanted.node = Arc::clone(&now.node);
        wanted.access_log.directory.clone_from(&now.access_log.directory);
        wanted.admin = now.admin;
    }
}
