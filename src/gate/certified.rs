//! Whether a host has a certificate, made out for each configured pattern before anybody asks.
//!
//! Mostly a certificate is for all that a pattern stands for, and only its dates are left to be looked at: the
//! decision is spared a walk through memory that is in no cache.

use std::sync::Arc;

use jiff::Timestamp;

use crate::clock::{Moment, Within};
use crate::hostname::{HostPattern, HostTable, Hostname};

/// What a certificate covers, and when.
#[derive(Clone, Debug)]
pub struct Coverage {
    /// The names it is for.
    pub names: HostTable<()>,
    /// Its first instant.
    pub begins: Timestamp,
    /// The first instant after its last.
    pub ends: Timestamp,
}

/// Which of a pattern's hosts the certificate in use is for.
#[derive(Clone, Debug)]
pub(super) enum Certified {
    None,
    /// All, within its dates.
    All {
        begins: Timestamp,
        ends: Timestamp,
    },
    /// Those that it names one by one.
    Named(Arc<Coverage>),
}

impl Certified {
    /// Of a site that serves `pattern` with `certificate`, if it has a usable one.
    pub(super) fn of(pattern: &HostPattern, certificate: Option<&Arc<Coverage>>) -> Self {
        let Some(certificate) = certificate else { return Self::None };
        let all = Self::All { begins: certificate.begins, ends: certificate.ends };
        match pattern {
            HostPattern::Exact(host) if certificate.names.get(host).is_some() => all,
            HostPattern::Exact(_) => Self::None,
            HostPattern::Wildcard(_) if certificate.names.has(pattern) => all,
            HostPattern::Wildcard(_) => Self::Named(Arc::clone(certificate)),
        }
    }

    /// Whether `host`, one of the pattern's, has a certificate at `at`.
    pub(super) fn covers(&self, host: &Hostname, at: Moment) -> bool {
        let (begins, ends) = match self {
            Self::None => return false,
            Self::All { begins, ends } => (*begins, *ends),
            Self::Named(certificate) if certificate.names.get(host).is_none() => return false,
            Self::Named(certificate) => (certificate.begins, certificate.ends),
        };
        at.within(Some(begins), Some(ends)) == Within::Yes
    }

    /// The names that tell which.
    pub(super) fn names(&self) -> impl Iterator<Item = &Hostname> {
        let named = if let Self::Named(certificate) = self { Some(certificate) } else { None };
        named.into_iter().flat_map(|certificate| certificate.names.exact_names())
    }
}
