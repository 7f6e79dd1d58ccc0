//! The page at `/` of every host that is served: the number, its link, and what it loads from hosts that fail.
//!
//! Each page is fetched from the running program at the listener's own address, so that DNS does not matter.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt as _;
use http::Uri;
use tokio::time::timeout;

use super::super::audit::fetch::{self, Fetched, Page, REDIRECTS};
use super::super::audit::numbers;
use super::finding::{Check, Finding, listed};
use crate::clock::Moment;
use crate::config::sinks::{ServerAddress, SinkHost};
use crate::config::{ClientAddressSource, Listener, Protocol, Redirect};
use crate::hostname::{HostPattern, Hostname};
use crate::remote::failure::{FailureKind, RemoteFailure};
use crate::remote::http::HttpClient;
use crate::rewrite::{self, Audit, LinkFound, NumberFound};
use crate::snapshot::Snapshot;

/// Pages fetched at the same time.
const SIDE_BY_SIDE: usize = 8;
/// Pages beyond these are not fetched: it would take too long.
const HOSTS: usize = 200;
/// For one page with its redirects.
const PATIENCE: Duration = Duration::from_secs(10);
/// Foreign hosts that a finding names.
const NAMED: usize = 5;

/// A host, and where its page is.
struct Place<'s> {
    host: &'s Hostname,
    at: SocketAddr,
    is_tls: bool,
    /// The site's own chain, which verifies the answer: whether others trust it is another check.
    chain: Option<&'s Path>,
}

/// Looks at the page of every host that is served now. `bound` is what the running program has bound.
pub(super) async fn check(snapshot: &Snapshot, bound: &[SocketAddr], at: Moment) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut places = places(snapshot, bound, at);
    if bound.is_empty() {
        let hint = "start it, and run doctor again: what visitors see is looked at over its own addresses";
        let message = "icpgate does not run with this configuration, so no page was looked at";
        findings.push(Finding::warn(Check::Page, "pages", message, hint));
    }
    if places.len() > HOSTS {
        let message = format!("only the pages of the first {HOSTS} of {} hosts were looked at", places.len());
        findings.push(Finding::warn(Check::Page, "pages", message, "icpgate audit looks at the others"));
        places.truncate(HOSTS);
    }
    let looks = places.iter().map(|place| async move {
        match timeout(PATIENCE, visit(place)).await {
            Ok(Ok(seen)) => judge(snapshot, place.host, &seen),
            Ok(Err(error)) => vec![unseen(place.host, &error)],
            Err(_) => {
                let late = anyhow::anyhow!("it did not come within {} s", PATIENCE.as_secs());
                vec![unseen(place.host, &late)]
            }
        }
    });
    let looks: Vec<_> = looks.collect();
    let seen: Vec<Vec<Finding>> = futures_util::stream::iter(looks).buffered(SIDE_BY_SIDE).collect().await;
    findings.extend(seen.into_iter().flatten());
    findings
}

/// Where each host is served. A wildcard has no page of its own.
fn places<'s>(snapshot: &'s Snapshot, bound: &[SocketAddr], at: Moment) -> Vec<Place<'s>> {
    let mut places = Vec::new();
    for site in &snapshot.config.sites {
        let listeners: Vec<&Listener> = site
            .listeners
            .iter()
            .filter_map(|id| snapshot.listener_config(*id))
            .map(|listener| &**listener)
            .collect();
        for pattern in &site.hosts {
            let HostPattern::Exact(host) = pattern else { continue };
            let serves = |listener: &&&Listener| snapshot.decide(&listener.name, host, at).is_ok();
            let reached = |listener: &&Listener| Some((reachable(listener, bound)?, is_tls(listener)));
            let mut found: Vec<_> = listeners.iter().filter(serves).filter_map(reached).collect();
            // Over TLS where there is a choice.
            found.sort_by_key(|(_, is_tls)| !is_tls);
            let chain = site.certificate.as_ref().map(|files| files.chain.as_path());
            places.extend(found.first().map(|(at, is_tls)| Place { host, at: *at, is_tls: *is_tls, chain }));
        }
    }
    places
}

fn is_tls(listener: &Listener) -> bool {
    matches!(listener.protocol, Protocol::Https { .. })
}

/// A bound address that this machine can ask. A listener that redirects has no pages, and one that demands the PROXY
/// header lets nobody in but the load balancer.
fn reachable(listener: &Listener, bound: &[SocketAddr]) -> Option<SocketAddr> {
    let has_pages = match &listener.protocol {
        Protocol::Https { .. } => true,
        Protocol::Http { redirect, .. } => *redirect == Redirect::None,
    };
    if !has_pages || listener.client_address != ClientAddressSource::Peer {
        return None;
    }
    let mut address = *listener.addresses.iter().find(|address| bound.contains(address))?;
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    Some(address)
}

/// What a visitor gets at `/`.
enum Seen {
    Page(Page),
    /// Another host has the page.
    Elsewhere(Uri),
}

async fn visit(place: &Place<'_>) -> anyhow::Result<Seen> {
    let scheme = if place.is_tls { "https" } else { "http" };
    let mut url = fetch::parse(&format!("{scheme}://{}/", place.host))?;
    let endpoint = fetch::endpoint(&url)?;
    let at = ServerAddress { host: SinkHost::Address(place.at.ip()), port: place.at.port() };
    let mut client = HttpClient::reached_at(&endpoint, at, place.chain)?;
    for _ in 0..=REDIRECTS {
        match fetch::get(&mut client, &url, None).await? {
            Fetched::Page(page) => return Ok(Seen::Page(page)),
            Fetched::Redirect(next) if fetch::endpoint(&next)? == endpoint => url = next,
            Fetched::Redirect(next) => return Ok(Seen::Elsewhere(next)),
        }
    }
    anyhow::bail!("more than {REDIRECTS} redirects, the last one to {url}")
}

fn unseen(host: &Hostname, why: &anyhow::Error) -> Finding {
    let is_tls = |failure: &RemoteFailure| failure.kind == FailureKind::Tls;
    let hint = if why.downcast_ref().is_some_and(is_tls) {
        "browsers cannot verify its certificate either: see the check `certificate`"
    } else {
        "see what the origin answers there; a host without a home page needs none, if it is no website"
    };
    Finding::warn(Check::Page, host, format!("its page at / cannot be seen: {why:#}"), hint)
}

fn judge(snapshot: &Snapshot, host: &Hostname, seen: &Seen) -> Vec<Finding> {
    let page = match seen {
        Seen::Page(page) => page,
        Seen::Elsewhere(url) => {
            return vec![Finding::ok(
                Check::Page,
                host,
                format!("it leads to {url}, where the number belongs"),
            )];
        }
    };
    if !["", "text/html", "application/xhtml+xml"].contains(&page.media_type.as_str()) {
        return vec![Finding::ok(
            Check::Page,
            host,
            format!("what is at / is no page ({})", page.media_type),
        )];
    }
    let Audit { number, link, foreign_assets } =
        rewrite::audit(&page.body, page.charset, Some(&numbers(snapshot, Some(host))));
    let mut findings = vec![judged_number(host, number)];
    if number == NumberFound::Present {
        findings.extend(judged_link(host, link));
    }
    let mut hosts: Vec<&str> = foreign_assets.iter().map(|asset| asset.host.as_str()).collect();
    hosts.sort_unstable();
    hosts.dedup();
    if !hosts.is_empty() {
        let named = listed(hosts.get(..NAMED).unwrap_or(&hosts));
        findings.push(Finding::warn(
            Check::Page,
            host,
            format!("it loads from {} hosts that fail in the mainland: {named}", hosts.len()),
            format!("icpgate audit https://{host}/ lists them; serve the files from the site itself"),
        ));
    }
    findings
}

/// Order 33 of the ministry, article 13: the home page shows the number and links to the filing system.
fn judged_number(host: &Hostname, number: NumberFound) -> Finding {
    let hint = "let `footer` add it, or correct what the application shows; it is fined where it is missing";
    match number {
        NumberFound::Present => Finding::ok(Check::Page, host, "its page at / shows the number"),
        NumberFound::WrongNumber => {
            Finding::fail(Check::Page, host, "its page at / shows the number of another filing", hint)
        }
        NumberFound::Missing => {
            Finding::fail(Check::Page, host, "its page at / does not show the number", hint)
        }
    }
}

fn judged_link(host: &Hostname, link: LinkFound) -> Option<Finding> {
    let message = match link {
        LinkFound::Ok => return None,
        LinkFound::Missing => "its number is not linked to the ministry",
        LinkFound::WrongHost => "its number is linked to a host that the filing system no longer has",
    };
    let hint = "link it to https://beian.miit.gov.cn/, as the rule demands; `footer` does so where the page has no number";
    Some(Finding::fail(Check::Page, host, message, hint))
}
