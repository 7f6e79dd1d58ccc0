//! The running program: what is started, in which order, and how it ends.
//!
//! Only this layer owns a clock, signals and the order of start and stop. Nothing is bound before a
//! snapshot is there, and records are kept until the last connection is gone.

mod bind;
mod certificates;
mod file_watch;
mod log;
mod metrics;
mod reload;
mod shipping;
mod signals;
mod sources;
mod systemd;
mod upgrade;
mod upgrades;
mod watchdog;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use anyhow::Context as _;
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::acme::status::OrderBoard;
use crate::admin;
use crate::cache::Cache;
use crate::clock::Clock;
use crate::config::problem::Problem;
use crate::config::{self, Config, Unreadable};
use crate::edge::admission::Admission;
use crate::edge::descriptors::Descriptors;
use crate::edge::journal::ReloadJournal;
use crate::edge::memory::Memory;
use crate::edge::{Edge, Phase, available, evict};
use crate::exchange::Proxy;
use crate::fleet::status::SourceBoard;
use crate::listen::accept::Acceptor;
use crate::listen::set::{ListenerSet, ListenersStatus};
use crate::retention::Store;
use crate::serve;
use crate::snapshot::{self, Snapshots};
use crate::tls::Tickets;
use crate::upstream::connect::Upstreams;
use crate::upstream::{checks, links, maintenance};
use bind::Binding;
use metrics::Metrics;
use reload::Reload;
use shipping::Shipping;
use signals::{Signals, Stop};
use upgrade::{Inheritance, Predecessor, Upgrader, await_promises};
use upgrades::{End, Upgrades};

/// How long connections may take to close once they are cut.
const CUTTING: Duration = Duration::from_secs(1);

/// Why the program did not start, or did not stop cleanly.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A file cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// Every problem of the configuration and the allowlist.
    #[error("the configuration has problems")]
    Problems(Vec<Problem>),
    /// The system refused something the program needs.
    #[error(transparent)]
    System(#[from] anyhow::Error),
    /// Access records were lost when the store was closed.
    #[error("not ended well")]
    Unkept(#[source] anyhow::Error),
}

/// Serves as the configuration at `file` says, until a signal ends it or a new process takes over.
pub async fn run(file: PathBuf, clock: Clock) -> Result<(), Failure> {
    // First of all, so that no signal is lost while the program starts.
    let mut signals = Signals::new().context("signals cannot be handled")?;
    let predecessor = Predecessor::find()?;
    let tickets = match &predecessor {
        Some(predecessor) => predecessor.tickets()?,
        None => Tickets::new().map_err(anyhow::Error::from)?,
    };
    if let Some(predecessor) = &predecessor {
        predecessor.set(&clock);
    }
    let built = snapshot::build(&file, None, &[], &tickets, clock.now())?;
    let Some(first) = built.snapshot else { return Err(Failure::Problems(built.problems)) };
    let (log, _last_lines) = log::start(first.config.log)?;
    log::problems(&built.problems);
    let descriptors = raise_descriptor_limit(first.config.limits.connections);

    let metrics = Metrics::register(&first).map_err(anyhow::Error::from)?;
    let connections = predecessor.as_ref().map_or(1, Predecessor::connections);
    let admin_hosts = first.config.admin.hosts.clone();
    let Acquired { store, admin, inherited } = acquire(predecessor.as_ref(), &first.config, &clock).await?;
    let cache = first.config.cache.as_ref().map(Cache::new);
    let filings_source = SourceBoard::new(&first.config, clock.now());
    let first = sources::unless_stale(first, &filings_source);
    let upstreams = Arc::new(Upstreams::new(&first.config, metrics.upstream.clone()));
    let edge = Arc::new(Edge {
        snapshots: Snapshots::new(first),
        filings_source,
        clock,
        recorder: store.recorder(),
        phase: watch::Sender::new(Phase::Serving),
        draining: AtomicBool::new(false),
        succeeded: AtomicBool::new(false),
        admission: Admission::default(),
        descriptors,
        memory: Memory::new(available::available()),
        connections: AtomicU64::new(connections),
    });
    let proxy =
        Proxy::new(Arc::clone(&edge), Arc::clone(&upstreams), metrics.exchanges.clone(), cache.clone());
    let acceptor = Acceptor {
        edge: Arc::clone(&edge),
        metrics: metrics.listen.clone(),
        serve: serve::with(proxy),
        tasks: TaskTracker::new(),
        cut: CancellationToken::new(),
    };
    let (tasks, cut) = (acceptor.tasks.clone(), acceptor.cut.clone());
    let loops = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let listeners_status = watch::Sender::new(ListenersStatus::default());
    let shipping = Shipping::start(store.feed(), Arc::clone(&edge));
    let orders = OrderBoard::default();
    metrics
        .register_on_scrape(&edge, &upstreams, shipping.board(), orders.clone())
        .map_err(anyhow::Error::from)?;
    log.register(&metrics.registry).map_err(anyhow::Error::from)?;
    let journal = ReloadJournal::default();
    let upgrades = Upgrades { status: watch::Sender::default(), counted: metrics.upgrades.clone() };
    let pages = admin::Pages {
        edge: Arc::clone(&edge),
        upstreams: Arc::clone(&upstreams),
        metrics: metrics.registry.clone(),
        listeners_status: listeners_status.subscribe(),
        sinks: shipping.board(),
        orders: orders.clone(),
        cache,
        listen: metrics.listen.clone(),
        exchanges: metrics.exchanges.clone(),
        journal: journal.clone(),
        upgrades: upgrades.status.subscribe(),
    };

    let reload = Reload::new(file, Arc::clone(&edge), metrics, tickets.clone(), log, journal, built.files);
    let reloading = reload.start(signals.hangup).context("the thread for reloading cannot be started")?;
    let mut background = JoinSet::new();
    background.spawn(checks::run(Arc::clone(&edge), Arc::clone(&upstreams)));
    background.spawn(links::run(Arc::clone(&edge), Arc::clone(&upstreams)));
    background.spawn(evict::run(Arc::clone(&edge)));
    background.spawn(maintenance::run(Arc::clone(&edge), upstreams));
    let set = ListenerSet::new(acceptor, loops);
    let mut binding = Binding::new(set, Arc::clone(&edge), listeners_status, shipping.board());
    if let Some(predecessor) = predecessor {
        if !inherited.is_empty() {
            await_promises(&shipping.board()).await?;
        }
        predecessor.take_over().await?;
        upgrades.counted.with_label_values(&["succeeded"]).inc();
    }
    // Only now: the process before must order nothing at the same time.
    let ordering = certificates::start(Arc::clone(&edge), orders, signals.retry);
    let ordering = ordering.context("the thread for certificates cannot be started")?;
    binding.inherit(inherited);
    binding.reconcile().await;
    let admin_end = CancellationToken::new();
    tokio::spawn(admin::serve(Arc::clone(&admin), pages, admin_hosts, admin_end.clone()));
    watchdog::start().context("the thread of the watchdog cannot be started")?;
    systemd::notify(&[NotifyState::MainPid(std::process::id()), NotifyState::Ready]);
    let config = Arc::clone(&edge.snapshots.load().config);
    tracing::info!(node = %config.node, admin = %config.admin.address, "serving");

    let upgrader = Upgrader {
        edge: Arc::clone(&edge),
        tickets,
        store: &store,
        shipping: shipping.control(),
        sockets: binding.sockets(),
        admin,
        admin_address: config.admin.address,
    };
    let end = upgrades.serve(&upgrader, binding.run(), &mut signals.stop, &mut signals.upgrade).await;
    drop(upgrader);
    // The phase comes before the ports: a connection that is accepted meanwhile must see it.
    match end {
        End::Stopped => {
            edge.drain();
            systemd::notify(&[NotifyState::Stopping]);
        }
        End::Succeeded => {
            admin_end.cancel();
            edge.drain_for_successor();
        }
    }
    tracing::info!(connections = edge.admission.open(), "draining");
    reloading.cancel();
    ordering.cancel();
    background.abort_all();
    binding.close().await;
    drain(&edge, &tasks, &cut, &mut signals.stop).await;
    admin_end.cancel();
    let closed = close(store).await;
    shipping.finish().await;
    closed.map_err(Failure::Unkept)?;
    tracing::info!("stopped");
    Ok(())
}

/// What only one process may have.
struct Acquired {
    store: Store,
    admin: Arc<TcpListener>,
    /// The sockets that the previous process listened on, by their configured address.
    inherited: Vec<(SocketAddr, std::net::TcpListener)>,
}

/// Opens the record store and binds the admin address, or takes them over.
async fn acquire(
    predecessor: Option<&Predecessor>,
    config: &Config,
    clock: &Clock,
) -> anyhow::Result<Acquired> {
    let inheritance = match predecessor {
        Some(predecessor) => predecessor.inherit().await?,
        None => None,
    };
    let (log, node) = (&config.access_log, Arc::clone(&config.node));
    let Some(Inheritance { store, admin: (address, admin), listeners }) = inheritance else {
        let store = Store::open(log, node, clock.clone())?;
        return Ok(Acquired { store, admin: bind_admin(&config.admin).await?, inherited: Vec::new() });
    };
    let store = Store::take_over(log, node, clock.clone(), store)?;
    let admin = if address == config.admin.address {
        Arc::new(TcpListener::from_std(admin).context("the admin socket cannot be taken over")?)
    } else {
        bind_admin(&config.admin).await?
    };
    Ok(Acquired { store, admin, inherited: listeners })
}

async fn bind_admin(admin: &config::Admin) -> anyhow::Result<Arc<TcpListener>> {
    let address = admin.address;
    let bound = TcpListener::bind(address).await.map(Arc::new);
    bound.with_context(|| format!("admin: {address} cannot be bound; another program may be using it"))
}

/// Waits for open connections up to `drain_timeout`, or until the next signal to stop. Cuts what is left.
async fn drain(edge: &Edge, tasks: &TaskTracker, cut: &CancellationToken, stop: &mut Stop) {
    tasks.close();
    let drain_timeout = edge.snapshots.load().config.limits.drain_timeout;
    tokio::select! {
        drained = timeout(drain_timeout, tasks.wait()) => {
            if drained.is_err() {
                tracing::warn!(connections = edge.admission.open(), "drain_timeout has passed: cutting the connections that are left");
            }
        }
        () = stop.next() => tracing::warn!(connections = edge.admission.open(), "second signal: stopping at once"),
    }
    cut.cancel();
    // Connections that are still left are dropped with the runtime.
    let _ = timeout(CUTTING, tasks.wait()).await;
}

/// Writes the records that are left, and seals the store.
async fn close(store: Store) -> anyhow::Result<()> {
    let closed =
        tokio::task::spawn_blocking(move || store.close()).await.context("the store of access records")?;
    closed.context("the store of access records could not be closed")
}

/// Raises the limit of descriptors to the most that the system allows, and warns if it does not suffice for
/// `limits.connections`.
fn raise_descriptor_limit(connections: usize) -> Descriptors {
    let descriptors = Descriptors::raise().unwrap_or_else(|error| {
        tracing::warn!(%error, "the limit of open files cannot be raised");
        Descriptors::of_process()
    });
    let (limit, pairs) = (descriptors.limit(), descriptors.pairs());
    if pairs < connections as u64 {
        tracing::warn!(
            "the limit of open files is {limit}, enough for {pairs} clients with a connection to a server each; \
             limits.connections is {connections}. Beyond that idle connections are closed for new ones. Raise \
             LimitNOFILE= (ulimit -n), or lower limits.connections"
        );
    }
    descriptors
}

/// Every problem of the configuration at `file`, where [`examine`] fails because the allowlist cannot be read.
pub fn problems(file: &Path, at: jiff::Timestamp) -> Result<Vec<Problem>, Failure> {
    let tickets = Tickets::new().map_err(anyhow::Error::from)?;
    Ok(snapshot::problems(file, &tickets, at)?)
}

/// Builds a snapshot from the configuration at `file`, without running anything.
pub fn examine(file: &Path, at: jiff::Timestamp) -> Result<snapshot::BuildResult, Failure> {
    let tickets = Tickets::new().map_err(anyhow::Error::from)?;
    Ok(snapshot::build(file, None, &[], &tickets, at)?)
}
