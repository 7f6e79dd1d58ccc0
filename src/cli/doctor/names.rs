//! What DNS says of every host: the filed addresses and no others, on every name server alike, and CAA.

use std::collections::BTreeSet;
use std::net::IpAddr;

use futures_util::StreamExt as _;

use super::finding::{Check, Finding, listed};
use super::issuers::{Verdict, judge};
use crate::clock::Moment;
use crate::config::Site;
use crate::gate::{self, FilingStatus};
use crate::hostname::{HostPattern, Hostname};
use crate::snapshot::Snapshot;
use crate::upstream::names::records::{NameServer, name_servers};

/// Hosts asked for at the same time.
const SIDE_BY_SIDE: usize = 16;
/// Hosts beyond these are not asked for: it would take too long.
const HOSTS: usize = 1_000;

/// A host of a site.
struct SiteHost<'s> {
    pattern: &'s HostPattern,
    host: Hostname,
    site: &'s Site,
    /// Who issued the site's certificate, if that is known.
    issuer: Option<&'s str>,
}

/// Asks every name server for every host. `issuers` are those of the sites' certificates, by site.
pub(super) async fn check(snapshot: &Snapshot, issuers: &[Option<String>], at: Moment) -> Vec<Finding> {
    let servers = match name_servers(&snapshot.config.name_servers) {
        Ok(servers) => servers,
        Err(problem) => {
            let hint = "name the resolver in /etc/resolv.conf or in resolver.servers";
            return vec![Finding::fail(Check::Dns, "name servers", problem, hint)];
        }
    };
    let (mut hosts, mut findings) = (hosts(snapshot, issuers), Vec::new());
    if hosts.len() > HOSTS {
        let message = format!("only the first {HOSTS} of {} hosts were looked up", hosts.len());
        findings.push(Finding::warn(
            Check::Dns,
            "hosts",
            message,
            "check the others by a script of your own",
        ));
        hosts.truncate(HOSTS);
    }
    let servers = &servers;
    let asked = hosts.iter().map(|host| async move {
        let mut found = addresses(snapshot, servers, host, at).await;
        found.extend(caa(servers, host).await);
        found
    });
    let asked: Vec<_> = asked.collect();
    let found: Vec<Vec<Finding>> = futures_util::stream::iter(asked).buffered(SIDE_BY_SIDE).collect().await;
    findings.extend(found.into_iter().flatten());
    findings
}

fn hosts<'s>(snapshot: &'s Snapshot, issuers: &'s [Option<String>]) -> Vec<SiteHost<'s>> {
    let mut hosts = Vec::new();
    for (place, site) in snapshot.config.sites.iter().enumerate() {
        let issuer = issuers.get(place).and_then(Option::as_deref);
        for pattern in &site.hosts {
            if let Ok(host) = pattern.representative() {
                hosts.push(SiteHost { pattern, host, site, issuer });
            }
        }
    }
    hosts
}

/// What one name server answers.
struct ServerAnswer<'s> {
    server: &'s str,
    addresses: Result<Vec<IpAddr>, String>,
}

async fn addresses(
    snapshot: &Snapshot,
    servers: &[NameServer],
    host: &SiteHost<'_>,
    at: Moment,
) -> Vec<Finding> {
    let asked = servers.iter().map(|server| async {
        ServerAnswer { server: server.label(), addresses: server.addresses(&host.host).await }
    });
    let answers = futures_util::future::join_all(asked).await;
    let mut findings = Vec::new();
    for ServerAnswer { server, addresses } in &answers {
        if let Err(problem) = addresses {
            findings.push(Finding::warn(
                Check::Dns,
                host.pattern,
                format!("{server} gives no answer: {problem}"),
                "correct the name server or the network to it",
            ));
        }
    }
    let good: Vec<(&str, &Vec<IpAddr>)> =
        answers.iter().filter_map(|answer| Some((answer.server, answer.addresses.as_ref().ok()?))).collect();
    let Some((_, first)) = good.first() else { return findings };
    if good.iter().any(|(_, addresses)| addresses != first) {
        let told: Vec<String> =
            good.iter().map(|(server, addresses)| format!("{server}: {}", shown(addresses))).collect();
        findings.push(Finding::warn(
            Check::Dns,
            host.pattern,
            format!("the name servers answer differently ({})", told.join("; ")),
            "answers that differ by place or provider must all be filed addresses; wait if you just changed them",
        ));
    }
    let all: BTreeSet<IpAddr> = good.iter().flat_map(|(_, addresses)| addresses.iter().copied()).collect();
    findings.extend(judged(snapshot, host, &all.into_iter().collect::<Vec<_>>(), at));
    findings
}

/// The addresses of a host against the filed ones.
fn judged(snapshot: &Snapshot, host: &SiteHost<'_>, found: &[IpAddr], at: Moment) -> Vec<Finding> {
    let is_permitted =
        host.site.listeners.iter().any(|id| gate::decide(&snapshot.gate, *id, &host.host, at).is_ok());
    let filed = filed_addresses(snapshot, host);
    let unfiled = |is_v6| -> Vec<&IpAddr> {
        let family = found.iter().filter(|address| address.is_ipv6() == is_v6);
        family.filter(|address| !filed.contains(address)).collect()
    };
    let subject = host.pattern;
    if found.is_empty() {
        return vec![match host.pattern {
            HostPattern::Wildcard(_) => Finding::ok(
                Check::Dns,
                subject,
                "DNS has no wildcard record; names below it may have their own",
            ),
            HostPattern::Exact(_) if is_permitted => Finding::warn(
                Check::Dns,
                subject,
                "it has no address, and it is approved",
                "let DNS name a filed address; a filing whose domain leads nowhere may be cancelled (空壳)",
            ),
            HostPattern::Exact(_) => {
                Finding::ok(Check::Dns, subject, "it has no address, as before an approval")
            }
        }];
    }
    if !is_permitted {
        return vec![Finding::warn(
            Check::Dns,
            subject,
            format!("it leads to {} and is not served: `icpgate explain` says why", listed(found)),
            "take the records out of DNS until the filing is approved: a site that is reachable before may be rejected",
        )];
    }
    if filed.is_empty() {
        let message = format!("{}; neither `access` nor public_addresses says what is filed", listed(found));
        return vec![Finding::ok(Check::Dns, subject, message)];
    }
    let mut findings = Vec::new();
    for (is_v6, kind) in [(false, "IPv4"), (true, "IPv6")] {
        let unfiled = unfiled(is_v6);
        if !unfiled.is_empty() {
            findings.push(Finding::fail(
                Check::Dns,
                subject,
                format!(
                    "DNS answers {}, {kind} that is not filed (filed: {})",
                    listed(&unfiled),
                    listed(&filed)
                ),
                "remove the record, or file the access (接入备案) at that address and add it to `access`",
            ));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(Check::Dns, subject, format!("{}, filed", listed(found))));
    }
    findings
}

/// Where the host may be: the access of its filing, or else the public addresses of its listeners.
fn filed_addresses(snapshot: &Snapshot, host: &SiteHost<'_>) -> Vec<IpAddr> {
    let filings =
        host.host.registrable_domain().map_or(&[][..], |domain| snapshot.gate.filings.of_domain(domain));
    let filing =
        filings.iter().find(|filing| filing.status == FilingStatus::Approved && filing.names(&host.host));
    if let Some(access) = filing.and_then(|filing| filing.access.as_ref()) {
        return access.clone();
    }
    let listeners = host.site.listeners.iter().filter_map(|id| snapshot.listener_config(*id));
    let addresses: BTreeSet<IpAddr> =
        listeners.flat_map(|listener| listener.public_addresses.iter().copied()).collect();
    addresses.into_iter().collect()
}

fn shown(addresses: &[IpAddr]) -> String {
    if addresses.is_empty() { "no address".to_owned() } else { listed(addresses) }
}

/// Whether CAA lets the issuer of the certificate renew it.
async fn caa(servers: &[NameServer], host: &SiteHost<'_>) -> Vec<Finding> {
    let (Some(server), Some(issuer)) = (servers.first(), host.issuer) else { return Vec::new() };
    let subject = host.pattern;
    let records = match server.caa(host.pattern.base()).await {
        Ok(records) => records,
        Err(problem) => {
            let message = format!("CAA cannot be looked up: {problem}");
            let hint = "certification authorities refuse to issue while they cannot look it up";
            return vec![Finding::warn(Check::Caa, subject, message, hint)];
        }
    };
    let is_wildcard = matches!(host.pattern, HostPattern::Wildcard(_));
    vec![match judge(&records, is_wildcard, issuer) {
        Verdict::Open => Finding::ok(Check::Caa, subject, "no record limits who may issue"),
        Verdict::Allowed => Finding::ok(Check::Caa, subject, format!("{issuer} may issue")),
        Verdict::Unknown(allowed) => Finding::warn(
            Check::Caa,
            subject,
            format!("only {allowed} may issue, and the certificate is from {issuer}"),
            "see that your certification authority names one of these domains in its CAA policy",
        ),
        Verdict::Forbidden(allowed) => Finding::fail(
            Check::Caa,
            subject,
            format!("CAA forbids {issuer}, which issued the certificate, to renew it ({allowed})"),
            "add a CAA record for your certification authority, or change the authority",
        ),
    }]
}
