//! The open client connections, and since when each is idle, so that those idle the longest can make room.
//!
//! A connection says that it is idle or busy with one store, and never waits for a lock.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::holding::Holding;

/// Tables over which connections are spread, so that cores rarely contend for one lock.
const TABLES: usize = 16;
/// One idle connection in this many is closed at a time: the search costs as much for one.
const AT_ONCE: usize = 16;
/// The stages of a connection, each reached from the one before or from [`OPEN`].
const OPEN: u8 = 0;
const CLOSING: u8 = 1;
const GONE: u8 = 2;
/// Instead of a time: a request is under way.
const BUSY: u64 = u64::MAX;

/// Every open connection.
#[derive(Debug)]
pub(super) struct Presences {
    started: Instant,
    tables: [Mutex<HashMap<u64, Arc<Presence>>>; TABLES],
    next: AtomicU64,
    /// Connections that were told to close and are still there.
    closing: AtomicUsize,
}

/// One open connection.
#[derive(Debug)]
pub struct Presence {
    number: u64,
    /// Milliseconds since the start of the program, or [`BUSY`].
    idle_since: AtomicU64,
    stage: AtomicU8,
    task: OnceLock<AbortHandle>,
    /// The network of its client, once known.
    client: OnceLock<IpAddr>,
    /// What it holds.
    pub holding: Holding,
}

impl Presence {
    /// Sets the task that serves the connection. Aborting it closes the connection.
    pub fn serve_in(&self, task: AbortHandle) {
        let _ = self.task.set(task);
    }

    /// Sets the network of the client.
    pub(super) fn is_of(&self, client: IpAddr) {
        let _ = self.client.set(client);
    }

    /// The network of the client, once known.
    pub(super) fn client(&self) -> Option<IpAddr> {
        self.client.get().copied()
    }
}

impl Default for Presences {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            tables: Default::default(),
            next: AtomicU64::new(0),
            closing: AtomicUsize::new(0),
        }
    }
}

impl Presences {
    /// A new connection, which is idle.
    pub(super) fn enter(&self) -> Arc<Presence> {
        let presence = Arc::new(Presence {
            number: self.next.fetch_add(1, Ordering::Relaxed),
            idle_since: AtomicU64::new(self.millis(Instant::now())),
            stage: AtomicU8::new(OPEN),
            task: OnceLock::new(),
            client: OnceLock::new(),
            holding: Holding::default(),
        });
        self.table(presence.number).insert(presence.number, Arc::clone(&presence));
        presence
    }

    pub(super) fn leave(&self, presence: &Presence) {
        self.table(presence.number).remove(&presence.number);
        if presence.stage.swap(GONE, Ordering::Relaxed) == CLOSING {
            self.closing.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(super) fn idle(&self, presence: &Presence, since: Instant) {
        presence.idle_since.store(self.millis(since), Ordering::Relaxed);
    }

    pub(super) fn busy(presence: &Presence) {
        presence.idle_since.store(BUSY, Ordering::Relaxed);
    }

    /// Closes the connections that have been idle the longest, unless others are still closing; how many. `None` if
    /// no connection is idle.
    pub(super) fn close_longest_idle(&self) -> Option<usize> {
        if self.is_closing() {
            return Some(0);
        }
        let mut idle = Vec::new();
        for table in &self.tables {
            let table = lock(table);
            let since = |presence: &Arc<Presence>| presence.idle_since.load(Ordering::Relaxed);
            idle.extend(table.values().map(|presence| (since(presence), Arc::clone(presence))));
        }
        idle.retain(|(since, presence)| *since != BUSY && presence.task.get().is_some());
        let last = (idle.len() / AT_ONCE).max(1) - 1;
        if idle.is_empty() {
            return None;
        }
        idle.select_nth_unstable_by_key(last, |(since, _)| *since);
        Some(idle[..=last].iter().filter(|(_, presence)| self.close(presence)).count())
    }

    /// The connections with a request under way.
    pub(super) fn busy_ones(&self) -> Vec<Arc<Presence>> {
        let mut busy = Vec::new();
        for table in &self.tables {
            let is_busy = |presence: &&Arc<Presence>| presence.idle_since.load(Ordering::Relaxed) == BUSY;
            busy.extend(lock(table).values().filter(is_busy).map(Arc::clone));
        }
        busy
    }

    /// Whether connections that were told to close are still there.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed) > 0
    }

    /// Closes a connection at once; `false` if it is closing already.
    pub(super) fn close(&self, presence: &Presence) -> bool {
        let Some(task) = presence.task.get() else { return false };
        // Counted first: it may be gone at any moment, and is then subtracted.
        self.closing.fetch_add(1, Ordering::Relaxed);
        let is_open = |stage| (stage == OPEN).then_some(CLOSING);
        let closes = presence.stage.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_open).is_ok();
        if closes {
            task.abort();
        } else {
            self.closing.fetch_sub(1, Ordering::Relaxed);
        }
        closes
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.started).as_millis()).unwrap_or(BUSY - 1)
    }

    fn table(&self, number: u64) -> MutexGuard<'_, HashMap<u64, Arc<Presence>>> {
        lock(&self.tables[usize::try_from(number % TABLES as u64).unwrap_or(0)])
    }
}

fn lock(table: &Mutex<HashMap<u64, Arc<Presence>>>) -> MutexGuard<'_, HashMap<u64, Arc<Presence>>> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_longest_idle_close_first_and_busy_ones_never() {
        let presences = Presences::default();
        let mut tasks = Vec::new();
        let open: Vec<Arc<Presence>> = (0..4)
            .map(|number| {
                let presence = presences.enter();
                presences.idle(&presence, presences.started + Duration::from_secs(10 - number));
                let task = tokio::spawn(std::future::pending::<()>());
                presence.serve_in(task.abort_handle());
                tasks.push(task);
                presence
            })
            .collect();
        Presences::busy(&open[3]);
        assert_eq!(presences.close_longest_idle(), Some(1));
        assert!(tasks.remove(2).await.is_err_and(|error| error.is_cancelled()));
        // It is still there.
        assert_eq!(presences.close_longest_idle(), Some(0));
        presences.leave(&open[2]);
        assert_eq!(presences.close_longest_idle(), Some(1));
        assert!(tasks.remove(1).await.is_err_and(|error| error.is_cancelled()));
        presences.leave(&open[1]);
        assert_eq!(presences.close_longest_idle(), Some(1));
        presences.leave(&open[0]);
        assert_eq!(presences.close_longest_idle(), None);
        assert!(!tasks[1].is_finished());
    }
}
