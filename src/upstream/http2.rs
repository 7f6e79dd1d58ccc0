//! A request over HTTP/2 to a server: one stream of a connection that others share.
//!
//! Both ways are independent: what the server does not take holds up nothing that it sends. Dropping a
//! stream that is not whole resets it, so that the server stops working for a client who is gone.

mod connection;
mod head;
mod liveness;
mod pool;
mod windows;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream};
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue};

use super::request::{Framing, UpstreamRequest};
use super::{Part, UpstreamFailure};
use crate::message::websocket;
use crate::message::{BadMessage, ResponseHead};
use crate::net::outflow::Outflow;
pub(crate) use connection::Slot;
pub(crate) use pool::{Http2Connections, Made, Room, Waits};

/// One request and its answer.
pub(crate) struct Session {
    /// Given back before the stream is, since that wakes the connection.
    slot: Slot,
    scheme: Scheme,
    /// How long a server that has no room for the stream after all is waited for.
    wait: Duration,
    upload: Option<Outflow>,
    answer: Answer,
    /// The key of a WebSocket handshake that HTTP/1.1 has and HTTP/2 has not.
    tunnel: Option<Option<HeaderValue>>,
}

#[derive(Debug)]
enum Answer {
    /// Nothing was sent.
    Unasked,
    /// Its head has not come.
    Awaited(ResponseFuture),
    /// Its body comes, or its trailers.
    Begun(RecvStream),
    /// All of it has come.
    Whole,
}

impl Slot {
    /// Whether the server takes WebSockets, which it says at the beginning of the connection.
    pub(crate) async fn takes_websockets(&self, wait: Duration) -> bool {
        tokio::time::timeout(wait, self.connection.settled()).await.is_ok()
            && self.send.is_extended_connect_protocol_enabled()
    }
}

impl Session {
    pub(crate) fn new(slot: Slot, scheme: Scheme, wait: Duration) -> Self {
        Self { slot, scheme, wait, upload: None, answer: Answer::Unasked, tunnel: None }
    }

    pub(crate) async fn send_head(&mut self, request: &UpstreamRequest<'_>) -> Result<(), UpstreamFailure> {
        let framing = request.framing();
        if framing == Framing::Tunnel {
            self.tunnel = Some(request.websocket_key().cloned());
        }
        let head = head::encode(request, self.scheme.clone()).ok_or(BadMessage::Syntax)?;
        let end = !framing.has_body() && framing != Framing::Tunnel;
        let Ok((response, upload)) = self.slot.send.send_request(head, end) else {
            // It is ending, and nobody else need find out.
            self.slot.connection.close();
            return Err(UpstreamFailure::Unprocessed);
        };
        self.answer = Answer::Awaited(response);
        self.upload = Some(Outflow::new(upload));
        let opened = poll_fn(|cx| self.slot.send.poll_ready(cx));
        match tokio::time::timeout(self.wait, opened).await {
            // What an error means for this stream is told by its answer.
            Ok(_) => Ok(()),
            // It has not left: the connection got full since the slot was taken.
            Err(_) => Err(UpstreamFailure::Unprocessed),
        }
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part, UpstreamFailure>> {
        let outcome = ready!(self.poll_part(cx));
        match &outcome {
            Ok(_) => self.slot.connection.has_news(),
            Err(error) if error.is_go_away() || error.is_io() => self.slot.connection.close(),
            Err(_) => {}
        }
        Poll::Ready(outcome.map_err(failure))
    }

    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part, h2::Error>> {
        loop {
            match &mut self.answer {
                Answer::Unasked => return Poll::Pending,
                Answer::Awaited(response) => {
                    if let Poll::Ready(Some(interim)) = response.poll_informational(cx) {
                        let (head, ()) = interim?.into_parts();
                        return Poll::Ready(Ok(Part::Head { head: head_of(head), end: false }));
                    }
                    let (head, body) = ready!(Pin::new(response).poll(cx))?.into_parts();
                    let end = body.is_end_stream();
                    self.answer = if end { Answer::Whole } else { Answer::Begun(body) };
                    let mut head = head_of(head);
                    if let Some(key) = self.tunnel.take().filter(|_| head.status.is_success()) {
                        websocket::accepted(&mut head, key.as_ref());
                    }
                    return Poll::Ready(Ok(Part::Head { head, end }));
                }
                Answer::Begun(body) => match ready!(body.poll_data(cx)) {
                    Some(bytes) => {
                        let bytes = bytes?;
                        // Whoever reads has them now. That the connection is gone is told by the next read.
                        let _ = body.flow_control().release_capacity(bytes.len());
                        if !bytes.is_empty() {
                            return Poll::Ready(Ok(Part::Body(bytes)));
                        }
                    }
                    None => {
                        let trailers = ready!(body.poll_trailers(cx))?;
                        self.answer = Answer::Whole;
                        return Poll::Ready(Ok(Part::End(trailers)));
                    }
                },
                Answer::Whole => return Poll::Ready(Ok(Part::End(None))),
            }
        }
    }

    /// Takes bytes of the request's body, once those before them are sent.
    pub(crate) fn put_body(&mut self, bytes: Bytes) {
        if let Some(upload) = &mut self.upload {
            upload.put(bytes);
        }
    }

    /// Done once the server had room for all that was put.
    pub(crate) fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UpstreamFailure>> {
        match &mut self.upload {
            // Why it fails is told by the answer.
            Some(upload) => upload.poll_sent(cx).map_err(failure),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Ends the request's body, once all of it is sent.
    pub(crate) fn put_end(&mut self, trailers: Option<HeaderMap>) -> Result<(), UpstreamFailure> {
        self.upload.as_mut().map_or(Ok(()), |upload| upload.finish(trailers)).map_err(failure)
    }
}

fn head_of(head: http::response::Parts) -> ResponseHead {
    ResponseHead { status: head.status, version: head.version, headers: head.headers }
}

/// What an error means for the request, as long as its answer has not begun.
fn failure(error: h2::Error) -> UpstreamFailure {
    let refused = error.reason() == Some(Reason::REFUSED_STREAM);
    match error.is_remote() && (error.is_go_away() || (error.is_reset() && refused)) {
        // GOAWAY reaches the streams alone that the server will not look at (RFC 9113, 6.8).
        true => UpstreamFailure::Unprocessed,
        false => UpstreamFailure::Broken(io::Error::other(error)),
    }
}
