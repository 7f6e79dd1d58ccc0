//! An HTTP/1 connection: one request after another, each wait with its own deadline.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use pingora_core::ErrorType;
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::v1::server::HttpSession;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep_until, timeout};

use super::context::RequestContext;
use super::downstream::Downstream;
use super::exchange::{self, After};
use super::{Changes, FIRST_REQUEST, Proxy, request, response};
use crate::config::Limits;
use crate::listen::downstream::{EdgeStream, HeadTooLong};
use crate::listen::{Connection, Edge, Opened, refuse};

/// How long the end of a connection may take.
const CLOSING: Duration = Duration::from_secs(1);
/// How long the rest of a body that nobody wants is awaited, so that the connection can go on.
const DRAINING: Duration = Duration::from_secs(5);

/// Serves requests until the connection ends.
pub(super) async fn serve(proxy: Arc<Proxy>, connection: Connection) {
    let Connection { edge, opened, mut stream, admitted, .. } = connection;
    let mut changes = Changes::of(&edge);
    let budget = stream.head_budget();
    let mut first = true;
    loop {
        let limits = edge.snapshots.load().config.limits;
        if !is_requested(&edge, &opened, &mut stream, &mut changes, &limits, first).await {
            // Whatever the client makes of it, the connection is over.
            let _ = timeout(CLOSING, AsyncWriteExt::shutdown(&mut *stream)).await;
            break;
        }
        first = false;
        budget.begin(limits.request_head_bytes);
        let mut session = HttpSession::new(stream as Stream);
        session.set_pipelining_enabled(true);
        session.set_abort_on_close(false);
        session.set_read_timeout(Some(limits.body_idle_timeout));
        session.set_total_drain_timeout(Some(DRAINING));
        let status = match timeout(limits.request_head_timeout, session.read_request()).await {
            Ok(Ok(Some(_))) => {
                let head = session.req_header();
                let is_known = request::has_known_target(head) && request::is_plainly_coded(head);
                (!is_known).then_some(StatusCode::BAD_REQUEST)
            }
            Ok(Ok(None)) => return,
            Ok(Err(error)) => Some(status_of(&error)),
            Err(_) => Some(StatusCode::REQUEST_TIMEOUT),
        };
        budget.end();
        if let Some(status) = status {
            reject(&edge, &opened, session.into_inner(), status).await;
            return;
        }
        match exchange::run(&proxy, &opened, &mut Downstream::Http1(&mut session)).await {
            After::Continue => {}
            After::Abort => {
                if let Some(stream) = session.into_inner().as_any().downcast_ref::<EdgeStream>() {
                    refuse::reset(stream.transport().socket());
                }
                return;
            }
        }
        if !session.will_keepalive() && !session.is_body_done() {
            return refuse::finish(session.into_inner(), &[]).await;
        }
        let Ok(Ok(Some(reusable))) = timeout(DRAINING + CLOSING, session.reuse()).await else { return };
        let (kept, ahead) = reusable.into_parts();
        let Ok(kept) = kept.into_any().downcast::<EdgeStream>() else { return };
        stream = kept;
        if let Some(ahead) = ahead {
            stream.put_back(ahead);
        }
    }
    drop(admitted);
}

/// Waits for the first byte of a request. `false` when the connection is to end instead.
async fn is_requested(
    edge: &Edge,
    opened: &Opened,
    stream: &mut EdgeStream,
    changes: &mut Changes,
    limits: &Limits,
    first: bool,
) -> bool {
    let mut deadline = Instant::now() + limits.idle_timeout;
    loop {
        if edge.is_draining() {
            let left = if first { FIRST_REQUEST } else { Duration::ZERO };
            deadline = deadline.min(Instant::now() + left);
        }
        tokio::select! {
            biased;
            ready = stream.has_data() => return ready.unwrap_or(false),
            () = sleep_until(deadline) => return false,
            () = changes.next() => {
                let snapshot = edge.snapshots.load();
                if snapshot.decide(&opened.facts.listener, &opened.host, edge.moment()).is_err() {
                    return false;
                }
            }
        }
    }
}

/// The answer to what is no request.
fn status_of(error: &pingora_core::Error) -> StatusCode {
    let too_long = || {
        let cause = error.root_cause().downcast_ref::<std::io::Error>()?;
        cause.get_ref()?.downcast_ref::<HeadTooLong>()
    };
    if too_long().is_some() {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
    } else if matches!(error.etype(), ErrorType::ReadTimedout) {
        StatusCode::REQUEST_TIMEOUT
    } else {
        StatusCode::BAD_REQUEST
    }
}

/// Answers what is no request, and ends the connection.
async fn reject(edge: &Arc<Edge>, opened: &Arc<Opened>, stream: Stream, status: StatusCode) {
    let mut context = RequestContext::of_nothing(edge, opened, &edge.snapshots.load_full(), "http/1.1");
    let body = response::body(status, &context.request_id);
    context.facts.status = Some(status.as_u16());
    context.facts.bytes_out = body.len() as u64;
    let fields = format!("x-request-id: {}\r\n", context.request_id);
    // Recorded first: a client may take its time to close.
    drop(context);
    refuse::finish(stream, refuse::last_answer(status, &fields, &body).as_bytes()).await;
}
