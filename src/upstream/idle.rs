//! Idle HTTP/1.1 connections, kept per thread.
//!
//! A thread takes its own connections first, without contending for a lock. If it has none, it takes another
//! thread's, so that no connection is made while an idle one exists. `max_idle` bounds the connections per
//! server over all threads.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use foldhash::HashMap;
use thread_local::ThreadLocal;
use tokio::time::Instant;

use super::{ConnectionOrigin, ProxyHeader, UpstreamConnection};
use crate::edge::descriptors::{Descriptors, Room};
use crate::origin::Origin;
use crate::snapshot::ServerState;

#[derive(Debug)]
pub(crate) struct IdleConnections {
    descriptors: Descriptors,
    threads: ThreadLocal<Mutex<Servers>>,
}

/// One thread's connections, by the address of their `ServerState` in memory.
type Servers = HashMap<usize, ServerIdle>;

#[derive(Debug)]
struct ServerIdle {
    /// Keeps the allocation alive, so that its address stays unique.
    server: Weak<ServerState>,
    idle: Vec<Idle>,
}

#[derive(Debug)]
struct Idle {
    connection: UpstreamConnection,
    until: Instant,
}

impl IdleConnections {
    pub(crate) fn new(descriptors: Descriptors) -> Self {
        Self { descriptors, threads: ThreadLocal::default() }
    }

    /// Closes connections that have expired, or whose server is no longer configured.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        for thread in self.all() {
            let mut closed = Vec::new();
            lock(thread).retain(|_, kept| {
                let server = kept.server.upgrade();
                closed.extend(kept.split_off(|idle| server.is_some() && idle.until > now));
                !kept.idle.is_empty()
            });
            // Closed outside of the lock.
            drop(closed);
        }
    }

    /// A usable connection to a server with the same PROXY header.
    pub(crate) fn take(
        &self,
        server: &Arc<ServerState>,
        proxy_header: Option<ProxyHeader>,
    ) -> Option<UpstreamConnection> {
        let now = Instant::now();
        let is_like = |idle: &Idle| idle.connection.proxy_header == proxy_header;
        loop {
            let mut idle = self.remove(server, |idle| idle.iter().rposition(is_like))?;
            if idle.until > now && idle.connection.stream.is_quiet() {
                return Some(UpstreamConnection { origin: ConnectionOrigin::Reused, ..idle.connection });
            }
        }
    }

    pub(crate) fn keep(&self, server: &Arc<ServerState>, connection: UpstreamConnection, origin: &Origin) {
        let most = origin.pool.max_idle;
        let socket = connection.stream.transport().socket();
        if most == 0 || self.descriptors.room(socket) != Room::Ample {
            return;
        }
        if server.kept.fetch_add(1, Ordering::Relaxed) >= most {
            // The oldest makes room: its client may be gone.
            drop(self.remove(server, |idle| (!idle.is_empty()).then_some(0)));
        }
        let idle = Idle { connection, until: Instant::now() + origin.timeouts.idle };
        let mut own = lock(self.own());
        let kept = own
            .entry(Arc::as_ptr(server).addr())
            .or_insert_with(|| ServerIdle { server: Arc::downgrade(server), idle: Vec::new() });
        kept.idle.push(idle);
    }

    /// The number of usable connections to a server. Unusable ones are closed.
    pub(crate) fn ready(&self, server: &Arc<ServerState>) -> usize {
        let now = Instant::now();
        let mut ready = 0;
        for thread in self.all() {
            let mut servers = lock(thread);
            let Some(kept) = servers.get_mut(&Arc::as_ptr(server).addr()) else { continue };
            let closed = kept.split_off(|idle| idle.until > now && idle.connection.stream.is_quiet());
            ready += kept.idle.len();
            drop(servers);
            drop(closed);
        }
        ready
    }

    /// Removes the connection at the index that `choose` returns, from this thread or else another.
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

impl ServerIdle {
    /// Keeps connections for which `stays` is true and returns the others, to be closed outside of the lock.
    fn split_off(&mut self, mut stays: impl FnMut(&mut Idle) -> bool) -> Vec<Idle> {
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
