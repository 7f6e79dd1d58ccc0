//! The new process's part: takes over from the one that started it.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::channel::{Channel, Missing};
use super::{Go, Handed, Hello, PROTOCOL, Step, VARIABLE};
use crate::clock::Clock;
use crate::retention::HandedStore;
use crate::ship::status::SinkBoard;
use crate::tls::Tickets;

/// How long the old process may take for the first message.
const GREETING: Duration = Duration::from_secs(10);
/// How long it may take for each later one: it closes its record store in between.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long required sinks may take to repeat their promise, without which nothing would be bound.
const PROMISES: Duration = Duration::from_secs(30);

/// The process that started this one as its replacement.
#[derive(Debug)]
pub(in crate::app) struct Predecessor {
    channel: Arc<Channel>,
    hello: Hello,
}

/// What was handed over.
#[derive(Debug)]
pub(in crate::app) struct Inheritance {
    pub(in crate::app) store: HandedStore,
    pub(in crate::app) admin: (SocketAddr, TcpListener),
    pub(in crate::app) listeners: Vec<(SocketAddr, TcpListener)>,
}

impl Predecessor {
    /// The process that started this one for an upgrade; `None` if this is an ordinary start.
    pub(in crate::app) fn find() -> anyhow::Result<Option<Self>> {
        if std::env::var_os(VARIABLE).is_none() {
            return Ok(None);
        }
        let socket = std::io::stdin().as_fd().try_clone_to_owned().context("standard input")?;
        let channel = Channel::of(socket);
        let (hello, _) = channel
            .receive::<Hello>(GREETING)
            .with_context(|| format!("{VARIABLE} is set, but standard input is not an upgrading icpgate"))?;
        ensure!(
            hello.protocol == PROTOCOL,
            "the running icpgate hands over by protocol {}, this one takes over by {PROTOCOL}: restart instead",
            hello.protocol
        );
        Ok(Some(Self { channel: Arc::new(channel), hello }))
    }

    /// The session ticket keys.
    pub(in crate::app) fn tickets(&self) -> anyhow::Result<Tickets> {
        let keys = self.hello.tickets.parse().context("the session ticket keys are malformed")?;
        Ok(Tickets::handed(&keys)?)
    }

    /// The number of the first connection.
    pub(in crate::app) fn connections(&self) -> u64 {
        self.hello.connections
    }

    /// Tells `clock` the latest time that the old process's clock has shown.
    pub(in crate::app) fn set(&self, clock: &Clock) {
        if let Ok(latest) = jiff::Timestamp::from_millisecond(self.hello.latest) {
            clock.remember(latest);
        }
    }

    /// Says that everything is loaded, and waits for what is handed over; `None` if the old process has ended.
    pub(in crate::app) async fn inherit(&self) -> anyhow::Result<Option<Inheritance>> {
        let _ = self.channel.send(&Step::Prepared, &[]);
        let channel = Arc::clone(&self.channel);
        let received = tokio::task::spawn_blocking(move || channel.receive::<Handed>(PATIENCE)).await?;
        let (handed, descriptors) = match received {
            Ok(received) => received,
            Err(Missing::Closed) => {
                tracing::warn!("the previous process ended during the upgrade: this one starts anew");
                return Ok(None);
            }
            Err(missing) => return Err(missing).context("the previous process hands nothing over"),
        };
        Inheritance::of(handed, descriptors).map(Some)
    }

    /// Says that this process is ready, and waits until it may accept connections: when the old one stops to.
    pub(in crate::app) async fn take_over(self) -> anyhow::Result<()> {
        let Self { channel, .. } = self;
        let _ = channel.send(&Step::Ready, &[]);
        let received = tokio::task::spawn_blocking(move || channel.receive::<Go>(PATIENCE)).await?;
        match received {
            Ok(_) => Ok(()),
            Err(Missing::Closed) => {
                tracing::warn!("the previous process ended during the upgrade: this one takes over");
                Ok(())
            }
            Err(missing) => Err(missing).context("the previous process does not let go"),
        }
    }
}

impl Inheritance {
    fn of(handed: Handed, descriptors: Vec<OwnedFd>) -> anyhow::Result<Self> {
        let Handed { directory, admin, listeners } = handed;
        let count = descriptors.len();
        let wrong = || format!("{count} descriptors for {} listeners", listeners.len());
        ensure!(count == listeners.len() + 3, wrong());
        let mut descriptors = descriptors.into_iter();
        let mut next = || descriptors.next().with_context(wrong);
        let store = HandedStore { directory, lock: next()?, records: next()? };
        let admin = (admin, TcpListener::from(next()?));
        let listeners = listeners.iter().copied().zip(descriptors.map(TcpListener::from)).collect();
        Ok(Self { store, admin, listeners })
    }
}

/// Waits until every required sink keeps its promise, as it did for the old process: nothing may be bound before.
pub(in crate::app) async fn await_promises(sinks: &SinkBoard) -> anyhow::Result<()> {
    let mut changes = sinks.changes();
    let kept = async { while sinks.unkept_requirement().is_some() && changes.changed().await.is_ok() {} };
    if tokio::time::timeout(PROMISES, kept).await.is_err() {
        let reason = sinks.unkept_requirement().unwrap_or_default();
        anyhow::bail!("nothing could be bound: {reason}");
    }
    Ok(())
}
