//! Sticky servers: the consistent hash ring on which a value of the request chooses its server.
//!
//! The ring is nginx's (ketama). Values of a server that is down go to the next servers on the ring, and come back with
//! it; no other value moves.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use pingora_ketama::{Bucket, Continuum};

use super::{Server, ServerHost};

/// The servers of an origin on a ring, each with points by its weight.
pub struct Ring {
    points: Continuum,
    /// The address that stands for each server on the ring, sorted, and its index.
    servers: Vec<(SocketAddr, usize)>,
}

/// The ring numbers servers with 16 bits.
const MAX_SERVERS: usize = 1 << 16;
/// The sum of weights, unless there are more servers: a weight has 160 points of 8 bytes, so that a ring has 5 MiB.
const MAX_WEIGHT: u64 = 4096;

impl Ring {
    /// The ring of these servers.
    pub fn new(servers: &[Server]) -> Self {
        let servers = &servers[..servers.len().min(MAX_SERVERS)];
        let total: u64 = servers.iter().map(|server| u64::from(server.weight)).sum();
        let common = servers.iter().fold(0, |common, server| gcd(common, server.weight)).max(1);
        let scale = (total / u64::from(common)).div_ceil(MAX_WEIGHT).max(1);
        let weight = |server: &Server| {
            let weight = u64::from(server.weight / common) / scale;
            u32::try_from(weight).unwrap_or(u32::MAX).max(1)
        };
        let buckets: Vec<Bucket> =
            servers.iter().map(|server| Bucket::new(stand_in(server), weight(server))).collect();
        let mut by_address: Vec<(SocketAddr, usize)> =
            servers.iter().enumerate().map(|(index, server)| (stand_in(server), index)).collect();
        by_address.sort_unstable();
        Self { points: Continuum::new(&buckets), servers: by_address }
    }

    /// The indices of servers from the point of `key` on, around and around; each comes many times.
    pub fn from(&self, key: &[u8]) -> impl Iterator<Item = usize> {
        self.points.node_iter(key).filter_map(|address| {
            let place = self.servers.binary_search_by_key(address, |(address, _)| *address).ok()?;
            Some(self.servers.get(place)?.1)
        })
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("servers", &self.servers.len()).finish_non_exhaustive()
    }
}

/// The address that stands for a server: its own, or for a name one that is made of the name and stays the same wherever
/// the name leads.
fn stand_in(server: &Server) -> SocketAddr {
    let address = match &server.host {
        ServerHost::Address(address) => *address,
        ServerHost::Name(name) => IpAddr::V6(Ipv6Addr::from_bits(fnv1a(name.as_str().as_bytes()))),
    };
    SocketAddr::new(address, server.port)
}

/// FNV-1a of 128 bits: the same in every build, unlike the standard hash.
fn fnv1a(text: &[u8]) -> u128 {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    text.iter().fold(BASIS, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME))
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostname::Hostname;

    fn servers(weights: &[u32]) -> Vec<Server> {
        let server = |(index, weight): (usize, &u32)| Server {
            host: match index % 2 {
                0 => ServerHost::Address([10, 0, 0, index as u8].into()),
                _ => ServerHost::Name(Hostname::parse(&format!("app-{index}.example.com")).expect("a name")),
            },
            port: 8080,
            weight: *weight,
            backup: false,
            link: "default".into(),
        };
        weights.iter().enumerate().map(server).collect()
    }

    /// The server of each of these keys, of those that are up.
    fn choices(ring: &Ring, is_up: impl Fn(usize) -> bool) -> Vec<usize> {
        (0..10_000)
            .map(|key| {
                ring.from(format!("client-{key}").as_bytes()).find(|index| is_up(*index)).expect("one")
            })
            .collect()
    }

    #[test]
    fn keys_are_shared_by_weight() {
        for weights in [&[1, 1, 2][..], &[10, 10, 20], &[1000, 1000, 2000], &[100_000, 100_000, 200_000]] {
            let chosen = choices(&Ring::new(&servers(weights)), |_| true);
            let share = |index| chosen.iter().filter(|chosen| **chosen == index).count();
            for (index, expected) in [(0, 2500), (1, 2500), (2, 5000)] {
                assert!(share(index).abs_diff(expected) < 600, "{weights:?}: {index} has {}", share(index));
            }
        }
    }

    #[test]
    fn only_keys_of_a_server_that_is_down_move() {
        let ring = Ring::new(&servers(&[1; 5]));
        let (before, without) = (choices(&ring, |_| true), choices(&ring, |index| index != 2));
        for (before, without) in before.iter().zip(&without) {
            assert!(before == without || (*before == 2 && *without != 2));
        }
        // They are shared by all the others.
        for index in [0, 1, 3, 4] {
            let moved = before.iter().zip(&without).filter(|(before, now)| **before == 2 && **now == index);
            assert!(moved.count() > 200, "{index} takes its part");
        }
        // A server more takes its share from all, and nothing moves between the others.
        let grown = choices(&Ring::new(&servers(&[1; 6])), |_| true);
        assert!(before.iter().zip(&grown).all(|(before, now)| before == now || *now == 5));
    }
}
