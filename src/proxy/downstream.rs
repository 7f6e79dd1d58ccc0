//! The client's side of an exchange, alike for HTTP/1 and HTTP/2.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Version};

use super::deadline::Deadline;
use super::{http1, http2};
use crate::message::{RequestHead, ResponseHead};

/// One request and its answer.
pub(super) enum Downstream<'s> {
    /// A request on an HTTP/1 connection.
    Http1(&'s mut http1::Session),
    /// A stream of an HTTP/2 connection.
    Http2(&'s mut http2::Session),
}

/// The client is gone, or breaks the protocol: there is nobody left to answer.
#[derive(Debug)]
pub(super) enum ClientFailure {
    /// It sent what is no body.
    Gone,
    /// It took longer than a limit to take what is sent to it.
    Slow,
}

/// Whether a client takes what is written as fast as it is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Pace {
    /// It was taken at once.
    AtOnce,
    /// It had to wait.
    Waited,
}

impl Downstream<'_> {
    pub(super) fn head(&self) -> &RequestHead {
        match self {
            Self::Http1(session) => session.head(),
            Self::Http2(session) => session.head(),
        }
    }

    /// The timer of whatever the request came on.
    pub(super) fn deadline(&mut self) -> &mut Deadline {
        match self {
            Self::Http1(session) => &mut session.deadline,
            Self::Http2(session) => &mut session.deadline,
        }
    }

    /// The word for the protocol in records.
    pub(super) fn protocol(&self) -> &'static str {
        match self {
            Self::Http1(session) if session.head().version == Version::HTTP_10 => "http/1.0",
            Self::Http1(_) => "http/1.1",
            Self::Http2(_) => "h2",
        }
    }

    /// Bounds each write of the answer.
    pub(super) fn set_write_timeout(&mut self, limit: Duration) {
        match self {
            Self::Http1(session) => session.set_write_limit(limit),
            Self::Http2(session) => session.set_write_limit(limit),
        }
    }

    /// Whether the request has no body, or all of it has been read.
    pub(super) fn is_body_done(&mut self) -> bool {
        match self {
            Self::Http1(session) => session.is_body_done(),
            Self::Http2(session) => session.is_body_done(),
        }
    }

    /// The next bytes of the body; `None` at its end. Once `done`, waits for the client to go away. What was
    /// gathered of the answer leaves meanwhile.
    pub(super) async fn read_body_or_idle(&mut self, done: bool) -> Result<Option<Bytes>, ClientFailure> {
        match self {
            Self::Http1(session) => session.read_body_or_idle(done).await.map_err(|_| ClientFailure::Gone),
            Self::Http2(session) => session.read_body_or_idle(done).await,
        }
    }

    /// The fields behind the body, once that has ended.
    pub(super) fn take_trailers(&mut self) -> Option<HeaderMap> {
        match self {
            Self::Http1(session) => session.take_trailers(),
            Self::Http2(session) => session.take_trailers(),
        }
    }

    /// Until the client takes its request back. That of HTTP/1 can be told only once its body is
    /// read, and there is one such request to a connection.
    pub(super) async fn is_reset(&mut self) {
        match self {
            Self::Http1(_) => std::future::pending().await,
            Self::Http2(session) => session.reset().await,
        }
    }

    /// Tells a client that waits for it to send the body.
    pub(super) async fn write_continue(&mut self) -> Result<(), ClientFailure> {
        match self {
            Self::Http1(session) => session.write_continue().await,
            Self::Http2(session) => session.write_continue(),
        }
    }

    /// Makes the connection end with this answer.
    pub(super) fn close_after(&mut self) {
        if let Self::Http1(session) = self {
            session.close_after();
        }
    }

    /// Sends the head of an answer; `end` when no body follows.
    pub(super) fn write_head(&mut self, head: ResponseHead, end: bool) -> Result<(), ClientFailure> {
        match self {
            Self::Http1(session) => session.write_head(&head, end),
            Self::Http2(session) => session.write_head(head, end)?,
        }
        Ok(())
    }

    pub(super) async fn write_body(&mut self, bytes: Bytes) -> Result<Pace, ClientFailure> {
        match self {
            Self::Http1(session) => session.write_body(bytes).await,
            Self::Http2(session) => session.write_body(bytes).await.map(|()| Pace::AtOnce),
        }
    }

    /// Ends the answer, with `trailers` where they can be passed on.
    pub(super) fn finish(&mut self, trailers: Option<HeaderMap>) -> Result<(), ClientFailure> {
        match self {
            Self::Http1(session) => session.finish(trailers.as_ref()),
            Self::Http2(session) => session.finish(trailers),
        }
    }
}
