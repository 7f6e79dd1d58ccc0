//! An HTTP/2 connection: its streams are exchanges of their own; the connection ends when it is idle
//! for too long, when its host is revoked, and when the program ends.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Version};
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::v2::server::{H2Accept, HttpSession, default_h2_options, handshake};
use pingora_http::RequestHeader;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::context::RequestContext;
use super::deadline::Deadline;
use super::downstream::Downstream;
use super::exchange::{self, After};
use super::{Changes, FIRST_REQUEST, Proxy};
use crate::listen::Connection;
use crate::message::{RequestHead, ResponseHead};

/// How long an idle connection may take to end once it was told to.
const CLOSING: Duration = Duration::from_secs(1);
/// Streams whose head is no request, before the connection is.
const REJECTED_STREAMS: u32 = 32;
/// What a client may send ahead on one stream, and on all of them, in bytes.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What is held of an answer for a client that does not take it, in bytes: one read of the origin's.
const SEND_BUFFER: usize = 64 * 1024;

/// A stream: one request and its answer.
pub(super) struct Session {
    pub(super) stream: HttpSession,
    pub(super) head: RequestHead,
    pub(super) deadline: Deadline,
}

impl Session {
    pub(super) fn write_head(&mut self, head: ResponseHead, end: bool) -> pingora_core::Result<()> {
        let (mut parts, ()) = http::Response::new(()).into_parts();
        parts.status = head.status;
        parts.headers = head.headers;
        self.stream.write_response_header(Box::new(parts.into()), end)
    }

    pub(super) fn finish(&mut self, trailers: Option<HeaderMap>) -> pingora_core::Result<()> {
        match trailers {
            Some(trailers) => self.stream.write_trailers(trailers),
            None => self.stream.finish(),
        }
    }
}

fn head_of(request: &RequestHeader) -> RequestHead {
    RequestHead {
        method: request.method.clone(),
        target: Bytes::copy_from_slice(request.raw_path()),
        authority: request
            .uri
            .authority()
            .map(|authority| Bytes::copy_from_slice(authority.as_str().as_bytes())),
        version: Version::HTTP_2,
        headers: request.headers.clone(),
    }
}

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
pub(super) async fn serve(proxy: Arc<Proxy>, connection: Connection) {
    let Connection { edge, opened, mut stream, admitted, .. } = connection;
    let limits = edge.snapshots.load().config.limits;
    let mut changes = Changes::of(&edge);
    stream.bound_header_blocks(limits.request_head_timeout);
    let mut options = default_h2_options();
    options.max_header_list_size(u32::try_from(limits.request_head_bytes).unwrap_or(u32::MAX));
    options.initial_window_size(STREAM_WINDOW);
    options.initial_connection_window_size(CONNECTION_WINDOW);
    options.max_send_buffer_size(SEND_BUFFER);
    let Ok(Ok(mut http2)) = timeout(limits.request_head_timeout, handshake(stream, Some(options))).await
    else {
        return;
    };
    let digest = Arc::new(Digest::default());
    let mut streams = JoinSet::new();
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
            accepted = HttpSession::from_h2_conn(&mut http2, Arc::clone(&digest)) => match accepted {
                Ok(Some(H2Accept::Session(stream))) => {
                    if stage == Stage::New {
                        stage = Stage::Open;
                    }
                    let (proxy, opened) = (Arc::clone(&proxy), Arc::clone(&opened));
                    streams.spawn(async move {
                        let mut session = Session { head: head_of(stream.req_header()), stream, deadline: Deadline::default() };
                        let mut changes = Changes::of(&proxy.edge);
                        let mut down = Downstream::Http2(&mut session);
                        let after = exchange::run(&proxy, &opened, &mut down, &mut changes).await;
                        match after {
                            After::Abort => session.stream.shutdown(),
                            // Some clients forget the answer over the reset that ends the rest of a body.
                            After::Continue => {
                                session.stream.set_total_drain_timeout(Some(CLOSING));
                                let _ = session.stream.drain_request_body().await;
                            }
                        }
                    });
                    if edge.is_draining() {
                        http2.graceful_shutdown();
                        stage = Stage::Closing;
                    }
                }
                Ok(Some(H2Accept::Rejected)) => {
                    let snapshot = edge.snapshots.load_full();
                    let mut context = RequestContext::of_nothing(&edge, &opened, &snapshot, "h2");
                    context.facts.status = Some(StatusCode::BAD_REQUEST.as_u16());
                    rejected += 1;
                    if rejected > REJECTED_STREAMS {
                        break;
                    }
                }
                Ok(None) | Err(_) => break,
            },
            Some(_) = streams.join_next() => {
                if streams.is_empty() {
                    idle_since = Instant::now();
                }
            }
            () = sleep_until(idle_since + idle_for), if streams.is_empty() => {
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
