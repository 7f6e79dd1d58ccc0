//! Asking name servers: those configured, or the system's, after its file of hosts.
//!
//! Nothing is remembered here, and the system's files are read again when they have changed.

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
/// How long one question waits for its answer.
const TIMEOUT: Duration = Duration::from_secs(1);
/// How often it is asked again.
const RETRIES: usize = 2;
/// How long the answer for one family waits for that of the other.
const OTHER_FAMILY: Duration = Duration::from_millis(300);
/// An answer without the other family is soon asked for again.
const HALF_AN_ANSWER: Duration = Duration::from_secs(5);
/// How soon a change of the file of hosts is noticed.
const FROM_HOSTS: Duration = Duration::from_secs(5);
/// Of a missing name whose answer does not tell.
const MISSING: Duration = Duration::from_secs(5);

/// What came of asking.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// There are some.
    Addresses {
        addresses: Vec<IpAddr>,
        /// As the answer says.
        lifetime: Duration,
    },
    /// There is no such name, or it has no address.
    Missing { lifetime: Duration },
    /// Nobody knows.
    None(String),
}

impl Answer {
    /// The word for it in metrics.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Addresses { .. } => "answered",
            Self::Missing { .. } => "missing",
            Self::None(_) => "failed",
        }
    }
}

/// Who is asked.
#[derive(Debug)]
pub(super) struct Lookup {
    servers: Vec<SocketAddr>,
    read: Mutex<Option<Read>>,
}

/// What the system's files said.
#[derive(Clone)]
struct Read {
    stamps: Stamps,
    hosts: Arc<Hosts>,
    resolver: Result<TokioResolver, String>,
}

impl std::fmt::Debug for Read {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Read").field("stamps", &self.stamps).finish_non_exhaustive()
    }
}

impl Lookup {
    /// Asks `servers`, or the system's where there are none.
    pub(super) fn new(servers: &[SocketAddr]) -> Self {
        Self { servers: servers.to_vec(), read: Mutex::default() }
    }

    /// The name servers that were given.
    pub(super) fn servers(&self) -> &[SocketAddr] {
        &self.servers
    }

    /// Asks for both families of addresses.
    pub(super) async fn ask(&self, name: &Hostname) -> Answer {
        let Read { hosts, resolver, .. } = self.read();
        let Ok(asked) = Name::from_ascii(name.as_str()) else {
            return Answer::None("it is no name that can be asked for".to_owned());
        };
        if let Some(addresses) = from_hosts(&hosts, &asked) {
            return Answer::Addresses { addresses, lifetime: FROM_HOSTS };
        }
        let resolver = match resolver {
            Ok(resolver) => resolver,
            Err(problem) => return Answer::None(problem),
        };
        resolver.clear_cache();
        ask_both(&resolver, name).await
    }

    fn read(&self) -> Read {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        match &*read {
            Some(known) if known.stamps.still_hold() => known.clone(),
            _ => read.insert(Read::from_files(&self.servers)).clone(),
        }
    }
}

impl Read {
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

/// As the C library does, this machine is asked where no name server is named.
fn system_config() -> (ResolverConfig, ResolverOpts) {
    system_conf::read_system_conf().unwrap_or_else(|error| {
        tracing::debug!(%error, "{RESOLV_CONF} names no name server");
        (configured(&[SocketAddr::from((Ipv4Addr::LOCALHOST, 53))]), ResolverOpts::default())
    })
}

fn configured(servers: &[SocketAddr]) -> ResolverConfig {
    let server = |address: &SocketAddr| {
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
            connection.port = address.port();
            connection
        });
        NameServerConfig::new(address.ip(), true, connections.into())
    };
    ResolverConfig::from_name_servers(servers.iter().map(server).collect())
}

fn resolver((config, mut options): (ResolverConfig, ResolverOpts)) -> Result<TokioResolver, NetError> {
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.timeout = options.timeout.min(TIMEOUT);
    options.attempts = RETRIES;
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    *builder.options_mut() = options;
    builder.build()
}

/// What stands in the file of hosts goes before what name servers say, for both families.
fn from_hosts(hosts: &Hosts, name: &Name) -> Option<Vec<IpAddr>> {
    let family = |kind| hosts.lookup_static_host(&Query::query(name.clone(), kind));
    let found = [family(RecordType::AAAA), family(RecordType::A)];
    let addresses: Vec<IpAddr> = found.iter().flatten().flat_map(addresses).collect();
    (!addresses.is_empty()).then_some(addresses)
}

fn addresses(found: &Found) -> impl Iterator<Item = IpAddr> + '_ {
    found.answers().iter().filter_map(|record| record.data.ip_addr())
}

async fn ask_both(resolver: &TokioResolver, name: &Hostname) -> Answer {
    let family = async |kind| judge(resolver.lookup(name.as_str(), kind).await);
    let (v6, v4) = (family(RecordType::AAAA), family(RecordType::A));
    tokio::pin!(v6, v4);
    tokio::select! {
        first = &mut v6 => with_other(first, v4).await,
        first = &mut v4 => with_other(first, v6).await,
    }
}

/// Both families together. Where the first is enough to go on, the other one has little time left.
async fn with_other(first: Answer, other: impl Future<Output = Answer>) -> Answer {
    let enough = matches!(first, Answer::Addresses { .. });
    let patience = if enough { OTHER_FAMILY } else { TIMEOUT * 5 };
    let late = || Answer::None("no answer in time".to_owned());
    let other = tokio::time::timeout(patience, other).await.unwrap_or_else(|_| late());
    together(first, other)
}

fn together(one: Answer, other: Answer) -> Answer {
    use Answer::{Addresses, Missing, None};
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

/// What one answer says.
fn judge(answer: Result<Found, NetError>) -> Answer {
    let found = match answer {
        Ok(found) => found,
        Err(NetError::Dns(DnsError::NoRecordsFound(none)))
            if [ResponseCode::NXDomain, ResponseCode::NoError].contains(&none.response_code) =>
        {
            let told = none.negative_ttl.map(|seconds| Duration::from_secs(seconds.into()));
            return Answer::Missing { lifetime: told.unwrap_or(MISSING) };
        }
        Err(error) => return Answer::None(error.to_string()),
    };
    let lifetime = found.answers().iter().map(|record| record.ttl).min().map(u64::from);
    let lifetime = lifetime.map_or(MISSING, Duration::from_secs);
    match addresses(&found).collect::<Vec<_>>() {
        none if none.is_empty() => Answer::Missing { lifetime },
        addresses => Answer::Addresses { addresses, lifetime },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, seconds: u64) -> Answer {
        Answer::Addresses { addresses: vec![text.parse().unwrap()], lifetime: Duration::from_secs(seconds) }
    }

    #[track_caller]
    fn check(one: Answer, other: Answer, expected: &str) {
        for (one, other) in [(one.clone(), other.clone()), (other, one)] {
            let told = match together(one, other) {
                Answer::Addresses { addresses, lifetime } => {
                    format!("{} {}", addresses.len(), lifetime.as_secs())
                }
                Answer::Missing { lifetime } => format!("missing {}", lifetime.as_secs()),
                Answer::None(problem) => problem,
            };
            assert_eq!(told, expected);
        }
    }

    #[test]
    fn two_families_make_one_answer() {
        let missing = |seconds| Answer::Missing { lifetime: Duration::from_secs(seconds) };
        let none = || Answer::None("no answer".to_owned());
        check(found("192.0.2.1", 60), found("2001:db8::1", 30), "2 30");
        check(found("192.0.2.1", 60), missing(1), "1 60");
        check(found("192.0.2.1", 60), none(), "1 5");
        check(missing(9), missing(3), "missing 3");
        check(missing(9), none(), "no answer");
    }
}
