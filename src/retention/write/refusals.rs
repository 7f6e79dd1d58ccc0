//! Records of refused connections: a flood of them costs bounded memory and disk.
//!
//! Every refusal is counted in exactly one record. Refusals take no slots, so that nobody can have requests
//! refused by being refused often.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::access::packed::Clients;
use crate::access::texts::NAME_BYTES;
use crate::access::{AccessRecord, Reason};

/// Refusals of one kind per second that have a record each; the others share one.
pub(super) const ALIKE: u32 = 100;
/// Refusals of all kinds per second that have a record each.
const SINGLES: usize = 4096;
/// Kinds per second that are counted separately; the others are counted together for all clients.
const KINDS: usize = 4096;

/// What refusals must have in common to share a record.
#[derive(Eq, Hash, PartialEq)]
struct Kind {
    listener: Arc<str>,
    reason: Option<Reason>,
    /// `None`: all clients beyond [`KINDS`].
    client: Option<IpAddr>,
}

#[derive(Default)]
struct Alike {
    singles: u32,
    shared: u64,
    /// The first of the refusals that share a record.
    first: Option<AccessRecord>,
}

#[derive(Default)]
pub(super) struct Refusals {
    singles: Vec<AccessRecord>,
    singles_this_second: usize,
    kinds: HashMap<Kind, Alike>,
}

impl Refusals {
    pub(super) fn add(&mut self, mut record: AccessRecord) {
        shorten(&mut record.host);
        let mut kind = Kind {
            listener: Arc::clone(&record.connection.listener),
            reason: record.reason,
            client: Some(record.client.ip()),
        };
        if self.kinds.len() >= KINDS && !self.kinds.contains_key(&kind) {
            kind.client = None;
        }
        let alike = self.kinds.entry(kind).or_default();
        if alike.singles < ALIKE && self.singles_this_second < SINGLES {
            alike.singles += 1;
            self.singles_this_second += 1;
            self.singles.push(record);
        } else {
            alike.shared += record.count;
            alike.first.get_or_insert(record);
        }
    }

    /// Takes the refusals that have a record each.
    pub(super) fn take_singles(&mut self) -> Vec<AccessRecord> {
        std::mem::take(&mut self.singles)
    }

    /// Ends the second and returns the records that stand for many.
    pub(super) fn end_second(&mut self) -> impl Iterator<Item = (AccessRecord, Clients)> + use<> {
        self.singles_this_second = self.singles.len();
        std::mem::take(&mut self.kinds).into_iter().filter_map(|(kind, alike)| {
            let mut record = alike.first?;
            record.count = alike.shared;
            let clients = if kind.client.is_some() { Clients::One } else { Clients::Many };
            Some((record, clients))
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.singles.is_empty() && self.kinds.is_empty()
    }

    pub(super) fn waiting(&self) -> u64 {
        let singles: u64 = self.singles.iter().map(|record| record.count).sum();
        singles + self.kinds.values().map(|alike| alike.shared).sum::<u64>()
    }
}

/// Truncates an invalid host to the longest length that a host can have. Server names are bounded where they
/// are read.
fn shorten(name: &mut Option<Arc<str>>) {
    if let Some(long) = name.as_mut().filter(|name| name.len() > NAME_BYTES) {
        *long = long[..long.floor_char_boundary(NAME_BYTES)].into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::Refusal;
    use crate::retention::tests::refusal;

    fn counted<'r>(records: impl IntoIterator<Item = &'r AccessRecord>) -> u64 {
        records.into_iter().map(|record| record.count).sum()
    }

    #[test]
    fn a_flood_from_one_client_becomes_one_record_with_a_count() {
        let mut refusals = Refusals::default();
        for _ in 0..1_000 {
            refusals.add(refusal("198.51.100.7", Refusal::NotFiled));
        }
        refusals.add(refusal("198.51.100.7", Refusal::NotTls));
        refusals.add(refusal("198.51.100.8", Refusal::NotFiled));
        assert_eq!(refusals.waiting(), 1_002);
        assert_eq!(refusals.take_singles().len(), 102);
        let shared: Vec<_> = refusals.end_second().collect();
        assert_eq!(shared.len(), 1);
        assert_eq!((shared[0].0.count, shared[0].1), (900, Clients::One));
        assert_eq!(refusals.waiting(), 0);
    }

    #[test]
    fn a_flood_from_everywhere_is_bounded_and_counted() {
        let mut refusals = Refusals::default();
        for client in 0..100_000_u32 {
            refusals.add(refusal(&std::net::Ipv4Addr::from(client).to_string(), Refusal::NotFiled));
        }
        let singles = refusals.take_singles();
        assert!(singles.len() <= SINGLES && refusals.kinds.len() <= KINDS + 1);
        let shared: Vec<_> = refusals.end_second().collect();
        assert_eq!(counted(&singles) + counted(shared.iter().map(|(record, _)| record)), 100_000);
        assert!(shared.iter().any(|(_, clients)| *clients == Clients::Many));
    }

    #[test]
    fn a_name_that_is_no_name_is_cut() {
        let mut refusals = Refusals::default();
        let host = "名".repeat(1_000);
        refusals.add(AccessRecord { host: Some(host.into()), ..refusal("198.51.100.7", Refusal::BadHead) });
        let kept = refusals.take_singles().remove(0);
        assert_eq!(kept.host.as_deref(), Some("名".repeat(85).as_str()));
    }

    #[test]
    fn what_is_not_taken_goes_on_being_counted_in_the_same_space() {
        let mut refusals = Refusals::default();
        let mut shared = 0;
        for _ in 0..20 {
            for client in 0..10_000_u32 {
                refusals.add(refusal(&std::net::Ipv4Addr::from(client).to_string(), Refusal::NotFiled));
            }
            shared += refusals.end_second().map(|(record, _)| counted([&record])).sum::<u64>();
        }
        assert_eq!(refusals.singles.len(), SINGLES);
        assert_eq!(shared + refusals.waiting(), 200_000);
    }
}
