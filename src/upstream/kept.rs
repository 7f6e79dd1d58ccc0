//! Connections kept for the next request, by the thread that kept them.
//!
//! A thread looks among its own first, so that threads share no lock while each has what it needs; one
//! that has none takes another's, so that none is made while any is left. `max_idle` bounds what all
//! threads keep of a server together.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use foldhash::HashMap;
use thread_local::ThreadLocal;
use tokio::time::Instant;

use super::{ConnectionOrigin, Told, UpstreamConnection};
use crate::origin::Origin;
use crate::snapshot::ServerState;

/// The kept connections of all threads.
#[derive(Debug, Default)]
pub(crate) struct KeptConnections {
    threads: ThreadLocal<Mutex<Servers>>,
}

/// One thread's, by the place of their server in memory.
type Servers = HashMap<usize, Kept>;

#[derive(Debug)]
struct Kept {
    /// While it is here, nothing else comes to its place.
    server: Weak<ServerState>,
    /// The oldest first.
    idle: Vec<Idle>,
}

#[derive(Debug)]
struct Idle {
    connection: UpstreamConnection,
    until: Instant,
}

impl KeptConnections {
    /// Closes those whose time is over, or whose server is no longer named.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        for thread in self.all() {
            let mut closed = Vec::new();
            lock(thread).retain(|_, kept| {
                let server = kept.server.upgrade();
                closed.extend(kept.part(|idle| server.is_some() && idle.until > now));
                !kept.idle.is_empty()
            });
            // Closed outside of the lock.
            drop(closed);
        }
    }

    /// One to a server, still as it was left, that was told the same of the client.
    pub(crate) fn take(&self, server: &Arc<ServerState>, told: Option<Told>) -> Option<UpstreamConnection> {
        let now = Instant::now();
        let is_like = |idle: &Idle| idle.connection.told == told;
        loop {
            let mut idle = self.remove(server, |idle| idle.iter().rposition(is_like))?;
            if idle.until > now && idle.connection.wire.is_quiet() {
                return Some(UpstreamConnection { origin: ConnectionOrigin::Kept, ..idle.connection });
            }
        }
    }

    /// Keeps a connection to a server of `origin` that has nothing to do.
    pub(crate) fn keep(&self, server: &Arc<ServerState>, connection: UpstreamConnection, origin: &Origin) {
        let most = origin.pool.max_idle;
        if most == 0 {
            return;
        }
        if server.kept.fetch_add(1, Ordering::Relaxed) >= most {
            // The oldest makes room: it may be of a client that is gone.
            drop(self.remove(server, |idle| (!idle.is_empty()).then_some(0)));
        }
        let idle = Idle { connection, until: Instant::now() + origin.timeouts.idle };
        let mut own = lock(self.own());
        let kept = own
            .entry(Arc::as_ptr(server).addr())
            .or_insert_with(|| Kept { server: Arc::downgrade(server), idle: Vec::new() });
        kept.idle.push(idle);
    }

    /// How many to a server are as they were left. Those that are not are closed.
    pub(crate) fn ready(&self, server: &Arc<ServerState>) -> usize {
        let now = Instant::now();
        let mut ready = 0;
        for thread in self.all() {
            let mut servers = lock(thread);
            let Some(kept) = servers.get_mut(&Arc::as_ptr(server).addr()) else { continue };
            let closed = kept.part(|idle| idle.until > now && idle.connection.wire.is_quiet());
            ready += kept.idle.len();
            drop(servers);
            drop(closed);
        }
        ready
    }

    /// Takes out the one at the place that `choose` gives, of this thread's or else of another's.
    fn remove(&self, server: &Arc<ServerState>, choose: impl Fn(&[Idle]) -> Option<usize>) -> Option<Idle> {
        let of = |thread: &Mutex<Servers>| {
            let mut servers = lock(thread);
            let kept = servers.get_mut(&Arc::as_ptr(server).addr())?;
            let idle = kept.idle.remove(choose(&kept.idle)?);
            server.kept.fetch_sub(1, Ordering::Relaxed);
            Some(idle)
        };
        let others = || self.all().filter(|_| server.kept.load(Ordering::Relaxed) > 0).find_map(of);
        of(self.own()).or_else(others)
    }

    fn own(&self) -> &Mutex<Servers> {
        self.threads.get_or_default()
    }

    fn all(&self) -> impl Iterator<Item = &Mutex<Servers>> {
        self.threads.iter()
    }
}

impl Kept {
    /// Keeps those that `stays` holds of; the others, to be closed by whoever calls.
    fn part(&mut self, mut stays: impl FnMut(&mut Idle) -> bool) -> Vec<Idle> {
        let goes: Vec<_> = self.idle.extract_if(.., |idle| !stays(idle)).collect();
        if let Some(server) = self.server.upgrade() {
            server.kept.fetch_sub(goes.len(), Ordering::Relaxed);
        }
        goes
    }
}

fn lock(servers: &Mutex<Servers>) -> MutexGuard<'_, Servers> {
    servers.lock().unwrap_or_else(PoisonError::into_inner)
}
