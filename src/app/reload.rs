//! Reloads: from a changed file, or SIGHUP, to a new snapshot or a rejection.
//!
//! Runs on a thread of its own, so that threads that serve neither read files nor free old snapshots. The last
//! good snapshot stays in use until the next one is complete. An allowlist that stays broken for
//! `filings_stale_after` counts as empty.

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
use super::sources::Sources;
use super::systemd;
use crate::background::{self, Priority};
use crate::config::Unreadable;
use crate::config::problem::{Problem, Severity};
use crate::edge::Edge;
use crate::edge::journal::{Rejection, ReloadJournal, ReloadOutcome};
use crate::fleet::News;
use crate::snapshot::changes::Changes;
use crate::snapshot::{self, BuildResult, Snapshot, Stamps};
use crate::tls::Tickets;

/// A reload waits until the files have not been written to for this long.
const QUIET: Duration = Duration::from_millis(100);
/// The longest wait for that.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the files are checked in case a file event was missed.
const CHECK: Duration = Duration::from_secs(5);
/// How soon a build is retried that failed for want of descriptors or memory. The files may hold a revocation,
/// which must not wait for their next change.
const RETRY: Duration = Duration::from_millis(250);

/// With more filings and sites than this, the work runs at low priority: it would delay requests.
const MANY: usize = 20_000;

/// Keeps the snapshot true to the files.
pub(super) struct Reload {
    file: PathBuf,
    edge: Arc<Edge>,
    metrics: Metrics,
    tickets: Tickets,
    log: LogControl,
    journal: ReloadJournal,
    watch: Watch,
    /// The stamps of the files when they were last read.
    read: Stamps,
    /// Whether the last build failed for want of descriptors or memory.
    retry: bool,
    /// The sources of the allowlist that are no files.
    sources: Sources,
    /// Whether everything was closed because the allowlist was not confirmed for `filings_stale_after`.
    closed: bool,
    /// Previous snapshots, kept until their last reader drops them, so that this thread frees them.
    retired: Vec<Arc<Snapshot>>,
    end: CancellationToken,
}

enum Outcome {
    Applied(Box<Snapshot>),
    Rejected(Allowlist, Rejection),
}

/// The state of the allowlist at a rejected reload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Allowlist {
    Good,
    Broken,
    /// It was not read.
    Unknown,
}

impl Reload {
    /// `read` are the stamps of the files that the snapshot in use was built from.
    pub(super) fn new(
        file: PathBuf,
        edge: Arc<Edge>,
        metrics: Metrics,
        tickets: Tickets,
        log: LogControl,
        journal: ReloadJournal,
        read: Stamps,
    ) -> Self {
        let watch = Watch::new(read.files());
        let (retired, end) = (Vec::new(), CancellationToken::new());
        let (sources, closed) = (Sources::new(&edge), false);
        Self {
            file,
            edge,
            metrics,
            tickets,
            log,
            journal,
            watch,
            read,
            retry: false,
            sources,
            closed,
            retired,
            end,
        }
    }

    /// Starts the thread. Cancel the token to stop it.
    pub(super) fn start(self, hangup: Signal) -> std::io::Result<CancellationToken> {
        let end = self.end.clone();
        background::run("reload", move || self.run(hangup))?;
        Ok(end)
    }

    async fn run(mut self, mut hangup: Signal) {
        let end = self.end.clone();
        let config = Arc::clone(&self.edge.snapshots.load().config);
        self.sources.follow(&config, &config, true);
        self.closed = self.is_stale();
        // Files may have changed after they were first read and before they were watched.
        self.reload_when_changed().await;
        loop {
            self.free_retired();
            let pause = if self.retry { RETRY } else { CHECK };
            let stale = self.closes_at().filter(|_| !self.closed).map(Instant::from_std);
            tokio::select! {
                () = end.cancelled() => return,
                _ = hangup.recv() => {
                    systemd::notify(&[NotifyState::Reloading]);
                    self.sources.ask_again();
                    let built = self.build();
                    self.apply(built);
                    systemd::notify(&[NotifyState::Ready]);
                }
                news = self.sources.news() => self.on_news(news),
                () = self.watch.event() => self.on_file_event().await,
                () = tokio::time::sleep(pause) => self.reload_when_changed().await,
                () = sleep_until(stale.unwrap_or_else(Instant::now)), if stale.is_some() => self.close_everything(),
            }
        }
    }

    fn stale_after(&self) -> Duration {
        self.edge.snapshots.load().config.limits.filings_stale_after
    }

    fn closes_at(&self) -> Option<std::time::Instant> {
        self.edge.filings_source.current().closes_at(self.stale_after())
    }

    fn is_stale(&self) -> bool {
        self.closes_at().is_some_and(|at| at <= std::time::Instant::now())
    }

    /// A fetched allowlist is whole: it is not waited for as a file is that may still be written to.
    fn on_news(&mut self, news: News) {
        match news {
            News::Changed(fetched) => {
                self.sources.keep(*fetched);
                let built = self.build();
                self.apply(built);
            }
            News::Confirmed if self.closed => {
                let built = self.build();
                self.apply(built);
            }
            News::Rejected(problems) => {
                log::problems(&problems);
                self.metrics.reloads.with_label_values(&["rejected"]).inc();
                self.reject(Rejection::of(&problems));
            }
            News::Confirmed | News::Failed => {}
        }
    }

    fn reject(&self, rejection: Rejection) {
        tracing::error!("the reload is rejected; the last good snapshot stays in use");
        let generation = self.edge.snapshots.load().generation;
        self.journal.write(self.edge.clock.now(), generation, ReloadOutcome::Rejected(rejection));
    }

    fn has_changed(&self) -> bool {
        !run_apart(&self.edge, "checking files", || self.read.still_hold()).unwrap_or(true)
    }

    /// The event may be of a folder that was replaced, so the folders are watched anew before the files are checked.
    async fn on_file_event(&mut self) {
        let Self { edge, watch, read, .. } = self;
        run_apart(edge, "watching files", || watch.follow(read.files()));
        self.reload_when_changed().await;
    }

    async fn reload_when_changed(&mut self) {
        if self.retry || self.has_changed() {
            self.reload_when_quiet().await;
        }
    }

    /// Builds while it waits for writers to finish, so that the wait adds no time.
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

    /// Builds a snapshot from the files, and watches the files that were read.
    fn build(&mut self) -> Option<Result<BuildResult, Unreadable>> {
        let Self { file, edge, tickets, watch, read, sources, .. } = self;
        let (previous, at) = (edge.snapshots.load_full(), edge.clock.now());
        let fetched = sources.fetched();
        let (built, stamps) = run_apart(edge, "reading the files", || {
            let mut known = Stamps::default();
            read.files().for_each(|file| known.take(file));
            let built = snapshot::build(file, Some(&previous), fetched, tickets, at);
            let stamps = built.as_ref().map_or(known, |built| built.files.clone());
            watch.follow(stamps.files());
            (built, stamps)
        })?;
        self.read = stamps;
        self.retry = built.as_ref().is_err_and(Unreadable::is_for_want_of_resources);
        Some(built)
    }

    /// Frees the previous snapshots that have no reader left.
    fn free_retired(&mut self) {
        let (free, held): (Vec<_>, Vec<_>) =
            self.retired.drain(..).partition(|snapshot| Arc::strong_count(snapshot) == 1);
        self.retired = held;
        if !free.is_empty() {
            run_apart(&self.edge, "freeing snapshots", || drop(free));
        }
    }

    fn apply(&mut self, built: Option<Result<BuildResult, Unreadable>>) {
        let Some(built) = built.filter(|_| !self.end.is_cancelled()) else { return };
        if let Ok(BuildResult { config: Some(wanted), snapshot, .. }) = &built {
            let in_force = Arc::clone(&self.edge.snapshots.load().config);
            self.sources.follow(&in_force, wanted, snapshot.is_some());
        }
        let outcome = self.judge(built);
        let result = match &outcome {
            Outcome::Applied(_) => "applied",
            Outcome::Rejected(..) => "rejected",
        };
        self.metrics.reloads.with_label_values(&[result]).inc();
        match outcome {
            Outcome::Applied(mut snapshot) => {
                self.edge.filings_source.current().file_is_good();
                self.closed = self.is_stale();
                if self.closed {
                    let generation = snapshot.generation;
                    *snapshot = snapshot.without_filings();
                    snapshot.generation = generation;
                }
                self.log.set(snapshot.config.log);
                run_apart(&self.edge, "preparing metrics", || self.metrics.prepare(&snapshot));
                self.edge.recorder.configure(&snapshot.config.access_log);
                tracing::info!(
                    generation = snapshot.generation,
                    filings = snapshot.gate.filings.len(),
                    "reloaded"
                );
                self.publish(*snapshot, ReloadOutcome::Applied);
            }
            Outcome::Rejected(allowlist, rejection) => {
                let source = self.edge.filings_source.current();
                match allowlist {
                    Allowlist::Good => source.file_is_good(),
                    Allowlist::Broken => source.file_is_broken(),
                    Allowlist::Unknown => {}
                }
                self.reject(rejection);
                if allowlist == Allowlist::Broken && self.stale_after().is_zero() {
                    self.close_everything();
                }
            }
        }
    }

    /// Publishes `next`, and writes down how it differs from the snapshot before: only then, since nothing may delay a
    /// revocation.
    fn publish(&mut self, next: Snapshot, outcome: impl FnOnce(Changes) -> ReloadOutcome + Send) {
        let before = self.edge.snapshots.publish(next);
        run_apart(&self.edge, "comparing snapshots", || {
            let after = self.edge.snapshots.load_full();
            let outcome = outcome(Changes::between(&before, &after));
            self.journal.write(self.edge.clock.now(), after.generation, outcome);
        });
        self.retired.push(before);
    }

    fn judge(&mut self, built: Result<BuildResult, Unreadable>) -> Outcome {
        let current = self.edge.snapshots.load_full();
        let is_allowlist = |file: &std::path::Path| current.config.filings.is_file(file);
        let built = match built {
            Ok(built) => built,
            Err(unreadable) => {
                tracing::error!("{unreadable}");
                let allowlist =
                    if is_allowlist(&unreadable.path) { Allowlist::Broken } else { Allowlist::Unknown };
                return Outcome::Rejected(allowlist, Rejection::unreadable(&unreadable));
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
            return Outcome::Rejected(allowlist, Rejection::of(&built.problems));
        };
        keep_what_needs_a_restart(&current, &mut snapshot);
        Outcome::Applied(Box::new(snapshot))
    }

    /// Publishes an empty allowlist, since it has been broken for too long.
    fn close_everything(&mut self) {
        self.closed = true;
        let current = self.edge.snapshots.load_full();
        if current.gate.filings.is_empty() {
            return;
        }
        tracing::error!(
            source = %current.config.filings,
            "the allowlist has been unreadable, broken or out of reach for filings_stale_after: everything closes"
        );
        let snapshot = current.without_filings();
        self.metrics.prepare(&snapshot);
        self.publish(snapshot, |_| ReloadOutcome::Stale);
    }
}

/// Runs slow work on a thread of its own, at low priority if there are many names.
fn run_apart<T: Send>(edge: &Edge, name: &str, work: impl FnOnce() -> T + Send) -> Option<T> {
    let snapshot = edge.snapshots.load_full();
    let names = snapshot.gate.filings.len() + snapshot.config.sites.len();
    background::run_blocking(name, if names > MANY { Priority::Low } else { Priority::Usual }, work)
}

/// Keeps the settings that need a restart, and logs each one that has changed.
fn keep_what_needs_a_restart(current: &Snapshot, next: &mut Snapshot) {
    let (now, wanted) = (&current.config, &next.config);
    let keep = |key: &str, changed: bool| {
        if changed {
            tracing::warn!(file = %now.file.display(), "{key} has changed; restart the program to apply it");
        }
        changed
    };
    let node = keep("node", wanted.node != now.node);
    let directory = keep("access_log.directory", wanted.access_log.directory != now.access_log.directory);
    let admin = keep("admin", wanted.admin != now.admin);
    let cache = keep("cache", wanted.cache != now.cache);
    if node || directory || admin || cache {
        let wanted = Arc::make_mut(&mut next.config);
        wanted.node = Arc::clone(&now.node);
        wanted.access_log.directory.clone_from(&now.access_log.directory);
        wanted.admin.clone_from(&now.admin);
        wanted.cache.clone_from(&now.cache);
    }
}
