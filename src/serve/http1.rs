//! A client's HTTP/1 connection: one request after another, each wait with its own deadline.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, Version};
use tokio::time::{Instant, timeout, timeout_at};

use super::timeouts::{CLOSING, FIRST_REQUEST};
use crate::config::Limits;
use crate::downstream::http1::ClientHttp1;
use crate::downstream::session::Downstream;
use crate::edge::Edge;
use crate::edge::updates::SnapshotUpdates;
use crate::exchange::context::RequestContext;
use crate::exchange::{Outcome, Proxy, response, run};
use crate::listen::{Connection, Established, refuse};
use crate::message::fields::EndOfHead;
use crate::message::request::{self, NoRequest, Request};
use crate::message::{BadMessage, Persistence, RequestHead};
use crate::net::http1_stream::Http1Stream;
use crate::net::timer::Timer;

const HEAD_READ: usize = 4096;

pub(crate) async fn serve(proxy: Arc<Proxy>, connection: Connection) {
    let Connection { edge, established, stream, mut first, admitted, .. } = connection;
    let (transport, ahead) = stream.into_parts();
    let mut stream = Box::new(Http1Stream::new(transport, ahead));
    let mut updates = SnapshotUpdates::of(&edge);
    let mut deadline = Timer::default();
    let mut is_first = true;
    loop {
        let limits = edge.snapshots.load().config.limits;
        let request = if let Some(first) = first.take() {
            (*first).map_err(NoHead::from)
        } else {
            stream.release_buffers();
            admitted.idle(Instant::now());
            let wait = RequestWait { edge: &edge, established: &established, limits: &limits, is_first };
            if !is_requested(&wait, &mut stream, &mut updates, &mut deadline).await {
                // The connection is closed either way, so the outcome does not matter.
                let _ =
                    timeout(CLOSING, tokio::io::AsyncWriteExt::shutdown(&mut stream.into_transport())).await;
                break;
            }
            read_request(&mut stream, &mut deadline, &limits).await
        };
        admitted.busy();
        is_first = false;
        let request = match request {
            Ok(request) => request,
            Err(NoHead { failure: HeadFailure::Ended, .. }) => return,
            Err(NoHead { failure, head }) => {
                return reject(&proxy, &established, stream, failure, head.as_deref()).await;
            }
        };
        let mut session = ClientHttp1::new(stream, deadline, &request);
        // Boxed, so that the memory of an exchange is free while the client is idle.
        let outcome = Box::pin(exchange(&proxy, &established, request, &mut session, &mut updates)).await;
        let flushed = outcome == Outcome::KeepAlive && session.flush_in_turn().await.is_ok();
        let persistence;
        (stream, deadline, persistence) = session.into_parts();
        if !flushed {
            refuse::reset(stream.transport().socket());
            return;
        }
        if persistence == Persistence::Closed {
            return refuse::finish(stream.into_transport(), &[]).await;
        }
    }
    drop(admitted);
}

async fn exchange(
    proxy: &Proxy,
    established: &Established,
    request: Request,
    session: &mut ClientHttp1,
    updates: &mut SnapshotUpdates,
) -> Outcome {
    run::run(proxy, established, Downstream::http1(&request.head, session), updates).await
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum HeadFailure {
    /// The connection ended before the head was complete.
    Ended,
    Late,
    /// The head exceeds its limit of bytes or of fields.
    Long,
    Bad,
}

impl HeadFailure {
    fn status(self) -> StatusCode {
        match self {
            Self::Late => StatusCode::REQUEST_TIMEOUT,
            Self::Long => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Ended | Self::Bad => StatusCode::BAD_REQUEST,
        }
    }
}

impl From<BadMessage> for HeadFailure {
    fn from(bad: BadMessage) -> Self {
        match bad {
            BadMessage::TooManyFields => Self::Long,
            _ => Self::Bad,
        }
    }
}

/// Why there is no request, with the head if it could be parsed so far.
struct NoHead {
    failure: HeadFailure,
    head: Option<Box<RequestHead>>,
}

impl From<NoRequest> for NoHead {
    fn from(no_request: NoRequest) -> Self {
        Self { failure: no_request.reason.into(), head: no_request.head }
    }
}

/// Reads and parses the next head within its time limit.
async fn read_request(
    stream: &mut Http1Stream,
    deadline: &mut Timer,
    limits: &Limits,
) -> Result<Request, NoHead> {
    let head = tokio::select! {
        biased;
        head = read_head(stream, limits.request_head_bytes) => head,
        () = deadline.reached(Instant::now() + limits.request_head_timeout) => Err(HeadFailure::Late),
    };
    let head = head.map_err(|failure| NoHead { failure, head: None })?;
    Ok(request::parse(&head)?)
}

async fn read_head(stream: &mut Http1Stream, limit: usize) -> Result<Bytes, HeadFailure> {
    let mut end = EndOfHead::default();
    loop {
        if let Some(length) = end.find(&stream.input) {
            return if length <= limit {
                Ok(stream.input.split_to(length).freeze())
            } else {
                Err(HeadFailure::Long)
            };
        }
        if stream.input.len() >= limit {
            return Err(HeadFailure::Long);
        }
        match stream.fill(HEAD_READ).await {
            Ok(0) | Err(_) => return Err(HeadFailure::Ended),
            Ok(_) => {}
        }
    }
}

/// What ends the wait for a request.
struct RequestWait<'w> {
    edge: &'w Edge,
    established: &'w Established,
    limits: &'w Limits,
    /// No request has arrived on this connection yet.
    is_first: bool,
}

/// Waits for the first byte of a request. `false` if the connection must end instead.
async fn is_requested(
    wait: &RequestWait<'_>,
    stream: &mut Http1Stream,
    updates: &mut SnapshotUpdates,
    deadline: &mut Timer,
) -> bool {
    if !stream.input.is_empty() {
        return true;
    }
    let mut end = Instant::now() + wait.limits.idle_timeout;
    loop {
        if wait.edge.is_draining() {
            // After an upgrade there is no hurry: a request that is on its way is answered, with `connection: close`.
            let has_time = wait.is_first || wait.edge.is_succeeded();
            let left = if has_time { FIRST_REQUEST } else { Duration::ZERO };
            end = end.min(Instant::now() + left);
        }
        tokio::select! {
            biased;
            read = stream.fill(HEAD_READ) => return read.is_ok_and(|read| read > 0),
            () = deadline.reached(end) => return false,
            () = updates.next() => {
                if !wait.established.is_permitted(wait.edge) {
                    return false;
                }
            }
        }
    }
}

async fn reject(
    proxy: &Proxy,
    established: &Established,
    mut stream: Box<Http1Stream>,
    failure: HeadFailure,
    head: Option<&RequestHead>,
) {
    let (snapshot, status) = (proxy.edge.snapshots.load_full(), failure.status());
    let mut context = match head {
        Some(head) => RequestContext::begin(proxy, established, &snapshot, head),
        None => RequestContext::of_nothing(proxy, established, &snapshot, Version::HTTP_11),
    };
    let body = response::body(status, &context.request_id());
    context.facts.status = Some(status.as_u16());
    context.facts.bytes_out = body.len() as u64;
    let fields = format!("x-request-id: {}\r\n", &*context.request_id());
    // Recorded before the answer: the client may take its time to close.
    drop(context);
    let answer = refuse::last_answer(status, &fields, &body);
    // Earlier responses may still be buffered.
    if timeout_at(Instant::now() + CLOSING, stream.flush()).await.is_ok_and(|flushed| flushed.is_ok()) {
        refuse::finish(stream.into_transport(), answer.as_bytes()).await;
    }
}
