//! The client's side of an exchange, over HTTP/1 or HTTP/2.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, header};
use tokio::task::yield_now;
use tokio::time::timeout;

use super::{ClientFailure, Wanted, http1, http2};
use crate::message::fields::has_token;
use crate::message::{RequestHead, ResponseHead};
use crate::net::timer::Timer;
use crate::route::ReadyEdits;

/// A request and the way back for its response.
pub(crate) struct Downstream<'s> {
    pub(crate) head: &'s RequestHead,
    pub(crate) session: ClientSession<'s>,
    /// The route's edits of the response's fields.
    edits: Option<Box<ReadyEdits>>,
}

/// Reads the rest of a request and writes its response.
pub(crate) enum ClientSession<'s> {
    Http1(&'s mut http1::ClientHttp1),
    Http2(&'s mut http2::ClientHttp2),
}

impl<'s> Downstream<'s> {
    pub(crate) fn http1(head: &'s RequestHead, session: &'s mut http1::ClientHttp1) -> Self {
        Self { head, session: ClientSession::Http1(session), edits: None }
    }

    pub(crate) fn http2(head: &'s RequestHead, session: &'s mut http2::ClientHttp2) -> Self {
        Self { head, session: ClientSession::Http2(session), edits: None }
    }

    /// The timer of the connection (HTTP/1) or stream (HTTP/2).
    pub(crate) fn deadline(&mut self) -> &mut Timer {
        match &mut self.session {
            ClientSession::Http1(session) => &mut session.deadline,
            ClientSession::Http2(session) => &mut session.deadline,
        }
    }

    /// Limits each write of the response.
    pub(crate) fn set_write_timeout(&mut self, limit: Duration) {
        match &mut self.session {
            ClientSession::Http1(session) => session.write_limit = limit,
            ClientSession::Http2(session) => session.write_limit = limit,
        }
    }

    /// Whether the request has no body, or all of it was read.
    pub(crate) fn is_body_done(&mut self) -> bool {
        match &mut self.session {
            ClientSession::Http1(session) => session.is_body_done(),
            ClientSession::Http2(session) => session.is_body_done(),
        }
    }

    /// The next bytes of the body if `wanted`; `None` at its end. Fails once the client is known to be gone.
    /// Flushes buffered output while it waits.
    pub(crate) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        wanted: Wanted,
    ) -> Poll<Result<Option<Bytes>, ClientFailure>> {
        let gone = match (&mut self.session, wanted) {
            (ClientSession::Http1(session), Wanted::Body) => {
                return session.poll_body(cx).map_err(|_| ClientFailure::Gone);
            }
            (ClientSession::Http2(session), Wanted::Body) => return session.poll_body(cx),
            (ClientSession::Http1(session), Wanted::Presence) => session.poll_gone(cx),
            (ClientSession::Http1(session), Wanted::Nothing) => session.poll_broken(cx),
            (ClientSession::Http2(session), Wanted::Presence | Wanted::Nothing) => session.poll_reset(cx),
        };
        gone.map(|()| Err(ClientFailure::Gone))
    }

    /// Waits until the client is gone; its body must have been read.
    pub(crate) async fn gone(&mut self) {
        // It can only fail.
        let _ = poll_fn(|cx| self.poll_body(cx, Wanted::Presence)).await;
    }

    pub(crate) fn take_trailers(&mut self) -> Option<HeaderMap> {
        match &mut self.session {
            ClientSession::Http1(session) => session.take_trailers(),
            ClientSession::Http2(session) => session.take_trailers(),
        }
    }

    /// Waits until the client cancels the request. An HTTP/1 client can only close the connection, which is
    /// not noticed before its body is read; it has one request at a time.
    pub(crate) async fn is_reset(&mut self) {
        match &mut self.session {
            ClientSession::Http1(_) => std::future::pending().await,
            ClientSession::Http2(session) => poll_fn(|cx| session.poll_reset(cx)).await,
        }
    }

    pub(crate) async fn write_continue(&mut self) -> Result<(), ClientFailure> {
        match &mut self.session {
            ClientSession::Http1(session) => session.write_continue().await,
            ClientSession::Http2(session) => session.write_continue(),
        }
    }

    /// Closes an HTTP/1 connection after this response.
    pub(crate) fn close_after(&mut self) {
        if let ClientSession::Http1(session) = &mut self.session {
            session.close_after();
        }
    }

    /// Edits the fields of the final response as it leaves, whoever made it.
    pub(crate) fn edit_response(&mut self, edits: ReadyEdits) {
        self.edits = Some(Box::new(edits));
    }

    /// Sends the response as it is, without edits.
    pub(crate) fn keep_response(&mut self) {
        self.edits = None;
    }

    /// Sends a response head; `end` if no body follows.
    pub(crate) fn write_head(&mut self, mut head: ResponseHead, end: bool) -> Result<(), ClientFailure> {
        if self.edits.is_some()
            && !head.status.is_informational()
            && let Some(edits) = self.edits.take()
        {
            edits.apply(&mut head.headers);
        }
        match &mut self.session {
            ClientSession::Http1(session) => session.write_head(&head, end),
            ClientSession::Http2(session) => session.write_head(head, end)?,
        }
        Ok(())
    }

    /// Accepts body bytes once the previous ones are taken; must not be empty.
    pub(crate) fn put_body(&mut self, bytes: Bytes) -> Result<(), ClientFailure> {
        match &mut self.session {
            ClientSession::Http1(session) => session.put_body(bytes),
            ClientSession::Http2(session) => session.put_body(bytes),
        }
    }

    /// Ready once all accepted bytes are sent or buffered.
    pub(crate) fn poll_taken(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientFailure>> {
        match &mut self.session {
            ClientSession::Http1(session) => session.poll_taken(cx),
            ClientSession::Http2(session) => session.poll_taken(cx),
        }
    }

    /// Ends this side of a tunnel, once everything is taken; the client may go on.
    pub(crate) fn poll_end_tunnel(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientFailure>> {
        match &mut self.session {
            ClientSession::Http1(session) => session.poll_end_tunnel(cx),
            ClientSession::Http2(session) => Poll::Ready(session.finish(None)),
        }
    }

    /// Waits for `poll_taken` within the write limit.
    pub(crate) async fn taken(&mut self) -> Result<(), ClientFailure> {
        let limit = self.write_limit();
        let taken = timeout(limit, poll_fn(|cx| self.poll_taken(cx))).await;
        taken.unwrap_or(Err(ClientFailure::Slow))
    }

    /// Flushes what was accepted so far.
    pub(crate) async fn flush(&mut self) -> Result<(), ClientFailure> {
        match &mut self.session {
            ClientSession::Http1(session) => session.flush().await,
            ClientSession::Http2(_) => {
                // The connection's task writes when it is polled next.
                yield_now().await;
                Ok(())
            }
        }
    }

    pub(crate) fn write_limit(&self) -> Duration {
        match &self.session {
            ClientSession::Http1(session) => session.write_limit,
            ClientSession::Http2(session) => session.write_limit,
        }
    }

    /// Ends the response, with `trailers` if the client takes them.
    pub(crate) fn finish(&mut self, trailers: Option<HeaderMap>) -> Result<(), ClientFailure> {
        match &mut self.session {
            ClientSession::Http1(session) => {
                let wanted = || has_token(&self.head.headers, &header::TE, "trailers");
                session.finish(trailers.filter(|_| wanted()).as_ref())
            }
            ClientSession::Http2(session) => session.finish(trailers),
        }
    }
}
