//! The HTTP/2 connections to each server.
//!
//! Requests share connections. A request that finds no room starts a new connection, and later requests wait
//! for it as far as it will have room. A connect is abandoned when the last waiting request is gone.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::connection::{ConnectionCount, Http2Connection, StreamSlot};
use crate::access::record::ServerFacts;
use crate::edge::holding::Ahead;
use crate::net::transport::Transport;
use crate::snapshot::ServerState;
use crate::upstream::{ConnectFailure, ProxyHeader};

/// The most connections to one server, those being made included.
const CONNECTIONS: usize = 256;
/// How long a server that negotiated HTTP/1.1 is not offered HTTP/2 again.
const CHOICE: Duration = Duration::from_secs(600);

/// The HTTP/2 connections of the process.
#[derive(Debug, Default)]
pub(crate) struct Http2Connections {
    servers: Mutex<HashMap<usize, ServerConnections>>,
    count: ConnectionCount,
}

#[derive(Debug)]
struct ServerConnections {
    server: Weak<ServerState>,
    /// Until then the server is taken to speak HTTP/1.1.
    http1_until: Option<Instant>,
    /// The stream limit of its last connection.
    limit: usize,
    open: Vec<OpenConnection>,
    making: Vec<PendingConnection>,
    /// Notified when a request without room may look again.
    room: Arc<watch::Sender<()>>,
}

/// What requests on one connection have in common.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ConnectionKind {
    pub(crate) proxy_header: Option<ProxyHeader>,
    /// How much of their answers may come ahead of the clients.
    pub(crate) ahead: Ahead,
}

#[derive(Debug)]
struct OpenConnection {
    kind: ConnectionKind,
    reached: Arc<ServerFacts>,
    connection: Arc<Http2Connection>,
}

#[derive(Debug)]
struct PendingConnection {
    kind: ConnectionKind,
    waiting: usize,
    done: Arc<watch::Sender<Option<ConnectOutcome>>>,
}

#[derive(Clone, Copy, Debug)]
enum ConnectOutcome {
    Http2,
    Http1,
    /// The error, and the address that accepted TCP.
    Failed(io::ErrorKind, Option<SocketAddr>),
    Abandoned,
}

/// A new connection, by the negotiated protocol.
#[derive(Debug)]
pub(crate) enum Connected {
    /// A transport for HTTP/2.
    Http2(Transport, Arc<ServerFacts>),
    /// HTTP/1.1: the connection was put among the idle ones.
    Http1,
}

#[derive(Debug)]
pub(crate) enum Room {
    Shared(StreamSlot, Arc<ServerFacts>),
    /// On a connection made for this request and those that waited with it.
    New(StreamSlot, Arc<ServerFacts>),
    Http1,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct WaitLimits {
    /// For room on a connection, its connect included.
    pub(crate) room: Duration,
    /// How long a connection may be without streams.
    pub(crate) idle: Duration,
}

enum ClaimResult {
    StreamSlot(StreamSlot, Arc<ServerFacts>),
    Http1,
    /// A connection is being made: wait for it.
    Join(watch::Receiver<Option<ConnectOutcome>>),
    Make(Arc<watch::Sender<Option<ConnectOutcome>>>, watch::Receiver<Option<ConnectOutcome>>),
    /// Wait until a stream ends or the server sends its limit.
    Wait(watch::Receiver<()>),
}

impl Http2Connections {
    /// Room for a request to `server` on a connection of this kind. `make` makes a connection.
    pub(crate) async fn room<M>(
        self: &Arc<Self>,
        server: &Arc<ServerState>,
        kind: ConnectionKind,
        waits: WaitLimits,
        make: impl Fn() -> M,
    ) -> Result<Room, ConnectFailure>
    where
        M: Future<Output = Result<Connected, ConnectFailure>> + Send + 'static,
    {
        let deadline = Instant::now() + waits.room;
        let mut waited = false;
        loop {
            let mut done = match self.claim(server, kind) {
                ClaimResult::StreamSlot(slot, reached) if waited => return Ok(Room::New(slot, reached)),
                ClaimResult::StreamSlot(slot, reached) => return Ok(Room::Shared(slot, reached)),
                ClaimResult::Http1 => return Ok(Room::Http1),
                ClaimResult::Wait(mut room) => {
                    // The sender lives as long as the server's entry.
                    let _ =
                        timeout_at(deadline, room.changed()).await.map_err(|_| io::ErrorKind::TimedOut)?;
                    continue;
                }
                ClaimResult::Join(done) => done,
                ClaimResult::Make(sender, done) => {
                    let (all, server) = (Arc::clone(self), Arc::clone(server));
                    tokio::spawn(all.make(server, kind, waits.idle, make(), sender));
                    done
                }
            };
            waited = true;
            // The task that connects bounds the time, and reports a timeout to the server's health.
            let outcome = done.wait_for(Option::is_some).await.map(|done| *done);
            if let Ok(Some(ConnectOutcome::Failed(kind, address))) = outcome {
                return Err(ConnectFailure { error: kind.into(), address });
            }
        }
    }

    /// Room on an existing connection, without waiting.
    fn claim(&self, server: &Arc<ServerState>, kind: ConnectionKind) -> ClaimResult {
        let mut servers = self.servers();
        let entry = servers.entry(address(server)).or_insert_with(|| ServerConnections::of(server));
        if entry.server.as_ptr() != Arc::as_ptr(server) {
            *entry = ServerConnections::of(server);
        }
        entry.open.retain(|open| !open.connection.is_closing());
        if let Some((slot, reached)) = entry.slot(kind) {
            return ClaimResult::StreamSlot(slot, reached);
        }
        if entry.http1_until.is_some_and(|until| until > Instant::now()) {
            return ClaimResult::Http1;
        }
        // Subscribed before the second look, so that no freed slot is missed.
        let room = entry.room.subscribe();
        if let Some((slot, reached)) = entry.slot(kind) {
            return ClaimResult::StreamSlot(slot, reached);
        }
        let mut alike = entry.open.iter().filter(|open| open.kind == kind);
        if alike.any(|open| open.connection.limit().is_none()) {
            return ClaimResult::Wait(room);
        }
        let limit = entry.limit;
        if let Some(making) = entry.making.iter_mut().find(|one| one.kind == kind && one.waiting < limit) {
            making.waiting += 1;
            return ClaimResult::Join(making.done.subscribe());
        }
        if entry.open.len() + entry.making.len() >= CONNECTIONS {
            return ClaimResult::Wait(room);
        }
        let (sender, done) = watch::channel(None);
        let sender = Arc::new(sender);
        entry.making.push(PendingConnection { kind, waiting: 1, done: Arc::clone(&sender) });
        ClaimResult::Make(sender, done)
    }

    /// Makes a connection as long as a request waits for it, and notifies those requests.
    async fn make(
        self: Arc<Self>,
        server: Arc<ServerState>,
        kind: ConnectionKind,
        idle: Duration,
        made: impl Future<Output = Result<Connected, ConnectFailure>>,
        sender: Arc<watch::Sender<Option<ConnectOutcome>>>,
    ) {
        let room = self.servers().get(&address(&server)).map(|entry| Arc::clone(&entry.room));
        let made = tokio::select! {
            made = made => Some(made),
            () = sender.closed() => None,
        };
        let is_abandoned = made.is_none();
        let outcome = match made.unwrap_or_else(|| Err(io::ErrorKind::ConnectionAborted.into())) {
            Ok(Connected::Http1) => Ok(None),
            Ok(Connected::Http2(stream, reached)) => {
                let begun =
                    Http2Connection::begin(stream, kind.ahead, idle, &self.count, room.unwrap_or_default())
                        .await;
                let address = Some(reached.address);
                begun
                    .map(|connection| Some(OpenConnection { kind, reached, connection }))
                    .map_err(|error| ConnectFailure { error, address })
            }
            Err(error) => Err(error),
        };
        let done = match &outcome {
            Ok(Some(_)) => ConnectOutcome::Http2,
            Ok(None) => ConnectOutcome::Http1,
            // A request that joined at the last moment starts a new connect.
            Err(_) if is_abandoned => ConnectOutcome::Abandoned,
            Err(unreached) => ConnectOutcome::Failed(unreached.error.kind(), unreached.address),
        };
        let mut servers = self.servers();
        if let Some(entry) = servers.get_mut(&address(&server)) {
            entry.making.retain(|one| !Arc::ptr_eq(&one.done, &sender));
            match outcome {
                Ok(Some(open)) => {
                    entry.http1_until = None;
                    entry.open.push(open);
                }
                Ok(None) => entry.http1_until = Some(Instant::now() + CHOICE),
                Err(_) => {}
            }
            entry.room.send_replace(());
        }
        drop(servers);
        sender.send_replace(Some(done));
    }

    /// The number of connections that accept requests.
    pub(crate) fn open(&self, server: &Arc<ServerState>) -> usize {
        let servers = self.servers();
        let entry =
            servers.get(&address(server)).filter(|entry| entry.server.as_ptr() == Arc::as_ptr(server));
        entry.map_or(0, |entry| entry.open.iter().filter(|open| !open.connection.is_closing()).count())
    }

    /// Closes connections to servers that are no longer configured; open streams may finish.
    pub(crate) fn sweep(&self) {
        let mut gone = Vec::new();
        self.servers().retain(|_, entry| {
            entry.open.retain(|open| !open.connection.is_closing());
            let named = entry.server.strong_count() > 0;
            if !named {
                gone.append(&mut entry.open);
            }
            named
        });
        // Outside of the lock.
        for open in gone {
            open.connection.close();
        }
    }

    fn servers(&self) -> MutexGuard<'_, HashMap<usize, ServerConnections>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ServerConnections {
    fn of(server: &Arc<ServerState>) -> Self {
        Self {
            server: Arc::downgrade(server),
            http1_until: None,
            limit: super::windows::STREAMS,
            open: Vec::new(),
            making: Vec::new(),
            room: Arc::new(watch::Sender::new(())),
        }
    }

    fn slot(&mut self, kind: ConnectionKind) -> Option<(StreamSlot, Arc<ServerFacts>)> {
        for open in self.open.iter().filter(|open| open.kind == kind) {
            if let Some(limit) = open.connection.limit() {
                self.limit = limit.max(1);
            }
            if let Some(slot) = open.connection.claim() {
                return Some((slot, Arc::clone(&open.reached)));
            }
        }
        None
    }
}

fn address(server: &Arc<ServerState>) -> usize {
    Arc::as_ptr(server).addr()
}
