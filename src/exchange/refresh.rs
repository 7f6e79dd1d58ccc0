//! Revalidates a stale response that was served, in a task of its own.
//!
//! Nothing is served to a client here, so there is no record. The gate is asked once more, with the snapshot of that
//! moment: nothing is fetched for a host that is no longer permitted.

use std::sync::Arc;

use http::Method;

use super::Proxy;
use super::attempt::{Attempt, RoutedRequest};
use super::context::RequestContext;
use super::pump::FooterContext;
use super::routed::Step;
use crate::cache::{Cache, Fill, Forwarded, Key, Permit, Purpose};
use crate::downstream::session::Downstream;
use crate::hostname::Hostname;
use crate::listen::Established;
use crate::message::RequestHead;
use crate::rewrite::Compress;
use crate::route::{self, Asked, CacheUse, Forward};

/// Starts it.
pub(super) fn start(
    proxy: &Proxy,
    established: &Established,
    host: &Hostname,
    head: &RequestHead,
    permit: Permit,
) {
    let (Some(proxy), Some(cache)) = (proxy.this.upgrade(), proxy.cache.clone()) else { return };
    let (established, host) = (established.clone(), host.clone());
    // A part would not be stored.
    let mut head = RequestHead { method: Method::GET, ..head.clone() };
    head.headers.remove(http::header::RANGE);
    tokio::spawn(async move {
        run(&proxy, &cache, &established, &host, &head, permit).await;
    });
}

async fn run(
    proxy: &Proxy,
    cache: &Arc<Cache>,
    established: &Established,
    host: &Hostname,
    head: &RequestHead,
    turn: Permit,
) -> Option<()> {
    let snapshot = proxy.edge.snapshots.load_full();
    let permit = snapshot.decide(&established.facts.listener, host, proxy.edge.moment()).ok()?;
    let site = snapshot.site(permit.site())?;
    let target = String::from_utf8_lossy(&head.target);
    let path = target.split('?').next().unwrap_or_default();
    let region = snapshot.regions.as_ref().and_then(|regions| regions.table.region(established.client.ip()));
    let normal = route::normal(path);
    let client = established.client.ip();
    let asked = Asked { method: &head.method, path: &normal, headers: &head.headers, region, client };
    let route = site.routes.route(path, &asked).ok()?;
    let page = FooterContext::of(&snapshot, site, &permit);
    let compress = Compress::new(site.compress, &snapshot.config.compress, head.version);
    let scheme = if established.coverage.is_some() { "https" } else { "http" };
    let mut context = RequestContext::of_own_fetch(proxy, established, &snapshot);
    let mut down = Downstream::absent(head);
    let step = Step::of(route, host.as_str(), scheme, &mut down, &context);
    let Step::Forward(forward @ Forward { cache: CacheUse::Used, .. }, edits) = step else { return None };
    let routed = RoutedRequest {
        snapshot: &snapshot,
        forward,
        edits: &edits,
        page,
        compress,
        path,
        scheme,
        max_body: None,
        validators: None,
    };

    let key = Key::new(&site.name, &host.shared(), &head.target);
    let stamp = page.stamp(forward);
    let stale = cache.find(&key, &head.headers, &stamp)?;
    let purpose = Purpose::Store { permit: Some(turn), stale: Some(Arc::clone(&stale)), stamp };
    down.watch(Fill::new(cache, &key, Forwarded::Stale, purpose, context.seconds()));
    let validators = Some(&stale.validators);
    // The result is what is stored.
    let _ = Attempt::new(proxy, RoutedRequest { validators, ..routed }, &mut down, &mut context).run().await;
    Some(())
}
