//! How the last order of each site went.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

/// How an order ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OrderResult {
    /// The certificate was issued and is kept.
    Issued,
    /// The authority could not be reached, or did not answer in time.
    CaUnreachable,
    /// The authority refused the account, the order or the proof.
    CaRefused,
    /// The TXT record could not be set.
    DnsFailed,
    /// The zone's servers did not show the TXT record in time.
    NotPropagated,
    /// A file of `acme.store` could not be read or written.
    StoreFailed,
}

impl OrderResult {
    /// Every result.
    pub const ALL: [Self; 6] = [
        Self::Issued,
        Self::CaUnreachable,
        Self::CaRefused,
        Self::DnsFailed,
        Self::NotPropagated,
        Self::StoreFailed,
    ];

    /// The word for it in metrics, status and log.
    pub fn label(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::CaUnreachable => "ca_unreachable",
            Self::CaRefused => "ca_refused",
            Self::DnsFailed => "dns_failed",
            Self::NotPropagated => "not_propagated",
            Self::StoreFailed => "store_failed",
        }
    }

    /// What to do about it.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Issued => "",
            Self::CaUnreachable => "check acme.directory, acme.trust and that the machine may connect there",
            Self::CaRefused => {
                "the message is the authority's; check the hosts, their CAA records and acme.contact"
            }
            Self::DnsFailed => {
                "check certificate.acme.dns: the server, the key or credentials, and what they may change"
            }
            Self::NotPropagated => {
                "check that the zone's name servers serve the zone that is changed, and are reached from here"
            }
            Self::StoreFailed => "check the rights and the free space of acme.store",
        }
    }
}

/// The orders of one site since the program started.
#[derive(Clone, Debug, Default)]
pub struct SiteOrders {
    /// The last order that ended.
    pub last: Option<LastOrder>,
    counts: [u64; OrderResult::ALL.len()],
}

impl SiteOrders {
    /// How many orders ended so.
    pub fn count(&self, result: OrderResult) -> u64 {
        OrderResult::ALL.iter().zip(self.counts).find(|(known, _)| **known == result).map_or(0, |(_, n)| n)
    }
}

/// The last order of a site.
#[derive(Clone, Debug)]
pub struct LastOrder {
    /// How it ended.
    pub result: OrderResult,
    /// When.
    pub at: Timestamp,
    /// Why it failed; empty if it did not.
    pub message: String,
}

/// The orders of every site, by its name. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct OrderBoard(Arc<Mutex<HashMap<Arc<str>, SiteOrders>>>);

impl OrderBoard {
    /// The orders of a site.
    pub fn of(&self, site: &str) -> SiteOrders {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(site).cloned().unwrap_or_default()
    }

    pub(super) fn ended(&self, site: &Arc<str>, last: LastOrder) {
        let mut sites = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let orders = sites.entry(Arc::clone(site)).or_default();
        let place = OrderResult::ALL.iter().position(|known| *known == last.result);
        if let Some(count) = place.and_then(|place| orders.counts.get_mut(place)) {
            *count += 1;
        }
        orders.last = Some(last);
    }

    /// Forgets sites that order nothing any more.
    pub(super) fn retain(&self, is_wanted: impl Fn(&str) -> bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|site, _| is_wanted(site));
    }
}
