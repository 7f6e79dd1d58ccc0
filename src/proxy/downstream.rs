//! The client's side of an exchange, alike for HTTP/1 and HTTP/2.

use std::time::Duration;

use bytes::Bytes;
use http::Version;
use pingora_core::protocols::http::{v1, v2};
use pingora_core::{Error, ErrorType};
use pingora_http::{RequestHeader, ResponseHeader};

/// One request and its answer.
pub(super) enum Downstream<'s> {
    /// A request on an HTTP/1 connection.
    Http1(&'s mut v1::server::HttpSession),
    /// A stream of an HTTP/2 connection.
    Http2(&'s mut v2::server::HttpSession),
}

/// The client is gone, or breaks the protocol: there is nobody left to answer.
#[derive(Debug)]
pub(super) enum ClientFailure {
    /// It sent what is no body.
    Gone,
    /// It took longer than a limit to take what is sent to it.
    Slow,
}

impl From<Box<Error>> for ClientFailure {
    fn from(error: Box<Error>) -> Self {
        match error.etype() {
            ErrorType::WriteTimedout | ErrorType::ReadTimedout => Self::Slow,
            _ => Self::Gone,
        }
    }
}

impl Downstream<'_> {
    pub(super) fn head(&self) -> &RequestHeader {
        match self {
            Self::Http1(session) => session.req_header(),
            Self::Http2(session) => session.req_header(),
        }
    }

    /// The word for the protocol in records.
    pub(super) fn protocol(&self) -> &'static str {
        match self {
            Self::Http1(session) if session.req_header().version == Version::HTTP_10 => "http/1.0",
            Self::Http1(_) => "http/1.1",
            Self::Http2(_) => "h2",
        }
    }

    pub(super) fn is_http1(&self) -> bool {
        matches!(self, Self::Http1(_))
    }

    /// Bounds each write of the answer.
    pub(super) fn set_write_timeout(&mut self, limit: Duration) {
        match self {
            Self::Http1(session) => session.set_write_timeout(Some(limit)),
            Self::Http2(session) => session.set_write_timeout(Some(limit)),
        }
    }

    /// Whether the request has no body, or all of it has been read.
    pub(super) fn is_body_done(&mut self) -> bool {
        match self {
            Self::Http1(session) => session.is_body_done(),
            Self::Http2(session) => session.is_body_done(),
        }
    }

    /// The next bytes of the body; `None` at its end. Once `done`, waits for the client to go away.
    pub(super) async fn read_body_or_idle(&mut self, done: bool) -> Result<Option<Bytes>, ClientFailure> {
        Ok(match self {
            Self::Http1(session) => session.read_body_or_idle(done).await?,
            Self::Http2(session) => session.read_body_or_idle(done).await?,
        })
    }

    /// Until the client takes its request back. That of HTTP/1 can be told only once its body is
    /// read, and there is one such request to a connection.
    pub(super) async fn is_reset(&mut self) {
        match self {
            Self::Http1(_) => std::future::pending().await,
            Self::Http2(session) => {
                // The reason, or that the connection is gone: there is nobody left either way.
                let _ = session.idle().await;
            }
        }
    }

    /// Tells a client that waits for it to send the body.
    pub(super) async fn write_continue(&mut self) -> Result<(), ClientFailure> {
        match self {
            Self::Http1(session) => {
                interim(session, true);
                Ok(session.write_continue_response().await?)
            }
            // HTTP/2 clients do not wait: the engine cannot send informational answers there.
            Self::Http2(_) => Ok(()),
        }
    }

    /// Makes the connection end with this answer.
    pub(super) fn close_after(&mut self) {
        if let Self::Http1(session) = self {
            session.set_server_keepalive(None);
        }
    }

    /// Sends the head of an answer; `end` when no body follows.
    pub(super) async fn write_head(
        &mut self,
        head: Box<ResponseHeader>,
        end: bool,
    ) -> Result<(), ClientFailure> {
        match self {
            Self::Http1(session) => {
                interim(session, head.status.is_informational());
                session.write_response_header(head).await?;
            }
            Self::Http2(session) => session.write_response_header(head, end)?,
        }
        Ok(())
    }

    pub(super) async fn write_body(&mut self, bytes: Bytes) -> Result<(), ClientFailure> {
        match self {
            Self::Http1(session) => {
                session.write_body(&bytes).await?;
            }
            Self::Http2(session) => session.write_body(bytes, false).await?,
        }
        Ok(())
    }

    /// Ends the answer.
    pub(super) async fn finish(&mut self) -> Result<(), ClientFailure> {
        match self {
            Self::Http1(session) => {
                session.finish_body().await?;
            }
            Self::Http2(session) => session.finish()?,
        }
        Ok(())
    }
}

/// The engine ends the connection after an answer that is sent before the whole body has come. An
/// interim one is no such answer.
fn interim(session: &mut v1::server::HttpSession, interim: bool) {
    session.set_close_on_response_before_downstream_finish(!interim);
}
