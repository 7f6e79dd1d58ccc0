//! Values that several sections share: optional keys, addresses, references by name.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::findings::quote;
use crate::config::reader::Value;
use crate::config::suggest::did_you_mean;

/// The names of the items of a list, by index.
pub(super) struct Names<'n> {
    by_name: HashMap<&'n str, usize>,
    pub(super) count: usize,
}

impl<'n> Names<'n> {
    pub(super) fn of(items: &'n [Value<'n>], what: &str) -> Self {
        let mut by_name = HashMap::new();
        for (index, item) in items.iter().enumerate() {
            if let Some((name, place)) = item.own_name()
                && by_name.insert(name, index).is_some()
            {
                place.fatal(
                    format_args!("another {what} is named {}", quote(name)),
                    "rename one of them".to_owned(),
                );
            }
        }
        Self { by_name, count: items.len() }
    }

    /// The index of the item that `reference` names.
    pub(super) fn resolve(&self, reference: &Value<'_>, what: &str) -> Option<usize> {
        let name = reference.text()?;
        let found = self.by_name.get(name).copied();
        if found.is_none() {
            let mut known: Vec<_> = self.by_name.keys().copied().collect();
            known.sort_unstable();
            let hint = did_you_mean(name, known.iter().copied()).unwrap_or_else(|| match known.as_slice() {
                [] => format!("there is no {what}"),
                [.., _] if known.len() <= 10 => format!("known: {}", known.join(", ")),
                _ => format!("it must be the name of one of {} {what}s", known.len()),
            });
            reference.fatal(format_args!("no {what} is named {}", quote(name)), hint);
        }
        found
    }
}

/// The value of an optional key, or its default.
pub(super) fn or<'v, T>(
    value: Option<&Value<'v>>,
    default: T,
    read: impl FnOnce(&Value<'v>) -> Option<T>,
) -> Option<T> {
    value.map_or(Some(default), read)
}

pub(in crate::config) fn ip_address(value: &Value<'_>) -> Option<IpAddr> {
    value.parsed("an IP address", "203.0.113.10", str::parse)
}

/// A network without host bits; a single address is one too.
pub(super) fn network(value: &Value<'_>) -> Option<IpNet> {
    let network: IpNet = value.parsed("a network", "100.64.0.0/10", |text| match text.parse::<IpAddr>() {
        Ok(address) => Ok(IpNet::from(address)),
        Err(_) => text.parse(),
    })?;
    if network != network.trunc() {
        value
            .warn(format_args!("{network} has bits beyond its length"), format!("write {}", network.trunc()));
    }
    Some(network.trunc())
}
