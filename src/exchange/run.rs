//! One exchange: judged, routed, sent, answered.
//!
//! A revocation of its host cuts it after `revocation_grace`, wherever it stands.

use http::{Method, StatusCode};

use super::attempt::{Attempt, Routed};
use super::context::{self, RequestContext};
use super::pump::Page;
use super::{After, Proxy, request, response};
use crate::config::{Protocol, Redirect};
use crate::downstream::session::Downstream;
use crate::edge::updates::Changes;
use crate::gate::{Permit, Refusal};
use crate::listen::Opened;
use crate::route::Asked;
use crate::snapshot::Snapshot;
use crate::upstream::request::authority;

/// Serves one request.
///
/// `changes` are seen from before the request on; the connection is told of them afterwards.
pub(crate) async fn run(
    proxy: &Proxy,
    opened: &Opened,
    down: Downstream<'_>,
    changes: &mut Changes,
) -> After {
    let edge = &proxy.edge;
    let snapshot = edge.snapshots.load_full();
    // For as long as the snapshot is there: what the context borrows is borrowed as long as what this does.
    let down = &mut Downstream { ..down };
    let mut context = RequestContext::begin(edge, opened, &snapshot, down.head);
    down.set_write_timeout(snapshot.config.limits.body_idle_timeout);
    if edge.is_draining() {
        down.close_after();
    }
    if is_probe(&snapshot, opened, down) {
        context.host = authority(down.head).map(context::host_shown);
        let is_well = !edge.is_draining() && context.can_be_recorded();
        let status = if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        down.close_after();
        return answered(response::answer(down, &mut context, status).await);
    }
    let permit = match judge(&snapshot, opened, down, &mut context) {
        Ok(permit) => permit,
        Err(refusal) => {
            context.refusal = Some(refusal);
            down.close_after();
            return answered(response::answer(down, &mut context, StatusCode::MISDIRECTED_REQUEST).await);
        }
    };
    context.permitted(&permit);
    let cut = async {
        changes.until_refused(edge, &opened.facts.listener, permit.host()).await;
        tokio::time::sleep(snapshot.config.limits.revocation_grace).await;
    };
    // Pinned where it is made: it is large, and would be moved into the selection.
    let mut serve = std::pin::pin!(serve(proxy, &snapshot, &permit, opened, down, &mut context));
    tokio::select! {
        biased;
        after = &mut serve => after,
        () = cut => After::Abort,
    }
}

/// The gate's answer for the host of a request, and the certificate's.
fn judge(
    snapshot: &Snapshot,
    opened: &Opened,
    down: &Downstream<'_>,
    context: &mut RequestContext<'_>,
) -> Result<Permit, Refusal> {
    let host = request::host(down.head, &opened.host);
    context.host = match &host {
        Ok(host) => Some(host.shared()),
        Err(_) => authority(down.head).map(context::host_shown),
    };
    let host = host.map_err(|_| Refusal::HostNotPermitted)?;
    let permit = snapshot
        .decide(&opened.facts.listener, &host, context.moment)
        .map_err(|_| Refusal::HostNotPermitted)?;
    match &opened.coverage {
        Some(coverage) if host != opened.host && coverage.names.get(&host).is_none() => {
            Err(Refusal::NotCovered)
        }
        _ => Ok(permit),
    }
}

async fn serve<'d>(
    proxy: &Proxy,
    snapshot: &Snapshot,
    permit: &Permit,
    opened: &Opened,
    down: &mut Downstream<'d>,
    context: &mut RequestContext<'d>,
) -> After {
    if redirects(snapshot, opened) && context.can_be_recorded() {
        return answered(response::redirect(down, context, permit.host()).await);
    }
    let status = match send(proxy, snapshot, permit, opened, down, context).await {
        Ok(after) => return after,
        Err(status) => status,
    };
    if status.is_client_error() && status != StatusCode::NOT_FOUND {
        down.close_after();
    }
    answered(response::answer(down, context, status).await)
}

/// Whether a configured load balancer asks how the edge does, whatever host it names.
fn is_probe(snapshot: &Snapshot, opened: &Opened, down: &Downstream<'_>) -> bool {
    let Some(Protocol::Http { health_check: Some(check), .. }) = in_clear(snapshot, opened) else {
        return false;
    };
    let path = down.head.target.split(|byte| *byte == b'?').next();
    path.is_some_and(|path| check.is_asked(path, opened.client.ip()))
}

/// Whether the connection's listener sends everybody to TLS.
fn redirects(snapshot: &Snapshot, opened: &Opened) -> bool {
    matches!(in_clear(snapshot, opened), Some(Protocol::Http { redirect: Redirect::Https, .. }))
}

/// How the listener of a connection in clear text is configured.
fn in_clear<'s>(snapshot: &'s Snapshot, opened: &Opened) -> Option<&'s Protocol> {
    let listener = || snapshot.listener_config(snapshot.listener(&opened.facts.listener)?);
    if opened.coverage.is_some() { None } else { listener().map(|listener| &listener.protocol) }
}

fn answered<E>(outcome: Result<(), E>) -> After {
    if outcome.is_ok() { After::Continue } else { After::Abort }
}

/// Finds the route of the request, and sends it there. The error is the status to answer with.
async fn send<'d>(
    proxy: &Proxy,
    snapshot: &Snapshot,
    permit: &Permit,
    opened: &Opened,
    down: &mut Downstream<'d>,
    context: &mut RequestContext<'d>,
) -> Result<After, StatusCode> {
    if !context.can_be_recorded() {
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    let head = down.head;
    if head.method == Method::CONNECT {
        return Err(StatusCode::BAD_REQUEST);
    }
    let site = snapshot.site(permit.site()).ok_or(StatusCode::NOT_FOUND)?;
    let target = String::from_utf8_lossy(&head.target);
    let path = target.split('?').next().unwrap_or_default();
    let region = snapshot.regions.as_ref().and_then(|regions| regions.table.region(context.client.ip()));
    let asked = Asked { method: &head.method, path, headers: &head.headers, region };
    let route = site.routes.resolve(&asked).ok_or(StatusCode::NOT_FOUND)?;
    let scheme = if opened.coverage.is_some() { "https" } else { "http" };
    let page =
        Page { pages: site.footer, footers: &snapshot.footers, site: permit.site(), filing: permit.filing() };
    let routed = Routed { snapshot, route, page, path, scheme };
    Attempt::new(proxy, routed, down, context).run().await
}
