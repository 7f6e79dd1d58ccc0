//! What each name server says by itself: addresses and CAA records, asked anew each time.
//!
//! The hosts file does not count here: clients do not have it.

use std::net::{IpAddr, SocketAddr};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ResolverConfig, ResolverOpts};
use hickory_resolver::proto::rr::{RData, RecordType};

use super::lookup::{LookupResult, configured, judge, no_records, resolver, system_config};
use crate::hostname::Hostname;

/// One name server.
pub(crate) struct NameServer {
    label: String,
    resolver: TokioResolver,
}

/// A CAA record (RFC 8659).
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct CaaRecord {
    pub(crate) tag: String,
    pub(crate) value: String,
}

/// The name servers at `servers`, or the system's; never empty.
pub(crate) fn name_servers(servers: &[SocketAddr]) -> Result<Vec<NameServer>, String> {
    let (config, options) =
        if servers.is_empty() { system_config() } else { (configured(servers), ResolverOpts::default()) };
    let alone = config.name_servers().iter().map(|server| {
        let port = server.connections.first().map_or(53, |connection| connection.port);
        let label = SocketAddr::new(server.ip, port).to_string();
        let config = ResolverConfig::from_name_servers(vec![server.clone()]);
        let resolver = resolver((config, options.clone())).map_err(|error| format!("{label}: {error}"))?;
        Ok(NameServer { label, resolver })
    });
    let servers = alone.collect::<Result<Vec<_>, String>>()?;
    if servers.is_empty() { Err("no name server is configured".to_owned()) } else { Ok(servers) }
}

impl NameServer {
    /// Its address and port.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// The addresses of a name, sorted; empty if it has none or does not exist.
    pub(crate) async fn addresses(&self, name: &Hostname) -> Result<Vec<IpAddr>, String> {
        let family = async |kind| match judge(self.resolver.lookup(absolute(name.as_str()), kind).await) {
            LookupResult::Addresses { addresses, .. } => Ok(addresses),
            LookupResult::Missing { .. } => Ok(Vec::new()),
            LookupResult::None(problem) => Err(problem),
        };
        let (v4, v6) = tokio::join!(family(RecordType::A), family(RecordType::AAAA));
        let mut addresses = v4?;
        addresses.extend(v6?);
        addresses.sort_unstable();
        addresses.dedup();
        Ok(addresses)
    }

    /// The CAA records that hold for a name: its own, or those of the nearest name above it that has any.
    pub(crate) async fn caa(&self, name: &Hostname) -> Result<Vec<CaaRecord>, String> {
        let mut at = Some(name.as_str());
        while let Some(name) = at {
            let found = match self.resolver.lookup(absolute(name), RecordType::CAA).await {
                Ok(found) => found.answers().iter().filter_map(|record| caa_record(&record.data)).collect(),
                Err(error) if no_records(&error) => Vec::new(),
                Err(error) => return Err(error.to_string()),
            };
            if !found.is_empty() {
                return Ok(found);
            }
            at = name.split_once('.').map(|(_, parent)| parent);
        }
        Ok(Vec::new())
    }
}

/// With the dot at its end, so that no search domain is tried.
fn absolute(name: &str) -> String {
    format!("{name}.")
}

fn caa_record(data: &RData) -> Option<CaaRecord> {
    let RData::CAA(record) = data else { return None };
    Some(CaaRecord { tag: record.tag.clone(), value: String::from_utf8_lossy(&record.value).into_owned() })
}
