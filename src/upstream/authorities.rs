//! The name servers of the zone that a name is in.

use std::net::SocketAddr;

use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::{RData, RecordType};

use super::names::resolver_of;

/// The most servers of a zone that are asked.
const SERVERS: usize = 8;
/// The most addresses of a server.
const ADDRESSES: usize = 4;

/// The servers of the zone of `name`, with their addresses, asked of `name_servers` or the system's.
pub async fn of(name: &str, name_servers: &[SocketAddr]) -> Result<Vec<(String, Vec<SocketAddr>)>, String> {
    let resolver = resolver_of(name_servers)?;
    let mut zone = name;
    loop {
        let found = names_of_servers(&resolver, zone).await;
        if !found.is_empty() {
            let mut servers = Vec::with_capacity(found.len());
            for server in found {
                let addresses = resolver.lookup_ip(server.as_str()).await;
                let addresses = addresses.into_iter().flat_map(|found| found.iter().collect::<Vec<_>>());
                let addresses = addresses.take(ADDRESSES).map(|ip| SocketAddr::new(ip, 53)).collect();
                servers.push((server, addresses));
            }
            return Ok(servers);
        }
        match zone.split_once('.') {
            Some((_, above)) if above.contains('.') => zone = above,
            _ => return Err(format!("no name server of a zone with {name} was found")),
        }
    }
}

async fn names_of_servers(resolver: &TokioResolver, zone: &str) -> Vec<String> {
    let Ok(found) = resolver.lookup(format!("{zone}."), RecordType::NS).await else { return Vec::new() };
    let server = |data: &RData| match data {
        RData::NS(server) => Some(server.0.to_string()),
        _ => None,
    };
    found.answers().iter().filter_map(|record| server(&record.data)).take(SERVERS).collect()
}
