//! What one client uses of what all clients share.
//!
//! A client is an IPv4 address or an IPv6 network of 64 bits. While at least half of a pool is free, nobody is limited.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The least pool that is shared out: a smaller one protects a server, and a quarter of it would be nothing.
const LEAST_POOL: usize = 64;

/// The requests of one client that are in flight, over all of its connections.
#[derive(Debug, Default)]
pub struct ClientUse {
    requests: AtomicUsize,
}

/// A request in flight, until it is dropped.
#[derive(Debug)]
pub struct CountedRequest<'c>(&'c ClientUse);

impl Drop for CountedRequest<'_> {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ClientUse {
    /// Counts one more request.
    pub fn begin(&self) -> CountedRequest<'_> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        CountedRequest(self)
    }

    /// Whether the client has had its share of a pool of `places`, of which `taken` are in use: a quarter, once half of them
    /// are.
    pub fn exceeds_share(&self, taken: usize, places: usize) -> bool {
        places >= LEAST_POOL && taken >= places / 2 && self.requests.load(Ordering::Relaxed) > places / 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_a_quarter_of_a_busy_pool() {
        let client = ClientUse::default();
        let mut requests: Vec<_> = (0..25).map(|_| client.begin()).collect();
        assert!(!client.exceeds_share(99, 100), "it has its quarter");
        requests.push(client.begin());
        assert!(client.exceeds_share(50, 100));
        assert!(!client.exceeds_share(49, 100), "others have room");
        assert!(!client.exceeds_share(20, 20), "a small pool");
        requests.pop();
        assert!(!client.exceeds_share(50, 100));
    }
}
