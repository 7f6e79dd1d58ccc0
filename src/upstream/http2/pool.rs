//! The HTTP/2 connections to each server.
//!
//! Requests share connections; whoever finds none with room has one made, and those who come meanwhile
//! wait for it as far as it will have room. A connection that is being made belongs to all of them: it is
//! given up when the last is gone.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::connection::{Connection, Count, Slot};
use crate::access::record::ServerFacts;
use crate::net::transport::Transport;
use crate::snapshot::ServerState;
use crate::upstream::{Told, Unreached};

/// The most connections to one server, those that are being made included.
const CONNECTIONS: usize = 256;
/// How long a server that chose HTTP/1.1 is not asked for HTTP/2 again.
const CHOICE: Duration = Duration::from_secs(600);

/// The HTTP/2 connections of the process.
#[derive(Debug, Default)]
pub(crate) struct Http2Connections {
    servers: Mutex<HashMap<usize, Server>>,
    count: Count,
}

#[derive(Debug)]
struct Server {
    server: Weak<ServerState>,
    /// Until then it is taken to speak HTTP/1.1.
    http1_until: Option<Instant>,
    /// How many streams its last connection took at once.
    limit: usize,
    open: Vec<Open>,
    making: Vec<Making>,
    /// Changes when a request that found no room may look again.
    room: Arc<watch::Sender<()>>,
}

#[derive(Debug)]
struct Open {
    told: Option<Told>,
    reached: Arc<ServerFacts>,
    connection: Arc<Connection>,
}

/// A connection that is being made.
#[derive(Debug)]
struct Making {
    told: Option<Told>,
    waiting: usize,
    done: Arc<watch::Sender<Option<Done>>>,
}

/// How the making of a connection ended.
#[derive(Clone, Copy, Debug)]
enum Done {
    Http2,
    Http1,
    /// Why, and the address that took a connection.
    Failed(io::ErrorKind, Option<SocketAddr>),
    Abandoned,
}

/// A connection that was made, by what was negotiated.
#[derive(Debug)]
pub(crate) enum Made {
    /// HTTP/2 is to be spoken over it.
    Http2(Transport, Arc<ServerFacts>),
    /// HTTP/1.1 is: whoever made it has put it by.
    Http1,
}

/// Where a request may be sent.
#[derive(Debug)]
pub(crate) enum Room {
    /// On a connection that was there already.
    Shared(Slot, Arc<ServerFacts>),
    /// On one that was made for this request, and those that came with it.
    New(Slot, Arc<ServerFacts>),
    /// The server speaks HTTP/1.1.
    Http1,
}

/// How long is waited for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waits {
    /// For room on a connection, one that is to be made included.
    pub(crate) room: Duration,
    /// How long a connection is open for nobody.
    pub(crate) idle: Duration,
}

enum Claim {
    Slot(Slot, Arc<ServerFacts>),
    Http1,
    /// One is being made.
    Join(watch::Receiver<Option<Done>>),
    /// One is to be made.
    Make(Arc<watch::Sender<Option<Done>>>, watch::Receiver<Option<Done>>),
    /// Another stream has to end first, or the server to say how many it takes.
    Wait(watch::Receiver<()>),
}

impl Http2Connections {
    /// Room for a request to `server`, on a connection that was told the same of the client. `make`
    /// makes one.
    pub(crate) async fn room<M>(
        self: &Arc<Self>,
        server: &Arc<ServerState>,
        told: Option<Told>,
        waits: Waits,
        make: impl Fn() -> M,
    ) -> Result<Room, Unreached>
    where
        M: Future<Output = Result<Made, Unreached>> + Send + 'static,
    {
        let deadline = Instant::now() + waits.room;
        let mut waited = false;
        loop {
            let mut done = match self.claim(server, told) {
                Claim::Slot(slot, reached) if waited => return Ok(Room::New(slot, reached)),
                Claim::Slot(slot, reached) => return Ok(Room::Shared(slot, reached)),
                Claim::Http1 => return Ok(Room::Http1),
                Claim::Wait(mut room) => {
                    // The sender lives as long as the server is known here.
                    let _ =
                        timeout_at(deadline, room.changed()).await.map_err(|_| io::ErrorKind::TimedOut)?;
                    continue;
                }
                Claim::Join(done) => done,
                Claim::Make(sender, done) => {
                    let (all, server) = (Arc::clone(self), Arc::clone(server));
                    tokio::spawn(all.make(server, told, waits.idle, make(), sender));
                    done
                }
            };
            waited = true;
            // Whoever makes it bounds the time, and holds it against the server when that is over.
            let outcome = done.wait_for(Option::is_some).await.map(|done| *done);
            if let Ok(Some(Done::Failed(kind, address))) = outcome {
                return Err(Unreached { error: kind.into(), address });
            }
        }
    }

    /// Room on a connection that is there, without waiting.
    fn claim(&self, server: &Arc<ServerState>, told: Option<Told>) -> Claim {
        let mut servers = self.servers();
        let entry = servers.entry(address(server)).or_insert_with(|| Server::of(server));
        if entry.server.as_ptr() != Arc::as_ptr(server) {
            *entry = Server::of(server);
        }
        entry.open.retain(|open| !open.connection.is_closing());
        if let Some((slot, reached)) = entry.slot(told) {
            return Claim::Slot(slot, reached);
        }
        if entry.http1_until.is_some_and(|until| until > Instant::now()) {
            return Claim::Http1;
        }
        // In this order, so that no slot is given back between the two.
        let room = entry.room.subscribe();
        if let Some((slot, reached)) = entry.slot(told) {
            return Claim::Slot(slot, reached);
        }
        let mut alike = entry.open.iter().filter(|open| open.told == told);
        if alike.any(|open| open.connection.limit().is_none()) {
            return Claim::Wait(room);
        }
        let limit = entry.limit;
        if let Some(making) = entry.making.iter_mut().find(|one| one.told == told && one.waiting < limit) {
            making.waiting += 1;
            return Claim::Join(making.done.subscribe());
        }
        if entry.open.len() + entry.making.len() >= CONNECTIONS {
            return Claim::Wait(room);
        }
        let (sender, done) = watch::channel(None);
        let sender = Arc::new(sender);
        entry.making.push(Making { told, waiting: 1, done: Arc::clone(&sender) });
        Claim::Make(sender, done)
    }

    /// Has a connection made, as long as somebody waits for it, and tells those who do.
    async fn make(
        self: Arc<Self>,
        server: Arc<ServerState>,
        told: Option<Told>,
        idle: Duration,
        made: impl Future<Output = Result<Made, Unreached>>,
        sender: Arc<watch::Sender<Option<Done>>>,
    ) {
        let room = self.servers().get(&address(&server)).map(|entry| Arc::clone(&entry.room));
        let made = tokio::select! {
            made = made => Some(made),
            () = sender.closed() => None,
        };
        let is_abandoned = made.is_none();
        let outcome = match made.unwrap_or_else(|| Err(io::ErrorKind::ConnectionAborted.into())) {
            Ok(Made::Http1) => Ok(None),
            Ok(Made::Http2(stream, reached)) => {
                let begun = Connection::begin(stream, idle, &self.count, room.unwrap_or_default()).await;
                let address = Some(reached.address);
                begun
                    .map(|connection| Some(Open { told, reached, connection }))
                    .map_err(|error| Unreached { error, address })
            }
            Err(error) => Err(error),
        };
        let done = match &outcome {
            Ok(Some(_)) => Done::Http2,
            Ok(None) => Done::Http1,
            // Whoever came at the last moment has one made anew.
            Err(_) if is_abandoned => Done::Abandoned,
            Err(unreached) => Done::Failed(unreached.error.kind(), unreached.address),
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

    /// How many connections to a server may be given requests.
    pub(crate) fn open(&self, server: &Arc<ServerState>) -> usize {
        let servers = self.servers();
        let entry =
            servers.get(&address(server)).filter(|entry| entry.server.as_ptr() == Arc::as_ptr(server));
        entry.map_or(0, |entry| entry.open.iter().filter(|open| !open.connection.is_closing()).count())
    }

    /// Lets go of connections to servers that nobody names any more; what is under way may finish.
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

    fn servers(&self) -> MutexGuard<'_, HashMap<usize, Server>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server {
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

    fn slot(&mut self, told: Option<Told>) -> Option<(Slot, Arc<ServerFacts>)> {
        for open in self.open.iter().filter(|open| open.told == told) {
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
