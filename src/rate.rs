//! Limits on the rate of requests, by GCRA (the generic cell rate algorithm), in bounded memory.
//!
//! A client is known by one number: the time at which its requests so far are paid for. A client whose time has passed
//! is as good as unknown, so that its place is free. Time is an argument.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RateLimit {
    /// From one request to the next, in the long run; not zero.
    pub interval: Duration,
    /// How many requests may come at once; not zero.
    pub burst: u32,
    /// What is counted together.
    pub per: RateScope,
}

/// What is counted together.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum RateScope {
    /// The requests of each client: an IPv4 address, or a /64 of IPv6, which is what one subscriber has.
    #[default]
    Client,
    /// All requests.
    Site,
}

/// A limit with what was counted so far.
#[derive(Debug)]
pub struct RateLimiter {
    limit: RateLimit,
    counts: Counts,
}

#[derive(Debug)]
enum Counts {
    All(AtomicU64),
    ByClient(ClientTable),
}

impl RateLimiter {
    /// Nothing is counted yet.
    pub fn new(limit: RateLimit) -> Self {
        let counts = match limit.per {
            RateScope::Site => Counts::All(AtomicU64::new(0)),
            RateScope::Client => Counts::ByClient(ClientTable::new()),
        };
        Self { limit, counts }
    }

    /// The limit.
    pub fn limit(&self) -> RateLimit {
        self.limit
    }

    /// Counts a request of `client` at `now`, on a clock that never goes back. Beyond the limit nothing is counted, and
    /// the error says after which time a request passes again.
    pub fn admit(&self, client: IpAddr, now: Duration) -> Result<(), Duration> {
        let now = nanoseconds(now);
        match &self.counts {
            Counts::All(paid) => {
                let next = |paid| self.limit.next(paid, now).ok();
                paid.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
                    .map(drop)
                    .or_else(|paid| self.limit.next(paid, now).map(drop))
            }
            Counts::ByClient(table) => table.with(key(client), now, |paid| {
                *paid = self.limit.next(*paid, now)?;
                Ok(())
            }),
        }
    }
}

impl RateLimit {
    /// When requests are paid for after one more at `now`, of a client that has paid until `paid`; in nanoseconds.
    fn next(self, paid: u64, now: u64) -> Result<u64, Duration> {
        let interval = nanoseconds(self.interval);
        let tolerance = interval.saturating_mul(u64::from(self.burst.saturating_sub(1)));
        let owed = paid.saturating_sub(now);
        match owed.checked_sub(tolerance) {
            Some(wait) if wait > 0 => Err(Duration::from_nanos(wait)),
            _ => Ok(paid.max(now).saturating_add(interval)),
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// An IPv4 address, or the /64 of an IPv6 address. No network of IPv6 in use begins with `0000:ffff` (RFC 4291, 2.4).
fn key(client: IpAddr) -> u64 {
    match client.to_canonical() {
        IpAddr::V4(address) => 0xffff_0000_0000 | u64::from(address.to_bits()),
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
    }
}

/// The clients that are not paid for yet, 262,144 at most, in 4 MiB.
///
/// A place of a client is one of the eight in its bucket. When all eight are taken, the client that would be clear first is
/// forgotten: it may send up to `burst` requests more than its limit. Those deepest in debt are kept.
#[derive(Debug)]
struct ClientTable {
    /// Seeded, so that nobody can choose addresses that share a bucket.
    hasher: RandomState,
    shards: Vec<Mutex<Vec<Place>>>,
}

/// A client's key, and when it is paid for.
type Place = [u64; 2];

/// Spreads clients over locks, so that cores rarely wait for each other.
const SHARDS: usize = 64;
const BUCKETS: usize = 512;
const WAYS: usize = 8;

impl ClientTable {
    fn new() -> Self {
        // Zeroed memory takes no room until it is used.
        let shard = || Mutex::new(vec![[0; 2]; BUCKETS * WAYS]);
        Self { hasher: RandomState::new(), shards: (0..SHARDS).map(|_| shard()).collect() }
    }

    /// Lets `change` see and set when a client is paid for.
    fn with<R>(&self, key: u64, now: u64, change: impl FnOnce(&mut u64) -> R) -> R {
        let hash = self.hasher.hash_one(key) as usize;
        let (shard, bucket) = (hash % SHARDS, hash / SHARDS % BUCKETS);
        let mut shard = self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner);
        let places = &mut shard[bucket * WAYS..][..WAYS];
        let known = places.iter().position(|[own, paid]| *own == key && *paid > now);
        let place = known.unwrap_or_else(|| {
            let (first, _) =
                places.iter().enumerate().min_by_key(|(_, [_, paid])| *paid).unwrap_or((0, &[0; 2]));
            places[first] = [key, now];
            first
        });
        change(&mut places[place][1])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn limiter(interval: u64, burst: u32, per: RateScope) -> RateLimiter {
        RateLimiter::new(RateLimit { interval: Duration::from_millis(interval), burst, per })
    }

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn v4(number: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(number))
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        for per in [RateScope::Client, RateScope::Site] {
            let limiter = limiter(20, 3, per);
            for _ in 0..3 {
                assert_eq!(limiter.admit(v4(1), at(1000)), Ok(()));
            }
            assert_eq!(limiter.admit(v4(1), at(1000)), Err(at(20)));
            assert_eq!(limiter.admit(v4(1), at(1015)), Err(at(5)), "a refused request costs nothing");
            assert_eq!(limiter.admit(v4(1), at(1020)), Ok(()));
            assert_eq!(limiter.admit(v4(1), at(1020)), Err(at(20)));
            let passed = (0..1000).filter(|ms| limiter.admit(v4(1), at(2000 + ms)).is_ok()).count();
            assert_eq!(passed, 3 + 49, "fifty a second and what was saved up");
        }
    }

    #[test]
    fn clients_are_addresses_or_networks_of_64_bits() {
        let of = |text: &str| text.parse::<IpAddr>().expect("an address");
        let alone = limiter(1000, 1, RateScope::Client);
        for (client, passes) in [
            ("192.0.2.1", true),
            ("192.0.2.2", true),
            ("::ffff:192.0.2.1", false),
            ("2001:db8::1", true),
            ("2001:db8::2", false),
            ("2001:db8:0:1::1", true),
            ("::1", true),
        ] {
            assert_eq!(alone.admit(of(client), at(0)).is_ok(), passes, "{client}");
        }
        let together = limiter(1000, 1, RateScope::Site);
        assert!(together.admit(of("192.0.2.1"), at(0)).is_ok());
        assert!(together.admit(of("192.0.2.2"), at(0)).is_err());
    }

    #[test]
    fn a_million_addresses_take_no_more_room_and_hide_nobody() {
        let limiter = limiter(1000, 100, RateScope::Client);
        for _ in 0..100 {
            assert!(limiter.admit(v4(7), at(0)).is_ok());
        }
        for number in 0..1_000_000_u64 {
            let crowd = Ipv6Addr::from_bits(u128::from(0x2001_0db8_0000_0000 + number) << 64);
            assert!(limiter.admit(IpAddr::V6(crowd), at(1)).is_ok(), "each comes once");
        }
        assert!(limiter.admit(v4(7), at(2)).is_err(), "who owes most is forgotten last");
        let Counts::ByClient(table) = &limiter.counts else { panic!("by client") };
        let places: usize = table.shards.iter().map(|shard| shard.lock().expect("no panic").capacity()).sum();
        assert_eq!(places, 262_144);
        assert!(limiter.admit(v4(7), at(200_000)).is_ok());
    }

    proptest! {
        /// While there is room, the answers are those of a table without bounds.
        #[test]
        fn clients_are_judged_as_if_each_were_alone(
            interval in 1_u64..50,
            burst in 1_u32..5,
            requests in prop::collection::vec((0_u32..20, 0_u64..30), 0..200),
        ) {
            let limiter = limiter(interval, burst, RateScope::Client);
            let mut alone: HashMap<u32, RateLimiter> = HashMap::new();
            let mut now = 0;
            for (client, later) in requests {
                now += later;
                let one = alone.entry(client).or_insert_with(|| self::limiter(interval, burst, RateScope::Site));
                prop_assert_eq!(limiter.admit(v4(client), at(now)), one.admit(v4(client), at(now)));
            }
        }
    }
}
