//! What clients may make the program hold: each of them, and all together; and which connections are closed beyond it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::MemoryLimit;

/// Beyond the limit of the process, connections are closed until this share is left, so that not every pass closes some.
const LEFT_PERCENT: u64 = 95;

/// Which limit was exceeded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Exceeded {
    /// `limits.memory_per_client`.
    Client,
    /// `limits.memory`.
    Process,
}

/// What the last pass found.
#[derive(Debug)]
pub struct Memory {
    /// What the machine or the cgroup has, in bytes.
    available: u64,
    held: AtomicU64,
    evicted_for_client: AtomicU64,
    evicted_for_all: AtomicU64,
}

/// What one connection holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) client: Option<IpAddr>,
    pub(super) bytes: u64,
}

/// How much may be held, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Most {
    pub(super) client: u64,
    pub(super) all: u64,
}

impl Memory {
    /// For a process that has `available` bytes.
    pub fn new(available: u64) -> Self {
        Self {
            available,
            held: AtomicU64::default(),
            evicted_for_client: AtomicU64::default(),
            evicted_for_all: AtomicU64::default(),
        }
    }

    /// A limit in bytes.
    pub(super) fn bytes(&self, limit: MemoryLimit) -> u64 {
        limit.bytes(self.available)
    }

    /// What connections held in the last pass, in bytes.
    pub(super) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Notes what they hold.
    pub(super) fn hold(&self, bytes: u64) {
        self.held.store(bytes, Ordering::Relaxed);
    }

    /// How many connections were closed for that limit.
    pub(super) fn evicted(&self, exceeded: Exceeded) -> u64 {
        self.counter(exceeded).load(Ordering::Relaxed)
    }

    /// Counts a connection that was closed.
    pub(super) fn evict(&self, exceeded: Exceeded) {
        self.counter(exceeded).fetch_add(1, Ordering::Relaxed);
    }

    fn counter(&self, exceeded: Exceeded) -> &AtomicU64 {
        match exceeded {
            Exceeded::Client => &self.evicted_for_client,
            Exceeded::Process => &self.evicted_for_all,
        }
    }
}

/// The connections to close, by their place in `shares`: the largest of clients beyond their limit, then the largest of the
/// greediest client, until all that is left fits.
pub(super) fn evictions(shares: &[Share], most: Most) -> Vec<(usize, Exceeded)> {
    let mut total = shares.iter().map(|share| share.bytes).sum::<u64>();
    let mut clients: HashMap<IpAddr, Vec<usize>> = HashMap::new();
    let mut groups = Vec::new();
    for (number, share) in shares.iter().enumerate() {
        match share.client {
            Some(client) => clients.entry(client).or_default().push(number),
            None => groups.push(vec![number]),
        }
    }
    let mut evicted = Vec::new();
    let bytes_of = |group: &[usize]| group.iter().map(|number| shares[*number].bytes).sum::<u64>();
    for (_, mut group) in clients {
        // The largest last, since it goes first.
        group.sort_unstable_by_key(|number| shares[*number].bytes);
        let mut bytes = bytes_of(&group);
        while bytes > most.client
            && let Some(number) = group.pop()
        {
            bytes -= shares[number].bytes;
            total -= shares[number].bytes;
            evicted.push((number, Exceeded::Client));
        }
        groups.push(group);
    }
    if total <= most.all {
        return evicted;
    }
    let enough = most.all / 100 * LEFT_PERCENT;
    let mut greediest: BinaryHeap<(u64, Reverse<usize>)> =
        groups.iter().enumerate().map(|(place, group)| (bytes_of(group), Reverse(place))).collect();
    while total > enough
        && let Some((bytes, Reverse(place))) = greediest.pop()
    {
        let Some(number) = groups[place].pop() else { break };
        total -= shares[number].bytes;
        evicted.push((number, Exceeded::Process));
        greediest.push((bytes - shares[number].bytes, Reverse(place)));
    }
    evicted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(client: &str, bytes: u64) -> Share {
        Share { client: client.parse().ok(), bytes }
    }

    #[test]
    fn the_largest_connections_of_a_client_beyond_its_limit_go() {
        let shares =
            [share("192.0.2.1", 60), share("192.0.2.1", 30), share("192.0.2.1", 20), share("192.0.2.2", 100)];
        let evicted = |client| {
            let most = Most { client, all: 1000 };
            evictions(&shares, most).into_iter().map(|(number, _)| number).collect::<Vec<_>>()
        };
        assert!(evicted(110).is_empty());
        assert_eq!(evicted(100), [0]);
        assert_eq!(evicted(99).len(), 2);
    }

    #[test]
    fn beyond_the_limit_of_all_the_greediest_client_goes_first() {
        let small: Vec<Share> =
            (0..10).map(|number| share(&format!("192.0.2.{}", number + 10), 10)).collect();
        let greedy = [share("192.0.2.1", 90), share("192.0.2.1", 50), share("", 70)];
        let shares = [&small[..], &greedy].concat();
        let evicted = |all| evictions(&shares, Most { client: 1000, all });
        assert!(evicted(310).is_empty());
        // 140 of one client, then 70 of a connection through a proxy, then 50.
        assert_eq!(evicted(300), [(10, Exceeded::Process)]);
        assert_eq!(evicted(220), [(10, Exceeded::Process), (12, Exceeded::Process)]);
        assert_eq!(evicted(0).len(), 13);
    }
}
