//! `client_regions`: the networks of the mainland, from a list or a country database.
//!
//! Hong Kong, Macau and Taiwan have country codes of their own and are offshore. A file without any network of the
//! mainland is an error: no client would be in the mainland.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use maxminddb::{MaxMindDbError, Reader};
use serde::Deserialize;

use super::findings::{Findings, Place, quote};
use super::problem::Severity;
use super::{LoadResult, file};
use crate::route::ClientRegions;

/// Country databases have about 10 MB, city databases several times that.
const MAX_BYTES: u64 = 256 << 20;
const MAINLAND: &str = "CN";

/// Reads the file: a database if its name ends in `.mmdb`, else one network per line.
pub fn load(path: &Path) -> LoadResult<ClientRegions> {
    let findings = Findings::new(path);
    let fatal = |message: String, hint: Option<&str>| {
        findings.add(Severity::Fatal, Place::File, message, hint.map(str::to_owned));
    };
    let networks = match file::read(path, MAX_BYTES) {
        Err(unreadable) => {
            fatal(format!("it cannot be read: {}", unreadable.reason), None);
            Vec::new()
        }
        Ok(bytes) if bytes.len() as u64 > MAX_BYTES => {
            fatal(format!("it has more than {MAX_BYTES} bytes"), None);
            Vec::new()
        }
        Ok(bytes) if path.extension().is_some_and(|extension| extension == "mmdb") => of_database(&bytes)
            .unwrap_or_else(|error| {
                fatal(format!("it is not a country database: {error}"), None);
                Vec::new()
            }),
        Ok(bytes) => match std::str::from_utf8(&bytes) {
            Ok(text) => of_list(text, &findings),
            Err(_) => {
                fatal("it is not UTF-8".to_owned(), Some("the name of a country database ends in .mmdb"));
                Vec::new()
            }
        },
    };
    if networks.is_empty() && findings.is_sound() {
        let hint = "a list has one network a line; a database has countries by their code";
        fatal("it names no network of the mainland".to_owned(), Some(hint));
    }
    findings.loaded(Some(networks.into_iter().collect()))
}

/// The networks of a list: one per line; `#` begins a comment.
fn of_list(text: &str, findings: &Findings) -> Vec<IpNet> {
    let mut networks = Vec::new();
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let place = Place::Line(number + 1);
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let address = || line.parse::<IpAddr>().ok().map(IpNet::from);
        let Some(network) = line.parse::<IpNet>().ok().or_else(address) else {
            let hint = Some("such as 1.0.1.0/24".to_owned());
            findings.add(Severity::Fatal, place, format_args!("{} is not a network", quote(line)), hint);
            continue;
        };
        if network != network.trunc() {
            let taken =
                format_args!("{network} has bits beyond its length, and is taken for {}", network.trunc());
            findings.add(Severity::Warning, place, taken, None);
        }
        networks.push(network.trunc());
    }
    networks
}

/// A network's country in a database. The key differs between vendors.
#[derive(Deserialize)]
struct Entry {
    country: Option<Country>,
    country_code: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Country {
    Code(String),
    Described { iso_code: Option<String> },
}

impl Entry {
    fn is_mainland(&self) -> bool {
        let code = match &self.country {
            Some(Country::Code(code)) => Some(code),
            Some(Country::Described { iso_code }) => iso_code.as_ref(),
            None => None,
        };
        code.or(self.country_code.as_ref()).is_some_and(|code| code == MAINLAND)
    }
}

fn of_database(bytes: &[u8]) -> Result<Vec<IpNet>, MaxMindDbError> {
    let reader = Reader::from_source(bytes)?;
    // Networks share their records.
    let mut known: HashMap<usize, bool> = HashMap::new();
    let mut networks = Vec::new();
    for found in reader.networks(Default::default())? {
        let found = found?;
        let Some(offset) = found.offset() else { continue };
        let mainland = match known.get(&offset) {
            Some(mainland) => *mainland,
            None => {
                let mainland = found.decode::<Entry>()?.is_some_and(|entry| entry.is_mainland());
                known.insert(offset, mainland);
                mainland
            }
        };
        if mainland {
            let network = found.network()?;
            networks.extend(IpNet::new(network.ip(), network.prefix()).ok().map(plain));
        }
    }
    Ok(networks)
}

/// Databases of both families hold IPv4 in `::/96`.
fn plain(network: IpNet) -> IpNet {
    match network {
        IpNet::V6(v6) if v6.prefix_len() >= 96 && v6.network().to_bits() >> 32 == 0 => {
            let low = u32::try_from(v6.network().to_bits() & u128::from(u32::MAX)).unwrap_or_default();
            IpNet::new(IpAddr::V4(low.into()), v6.prefix_len() - 96).unwrap_or(network)
        }
        IpNet::V4(_) | IpNet::V6(_) => network,
    }
}

#[cfg(test)]
mod tests;
