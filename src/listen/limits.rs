//! How many connections are open: in all, and for each client address.
//!
//! An [`Admitted`] is a connection's place; it is given up when the value is dropped.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::IntGauge;

use crate::config::Limits;

/// Addresses are counted in this many tables, so that the cores seldom meet at one lock.
const TABLES: usize = 16;

/// Counts connections.
#[derive(Clone, Debug, Default)]
pub struct Admission(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    all: AtomicUsize,
    hasher: RandomState,
    clients: [Mutex<HashMap<IpAddr, usize>>; TABLES],
}

/// A connection's place.
#[derive(Debug)]
pub struct Admitted {
    counts: Arc<Counts>,
    client: IpAddr,
    open: IntGauge,
}

impl Admission {
    /// A place for a connection of `client`, unless a limit is reached. `open` counts the
    /// connections of its listener.
    pub fn admit(&self, client: IpAddr, limits: &Limits, open: IntGauge) -> Option<Admitted> {
        // One client reaches a host over IPv4 and over mapped IPv6 alike.
        let client = client.to_canonical();
        if self.0.all.fetch_add(1, Ordering::Relaxed) >= limits.connections {
            self.0.all.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let mut table = self.0.table(client).lock().unwrap_or_else(PoisonError::into_inner);
        let count = table.entry(client).or_insert(0);
        if *count >= limits.connections_per_client {
            drop(table);
            self.0.all.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        *count += 1;
        drop(table);
        open.inc();
        Some(Admitted { counts: Arc::clone(&self.0), client, open })
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.0.all.load(Ordering::Relaxed)
    }
}

impl Counts {
    fn table(&self, client: IpAddr) -> &Mutex<HashMap<IpAddr, usize>> {
        let hash = usize::try_from(self.hasher.hash_one(client) % TABLES as u64).unwrap_or(0);
        &self.clients[hash]
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut table = self.counts.table(self.client).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = table.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                table.remove(&self.client);
            }
        }
        drop(table);
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
        let admit =
            |client: &str| admission.admit(client.parse().expect("an address"), &limits, open.clone());
        let first = admit("192.0.2.1").expect("a place");
        let _second = admit("::ffff:192.0.2.1").expect("a place");
        assert!(admit("192.0.2.1").is_none(), "two of one client");
        let _third = admit("192.0.2.2").expect("a place");
        assert!(admit("192.0.2.3").is_none(), "three in all");
        assert_eq!((admission.open(), open.get()), (3, 3));
        drop(first);
        assert!(admit("192.0.2.1").is_some());
        assert_eq!((admission.open(), open.get()), (2, 2));
    }
}
