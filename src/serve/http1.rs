//! An HTTP/1 connection of a client: one request after another, each wait with its own deadline.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, Version};
use tokio::time::{Instant, timeout, timeout_at};

use super::timeouts::{CLOSING, FIRST_REQUEST};
use crate::config::Limits;
use crate::downstream::http1::Session;
use crate::downstream::session::Downstream;
use crate::edge::Edge;
use crate::edge::updates::Changes;
use crate::exchange::context::RequestContext;
use crate::exchange::{After, Proxy, response, run};
use crate::listen::{Connection, Opened, refuse};
use crate::message::fields::EndOfHead;
use crate::message::request::{self, NoRequest, Request};
use crate::message::{BadMessage, Persistence, RequestHead};
use crate::net::deadline::Deadline;
use crate::net::wire::Wire;

/// How much of a head is read at once.
const HEAD_READ: usize = 4096;

/// Serves requests until the connection ends.
pub(crate) async fn serve(proxy: Arc<Proxy>, connection: Connection) {
    let Connection { edge, opened, stream, admitted, .. } = connection;
    let (transport, ahead) = stream.into_parts();
    let mut wire = Box::new(Wire::new(transport, ahead));
    let mut changes = Changes::of(&edge);
    let mut deadline = Deadline::default();
    let mut first = true;
    loop {
        let limits = edge.snapshots.load().config.limits;
        wire.rest();
        if !is_requested(&edge, &opened, &mut wire, &mut changes, &mut deadline, &limits, first).await {
            // Whatever the client makes of it, the connection is over.
            let _ = timeout(CLOSING, tokio::io::AsyncWriteExt::shutdown(&mut wire.into_transport())).await;
            break;
        }
        first = false;
        let head = tokio::select! {
            biased;
            head = read_head(&mut wire, limits.request_head_bytes) => head,
            () = deadline.reached(Instant::now() + limits.request_head_timeout) => Err(NoHead::Late),
        };
        let request = match head.map(|head| request::parse(&head)) {
            Ok(Ok(request)) => request,
            Ok(Err(NoRequest { reason, head })) => {
                return reject(&edge, &opened, wire, NoHead::from(reason), head.as_deref()).await;
            }
            Err(NoHead::Ended) => return,
            Err(no_head) => return reject(&edge, &opened, wire, no_head, None).await,
        };
        let mut session = Session::new(wire, deadline, &request);
        // Boxed: what an exchange needs is given back before a client takes its time for what follows.
        let after = Box::pin(exchange(&proxy, &opened, request, &mut session, &mut changes)).await;
        let flushed = after == After::Continue && session.flush_in_turn().await.is_ok();
        let persistence;
        (wire, deadline, persistence) = session.into_parts();
        if !flushed {
            refuse::reset(wire.transport().socket());
            return;
        }
        if persistence == Persistence::Closed {
            return refuse::finish(wire.into_transport(), &[]).await;
        }
    }
    drop(admitted);
}

/// Serves one request.
async fn exchange(
    proxy: &Proxy,
    opened: &Opened,
    request: Request,
    session: &mut Session,
    changes: &mut Changes,
) -> After {
    run::run(proxy, opened, Downstream::http1(&request.head, session), changes).await
}

/// Why there is no request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum NoHead {
    /// The connection ended before its head did.
    Ended,
    /// The head did not end in time.
    Late,
    /// The head is longer than its limit, or has more fields.
    Long,
    /// It is no head of a request.
    Bad,
}

impl NoHead {
    fn status(self) -> StatusCode {
        match self {
            Self::Late => StatusCode::REQUEST_TIMEOUT,
            Self::Long => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Ended | Self::Bad => StatusCode::BAD_REQUEST,
        }
    }
}

impl From<BadMessage> for NoHead {
    fn from(bad: BadMessage) -> Self {
        match bad {
            BadMessage::TooManyFields => Self::Long,
            _ => Self::Bad,
        }
    }
}

/// Takes a whole head off the wire.
async fn read_head(wire: &mut Wire, limit: usize) -> Result<Bytes, NoHead> {
    let mut end = EndOfHead::default();
    loop {
        if let Some(length) = end.find(&wire.input) {
            return if length <= limit {
                Ok(wire.input.split_to(length).freeze())
            } else {
                Err(NoHead::Long)
            };
        }
        if wire.input.len() >= limit {
            return Err(NoHead::Long);
        }
        match wire.fill(HEAD_READ).await {
            Ok(0) | Err(_) => return Err(NoHead::Ended),
            Ok(_) => {}
        }
    }
}

/// Waits for the first byte of a request. `false` when the connection is to end instead.
async fn is_requested(
    edge: &Edge,
    opened: &Opened,
    wire: &mut Wire,
    changes: &mut Changes,
    deadline: &mut Deadline,
    limits: &Limits,
    first: bool,
) -> bool {
    if !wire.input.is_empty() {
        return true;
    }
    let mut end = Instant::now() + limits.idle_timeout;
    loop {
        if edge.is_draining() {
            let left = if first { FIRST_REQUEST } else { Duration::ZERO };
            end = end.min(Instant::now() + left);
        }
        tokio::select! {
            biased;
            read = wire.fill(HEAD_READ) => return read.is_ok_and(|read| read > 0),
            () = deadline.reached(end) => return false,
            () = changes.next() => {
                let snapshot = edge.snapshots.load();
                if snapshot.decide(&opened.facts.listener, &opened.host, edge.moment()).is_err() {
                    return false;
                }
            }
        }
    }
}

/// Answers what is no request, and ends the connection.
async fn reject(
    edge: &Edge,
    opened: &Opened,
    mut wire: Box<Wire>,
    no_head: NoHead,
    head: Option<&RequestHead>,
) {
    let (snapshot, status) = (edge.snapshots.load_full(), no_head.status());
    let mut context = match head {
        Some(head) => RequestContext::begin(edge, opened, &snapshot, head),
        None => RequestContext::of_nothing(edge, opened, &snapshot, Version::HTTP_11),
    };
    let body = response::body(status, &context.request_id());
    context.facts.status = Some(status.as_u16());
    context.facts.bytes_out = body.len() as u64;
    let fields = format!("x-request-id: {}\r\n", &*context.request_id());
    // Recorded first: a client may take its time to close.
    drop(context);
    let answer = refuse::last_answer(status, &fields, &body);
    // What was answered before may still be on its way.
    if timeout_at(Instant::now() + CLOSING, wire.flush()).await.is_ok_and(|flushed| flushed.is_ok()) {
        refuse::finish(wire.into_transport(), answer.as_bytes()).await;
    }
}
