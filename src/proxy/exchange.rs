//! One exchange: judged, routed, sent, answered.
//!
//! A revocation of its host cuts it after `revocation_grace`, wherever it stands.

use std::sync::Arc;

use http::{Method, StatusCode};

use super::connect::{ConnectionOrigin, Told, UpstreamConnection};
use super::context::{self, RequestContext};
use super::downstream::Downstream;
use super::pump::{self, Ended};
use super::{Proxy, refused, request, response};
use crate::access::record::UpstreamFacts;
use crate::config::{Protocol, Redirect, Site};
use crate::gate::{Permit, Refusal};
use crate::listen::Opened;
use crate::origin::health::Fault;
use crate::origin::{DEFAULT_LINK, ProxyProtocol};
use crate::rewrite;
use crate::route::{Asked, Residency, Route};
use crate::snapshot::{OriginState, ServerState, Snapshot};

/// What becomes of the connection, or of the stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum After {
    /// The answer is whole.
    Continue,
    /// The answer is not whole, and the client must not take it for that.
    Abort,
}

/// A server that an exchange may be sent to.
struct Candidate<'s> {
    origin: &'s OriginState,
    place: usize,
    server: &'s Arc<ServerState>,
    /// It is in its pause.
    last_resort: bool,
}

/// Serves one request.
pub(super) async fn run(proxy: &Proxy, opened: &Arc<Opened>, down: &mut Downstream<'_>) -> After {
    let edge = &proxy.edge;
    // In this order, so that no change falls between the two.
    let mut changes = edge.snapshots.subscribe();
    let snapshot = edge.snapshots.load_full();
    let mut context = RequestContext::begin(edge, opened, &snapshot, down);
    down.set_write_timeout(snapshot.config.limits.body_idle_timeout);
    if edge.is_draining() {
        down.close_after();
    }
    let permit = match judge(proxy, &snapshot, opened, down, &mut context) {
        Ok(permit) => permit,
        Err(refusal) => {
            context.reason = Some(refusal);
            down.close_after();
            return answered(response::answer(down, &mut context, StatusCode::MISDIRECTED_REQUEST).await);
        }
    };
    context.permitted(&snapshot, &permit);
    let cut = async {
        refused(edge, &mut changes, &opened.facts.listener, permit.host()).await;
        tokio::time::sleep(snapshot.config.limits.revocation_grace).await;
    };
    tokio::select! {
        biased;
        after = serve(proxy, &snapshot, &permit, opened, down, &mut context) => after,
        () = cut => After::Abort,
    }
}

/// The gate's answer for the host of a request, and the certificate's.
fn judge(
    proxy: &Proxy,
    snapshot: &Snapshot,
    opened: &Opened,
    down: &Downstream<'_>,
    context: &mut RequestContext,
) -> Result<Permit, Refusal> {
    let host = request::host(down.head());
    context.host = match &host {
        Ok(host) => Some(host.shared()),
        Err(_) => request::authority(down.head()).map(context::text),
    };
    let host = host.map_err(|_| Refusal::HostNotPermitted)?;
    let permit = snapshot
        .decide(&opened.facts.listener, &host, proxy.edge.moment())
        .map_err(|_| Refusal::HostNotPermitted)?;
    match &opened.coverage {
        Some(coverage) if host != opened.host && coverage.names.get(&host).is_none() => {
            Err(Refusal::NotCovered)
        }
        _ => Ok(permit),
    }
}

async fn serve(
    proxy: &Proxy,
    snapshot: &Snapshot,
    permit: &Permit,
    opened: &Opened,
    down: &mut Downstream<'_>,
    context: &mut RequestContext,
) -> After {
    if redirects(snapshot, opened) && context.can_be_recorded() {
        return answered(response::redirect(down, context, permit.host()).await);
    }
    let status = match attempt(proxy, snapshot, permit, opened, down, context).await {
        Ok(after) => return after,
        Err(status) => status,
    };
    if status.is_client_error() && status != StatusCode::NOT_FOUND {
        down.close_after();
    }
    answered(response::answer(down, context, status).await)
}

/// Whether the connection's listener sends everybody to TLS.
fn redirects(snapshot: &Snapshot, opened: &Opened) -> bool {
    let listener = || snapshot.listener_config(snapshot.listener(&opened.facts.listener)?);
    opened.coverage.is_none()
        && listener().is_some_and(|listener| {
            matches!(listener.protocol, Protocol::Http { redirect: Redirect::Https, .. })
        })
}

fn answered<E>(outcome: Result<(), E>) -> After {
    if outcome.is_ok() { After::Continue } else { After::Abort }
}

/// Sends the request to the first server that takes it. The error is the status to answer with.
async fn attempt(
    proxy: &Proxy,
    snapshot: &Snapshot,
    permit: &Permit,
    opened: &Opened,
    down: &mut Downstream<'_>,
    context: &mut RequestContext,
) -> Result<After, StatusCode> {
    if !context.can_be_recorded() {
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    let head = down.head();
    if head.method == Method::CONNECT {
        return Err(StatusCode::BAD_REQUEST);
    }
    let site = snapshot.site(permit.site()).ok_or(StatusCode::NOT_FOUND)?;
    let target = request::target(head);
    let path = target.split('?').next().unwrap_or_default().to_owned();
    let region = snapshot.regions.as_ref().and_then(|regions| regions.table.region(context.client.ip()));
    let asked = Asked { method: &head.method, path: &path, headers: &head.headers, region };
    let route = site.routes.resolve(&asked).ok_or(StatusCode::NOT_FOUND)?;
    let candidates = candidates(proxy, snapshot, route);
    let ask = rewrite::ask(site.footer, &head.method, &path, &head.headers);
    let upgrade = request::is_websocket(head);
    let idempotent = matches!(
        head.method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    );
    let scheme = if opened.coverage.is_some() { "https" } else { "http" };
    let framing = match (upgrade, down.is_body_done()) {
        (true, _) => request::Framing::Tunnel,
        (false, true) => request::Framing::None,
        (false, false) => request::Framing::AsSent,
    };

    let mut tried = false;
    let mut sent = 0;
    for (turn, candidate) in candidates.iter().enumerate() {
        let Candidate { origin, place, server, last_resort } = *candidate;
        let now = proxy.upstreams.now();
        let claimed = match last_resort {
            false => server.health.claim(now),
            // Whoever has failed elsewhere already need not wait for it.
            true => tried || server.health.claim_as_last_resort(now),
        };
        if !claimed {
            continue;
        }
        tried = true;
        let _in_flight = server.load.begin();
        let told = match origin.origin.proxy_protocol {
            ProxyProtocol::None => None,
            ProxyProtocol::V2 => Some(Told::Client { client: context.client, destination: context.local() }),
        };
        let mut kept = proxy.upstreams.take(server, told);
        loop {
            let connection = match kept.take() {
                Some(connection) => connection,
                None => tokio::select! {
                    // A client may reset streams faster than a server accepts connections.
                    () = down.is_reset() => return Ok(After::Abort),
                    made = proxy.upstreams.connect(origin, place, told, &proxy.edge.metrics) => match made {
                        Ok(connection) => connection,
                        // The next server is tried; nothing has been sent.
                        Err(_) => break,
                    },
                },
            };
            note(context, origin, place, &connection);
            if sent == 0 {
                origin.budget.earn(origin.origin.retries);
            }
            sent += 1;
            let changes = request::Changes { host: &origin.origin.host, framing, ask };
            let head = request::upstream_head(down.head(), context, scheme, changes)
                .map_err(|_| StatusCode::BAD_REQUEST)?;
            let UpstreamConnection { address, local, origin: came_from, told, stream } = connection;
            let exchange = pump::Exchange {
                site: site_of(site, permit),
                path: &path,
                timeouts: origin.origin.timeouts,
                limits: &snapshot.config.limits,
                framing,
            };
            match pump::run(exchange, head, stream, down, context).await {
                Ended::Whole(stream) => {
                    observe(proxy, candidate, &candidates, context);
                    if let Some(stream) = stream {
                        let connection =
                            UpstreamConnection { stream, address, local, origin: came_from, told };
                        proxy.upstreams.keep(server, connection, origin.origin.timeouts.idle);
                    }
                    return Ok(After::Continue);
                }
                Ended::Broken => {
                    observe(proxy, candidate, &candidates, context);
                    return Ok(After::Abort);
                }
                // A server closes a kept connection when it likes: nothing was wrong with the request.
                Ended::Unanswered { sent_body: false }
                    if came_from == ConnectionOrigin::Kept && idempotent => {}
                Ended::Unanswered { sent_body } => {
                    if came_from == ConnectionOrigin::New {
                        blame(proxy, candidate, &candidates, Fault::NoAnswer);
                    }
                    let retries = origin.origin.retries;
                    let may_be_repeated = idempotent && !sent_body && sent < retries.attempts;
                    let is_last = turn + 1 == candidates.len();
                    if !may_be_repeated || is_last || !origin.budget.spend(retries) {
                        return Err(StatusCode::BAD_GATEWAY);
                    }
                    proxy.edge.metrics.retries.with_label_values(&[&*origin.origin.name]).inc();
                    break;
                }
                Ended::Late => {
                    blame(proxy, candidate, &candidates, Fault::NoAnswer);
                    return Err(StatusCode::GATEWAY_TIMEOUT);
                }
                Ended::BodyLate => return Err(StatusCode::REQUEST_TIMEOUT),
            }
        }
    }
    Err(match route.residency {
        Residency::Any if tried => StatusCode::BAD_GATEWAY,
        Residency::Any => StatusCode::SERVICE_UNAVAILABLE,
        // Others may be up, and must not be tried.
        Residency::Within(_) => StatusCode::SERVICE_UNAVAILABLE,
    })
}

fn site_of<'s>(site: &'s Site, permit: &'s Permit) -> pump::Page<'s> {
    pump::Page { pages: site.footer, filing: permit.filing() }
}

/// Every server of the origins that may be tried, in their order; then the one whose pause ends first,
/// so that the last of all is not given up.
fn candidates<'s>(proxy: &Proxy, snapshot: &'s Snapshot, route: &Route) -> Vec<Candidate<'s>> {
    let now = proxy.upstreams.now();
    let origins = route.origins.iter().filter_map(|id| snapshot.origin(*id));
    let allowed = || origins.clone().filter(|origin| route.residency.allows(origin.origin.region));
    let all = |last_resort| {
        move |origin: &'s OriginState, place| {
            Some(Candidate { origin, place, server: origin.servers.get(place)?, last_resort })
        }
    };
    let mut candidates: Vec<_> = allowed()
        .flat_map(|origin| origin.order(now).into_iter().filter_map(move |place| all(false)(origin, place)))
        .collect();
    let paused = allowed()
        .flat_map(|origin| (0..origin.servers.len()).filter_map(move |place| all(true)(origin, place)))
        .filter(|one| !one.server.health.may_be_tried(now));
    candidates.extend(paused.min_by_key(|one| one.server.health.paused_until()));
    candidates
}

fn note(context: &mut RequestContext, state: &OriginState, place: usize, connection: &UpstreamConnection) {
    let link = state.origin.servers.get(place).map(|server| Arc::clone(&server.link));
    let facts = UpstreamFacts {
        origin: Arc::clone(&state.origin.name),
        region: state.origin.region.label(),
        link: link.unwrap_or_else(|| Arc::from(DEFAULT_LINK)),
        address: connection.address,
        local: connection.local,
        status: None,
        first_byte: None,
    };
    context.sent_to(state.origin.region, facts);
}

/// What an answer tells of its server.
fn observe(proxy: &Proxy, from: &Candidate<'_>, all: &[Candidate<'_>], context: &RequestContext) {
    let Some(upstream) = &context.upstream else { return };
    let (Some(status), Some(first_byte)) = (upstream.status, upstream.first_byte) else { return };
    let metrics = &proxy.edge.metrics;
    let origin = &from.origin.origin.name;
    let labels = [&**origin, &*upstream.link];
    metrics.upstream_first_byte.with_label_values(&labels).observe(first_byte.as_secs_f64());
    from.server.load.answered(first_byte, proxy.upstreams.now());
    if status >= 500 {
        blame(proxy, from, all, Fault::ServerError);
    } else if from.server.health.succeeded() {
        metrics.origin_up.with_label_values(&[&**origin, &*from.server.label]).set(1);
        tracing::info!(%origin, server = %from.server.label, "answers again");
    }
}

/// Holds a fault against a server. It is ejected for it only where another could serve instead.
fn blame(proxy: &Proxy, server: &Candidate<'_>, all: &[Candidate<'_>], fault: Fault) {
    let now = proxy.upstreams.now();
    let others = all
        .iter()
        .any(|other| !Arc::ptr_eq(other.server, server.server) && other.server.health.may_be_tried(now));
    if server.server.health.fault(fault, now, others) {
        let (origin, server) = (&server.origin.origin.name, &server.server.label);
        proxy.edge.metrics.origin_up.with_label_values(&[&**origin, &**server]).set(0);
        tracing::warn!(%origin, %server, ?fault, "is left alone for a while");
    }
}
