//! The client's side of an exchange, alike for HTTP/1 and HTTP/2.

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
use crate::net::deadline::Deadline;

/// One request and its answer.
pub(crate) struct Downstream<'s> {
    /// What is asked.
    pub(crate) head: &'s RequestHead,
    pub(crate) session: Session<'s>,
}

/// How the rest of a request comes, and its answer goes.
pub(crate) enum Session<'s> {
    /// On an HTTP/1 connection.
    Http1(&'s mut http1::Session),
    /// On a stream of an HTTP/2 connection.
    Http2(&'s mut http2::Session),
}

impl<'s> Downstream<'s> {
    pub(crate) fn http1(head: &'s RequestHead, session: &'s mut http1::Session) -> Self {
        Self { head, session: Session::Http1(session) }
    }

    pub(crate) fn http2(head: &'s RequestHead, session: &'s mut http2::Session) -> Self {
        Self { head, session: Session::Http2(session) }
    }

    /// The timer of whatever the request came on.
    pub(crate) fn deadline(&mut self) -> &mut Deadline {
        match &mut self.session {
            Session::Http1(session) => &mut session.deadline,
            Session::Http2(session) => &mut session.deadline,
        }
    }

    /// Bounds each write of the answer.
    pub(crate) fn set_write_timeout(&mut self, limit: Duration) {
        match &mut self.session {
            Session::Http1(session) => session.write_limit = limit,
            Session::Http2(session) => session.write_limit = limit,
        }
    }

    /// Whether the request has no body, or all of it has been read.
    pub(crate) fn is_body_done(&mut self) -> bool {
        match &mut self.session {
            Session::Http1(session) => session.is_body_done(),
            Session::Http2(session) => session.is_body_done(),
        }
    }

    /// The next bytes of the body, where they are `wanted`; `None` at its end. It fails once the client is
    /// known to be gone. What was gathered of the answer leaves meanwhile.
    pub(crate) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        wanted: Wanted,
    ) -> Poll<Result<Option<Bytes>, ClientFailure>> {
        let gone = match (&mut self.session, wanted) {
            (Session::Http1(session), Wanted::Body) => {
                return session.poll_body(cx).map_err(|_| ClientFailure::Gone);
            }
            (Session::Http2(session), Wanted::Body) => return session.poll_body(cx),
            (Session::Http1(session), Wanted::Presence) => session.poll_gone(cx),
            (Session::Http1(session), Wanted::Nothing) => session.poll_broken(cx),
            (Session::Http2(session), Wanted::Presence | Wanted::Nothing) => session.poll_reset(cx),
        };
        gone.map(|()| Err(ClientFailure::Gone))
    }

    /// Until a client that has no more of a body to send is gone.
    pub(crate) async fn gone(&mut self) {
        // It can only fail.
        let _ = poll_fn(|cx| self.poll_body(cx, Wanted::Presence)).await;
    }

    /// The fields behind the body, once that has ended.
    pub(crate) fn take_trailers(&mut self) -> Option<HeaderMap> {
        match &mut self.session {
            Session::Http1(session) => session.take_trailers(),
            Session::Http2(session) => session.take_trailers(),
        }
    }

    /// Until the client takes its request back. That of HTTP/1 can be told only once its body is
    /// read, and there is one such request to a connection.
    pub(crate) async fn is_reset(&mut self) {
        match &mut self.session {
            Session::Http1(_) => std::future::pending().await,
            Session::Http2(session) => poll_fn(|cx| session.poll_reset(cx)).await,
        }
    }

    /// Tells a client that waits for it to send the body.
    pub(crate) async fn write_continue(&mut self) -> Result<(), ClientFailure> {
        match &mut self.session {
            Session::Http1(session) => session.write_continue().await,
            Session::Http2(session) => session.write_continue(),
        }
    }

    /// Makes the connection end with this answer.
    pub(crate) fn close_after(&mut self) {
        if let Session::Http1(session) = &mut self.session {
            session.close_after();
        }
    }

    /// Sends the head of an answer; `end` when no body follows.
    pub(crate) fn write_head(&mut self, head: ResponseHead, end: bool) -> Result<(), ClientFailure> {
        match &mut self.session {
            Session::Http1(session) => session.write_head(&head, end),
            Session::Http2(session) => session.write_head(head, end)?,
        }
        Ok(())
    }

    /// Takes bytes of the answer's body, once those before them are taken. There must be some.
    pub(crate) fn put_body(&mut self, bytes: Bytes) -> Result<(), ClientFailure> {
        match &mut self.session {
            Session::Http1(session) => session.put_body(bytes),
            Session::Http2(session) => session.put_body(bytes),
        }
    }

    /// Done once all that was put is on its way, or gathered.
    pub(crate) fn poll_taken(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientFailure>> {
        match &mut self.session {
            Session::Http1(session) => session.poll_taken(cx),
            Session::Http2(session) => session.poll_taken(cx),
        }
    }

    /// The same, within the limit of a write.
    pub(crate) async fn taken(&mut self) -> Result<(), ClientFailure> {
        let limit = self.write_limit();
        let taken = timeout(limit, poll_fn(|cx| self.poll_taken(cx))).await;
        taken.unwrap_or(Err(ClientFailure::Slow))
    }

    /// Sees to it that what was taken of an answer leaves, though nothing follows.
    pub(crate) async fn flush(&mut self) -> Result<(), ClientFailure> {
        match &mut self.session {
            Session::Http1(session) => session.flush().await,
            Session::Http2(_) => {
                // Its connection writes when it has its turn.
                yield_now().await;
                Ok(())
            }
        }
    }

    /// How long one write of the answer may take.
    pub(crate) fn write_limit(&self) -> Duration {
        match &self.session {
            Session::Http1(session) => session.write_limit,
            Session::Http2(session) => session.write_limit,
        }
    }

    /// Ends the answer, with `trailers` where they can be passed on.
    pub(crate) fn finish(&mut self, trailers: Option<HeaderMap>) -> Result<(), ClientFailure> {
        match &mut self.session {
            Session::Http1(session) => {
                let wanted = || has_token(&self.head.headers, &header::TE, "trailers");
                session.finish(trailers.filter(|_| wanted()).as_ref())
            }
            Session::Http2(session) => session.finish(trailers),
        }
    }
}
