//! The machine's addresses against those of the listeners, and these against the filings.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::cloud::CloudAddresses;
use super::finding::{Check, Finding, listed};
use crate::config::Listener;
use crate::gate::{Filing, FilingStatus, ListenerId};
use crate::snapshot::Snapshot;

/// Whether every address that leads here is filed.
pub(super) fn check(snapshot: &Snapshot, machine: &[IpAddr], cloud: &CloudAddresses) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (place, listener) in snapshot.config.listeners.iter().enumerate() {
        let filings = filings_with_access(snapshot, ListenerId(place));
        findings.extend(public_addresses(listener, machine, cloud, !filings.is_empty()));
        findings.extend(access(listener, cloud, &filings));
    }
    findings
}

/// The listener's `public_addresses` against the machine's.
fn public_addresses(
    listener: &Listener,
    machine: &[IpAddr],
    cloud: &CloudAddresses,
    is_compared: bool,
) -> Vec<Finding> {
    let subject = format!("listener {}", listener.name);
    let configured = &listener.public_addresses;
    if configured.is_empty() {
        let finding = if is_compared {
            Finding::warn(
                Check::Address,
                subject,
                "it has no public_addresses, so the gate cannot compare them with the filings' access",
                "name the EIP or the load balancer's addresses in public_addresses",
            )
        } else {
            Finding::ok(Check::Address, subject, "neither public_addresses nor a filing's access to compare")
        };
        return vec![finding];
    }
    let mut findings = Vec::new();
    for address in configured {
        let finding = if machine.contains(address) || cloud.known().contains(address) {
            Finding::ok(Check::Address, &subject, format!("{address} is this machine's"))
        } else if cloud.known().is_empty() {
            Finding::ok(
                Check::Address,
                &subject,
                format!("{address} is not on this machine: it is a balancer's or an EIP"),
            )
        } else {
            Finding::warn(
                Check::Address,
                &subject,
                format!("{address} is not this machine's (the cloud says {})", listed(cloud.known())),
                "correct public_addresses, unless a load balancer has the address",
            )
        };
        findings.push(finding);
    }
    for address in cloud.known().iter().filter(|address| !configured.contains(address)) {
        findings.push(Finding::warn(
            Check::Address,
            &subject,
            format!("the public address {address} leads to this machine and is not in public_addresses"),
            "add it and file it, or take it from the machine",
        ));
    }
    findings
}

/// The addresses that lead to the listener against the access of each filing served on it.
fn access(listener: &Listener, cloud: &CloudAddresses, filings: &[&Filing]) -> Vec<Finding> {
    let leading =
        if listener.public_addresses.is_empty() { cloud.known() } else { &listener.public_addresses[..] };
    let mut findings = Vec::new();
    let mut fine = 0;
    for filing in filings {
        let filed = filing.access.as_deref().unwrap_or_default();
        let unfiled: Vec<&IpAddr> = leading.iter().filter(|address| !filed.contains(address)).collect();
        if unfiled.is_empty() {
            fine += 1;
            continue;
        }
        findings.push(Finding::fail(
            Check::Address,
            &filing.domain,
            format!(
                "it is served on listener {} at {}, and filed for access at {} alone",
                listener.name,
                listed(&unfiled),
                listed(filed)
            ),
            "file the access (接入备案) with the provider of that address, or correct `access`",
        ));
    }
    if fine > 0 && !leading.is_empty() {
        let message = format!("{} is in the access of {fine} filings", listed(leading));
        findings.push(Finding::ok(Check::Address, format!("listener {}", listener.name), message));
    }
    findings
}

/// The approved filings with `access` whose domain has a host on the listener.
fn filings_with_access(snapshot: &Snapshot, listener: ListenerId) -> Vec<&Filing> {
    let sites = snapshot.config.sites.iter().filter(|site| site.listeners.contains(&listener));
    let hosts = sites.flat_map(|site| &site.hosts);
    let domains: BTreeSet<&str> = hosts.filter_map(|host| host.base().registrable_domain()).collect();
    let filings = domains.into_iter().flat_map(|domain| snapshot.gate.filings.of_domain(domain));
    filings
        .map(|filing| &**filing)
        .filter(|filing| filing.status == FilingStatus::Approved && filing.access.is_some())
        .collect()
}
