//! A budget of record bytes for each client, so that nobody fills the disk with texts of their choice.
//!
//! A client beyond its budget still gets a record for each request, with short texts. The memory is fixed, however many
//! clients there are: a client has one bucket in each of two tables, and both must be full. Others in a bucket are
//! there by chance, since the hash is keyed.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::time::Instant;

use crate::access::AccessRecord;
use crate::access::packed::Clients;
use crate::access::texts::RequestTexts;
use crate::retention::format::rows::Rows;

/// Buckets of a table. With 1,000 clients beyond their budgets another is shortened by chance in one case of 1,000.
const BUCKETS: usize = 32_768;
/// Seconds' worth of budget that a client may use at once: the pages of many users behind one address.
const BURST_SECONDS: u64 = 16;

/// What clients have used lately.
#[derive(Debug)]
pub(super) struct ClientBudget {
    started: Instant,
    hasher: RandomState,
    /// Both tables, one after the other.
    buckets: Vec<Bucket>,
    /// Bytes that flow out of a bucket in a second.
    a_second: u64,
    /// Milliseconds since the start, modulo 2³².
    now: u32,
}

/// A leaky bucket.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// Bytes in it at the time `at`.
    level: u32,
    at: u32,
}

impl Bucket {
    fn level(self, now: u32, a_second: u64) -> u64 {
        let gone = u64::from(now.wrapping_sub(self.at)) * a_second / 1_000;
        u64::from(self.level).saturating_sub(gone)
    }
}

impl ClientBudget {
    pub(super) fn new(now: Instant) -> Self {
        let buckets = vec![Bucket::default(); 2 * BUCKETS];
        Self { started: now, hasher: RandomState::new(), buckets, a_second: 0, now: 0 }
    }

    /// Sets the budget and the time of the records that follow.
    pub(super) fn turn(&mut self, a_second: u32, now: Instant) {
        self.a_second = a_second.into();
        self.now = now.saturating_duration_since(self.started).as_millis() as u32;
    }

    /// Adds a record to `rows`, with short texts if its client is beyond its budget; whether they were shortened.
    pub(super) fn push(&mut self, record: &AccessRecord, sent: &RequestTexts<'_>, rows: &mut Rows) -> bool {
        let places = self.places(record.client.ip());
        let most = BURST_SECONDS * self.a_second;
        let is_beyond = places.iter().all(|place| self.level(*place) >= most);
        let sent = if is_beyond { sent.shortened() } else { *sent };
        let before = rows.bytes().len();
        rows.push(record, &sent, Clients::One);
        let added = rows.bytes().len().saturating_sub(before) as u64;
        for place in places {
            let level = u32::try_from(self.level(place) + added).unwrap_or(u32::MAX);
            self.buckets[place] = Bucket { level, at: self.now };
        }
        sent.is_truncated
    }

    fn level(&self, place: usize) -> u64 {
        self.buckets[place].level(self.now, self.a_second)
    }

    fn places(&self, client: IpAddr) -> [usize; 2] {
        let hash = self.hasher.hash_one(network(client)) as usize;
        [hash % BUCKETS, BUCKETS + (hash / BUCKETS) % BUCKETS]
    }
}

/// An IPv4 address, or the /64 of an IPv6 address: a client has as many addresses in it as it likes.
fn network(client: IpAddr) -> (bool, u64) {
    match client.to_canonical() {
        IpAddr::V4(ip) => (false, ip.to_bits().into()),
        IpAddr::V6(ip) => (true, (ip.to_bits() >> 64) as u64),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::retention::tests::{request_of, sent};

    /// Whether a record with a path of `length` bytes is shortened.
    fn push(budget: &mut ClientBudget, client: &str, length: usize) -> bool {
        let path = format!("/{}", "x".repeat(length - 1));
        budget.push(&request_of(client), &sent(&path), &mut Rows::new("n".into()))
    }

    #[test]
    fn a_client_beyond_its_budget_gets_short_texts_until_time_has_passed() {
        let start = Instant::now();
        let mut budget = ClientBudget::new(start);
        budget.turn(1_000, start);
        let whole = (0..100).take_while(|_| !push(&mut budget, "192.0.2.1", 1_000)).count();
        assert!((13..=16).contains(&whole), "{whole} records of 1 KB in 16 KB");
        // The mapped address is the same client; another client has a budget of its own.
        assert!(push(&mut budget, "::ffff:192.0.2.1", 1_000));
        assert!(!push(&mut budget, "192.0.2.2", 1_000));
        // Short texts stay whole.
        assert!(!push(&mut budget, "192.0.2.1", 40));
        budget.turn(1_000, start + Duration::from_secs(3));
        assert!(!push(&mut budget, "192.0.2.1", 1_000));
        budget.turn(1_000, start + Duration::from_secs(60));
        assert!((0..10).all(|_| !push(&mut budget, "192.0.2.1", 1_000)));
    }

    #[test]
    fn addresses_of_one_ipv6_network_share_a_budget() {
        let start = Instant::now();
        let mut budget = ClientBudget::new(start);
        budget.turn(1_000, start);
        let shortened =
            (0..100).filter(|host| push(&mut budget, &format!("2001:db8::{host}"), 1_000)).count();
        assert!(shortened > 80, "{shortened}");
        assert!(!push(&mut budget, "2001:db8:0:1::1", 1_000));
    }
}
