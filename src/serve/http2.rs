//! An HTTP/2 connection: its streams are exchanges of their own; the connection ends when it is idle
//! for too long, when its host is revoked, and when the program ends.

use std::sync::Arc;

use futures_util::stream::{FuturesUnordered, StreamExt};
use h2::server::Builder;
use http::{StatusCode, Version};
use tokio::time::{Instant, timeout};

use super::timeouts::{CLOSING, FIRST_REQUEST};
use crate::downstream::http2::{Rejected, Session};
use crate::downstream::session::Downstream;
use crate::edge::updates::Changes;
use crate::exchange::context::RequestContext;
use crate::exchange::{After, Proxy, run};
use crate::listen::{Connection, Opened};
use crate::message::RequestHead;
use crate::net::deadline::Deadline;

/// The most streams at once.
const STREAMS: u32 = 100;
/// Streams whose head is no request, before the connection is.
const REJECTED_STREAMS: u32 = 32;
/// What a client may send ahead on one stream, and on all of them, in bytes.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What is held of an answer for a client that does not take it, in bytes: one read of the origin's.
const SEND_BUFFER: usize = 64 * 1024;
/// What is gathered of all answers before it is sent, in bytes.
const GATHERED: usize = 64 * 1024;

/// How a connection stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    /// No request has come.
    New,
    /// Requests may come.
    Open,
    /// GOAWAY is sent; what is in flight may finish.
    Closing,
}

/// Serves streams until the connection ends.
pub(crate) async fn serve(proxy: Arc<Proxy>, connection: Connection) {
    let Connection { edge, opened, mut stream, admitted, .. } = connection;
    let limits = edge.snapshots.load().config.limits;
    let mut changes = Changes::of(&edge);
    stream.bound_header_blocks(limits.request_head_timeout);
    stream.gather(GATHERED);
    let handshake = Builder::new()
        .max_header_list_size(u32::try_from(limits.request_head_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(STREAMS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .enable_connect_protocol()
        .handshake(stream);
    let Ok(Ok(mut http2)) = timeout(limits.request_head_timeout, handshake).await else { return };
    // In the connection's own task: what several streams have to say by one turn leaves in one write.
    let mut streams = FuturesUnordered::new();
    let mut idle = Deadline::default();
    let mut rejected = 0;
    let mut stage = Stage::New;
    let mut idle_since = Instant::now();
    loop {
        let idle_for = match stage {
            Stage::Closing => CLOSING,
            Stage::New if edge.is_draining() => FIRST_REQUEST,
            Stage::New | Stage::Open => edge.snapshots.load().config.limits.idle_timeout,
        };
        tokio::select! {
            biased;
            Some(()) = streams.next() => {
                if streams.is_empty() {
                    idle_since = Instant::now();
                }
            }
            accepted = http2.accept() => {
                let Some(Ok((request, respond))) = accepted else { break };
                match Session::accept(request, respond) {
                    Ok((head, session)) => {
                        if stage == Stage::New {
                            stage = Stage::Open;
                        }
                        streams.push(exchange(Arc::clone(&proxy), Arc::clone(&opened), head, session));
                        if edge.is_draining() {
                            http2.graceful_shutdown();
                            stage = Stage::Closing;
                        }
                    }
                    Err(Rejected) => {
                        let snapshot = edge.snapshots.load_full();
                        let mut context = RequestContext::of_nothing(&edge, &opened, &snapshot, Version::HTTP_2);
                        context.facts.status = Some(StatusCode::BAD_REQUEST.as_u16());
                        rejected += 1;
                        if rejected > REJECTED_STREAMS {
                            break;
                        }
                    }
                }
            }
            () = idle.reached(idle_since + idle_for), if streams.is_empty() => {
                if stage == Stage::Closing {
                    break;
                }
                http2.graceful_shutdown();
                stage = Stage::Closing;
                idle_since = Instant::now();
            }
            () = changes.next(), if stage != Stage::Closing => {
                let revoked = edge
                    .snapshots
                    .load()
                    .decide(&opened.facts.listener, &opened.host, edge.moment())
                    .is_err();
                if revoked || (edge.is_draining() && stage == Stage::Open) {
                    http2.graceful_shutdown();
                    stage = Stage::Closing;
                    idle_since = Instant::now();
                }
            }
        }
    }
    drop(admitted);
}

/// Serves one request.
async fn exchange(proxy: Arc<Proxy>, opened: Arc<Opened>, head: RequestHead, mut session: Session) {
    let mut changes = Changes::of(&proxy.edge);
    let down = Downstream::http2(&head, &mut session);
    let after = run::run(&proxy, &opened, down, &mut changes).await;
    match after {
        After::Abort => session.abort(),
        After::Continue => session.drain(CLOSING).await,
    }
}
