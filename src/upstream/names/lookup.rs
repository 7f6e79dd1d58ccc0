//! Lookups: the hosts file first, then the configured or the system's name servers.
//!
//! Nothing is cached here; the system's files are read again when they change.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup as Found;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{Hosts, TokioResolver, system_conf};

use crate::hostname::Hostname;
use crate::snapshot::Stamps;

const HOSTS: &str = "/etc/hosts";
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Time for one query.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Retries of a query.
const RETRIES: usize = 2;
/// How long the answer for one address family waits for the other.
const OTHER_FAMILY: Duration = Duration::from_millis(300);
/// The lifetime of an answer with one family only.
const HALF_AN_ANSWER: Duration = Duration::from_secs(5);
/// The lifetime of addresses from the hosts file.
const FROM_HOSTS: Duration = Duration::from_secs(5);
/// The lifetime of a negative answer that states none.
const MISSING: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub(super) enum LookupResult {
    Addresses {
        addresses: Vec<IpAddr>,
        lifetime: Duration,
    },
    /// The name does not exist, or has no address.
    Missing {
        lifetime: Duration,
    },
    /// No name server answered; the reason.
    None(String),
}

impl LookupResult {
    /// The label in metrics.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Addresses { .. } => "answered",
            Self::Missing { .. } => "missing",
            Self::None(_) => "failed",
        }
    }
}

/// The resolver and its name servers.
#[derive(Debug)]
pub(super) struct Lookup {
    servers: Vec<SocketAddr>,
    read: Mutex<Option<SystemFiles>>,
}

/// The content of the system's files.
#[derive(Clone)]
struct SystemFiles {
    stamps: Stamps,
    hosts: Arc<Hosts>,
    resolver: Result<TokioResolver, String>,
}

impl std::fmt::Debug for SystemFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Read").field("stamps", &self.stamps).finish_non_exhaustive()
    }
}

impl Lookup {
    /// Asks `servers`, or the system's name servers if there are none.
    pub(super) fn new(servers: &[SocketAddr]) -> Self {
        Self { servers: servers.to_vec(), read: Mutex::default() }
    }

    pub(super) fn servers(&self) -> &[SocketAddr] {
        &self.servers
    }

    pub(super) async fn ask(&self, name: &Hostname) -> LookupResult {
        let SystemFiles { hosts, resolver, .. } = self.read();
        let Ok(asked) = Name::from_ascii(name.as_str()) else {
            return LookupResult::None("it is no name that can be asked for".to_owned());
        };
        if let Some(addresses) = from_hosts(&hosts, &asked) {
            return LookupResult::Addresses { addresses, lifetime: FROM_HOSTS };
        }
        let resolver = match resolver {
            Ok(resolver) => resolver,
            Err(problem) => return LookupResult::None(problem),
        };
        resolver.clear_cache();
        ask_both(&resolver, name).await
    }

    fn read(&self) -> SystemFiles {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        match &*read {
            Some(known) if known.stamps.still_hold() => known.clone(),
            _ => read.insert(SystemFiles::from_files(&self.servers)).clone(),
        }
    }
}

impl SystemFiles {
    fn from_files(servers: &[SocketAddr]) -> Self {
        let mut stamps = Stamps::default();
        stamps.take(Path::new(HOSTS));
        stamps.take(Path::new(RESOLV_CONF));
        // A system without the file has no such names.
        let hosts = Arc::new(Hosts::from_system().unwrap_or_default());
        let config =
            if servers.is_empty() { system_config() } else { (configured(servers), ResolverOpts::default()) };
        Self { stamps, hosts, resolver: resolver(config).map_err(|error| error.to_string()) }
    }
}

/// Like the C library, asks this machine if no name server is configured.
pub(super) fn system_config() -> (ResolverConfig, ResolverOpts) {
    system_conf::read_system_conf().unwrap_or_else(|error| {
        tracing::debug!(%error, "{RESOLV_CONF} names no name server");
        (configured(&[SocketAddr::from((Ipv4Addr::LOCALHOST, 53))]), ResolverOpts::default())
    })
}

pub(super) fn configured(servers: &[SocketAddr]) -> ResolverConfig {
    let server = |address: &SocketAddr| {
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
            connection.port = address.port();
            connection
        });
        NameServerConfig::new(address.ip(), true, connections.into())
    };
    ResolverConfig::from_name_servers(servers.iter().map(server).collect())
}

pub(super) fn resolver(
    (config, mut options): (ResolverConfig, ResolverOpts),
) -> Result<TokioResolver, NetError> {
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.timeout = options.timeout.min(TIMEOUT);
    options.attempts = RETRIES;
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    *builder.options_mut() = options;
    builder.build()
}

/// Entries of the hosts file take precedence over name servers, for both families.
fn from_hosts(hosts: &Hosts, name: &Name) -> Option<Vec<IpAddr>> {
    let family = |kind| hosts.lookup_static_host(&Query::query(name.clone(), kind));
    let found = [family(RecordType::AAAA), family(RecordType::A)];
    let addresses: Vec<IpAddr> = found.iter().flatten().flat_map(addresses).collect();
    (!addresses.is_empty()).then_some(addresses)
}

fn addresses(found: &Found) -> impl Iterator<Item = IpAddr> + '_ {
    found.answers().iter().filter_map(|record| record.data.ip_addr())
}

async fn ask_both(resolver: &TokioResolver, name: &Hostname) -> LookupResult {
    let family = async |kind| judge(resolver.lookup(name.as_str(), kind).await);
    let (v6, v4) = (family(RecordType::AAAA), family(RecordType::A));
    tokio::pin!(v6, v4);
    tokio::select! {
        first = &mut v6 => with_other(first, v4).await,
        first = &mut v4 => with_other(first, v6).await,
    }
}

/// Combines both families. Once the first answer is usable, the other has `OTHER_FAMILY` left.
async fn with_other(first: LookupResult, other: impl Future<Output = LookupResult>) -> LookupResult {
    let enough = matches!(first, LookupResult::Addresses { .. });
    let patience = if enough { OTHER_FAMILY } else { TIMEOUT * 5 };
    let late = || LookupResult::None("no answer in time".to_owned());
    let other = tokio::time::timeout(patience, other).await.unwrap_or_else(|_| late());
    together(first, other)
}

fn together(one: LookupResult, other: LookupResult) -> LookupResult {
    use LookupResult::{Addresses, Missing, None};
    match (one, other) {
        (Addresses { mut addresses, lifetime }, Addresses { addresses: more, lifetime: others }) => {
            addresses.extend(more);
            Addresses { addresses, lifetime: lifetime.min(others) }
        }
        (found @ Addresses { .. }, Missing { .. }) | (Missing { .. }, found @ Addresses { .. }) => found,
        (Addresses { addresses, lifetime }, None(_)) | (None(_), Addresses { addresses, lifetime }) => {
            Addresses { addresses, lifetime: lifetime.min(HALF_AN_ANSWER) }
        }
        (Missing { lifetime }, Missing { lifetime: other }) => Missing { lifetime: lifetime.min(other) },
        (None(problem), _) | (_, None(problem)) => None(problem),
    }
}

/// Whether the answer is that there is no such record.
pub(super) fn no_records(error: &NetError) -> bool {
    matches!(error, NetError::Dns(DnsError::NoRecordsFound(none))
        if [ResponseCode::NXDomain, ResponseCode::NoError].contains(&none.response_code))
}

pub(super) fn judge(answer: Result<Found, NetError>) -> LookupResult {
    let found = match answer {
        Ok(found) => found,
        Err(NetError::Dns(DnsError::NoRecordsFound(none)))
            if [ResponseCode::NXDomain, ResponseCode::NoError].contains(&none.response_code) =>
        {
            let proxy_header = none.negative_ttl.map(|seconds| Duration::from_secs(seconds.into()));
            return LookupResult::Missing { lifetime: proxy_header.unwrap_or(MISSING) };
        }
        Err(error) => return LookupResult::None(error.to_string()),
    };
    let lifetime = found.answers().iter().map(|record| record.ttl).min().map(u64::from);
    let lifetime = lifetime.map_or(MISSING, Duration::from_secs);
    match addresses(&found).collect::<Vec<_>>() {
        none if none.is_empty() => LookupResult::Missing { lifetime },
        addresses => LookupResult::Addresses { addresses, lifetime },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, seconds: u64) -> LookupResult {
        LookupResult::Addresses {
            addresses: vec![text.parse().unwrap()],
            lifetime: Duration::from_secs(seconds),
        }
    }

    #[track_caller]
    fn check(one: LookupResult, other: LookupResult, expected: &str) {
        for (one, other) in [(one.clone(), other.clone()), (other, one)] {
            let proxy_header = match together(one, other) {
                LookupResult::Addresses { addresses, lifetime } => {
                    format!("{} {}", addresses.len(), lifetime.as_secs())
                }
                LookupResult::Missing { lifetime } => format!("missing {}", lifetime.as_secs()),
                LookupResult::None(problem) => problem,
            };
            assert_eq!(proxy_header, expected);
        }
    }

    #[test]
    fn two_families_make_one_answer() {
        let missing = |seconds| LookupResult::Missing { lifetime: Duration::from_secs(seconds) };
        let none = || LookupResult::None("no answer".to_owned());
        check(found("192.0.2.1", 60), found("2001:db8::1", 30), "2 30");
        check(found("192.0.2.1", 60), missing(1), "1 60");
        check(found("192.0.2.1", 60), none(), "1 5");
        check(missing(9), missing(3), "missing 3");
        check(missing(9), none(), "no answer");
    }
}
