//! Limits on open connections: in total and for each client address.
//!
//! An [`Admitted`] counts one connection until it is dropped.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::client_use::ClientUse;
use super::presence::{Presence, Presences};
use crate::config::Limits;
use crate::metrics::IntGauge;
use crate::net::address::client_network;

/// The number of tables over which client addresses are spread, so that cores rarely contend for one lock.
const TABLES: usize = 16;

/// Counts open connections.
#[derive(Clone, Debug, Default)]
pub struct Admission(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    all: AtomicUsize,
    hasher: RandomState,
    clients: [Mutex<HashMap<IpAddr, Client>>; TABLES],
    presences: Presences,
}

#[derive(Debug, Default)]
struct Client {
    connections: usize,
    uses: Arc<ClientUse>,
}

/// One counted connection.
#[derive(Debug)]
pub struct Admitted {
    counts: Arc<Counts>,
    /// The network of the client under which it is counted, once known.
    client: Option<IpAddr>,
    uses: Arc<ClientUse>,
    open: IntGauge,
    presence: Arc<Presence>,
}

impl Admission {
    /// Counts a connection, unless the total limit is reached. `open` is the gauge of its listener.
    pub fn admit(&self, limits: &Limits, open: IntGauge) -> Option<Admitted> {
        if self.0.all.fetch_add(1, Ordering::Relaxed) >= limits.connections {
            self.0.all.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        open.inc();
        let presence = self.0.presences.enter();
        Some(Admitted { counts: Arc::clone(&self.0), client: None, uses: Arc::default(), open, presence })
    }

    /// Closes the connections that have been idle the longest, unless some are closing already; how many. `None` if no
    /// connection is idle.
    pub fn close_longest_idle(&self) -> Option<usize> {
        self.0.presences.close_longest_idle()
    }

    /// Whether connections that were told to close are still there.
    pub fn is_making_room(&self) -> bool {
        self.0.presences.is_closing()
    }

    /// Waits until they are gone, at most for a second.
    pub async fn room_made(&self) {
        let end = Instant::now() + Duration::from_secs(1);
        while self.is_making_room() && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The connections with a request under way, with the networks of their clients.
    pub(super) fn holders(&self) -> Vec<(Option<IpAddr>, Arc<Presence>)> {
        let busy = self.0.presences.busy_ones().into_iter();
        busy.map(|presence| (presence.client(), presence)).collect()
    }

    /// Closes a connection at once; `false` if it is closing already.
    pub(super) fn close(&self, presence: &Presence) -> bool {
        self.0.presences.close(presence)
    }

    /// The number of open connections.
    pub fn open(&self) -> usize {
        self.0.all.load(Ordering::Relaxed)
    }
}

impl Counts {
    fn table(&self, client: IpAddr) -> &Mutex<HashMap<IpAddr, Client>> {
        let hash = usize::try_from(self.hasher.hash_one(client) % TABLES as u64).unwrap_or(0);
        &self.clients[hash]
    }
}

impl Admitted {
    /// The connection among the open ones.
    pub fn presence(&self) -> Arc<Presence> {
        Arc::clone(&self.presence)
    }

    /// Notes that no request is under way since then: the connection may be closed to make room. It is idle at first.
    pub fn idle(&self, since: Instant) {
        self.counts.presences.idle(&self.presence, since);
    }

    /// Notes that a request is under way.
    pub fn busy(&self) {
        Presences::busy(&self.presence);
    }

    /// Counts the connection under `client`, unless that client has reached its limit. Call it once per
    /// connection.
    pub fn count(&mut self, client: IpAddr, limits: &Limits) -> bool {
        let client = client_network(client);
        let mut table = self.counts.table(client).lock().unwrap_or_else(PoisonError::into_inner);
        let entry = table.entry(client).or_default();
        let has_room = entry.connections < limits.connections_per_client;
        if has_room {
            entry.connections += 1;
            self.uses = Arc::clone(&entry.uses);
            self.client = Some(client);
            self.presence.is_of(client);
        }
        has_room
    }

    /// What the client uses, over all of its connections.
    pub fn uses(&self) -> Arc<ClientUse> {
        Arc::clone(&self.uses)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.counts.presences.leave(&self.presence);
        if let Some(client) = self.client {
            let mut table = self.counts.table(client).lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(entry) = table.get_mut(&client) {
                entry.connections -= 1;
                if entry.connections == 0 {
                    table.remove(&client);
                }
            }
        }
        self.counts.all.fetch_sub(1, Ordering::Relaxed);
        self.open.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_for_each_client_and_in_all() {
        let admission = Admission::default();
        let limits = Limits { connections: 3, connections_per_client: 2, ..Limits::default() };
        let open = IntGauge::new("open", "open").expect("a gauge");
        let admit = |client: &str| {
            let mut admitted = admission.admit(&limits, open.clone())?;
            admitted.count(client.parse().expect("an address"), &limits).then_some(admitted)
        };
        let first = admit("192.0.2.1").expect("a place");
        let second = admit("::ffff:192.0.2.1").expect("a place");
        assert!(admit("192.0.2.1").is_none(), "two of one client");
        let third = admit("192.0.2.2").expect("a place");
        assert!(admit("192.0.2.3").is_none(), "three in all");
        assert_eq!((admission.open(), open.get()), (3, 3));
        drop(first);
        assert!(admit("192.0.2.1").is_some());
        drop((second, third));
        let same_network = ["2001:db8::1", "2001:db8::2"].map(|client| admit(client).expect("a place"));
        assert!(admit("2001:db8::3").is_none(), "two of one /64");
        assert!(admit("2001:db8:0:1::1").is_some());
        drop(same_network);
        let _two = [admit("192.0.2.2").expect("a place"), admit("192.0.2.3").expect("a place")];
        assert_eq!((admission.open(), open.get()), (2, 2));
    }
}
