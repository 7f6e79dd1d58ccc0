//! One exchange: judge, route, send, answer.
//!
//! When its host is revoked, the exchange is cut after `revocation_grace`, whatever its state.

use std::time::Duration;

use http::{Method, StatusCode};

use super::attempt::{Attempt, RoutedRequest};
use super::context::RequestContext;
use super::pump::FooterContext;
use super::routed::Step;
use super::{Outcome, Proxy, cached, own_paths, response};
use crate::access::Reason;
use crate::cache::Validators;
use crate::config::{Protocol, Redirect};
use crate::downstream::ClientFailure;
use crate::downstream::session::Downstream;
use crate::edge::updates::SnapshotUpdates;
use crate::gate::{self, Permit, Refusal};
use crate::listen::Established;
use crate::listen::requested_host::{host_as_sent, requested_host};
use crate::message::{RequestHead, fields};
use crate::rewrite::{self, Compress, OWN_PATHS};
use crate::route::{self, Asked, CacheUse, Unrouted};
use crate::snapshot::Snapshot;

/// Serves one request.
///
/// `updates` must have been subscribed before the request; the connection sees them afterwards.
pub(crate) async fn run(
    proxy: &Proxy,
    established: &Established,
    down: Downstream<'_>,
    updates: &mut SnapshotUpdates,
) -> Outcome {
    let edge = &proxy.edge;
    let snapshot = edge.snapshots.load_full();
    // Shortens the lifetime of the borrows to that of the snapshot, which the context borrows too.
    let mut down: Downstream<'_> = down;
    let down = &mut down;
    let mut context = RequestContext::begin(proxy, established, &snapshot, down.head);
    down.set_write_timeout(snapshot.config.limits.body_idle_timeout);
    if edge.is_draining() {
        down.close_after();
    }
    if is_probe(&snapshot, established, &context, down) {
        context.host = host_as_sent(down.head);
        let is_well = (!edge.is_draining() || edge.is_succeeded()) && context.can_be_recorded();
        let status = if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        down.close_after();
        return answered(response::answer(down, &mut context, status).await);
    }
    if down.head.lacks_host() {
        down.close_after();
        return answered(response::answer(down, &mut context, StatusCode::BAD_REQUEST).await);
    }
    let permit = match judge(&snapshot, established, down, &mut context) {
        Ok(permit) => permit,
        Err(refusal) => {
            context.refusal = Some(refusal);
            down.close_after();
            return answered(response::answer(down, &mut context, StatusCode::MISDIRECTED_REQUEST).await);
        }
    };
    context.permitted(&permit);
    let cut = async {
        updates.until_refused(edge, &established.facts.listener, permit.host()).await;
        tokio::time::sleep(snapshot.config.limits.revocation_grace).await;
    };
    // Pinned here: it is large, and would otherwise be moved into the `select!`.
    let mut serve = std::pin::pin!(serve(proxy, &snapshot, &permit, established, down, &mut context));
    tokio::select! {
        biased;
        outcome = &mut serve => outcome,
        () = cut => Outcome::Abort,
    }
}

/// Asks the gate for the request's host, and checks that the connection's certificate covers it.
fn judge(
    snapshot: &Snapshot,
    established: &Established,
    down: &Downstream<'_>,
    context: &mut RequestContext<'_>,
) -> Result<Permit, Refusal> {
    let host = requested_host(down.head, established.host.as_ref());
    context.host = match &host {
        Ok(host) => Some(host.shared()),
        Err(_) => host_as_sent(down.head),
    };
    let host = host.map_err(|_| Refusal::HostNotPermitted)?;
    let listener = context.listener.ok_or(Refusal::HostNotPermitted)?;
    let permit = gate::decide(&snapshot.gate, listener, &host, context.moment)
        .map_err(|_| Refusal::HostNotPermitted)?;
    match &established.coverage {
        Some(coverage) if established.host.as_ref() != Some(&host) && coverage.names.get(&host).is_none() => {
            Err(Refusal::NotCovered)
        }
        _ => Ok(permit),
    }
}

async fn serve<'d>(
    proxy: &Proxy,
    snapshot: &Snapshot,
    permit: &Permit,
    established: &Established,
    down: &mut Downstream<'d>,
    context: &mut RequestContext<'d>,
) -> Outcome {
    if down.head.method == Method::TRACE {
        // It would show fields that the edge adds, and those of other proxies.
        down.close_after();
        return answered(response::answer(down, context, StatusCode::METHOD_NOT_ALLOWED).await);
    }
    if redirects(snapshot, established, context) && context.can_be_recorded() {
        return answered(response::redirect_to_tls(down, context, permit.host()).await);
    }
    if let Some(wait) = over_rate(proxy, snapshot, permit, context) {
        context.reason = Some(Reason::RateLimit);
        return answered(response::too_many(down, context, wait).await);
    }
    let status = match send(proxy, snapshot, permit, established, down, context).await {
        Ok(outcome) => return outcome,
        Err(status) => status,
    };
    if status.is_client_error() && status != StatusCode::NOT_FOUND {
        down.close_after();
    }
    answered(response::answer(down, context, status).await)
}

/// How long the client is to wait, if it or the site has had more requests than its limit. Not counted without a record.
fn over_rate(
    proxy: &Proxy,
    snapshot: &Snapshot,
    permit: &Permit,
    context: &RequestContext<'_>,
) -> Option<Duration> {
    let limiter = snapshot.rate_limiter(permit.site())?;
    if !context.can_be_recorded() {
        return None;
    }
    limiter.admit(context.client.ip(), proxy.upstreams.now()).err()
}

/// The length of the body that a request declares, in bytes.
fn declared_length(head: &RequestHead) -> u64 {
    fields::content_length(&head.headers).ok().flatten().unwrap_or(0)
}

/// Whether this is a health probe by a configured load balancer, which may name any host.
fn is_probe(
    snapshot: &Snapshot,
    established: &Established,
    context: &RequestContext<'_>,
    down: &Downstream<'_>,
) -> bool {
    let Some(Protocol::Http { health_check: Some(check), .. }) = in_clear(snapshot, established, context)
    else {
        return false;
    };
    check.is_asked(down.head.path(), established.client.ip())
}

fn redirects(snapshot: &Snapshot, established: &Established, context: &RequestContext<'_>) -> bool {
    matches!(in_clear(snapshot, established, context), Some(Protocol::Http { redirect: Redirect::Https, .. }))
}

/// The configuration of the listener, for a connection in clear text.
fn in_clear<'s>(
    snapshot: &'s Snapshot,
    established: &Established,
    context: &RequestContext<'_>,
) -> Option<&'s Protocol> {
    if established.coverage.is_some() {
        return None;
    }
    snapshot.listener_config(context.listener?).map(|listener| &listener.protocol)
}

fn answered<E>(outcome: Result<(), E>) -> Outcome {
    if outcome.is_ok() { Outcome::KeepAlive } else { Outcome::Abort }
}

/// Finds the route and sends the request there. The error is the status to answer with.
async fn send<'d>(
    proxy: &Proxy,
    snapshot: &Snapshot,
    permit: &Permit,
    established: &Established,
    down: &mut Downstream<'d>,
    context: &mut RequestContext<'d>,
) -> Result<Outcome, StatusCode> {
    if !context.can_be_recorded() {
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    let head = down.head;
    if head.method == Method::CONNECT {
        return Err(StatusCode::BAD_REQUEST);
    }
    if proxy.loop_id.is_in(&head.headers) {
        context.reason = Some(Reason::Loop);
        return Err(StatusCode::LOOP_DETECTED);
    }
    let site = snapshot.site(permit.site()).ok_or(StatusCode::NOT_FOUND)?;
    let target = String::from_utf8_lossy(&head.target);
    let path = target.split('?').next().unwrap_or_default();
    let region = snapshot.regions.as_ref().and_then(|regions| regions.table.region(context.client.ip()));
    let normal = route::normal(path);
    if normal.starts_with(OWN_PATHS) {
        let assets = snapshot.asset_map(permit.site());
        let compress = Compress::new(site.compress, &snapshot.config.compress, head.version);
        return Ok(answered(own_paths::answer(down, context, &normal, assets, compress).await));
    }
    let client = context.client.ip();
    let asked = Asked { method: &head.method, path: &normal, headers: &head.headers, region, client };
    let route = site.routes.route(path, &asked).map_err(|unrouted| match unrouted {
        Unrouted::NoMatch => StatusCode::NOT_FOUND,
        Unrouted::Ambiguous => StatusCode::BAD_REQUEST,
    })?;
    let scheme = if established.coverage.is_some() { "https" } else { "http" };
    let (forward, edits) = match Step::of(route, permit.host().as_str(), scheme, down, context) {
        Step::Forward(forward, edits) => (forward, edits),
        Step::Redirect(status, location) => {
            return Ok(answered(response::redirect(down, context, status, &location).await));
        }
        Step::Respond(fixed) => return Ok(answered(response::fixed(down, context, fixed).await)),
    };
    if site.max_body.is_some_and(|most| declared_length(head) > most) {
        context.reason = Some(Reason::MaxBody);
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    // A body that does not come takes no server's place.
    match down.begin_body(snapshot.config.limits.body_idle_timeout).await {
        Ok(()) => {}
        Err(ClientFailure::Slow) => return Err(StatusCode::REQUEST_TIMEOUT),
        Err(ClientFailure::Gone) => return Ok(Outcome::Abort),
    }
    let page = FooterContext::of(snapshot, site, permit);
    let compress = Compress::new(site.compress, &snapshot.config.compress, head.version);
    let max_body = site.max_body;
    let conditions = page.assets.and_then(|map| rewrite::conditions(head, path, map));
    let conditions = conditions.map(|etag| Validators { etag, last_modified: None });
    let validators = conditions.as_ref();
    let routed = RoutedRequest {
        snapshot,
        forward,
        edits: &edits,
        page,
        compress,
        path,
        scheme,
        max_body,
        validators,
    };
    if forward.cache != CacheUse::Absent
        && let Some(cache) = &proxy.cache
    {
        // Boxed, so that exchanges without a cache keep their size.
        return Box::pin(cached::run(cache, proxy, permit, established, routed, down, context)).await;
    }
    Attempt::new(proxy, routed, down, context).run().await
}
