//! One ICP record of the allowlist.
//!
//! A filing is a fact with dates; whether it covers a host at a moment is [`Filing::covers`].

use std::net::IpAddr;

use jiff::Timestamp;

use super::number::{FilingNumber, PublicSecurityNumber};
use super::{ListenerGate, Refusal};
use crate::clock::{Moment, Within};
use crate::hostname::{HostPattern, HostTable, Hostname};

/// One ICP record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Filing {
    /// The registrable domain as filed.
    pub domain: Hostname,
    /// The number; there is one once the filing is approved.
    pub number: Option<FilingNumber>,
    /// Where the filing stands.
    pub status: FilingStatus,
    /// The first instant of the approval.
    pub begins: Option<Timestamp>,
    /// The first instant after the approval.
    pub ends: Option<Timestamp>,
    /// Only these hosts, where given.
    pub hosts: Option<FiledHosts>,
    /// The addresses that the domain is filed for access at, where given.
    pub access: Option<Vec<IpAddr>>,
    /// The public security filing.
    pub public_security: Option<PublicSecurityNumber>,
    /// When the public security filing is due, while there is none.
    pub public_security_due: Option<Timestamp>,
    /// When the SMS verification is due, while the filing waits for it.
    pub sms_verification_due: Option<Timestamp>,
}

impl Filing {
    /// Whether the filing covers `host` on `listener` at `at`; the first reason against it otherwise.
    pub fn covers(&self, listener: &ListenerGate, host: &Hostname, at: Moment) -> Result<(), Refusal> {
        if self.status != FilingStatus::Approved {
            return Err(Refusal::NotApproved);
        }
        match at.within(self.begins, self.ends) {
            Within::NotYet => return Err(Refusal::NotYetValid),
            Within::Ended => return Err(Refusal::Expired),
            Within::Yes => {}
        }
        if !self.names(host) {
            return Err(Refusal::HostExcluded);
        }
        if let Some(filed) = &self.access
            && !listener.public_addresses.iter().all(|address| filed.contains(address))
        {
            return Err(Refusal::AddressNotFiled);
        }
        Ok(())
    }

    /// Whether the filing is for `host`, one of its domain's: where it is limited to some, for these alone.
    pub fn names(&self, host: &Hostname) -> bool {
        self.hosts.as_ref().is_none_or(|hosts| hosts.contain(host))
    }
}

/// The hosts that a filing is limited to. Most filings are not: this takes them a pointer's room.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FiledHosts(Box<Hosts>);

#[derive(Clone, Debug, Eq, PartialEq)]
struct Hosts {
    table: HostTable<()>,
    patterns: Vec<HostPattern>,
}

impl FiledHosts {
    /// The hosts that `patterns` name.
    pub fn new(patterns: Vec<HostPattern>) -> Self {
        let mut table = HostTable::default();
        for pattern in &patterns {
            table.insert(pattern, ());
        }
        Self(Box::new(Hosts { table, patterns }))
    }

    fn contain(&self, host: &Hostname) -> bool {
        self.0.table.get(host).is_some()
    }

    /// As written.
    pub fn patterns(&self) -> &[HostPattern] {
        &self.0.patterns
    }
}

/// Where a filing stands.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FilingStatus {
    /// The papers are being gathered.
    Preparing,
    /// The access provider looks at it.
    ProviderReview,
    /// The applicant has 24 hours to answer a text message.
    SmsVerification,
    /// The provincial bureau looks at it.
    BureauReview,
    /// It may be served.
    Approved,
    /// It may not be served for now.
    Suspended,
    /// It is gone.
    Cancelled,
}

impl FilingStatus {
    /// Every status, in the order of a filing's life.
    pub const ALL: &[Self] = &[
        Self::Preparing,
        Self::ProviderReview,
        Self::SmsVerification,
        Self::BureauReview,
        Self::Approved,
        Self::Suspended,
        Self::Cancelled,
    ];

    /// The word for it in the allowlist and in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::ProviderReview => "provider_review",
            Self::SmsVerification => "sms_verification",
            Self::BureauReview => "bureau_review",
            Self::Approved => "approved",
            Self::Suspended => "suspended",
            Self::Cancelled => "cancelled",
        }
    }
}
