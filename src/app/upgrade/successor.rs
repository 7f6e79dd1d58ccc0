//! The old process's part: starts the new one and hands everything over, step by step.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::channel::{Channel, Missing};
use super::{CONNECTIONS, Go, Handed, Hello, PROTOCOL, Step, TicketsText, VARIABLE};
use crate::admin::process::program;
use crate::app::shipping::ShippingControl;
use crate::app::systemd;
use crate::edge::Edge;
use crate::listen::set::BoundSockets;
use crate::retention::{HandedStore, Store};
use crate::tls::Tickets;

/// How long a process that has closed its socket may take to end, so that its exit code can be told.
const ENDING: Duration = Duration::from_secs(2);

/// Everything that is handed over.
pub(in crate::app) struct Upgrader<'r> {
    pub(in crate::app) edge: Arc<Edge>,
    pub(in crate::app) tickets: Tickets,
    pub(in crate::app) store: &'r Store,
    pub(in crate::app) shipping: ShippingControl,
    pub(in crate::app) sockets: BoundSockets,
    pub(in crate::app) admin: Arc<TcpListener>,
    pub(in crate::app) admin_address: SocketAddr,
}

/// A new process. It is killed when this is dropped, unless it was left alone before.
#[derive(Debug)]
struct Successor {
    /// `None` once it is left alone.
    child: Option<Child>,
    channel: Arc<Channel>,
}

impl Upgrader<'_> {
    /// Starts the program on disk and hands everything over. If that fails, this process serves as before.
    pub(in crate::app) async fn upgrade(&self) -> anyhow::Result<u32> {
        ensure!(
            std::process::id() != 1,
            "icpgate is process 1 here, and the container ends with it: start a new container instead, or run icpgate \
             under an init process"
        );
        let program = program();
        let mut successor =
            Successor::start(&program).with_context(|| format!("{} cannot be started", program.display()))?;
        let outcome = match self.prepare(&mut successor).await {
            Ok(()) => self.hand_over(&mut successor).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => Ok(successor.leave()),
            Err(error) => {
                successor.kill().await;
                Err(error)
            }
        }
    }

    fn patience(&self) -> Duration {
        self.edge.snapshots.load().config.limits.upgrade_timeout
    }

    async fn prepare(&self, successor: &mut Successor) -> anyhow::Result<()> {
        let hello = Hello {
            protocol: PROTOCOL,
            tickets: TicketsText::from(&self.tickets.hand_over()),
            connections: self.edge.connections.load(Ordering::Relaxed) + CONNECTIONS,
            latest: self.edge.moment().latest.as_millisecond(),
        };
        // Fails if the process has ended, which the next wait tells better.
        let _ = successor.channel.send(&hello, &[]);
        successor.report(Step::Prepared, self.patience()).await.context("while it loaded its files")
    }

    async fn hand_over(&self, successor: &mut Successor) -> anyhow::Result<()> {
        let handed = async {
            self.shipping.pause().await?;
            let store = self.store.hand_over().await.context("the record store cannot be closed")?;
            self.send_sockets(successor, &store)?;
            // The new process has the link now: if it ends, this process notices.
            drop(store);
            successor
                .report(Step::Ready, self.patience())
                .await
                .context("while it opened the record store")?;
            systemd::notify(&[NotifyState::MainPid(successor.id())]);
            successor.channel.send(&Go, &[]).context("it ended at the last moment")
        };
        let handed = handed.await;
        if handed.is_err() {
            successor.kill().await;
            systemd::notify(&[NotifyState::MainPid(std::process::id())]);
            self.store.taken_back().await;
            self.shipping.resume(self.store.feed()).await;
        }
        handed
    }

    fn send_sockets(&self, successor: &Successor, store: &HandedStore) -> anyhow::Result<()> {
        let sockets = self.sockets.now();
        let mut descriptors = vec![store.lock.as_fd(), store.records.as_fd(), self.admin.as_fd()];
        descriptors.extend(sockets.iter().map(|(_, socket)| socket.get_ref().as_fd()));
        let handed = Handed {
            directory: store.directory.clone(),
            admin: self.admin_address,
            listeners: sockets.iter().map(|(address, _)| *address).collect(),
        };
        successor.channel.send(&handed, &descriptors).context("the sockets cannot be handed over")
    }
}

impl Successor {
    fn start(program: &Path) -> std::io::Result<Self> {
        let (channel, far) = Channel::pair()?;
        let mut words = std::env::args_os();
        let mut command = Command::new(program);
        command.arg0(words.next().unwrap_or_else(|| OsString::from("icpgate"))).args(words);
        // systemd asks this process to feed its watchdog; the new one does so from its first notice on.
        command.env_remove("WATCHDOG_PID");
        command.env(VARIABLE, "1").stdin(Stdio::from(far));
        let child = command.spawn()?;
        tracing::info!(program = %program.display(), pid = child.id(), "upgrading: the program on disk is started");
        Ok(Self { child: Some(child), channel: Arc::new(channel) })
    }

    fn id(&self) -> u32 {
        self.child.as_ref().and_then(Child::id).unwrap_or_default()
    }

    /// Waits until the process reports `step`.
    async fn report(&mut self, step: Step, patience: Duration) -> anyhow::Result<()> {
        let channel = Arc::clone(&self.channel);
        let received = tokio::task::spawn_blocking(move || channel.receive::<Step>(patience)).await?;
        match received {
            Ok((reported, _)) if reported == step => Ok(()),
            Ok((reported, _)) => bail!("the new process reported {reported:?} in place of {step:?}"),
            Err(Missing::Closed) => Err(self.end().await),
            Err(Missing::Late) => {
                bail!("the new process was not ready within {patience:?} (limits.upgrade_timeout)")
            }
            Err(missing @ (Missing::Malformed(_) | Missing::Failed(_))) => {
                Err(missing).context("the new process is no icpgate that can take over")
            }
        }
    }

    /// How it ended.
    async fn end(&mut self) -> anyhow::Error {
        let Some(child) = &mut self.child else { return anyhow!("the new process is left alone") };
        match timeout(ENDING, child.wait()).await {
            Ok(Ok(status)) => anyhow!("the new process ended ({status}); its own messages are above"),
            Ok(Err(error)) => anyhow::Error::from(error).context("the new process"),
            Err(_) => anyhow!("the new process has closed its standard input"),
        }
    }

    async fn kill(&mut self) {
        if let Some(child) = &mut self.child {
            // Fails if it has ended already.
            let _ = child.kill().await;
        }
    }

    /// Lets it live; its process id.
    fn leave(mut self) -> u32 {
        let id = self.id();
        self.child = None;
        id
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.start_kill();
        }
    }
}
