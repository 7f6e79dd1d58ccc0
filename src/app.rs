//! The running program: what is started, in which order, and how it ends.
//!
//! Only this layer owns a clock, signals and the order of start and stop. Nothing is bound before a
//! snapshot is there, and records are kept until the last connection is gone.

mod bind;
mod log;
mod reload;
mod shipping;
mod systemd;
mod watch;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use anyhow::Context as _;
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin;
use crate::clock::Clock;
use crate::config::Unreadable;
use crate::config::problem::Problem;
use crate::edge::admission::Admission;
use crate::edge::{Edge, Phase};
use crate::exchange::Proxy;
use crate::listen::accept::Acceptor;
use crate::listen::set::{ListenerSet, ListenersStatus};
use crate::metrics::Metrics;
use crate::retention::Store;
use crate::serve;
use crate::snapshot::{self, Snapshots};
use crate::tls::Tickets;
use crate::upstream::connect::Upstreams;
use crate::upstream::{checks, links, maintenance};

/// How long connections may take to notice that they are cut.
const CUTTING: Duration = Duration::from_secs(1);

/// Why the program does not start, or does not end well.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A file cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The configuration or the allowlist is broken: every problem.
    #[error("the configuration has problems")]
    Problems(Vec<Problem>),
    /// The system refuses something else that is needed.
    #[error(transparent)]
    System(#[from] anyhow::Error),
    /// It has served, and access records are lost.
    #[error("not ended well")]
    Unkept(#[source] anyhow::Error),
}

/// Serves as the configuration at `file` says, until a signal ends it.
pub async fn run(file: PathBuf, clock: Clock) -> Result<(), Failure> {
    // First of all: whatever comes while the program starts is not lost.
    let mut signals = Signals::new().context("signals cannot be handled")?;
    let tickets = Tickets::new().map_err(anyhow::Error::from)?;
    let built = snapshot::build(&file, None, &tickets, clock.now())?;
    let Some(first) = built.snapshot else { return Err(Failure::Problems(built.problems)) };
    let log = log::start(first.config.log)?;
    log::problems(&built.problems);
    raise_descriptor_limit();

    let metrics = Metrics::new().map_err(anyhow::Error::from)?;
    metrics.prepare(&first);
    let store = Store::open(&first.config.access_log, Arc::clone(&first.config.node), clock.clone())
        .map_err(anyhow::Error::from)?;
    let admin_address = first.config.admin;
    let admin_socket = TcpListener::bind(admin_address).await.with_context(|| {
        format!("admin: {admin_address} cannot be bound; another program may be using it")
    })?;

    let edge = Arc::new(Edge {
        snapshots: Snapshots::new(first),
        clock,
        metrics,
        recorder: store.recorder(),
        phase: tokio::sync::watch::Sender::new(Phase::Serving),
        draining: AtomicBool::new(false),
        admission: Admission::default(),
        connections: AtomicU64::new(1),
    });
    let upstreams = Arc::new(Upstreams::new(&edge.snapshots.load().config, &edge.metrics));
    let acceptor = Acceptor {
        edge: Arc::clone(&edge),
        serve: serve::with(Proxy::new(Arc::clone(&edge), Arc::clone(&upstreams))),
        tasks: TaskTracker::new(),
        cut: CancellationToken::new(),
    };
    let (tasks, cut) = (acceptor.tasks.clone(), acceptor.cut.clone());
    let loops = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let status = tokio::sync::watch::Sender::new(ListenersStatus::default());
    let shipping = shipping::Shipping::start(store.feed(), Arc::clone(&edge));
    let admin = tokio::spawn(admin::serve(
        admin_socket,
        Arc::clone(&edge),
        Arc::clone(&upstreams),
        status.subscribe(),
        shipping.board(),
    ));

    let reload = reload::Reload::new(file, Arc::clone(&edge), tickets, log, built.files);
    let reloading = reload.start(signals.hangup).context("no thread for reloading")?;
    let checking = tokio::spawn(checks::run(Arc::clone(&edge), Arc::clone(&upstreams)));
    let judging = tokio::spawn(links::run(Arc::clone(&edge), Arc::clone(&upstreams)));
    let keeping_up = tokio::spawn(maintenance::run(Arc::clone(&edge), upstreams));
    let mut binding =
        bind::Binding::new(ListenerSet::new(acceptor, loops), Arc::clone(&edge), status, shipping.board());
    binding.reconcile().await;
    systemd::notify(&[NotifyState::Ready]);
    tracing::info!(node = %edge.snapshots.load().config.node, admin = %admin_address, "serving");

    tokio::select! {
        () = binding.run() => {}
        () = signals.stop.next() => {}
    }
    // The phase comes first: a connection that is accepted until the port is closed sees it.
    edge.drain();
    tracing::info!(connections = edge.admission.open(), "draining");
    systemd::notify(&[NotifyState::Stopping]);
    reloading.cancel();
    checking.abort();
    judging.abort();
    keeping_up.abort();
    binding.close().await;
    tasks.close();
    let drain_timeout = edge.snapshots.load().config.limits.drain_timeout;
    tokio::select! {
        drained = timeout(drain_timeout, tasks.wait()) => {
            if drained.is_err() {
                tracing::warn!(connections = edge.admission.open(), "the time to drain is over: cutting what is left");
            }
        }
        () = signals.stop.next() => tracing::warn!(connections = edge.admission.open(), "stopping at once"),
    }
    cut.cancel();
    // What does not notice in time is dropped with the runtime.
    let _ = timeout(CUTTING, tasks.wait()).await;
    admin.abort();
    let kept = tokio::task::spawn_blocking(move || store.close()).await;
    shipping.finish().await;
    let kept = kept
        .context("the store of access records")
        .and_then(|closed| closed.context("the store of access records could not be closed"));
    kept.map_err(Failure::Unkept)?;
    tracing::info!("stopped");
    Ok(())
}

/// The signals that the program knows.
struct Signals {
    stop: Stop,
    hangup: tokio::signal::unix::Signal,
}

/// SIGTERM and SIGINT.
struct Stop {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    user2: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        let stop = Stop {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            user2: signal(SignalKind::user_defined2())?,
        };
        Ok(Self { stop, hangup: signal(SignalKind::hangup())? })
    }
}

impl Stop {
    async fn next(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                // The default of this signal would end the program, and every connection with it.
                _ = self.user2.recv() => tracing::warn!("SIGUSR2: an upgrade without a stop is not part of this build; restart instead"),
            }
        }
    }
}

/// As many descriptors as the system allows: each connection takes one, and often a second one
/// upstream.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// Reads everything that the configuration at `file` names, without keeping any of it.
pub fn examine(file: &Path, at: jiff::Timestamp) -> Result<snapshot::Built, Failure> {
    let tickets = Tickets::new().map_err(anyhow::Error::from)?;
    Ok(snapshot::build(file, None, &tickets, at)?)
}
