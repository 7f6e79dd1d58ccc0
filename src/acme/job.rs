//! One certificate to order, and why an order fails.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::status::OrderResult;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::acme::{AcmeSettings, DnsProvider, names_to_order};
use crate::hostname::HostPattern;

/// A site's certificate, as configured.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Wanted {
    pub(super) site: Arc<str>,
    pub(super) hosts: Vec<HostPattern>,
    pub(super) settings: Arc<AcmeSettings>,
    pub(super) provider: Arc<DnsProvider>,
    /// Where the certificate is kept.
    pub(super) file: PathBuf,
    /// `resolver.servers`; empty for the system's.
    pub(super) name_servers: Vec<SocketAddr>,
}

impl Wanted {
    /// The certificates that sites of `config` order, in its order.
    pub(super) fn all(config: &Config) -> Vec<Self> {
        let Some(settings) = &config.acme else { return Vec::new() };
        let wanted = |site: &crate::config::Site| {
            Some(Self {
                site: Arc::clone(&site.name),
                hosts: site.hosts.clone(),
                settings: Arc::clone(settings),
                provider: Arc::clone(site.acme.as_ref()?),
                file: settings.file_of(&site.name),
                name_servers: config.name_servers.clone(),
            })
        };
        config.sites.iter().filter_map(wanted).collect()
    }

    pub(super) fn names(&self) -> Vec<String> {
        names_to_order(&self.hosts)
    }
}

/// A certificate to order, and the clock to judge by.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) wanted: Arc<Wanted>,
    pub(super) clock: Clock,
    /// Held during a change by a cloud's API.
    pub(super) cloud_turn: Arc<Mutex<()>>,
}

/// A TXT record that proves control of a name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct TxtRecord {
    /// Without a dot at its end.
    pub(super) name: String,
    pub(super) value: String,
}

/// Whether a record is to be there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Change {
    Present,
    Cleanup,
}

/// Why an order failed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{message}")]
pub(super) struct Failure {
    pub(super) result: OrderResult,
    pub(super) message: String,
}

impl Failure {
    pub(super) fn new(result: OrderResult, message: impl Display) -> Self {
        Self { result, message: message.to_string() }
    }

    /// The DNS could not be changed.
    pub(super) fn dns(message: impl Display) -> Self {
        Self::new(OrderResult::DnsFailed, message)
    }

    /// A file of the store cannot be read or written.
    pub(super) fn store(message: impl Display) -> Self {
        Self::new(OrderResult::StoreFailed, message)
    }
}
