//! A client's HTTP/2 connection: each stream is an exchange of its own.
//!
//! The connection ends when it has been idle for too long, when its host is revoked, and when the program
//! stops.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use h2::RecvStream;
use h2::server::{Builder, Handshake, SendResponse};
use http::{Request, StatusCode, Version};
use tokio::time::{Instant, timeout};

use super::timeouts::{CLOSING, FIRST_REQUEST};
use crate::access::Reason;
use crate::config::Limits;
use crate::downstream::http2::{ClientHttp2, Rejected};
use crate::downstream::session::Downstream;
use crate::edge::Edge;
use crate::edge::updates::SnapshotUpdates;
use crate::exchange::context::RequestContext;
use crate::exchange::{Outcome, Proxy, run};
use crate::listen::{Connection, Established};
use crate::message::RequestHead;
use crate::net::http2_stream::Http2Stream;
use crate::net::timer::Timer;
use crate::net::untaken::{Next, Refused, Untaken};

const STREAMS: u32 = 100;
/// Malformed requests before the connection is closed.
const REJECTED_STREAMS: u32 = 32;
/// Flow-control windows of a stream and of the connection: bytes that a client may send ahead.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of a response buffered per stream for a slow client: one read from the server.
const SEND_BUFFER: usize = 64 * 1024;
/// Bytes gathered from all streams before a write.
const GATHERED: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum ConnectionStage {
    New,
    Open,
    /// GOAWAY is sent; open streams may finish.
    Closing,
}

impl ConnectionStage {
    /// How long the connection may have no streams.
    fn idle_limit(self, edge: &Edge) -> Duration {
        match self {
            Self::Closing => CLOSING,
            Self::New if edge.is_draining() => FIRST_REQUEST,
            Self::New | Self::Open => edge.snapshots.load().config.limits.idle_timeout,
        }
    }
}

pub(crate) async fn serve(proxy: Arc<Proxy>, connection: Connection) {
    let Connection { edge, established, mut stream, admitted, .. } = connection;
    let limits = edge.snapshots.load().config.limits;
    let mut updates = SnapshotUpdates::of(&edge);
    let untaken = stream.follow_streams();
    established.presence.holding.follow(untaken.clone());
    let handshake = handshake(stream, &limits);
    let Ok(Ok(mut http2)) = timeout(limits.request_head_timeout, handshake).await else { return };
    // All streams run in the connection's own task, so that what they send in one turn leaves in one write.
    let mut streams = FuturesUnordered::new();
    let mut idle = Timer::default();
    let mut rejected = 0;
    let mut stage = ConnectionStage::New;
    let mut idle_since = Instant::now();
    loop {
        record_untaken(&proxy, &established, &untaken);
        tokio::select! {
            biased;
            Some(()) = streams.next() => {
                if streams.is_empty() {
                    idle_since = Instant::now();
                    admitted.idle(idle_since);
                }
            }
            accepted = poll_fn(|cx| poll_accept(&mut http2, &untaken, cx)) => {
                let (request, respond) = match accepted {
                    // The next turn records it.
                    Err(Interruption::Refused) => continue,
                    Err(Interruption::Flood) => {
                        record_refused(&proxy, &established, Refused::Flood);
                        end_flood(&mut http2).await;
                        break;
                    }
                    Ok(Some(Ok(accepted))) => accepted,
                    Ok(Some(Err(error))) => {
                        if error.is_library() {
                            untaken.end();
                        }
                        break;
                    }
                    Ok(None) => break,
                };
                untaken.taken(respond.stream_id().as_u32());
                match ClientHttp2::accept(request, respond, &untaken) {
                    Ok(None) => record_refused(&proxy, &established, Refused::Reset),
                    Ok(Some((head, session))) => {
                        if stage == ConnectionStage::New {
                            stage = ConnectionStage::Open;
                        }
                        admitted.busy();
                        streams.push(exchange(Arc::clone(&proxy), Arc::clone(&established), head, session));
                        if edge.is_draining() {
                            http2.graceful_shutdown();
                            stage = ConnectionStage::Closing;
                        }
                    }
                    Err(Rejected(status)) => {
                        record_refused(&proxy, &established, refused_with(status));
                        rejected += 1;
                        if rejected > REJECTED_STREAMS {
                            break;
                        }
                    }
                }
            }
            () = idle.reached(idle_since + stage.idle_limit(&edge)), if streams.is_empty() => {
                if stage == ConnectionStage::Closing {
                    break;
                }
                http2.graceful_shutdown();
                stage = ConnectionStage::Closing;
                idle_since = Instant::now();
            }
            () = updates.next(), if stage != ConnectionStage::Closing => {
                let is_over = edge.is_draining() && stage == ConnectionStage::Open;
                if is_over || !established.is_permitted(&edge) {
                    http2.graceful_shutdown();
                    stage = ConnectionStage::Closing;
                    idle_since = Instant::now();
                }
            }
        }
    }
    record_untaken(&proxy, &established, &untaken);
    drop(admitted);
    if proxy.cache.is_some() {
        // Streams notice that the connection is gone; fetches that others wait for go on.
        drop(http2);
        while streams.next().await.is_some() {}
    }
}

type Http2 = h2::server::Connection<Box<Http2Stream>, Bytes>;

/// The next request, or the end.
type Accepted = Option<Result<(Request<RecvStream>, SendResponse<Bytes>), h2::Error>>;

/// What comes before the next request.
enum Interruption {
    /// The h2 crate has refused a request.
    Refused,
    /// The client has sent too many frames that move no message.
    Flood,
}

fn poll_accept(
    http2: &mut Http2,
    untaken: &Untaken,
    cx: &mut Context<'_>,
) -> Poll<Result<Accepted, Interruption>> {
    if let Poll::Ready(accepted) = http2.poll_accept(cx) {
        return Poll::Ready(Ok(accepted));
    }
    match untaken.next() {
        Next::Wait => Poll::Pending,
        Next::Yield => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
        Next::Record => Poll::Ready(Err(Interruption::Refused)),
        Next::Close => Poll::Ready(Err(Interruption::Flood)),
    }
}

async fn end_flood(http2: &mut Http2) {
    http2.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
    // The client may not let it end properly.
    let _ = timeout(CLOSING, poll_fn(|cx| http2.poll_closed(cx))).await;
}

fn handshake(mut stream: Box<Http2Stream>, limits: &Limits) -> Handshake<Box<Http2Stream>, Bytes> {
    stream.bound_header_blocks(limits.request_head_timeout);
    stream.gather(GATHERED);
    Builder::new()
        .max_header_list_size(u32::try_from(limits.request_head_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(STREAMS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .enable_connect_protocol()
        .handshake(stream)
}

/// Records the streams that the h2 crate refused since the last time.
fn record_untaken(proxy: &Proxy, established: &Established, untaken: &Untaken) {
    for refused in untaken.refused() {
        record_refused(proxy, established, refused);
    }
}

fn refused_with(status: StatusCode) -> Refused {
    match status {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Refused::TooLarge,
        _ => Refused::Reset,
    }
}

/// Counts and records a stream that was no request.
fn record_refused(proxy: &Proxy, established: &Established, refused: Refused) {
    established.port.counters.http2_refused(refused);
    let snapshot = proxy.edge.snapshots.load_full();
    let mut context = RequestContext::of_nothing(proxy, established, &snapshot, Version::HTTP_2);
    context.reason = Some(Reason::Framing);
    let status = match refused {
        Refused::TooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Refused::Reset | Refused::Connection | Refused::Flood => StatusCode::BAD_REQUEST,
    };
    context.facts.status = Some(status.as_u16());
}

async fn exchange(
    proxy: Arc<Proxy>,
    established: Arc<Established>,
    head: RequestHead,
    mut session: ClientHttp2,
) {
    let mut updates = SnapshotUpdates::of(&proxy.edge);
    let down = Downstream::http2(&head, &mut session);
    let outcome = run::run(&proxy, &established, down, &mut updates).await;
    match outcome {
        Outcome::Abort => session.abort(),
        Outcome::KeepAlive => session.drain(CLOSING).await,
    }
}
