//! A request to a server over HTTP/2: one stream of a shared connection.
//!
//! Both directions are independent: a server that stops reading does not block its response. Dropping an
//! incomplete stream resets it, so that the server stops working for a client that is gone.

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
use http::{HeaderMap, HeaderValue, StatusCode};

use super::request::{BodyFraming, UpstreamRequest};
use super::{ResponsePart, UpstreamFailure};
use crate::message::interim::InterimHeads;
use crate::message::{BadMessage, RESPONSE_FIELDS, ResponseHead, trailers, websocket};
use crate::net::outflow::Outflow;
pub(crate) use connection::StreamSlot;
pub(crate) use pool::{Connected, ConnectionKind, Http2Connections, Room, WaitLimits};

pub(crate) struct ServerHttp2 {
    /// Dropped before the stream, whose drop wakes the connection.
    slot: StreamSlot,
    scheme: Scheme,
    /// How long to wait if the server has no room for the stream after all.
    wait: Duration,
    upload: Option<Outflow>,
    answer: ResponseState,
    interim: InterimHeads,
    /// The key of a WebSocket handshake, which HTTP/1.1 has and HTTP/2 has not.
    tunnel: Option<Option<HeaderValue>>,
    /// The server has taken the handshake.
    upgraded: bool,
}

#[derive(Debug)]
enum ResponseState {
    Unasked,
    Awaited(ResponseFuture),
    /// The body or its trailers are arriving. So many bytes were handed on last.
    Begun(RecvStream, usize),
    Whole,
}

impl StreamSlot {
    /// Whether the server accepts WebSockets, which it says in its first SETTINGS.
    pub(crate) async fn takes_websockets(&self, wait: Duration) -> bool {
        tokio::time::timeout(wait, self.connection.settled()).await.is_ok()
            && self.send.is_extended_connect_protocol_enabled()
    }
}

impl ServerHttp2 {
    pub(crate) fn new(slot: StreamSlot, scheme: Scheme, wait: Duration) -> Self {
        Self {
            slot,
            scheme,
            wait,
            upload: None,
            answer: ResponseState::Unasked,
            interim: InterimHeads::default(),
            tunnel: None,
            upgraded: false,
        }
    }

    pub(crate) async fn send_head(&mut self, request: &UpstreamRequest<'_>) -> Result<(), UpstreamFailure> {
        let framing = request.framing();
        if framing == BodyFraming::Tunnel {
            self.tunnel = Some(request.websocket_key().cloned());
        }
        let head = head::encode(request, self.scheme.clone()).ok_or(BadMessage::Syntax)?;
        let end = !framing.has_body() && framing != BodyFraming::Tunnel;
        let Ok((response, upload)) = self.slot.send.send_request(head, end) else {
            // The connection is ending: no other request should find out the same way.
            self.slot.connection.close();
            return Err(UpstreamFailure::Unprocessed);
        };
        self.answer = ResponseState::Awaited(response);
        self.upload = Some(Outflow::new(upload));
        let established = poll_fn(|cx| self.slot.send.poll_ready(cx));
        match tokio::time::timeout(self.wait, established).await {
            // The response reports errors of this stream.
            Ok(_) => Ok(()),
            // Not sent: the connection became full after the slot was taken.
            Err(_) => Err(UpstreamFailure::Unprocessed),
        }
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponsePart, UpstreamFailure>> {
        let outcome = ready!(self.poll_part(cx));
        match &outcome {
            Ok(ResponsePart::Head { head, .. })
                if head.status == StatusCode::SWITCHING_PROTOCOLS && !self.upgraded =>
            {
                return Poll::Ready(Err(BadMessage::Upgrade.into()));
            }
            Ok(part) => {
                self.slot.connection.has_news();
                self.check(part)?;
            }
            Err(error) if error.is_go_away() || error.is_io() => self.slot.connection.close(),
            Err(_) => {}
        }
        Poll::Ready(outcome.map_err(failure))
    }

    /// Holds a response to the limits that the parser of HTTP/1.1 has.
    fn check(&mut self, part: &ResponsePart) -> Result<(), BadMessage> {
        match part {
            ResponsePart::Head { head, .. } if head.headers.len() > RESPONSE_FIELDS => {
                Err(BadMessage::TooManyFields)
            }
            ResponsePart::Head { head, .. } if head.status.is_informational() && !self.upgraded => {
                self.interim.count(head)
            }
            ResponsePart::End(Some(sent)) => trailers::check(sent),
            ResponsePart::Head { .. } | ResponsePart::Body(_) | ResponsePart::End(None) => Ok(()),
        }
    }

    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponsePart, h2::Error>> {
        loop {
            match &mut self.answer {
                ResponseState::Unasked => return Poll::Pending,
                ResponseState::Awaited(response) => {
                    if let Poll::Ready(Some(interim)) = response.poll_informational(cx) {
                        let (head, ()) = interim?.into_parts();
                        return Poll::Ready(Ok(ResponsePart::Head { head: head_of(head), end: false }));
                    }
                    let (head, body) = ready!(Pin::new(response).poll(cx))?.into_parts();
                    let end = body.is_end_stream();
                    self.answer = if end { ResponseState::Whole } else { ResponseState::Begun(body, 0) };
                    let mut head = head_of(head);
                    if let Some(key) = self.tunnel.take().filter(|_| head.status.is_success()) {
                        websocket::accepted(&mut head, key.as_ref());
                        self.upgraded = true;
                    }
                    return Poll::Ready(Ok(ResponsePart::Head { head, end }));
                }
                ResponseState::Begun(body, taken) => {
                    // Flow control: the window is returned when the client has taken the bytes, and more is wanted. The next
                    // read reports a closed connection.
                    let _ = body.flow_control().release_capacity(std::mem::take(taken));
                    match ready!(body.poll_data(cx)) {
                        Some(bytes) => {
                            let bytes = bytes?;
                            *taken = bytes.len();
                            if !bytes.is_empty() {
                                return Poll::Ready(Ok(ResponsePart::Body(bytes)));
                            }
                        }
                        None => {
                            let trailers = ready!(body.poll_trailers(cx))?;
                            self.answer = ResponseState::Whole;
                            return Poll::Ready(Ok(ResponsePart::End(trailers)));
                        }
                    }
                }
                ResponseState::Whole => return Poll::Ready(Ok(ResponsePart::End(None))),
            }
        }
    }

    /// Bytes of the answer that have come, and were not taken.
    pub(crate) fn unread(&mut self) -> usize {
        match &mut self.answer {
            ResponseState::Begun(body, _) => body.flow_control().used_capacity(),
            ResponseState::Unasked | ResponseState::Awaited(_) | ResponseState::Whole => 0,
        }
    }

    /// Accepts body bytes to be sent after the previous ones.
    pub(crate) fn put_body(&mut self, bytes: Bytes) {
        if let Some(upload) = &mut self.upload {
            upload.put(bytes);
        }
    }

    /// Ready once flow control had room for all accepted bytes.
    pub(crate) fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UpstreamFailure>> {
        match &mut self.upload {
            // The response reports the reason.
            Some(upload) => upload.poll_sent(cx, None).map_err(failure),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Ends the request body after the accepted bytes.
    pub(crate) fn put_end(&mut self, trailers: Option<HeaderMap>) -> Result<(), UpstreamFailure> {
        self.upload.as_mut().map_or(Ok(()), |upload| upload.finish(trailers)).map_err(failure)
    }
}

fn head_of(head: http::response::Parts) -> ResponseHead {
    ResponseHead { status: head.status, version: head.version, headers: head.headers }
}

/// What an error means for a request whose response has not started.
fn failure(error: h2::Error) -> UpstreamFailure {
    if error.is_library() && error.is_reset() {
        return UpstreamFailure::Bad(BadMessage::Syntax);
    }
    let refused = error.reason() == Some(Reason::REFUSED_STREAM);
    match error.is_remote() && (error.is_go_away() || (error.is_reset() && refused)) {
        // GOAWAY fails only the streams that the server will not process (RFC 9113, 6.8).
        true => UpstreamFailure::Unprocessed,
        false => UpstreamFailure::Broken(io::Error::other(error)),
    }
}
