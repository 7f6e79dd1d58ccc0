//! The client's side of an exchange, over HTTP/1 or HTTP/2.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Version, header};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout};

pub(crate) use super::client::ClientSession;
use super::early::EarlyBody;
use super::filling::Filling;
use super::{ClientFailure, Wanted, http1, http2};
use crate::cache::{Fill, Leaving};
use crate::message::fields::{content_length, expects_continue, has_token};
use crate::message::{RequestHead, ResponseHead};
use crate::net::timer::Timer;
use crate::rewrite::FooterResult;
use crate::route::ReadyEdits;

/// A request and the way back for its response.
pub(crate) struct Downstream<'s> {
    pub(crate) head: &'s RequestHead,
    pub(crate) session: ClientSession<'s>,
    /// The cache's part in the response, on a site with a cache.
    filling: Option<Box<Filling>>,
    /// The route's edits of the response's fields. What is stored is not edited; each answer from the cache is.
    edits: Option<Box<ReadyEdits>>,
    /// What came of the body before a server was chosen.
    early: EarlyBody,
}

impl<'s> Downstream<'s> {
    pub(crate) fn http1(head: &'s RequestHead, session: &'s mut http1::ClientHttp1) -> Self {
        Self {
            head,
            session: ClientSession::Http1(session),
            filling: None,
            edits: None,
            early: EarlyBody::default(),
        }
    }

    pub(crate) fn http2(head: &'s RequestHead, session: &'s mut http2::ClientHttp2) -> Self {
        Self {
            head,
            session: ClientSession::Http2(session),
            filling: None,
            edits: None,
            early: EarlyBody::default(),
        }
    }

    /// No client: a fetch for the cache.
    pub(crate) fn absent(head: &'s RequestHead) -> Self {
        Self {
            head,
            session: ClientSession::Absent(Timer::default()),
            filling: None,
            edits: None,
            early: EarlyBody::default(),
        }
    }

    /// Lets the cache watch the response.
    pub(crate) fn watch(&mut self, fill: Fill) {
        self.filling = Some(Box::new(Filling::new(fill)));
    }

    /// What the cache has seen of the response.
    pub(crate) fn take_filling(&mut self) -> Option<Box<Filling>> {
        self.filling.take()
    }

    /// Whether the cache watches the response.
    pub(crate) fn is_watched(&self) -> bool {
        self.filling.is_some()
    }

    /// Lets the cache judge a final head as the server sent it, `now` in seconds since 1970.
    pub(crate) fn judge(&mut self, head: &ResponseHead, now: i64) {
        if let Some(filling) = &mut self.filling {
            filling.fill.judge(self.head, head, now);
        }
    }

    /// Completes what is stored, and waits until the client has taken what is left of the response.
    pub(crate) async fn complete(&mut self, footer: Option<FooterResult>) -> Result<(), ClientFailure> {
        let limit = self.write_limit();
        let Self { session, filling: Some(filling), .. } = self else { return Ok(()) };
        filling.fill.complete(footer);
        while filling.is_busy() {
            let piece = timeout(limit, poll_fn(|cx| filling.poll_piece(session, cx))).await;
            piece.unwrap_or(Err(ClientFailure::Slow))?;
        }
        Ok(())
    }

    /// Goes on without a client that has left, if the cache wants the response.
    fn leave(&mut self, failure: ClientFailure) -> Result<(), ClientFailure> {
        match &mut self.filling {
            Some(filling) => filling.leave(&mut self.session, failure),
            None => Err(failure),
        }
    }

    /// The timer of the connection (HTTP/1) or stream (HTTP/2).
    pub(crate) fn deadline(&mut self) -> &mut Timer {
        match &mut self.session {
            ClientSession::Http1(session) => &mut session.deadline,
            ClientSession::Http2(session) => &mut session.deadline,
            ClientSession::Absent(deadline) => deadline,
        }
    }

    /// Limits each write of the response.
    pub(crate) fn set_write_timeout(&mut self, limit: Duration) {
        match &mut self.session {
            ClientSession::Http1(session) => session.write_limit = limit,
            ClientSession::Http2(session) => session.write_limit = limit,
            ClientSession::Absent(_) => {}
        }
    }

    /// Whether the client waits for 100 before it sends its body. HTTP/1.0 knows no informational responses (RFC 9110,
    /// 10.1.1).
    pub(crate) fn expects_continue(&self) -> bool {
        self.head.version > Version::HTTP_10 && expects_continue(&self.head.headers)
    }

    /// Waits for the first bytes of a body with a declared length, or for all of a small one, `idle` at most.
    ///
    /// A body without a length may be one side of a conversation that the server begins, and a client that expects 100
    /// sends nothing before: neither is waited for.
    pub(crate) async fn begin_body(&mut self, idle: Duration) -> Result<(), ClientFailure> {
        let Some(length) = content_length(&self.head.headers).ok().flatten() else { return Ok(()) };
        if self.is_body_done() || self.expects_continue() {
            return Ok(());
        }
        let until = Instant::now() + idle;
        let mut deadline = std::mem::take(self.deadline());
        let Self { early, session, .. } = self;
        let begun = poll_fn(|cx| early.poll_begin(length, session, cx, (&mut deadline, until))).await;
        *self.deadline() = deadline;
        begun
    }

    /// Whether the request has no body, or all of it was read.
    pub(crate) fn is_body_done(&mut self) -> bool {
        self.early.is_empty() && self.session.is_body_done()
    }

    /// The next bytes of the body if `wanted`; `None` at its end. Fails once the client is known to be gone.
    /// Flushes buffered output while it waits.
    pub(crate) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        wanted: Wanted,
    ) -> Poll<Result<Option<Bytes>, ClientFailure>> {
        if wanted == Wanted::Body
            && let Some(bytes) = self.early.pop()
        {
            return Poll::Ready(Ok(Some(bytes)));
        }
        if let Some(filling) = &mut self.filling {
            // What waits for the client goes on while the server has nothing new.
            if let Poll::Ready(Err(failure)) = filling.poll_room(&mut self.session, cx) {
                return Poll::Ready(Err(failure));
            }
        }
        match self.session.poll_body(cx, wanted) {
            Poll::Ready(Err(failure)) => match self.leave(failure) {
                Ok(()) => Poll::Pending,
                Err(failure) => Poll::Ready(Err(failure)),
            },
            other => other,
        }
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
            ClientSession::Absent(_) => None,
        }
    }

    /// Waits until the client cancels the request. An HTTP/1 client can only close the connection, which is
    /// not noticed before its body is read; it has one request at a time.
    pub(crate) async fn is_reset(&mut self) {
        if let ClientSession::Http2(session) = &mut self.session {
            poll_fn(|cx| session.poll_reset(cx)).await;
            if self.leave(ClientFailure::Gone).is_err() {
                return;
            }
        }
        std::future::pending().await
    }

    pub(crate) async fn write_continue(&mut self) -> Result<(), ClientFailure> {
        match &mut self.session {
            ClientSession::Http1(session) => session.write_continue().await,
            ClientSession::Http2(session) => session.write_continue(),
            ClientSession::Absent(_) => Ok(()),
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
        if let Some(filling) = self.filling.as_mut().filter(|_| !head.status.is_informational()) {
            if filling.fill.leave(self.head, &mut head) == Leaving::Discarded {
                return Ok(());
            }
            if filling.has_left() && !filling.fill.is_storing() {
                return Err(ClientFailure::Gone);
            }
        }
        if self.edits.is_some()
            && !head.status.is_informational()
            && let Some(edits) = self.edits.take()
        {
            edits.apply(&mut head.headers);
        }
        match &mut self.session {
            ClientSession::Http1(session) => session.write_head(&head, end),
            ClientSession::Http2(session) => {
                if let Err(failure) = session.write_head(head, end) {
                    return self.leave(failure);
                }
            }
            ClientSession::Absent(_) => {}
        }
        Ok(())
    }

    /// Accepts body bytes once the previous ones are taken; must not be empty.
    pub(crate) fn put_body(&mut self, bytes: Bytes) -> Result<(), ClientFailure> {
        match &mut self.filling {
            Some(filling) => filling.put(&mut self.session, bytes),
            None => self.session.put_body(bytes),
        }
    }

    /// Ready once all accepted bytes are sent or buffered.
    pub(crate) fn poll_taken(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientFailure>> {
        match &mut self.filling {
            Some(filling) => filling.poll_room(&mut self.session, cx),
            None => self.session.poll_taken(cx),
        }
    }

    /// Ends this side of a tunnel, once everything is taken; the client may go on.
    pub(crate) fn poll_end_tunnel(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientFailure>> {
        match &mut self.session {
            ClientSession::Http1(session) => session.poll_end_tunnel(cx),
            ClientSession::Http2(session) => Poll::Ready(session.finish(None)),
            ClientSession::Absent(_) => Poll::Ready(Ok(())),
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
            ClientSession::Absent(_) => Ok(()),
        }
    }

    pub(crate) fn write_limit(&self) -> Duration {
        match &self.session {
            ClientSession::Http1(session) => session.write_limit,
            ClientSession::Http2(session) => session.write_limit,
            ClientSession::Absent(_) => Duration::MAX,
        }
    }

    /// Ends the response, with `trailers` if the client takes them.
    pub(crate) fn finish(&mut self, trailers: Option<HeaderMap>) -> Result<(), ClientFailure> {
        if self.filling.as_ref().is_some_and(|filling| filling.fill.answered_by().is_some()) {
            return Ok(());
        }
        match &mut self.session {
            ClientSession::Http1(session) => {
                let wanted = || has_token(&self.head.headers, &header::TE, "trailers");
                session.finish(trailers.filter(|_| wanted()).as_ref())
            }
            ClientSession::Http2(session) => session.finish(trailers),
            ClientSession::Absent(_) => Ok(()),
        }
    }
}
