//! The server's side of an exchange, whatever is spoken there.

use std::future::poll_fn;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;

use super::request::UpstreamRequest;
use super::{Part, UpstreamFailure, http1, http2};
use crate::net::wire::Wire;

/// A request sent to a server, and its answer.
pub(crate) enum Upstream {
    /// Over HTTP/1.1.
    Http1(http1::Session),
    /// Over a stream of an HTTP/2 connection.
    Http2(Box<http2::Session>),
}

impl Upstream {
    /// Sends the head of a request. What follows it decides when it leaves.
    pub(crate) async fn send_head(&mut self, request: &UpstreamRequest<'_>) -> Result<(), UpstreamFailure> {
        match self {
            Self::Http1(session) => {
                session.send_head(request);
                Ok(())
            }
            Self::Http2(session) => session.send_head(request).await,
        }
    }

    /// Takes bytes of the request's body, once those before them are sent.
    pub(crate) fn put_body(&mut self, bytes: Bytes) {
        match self {
            Self::Http1(session) => session.put_body(bytes),
            Self::Http2(session) => session.put_body(bytes),
        }
    }

    /// Ends the request once its body is sent, with the fields behind it.
    pub(crate) fn put_end(&mut self, trailers: Option<HeaderMap>) -> Result<(), UpstreamFailure> {
        match self {
            Self::Http1(session) => {
                session.put_end(trailers.as_ref());
                Ok(())
            }
            Self::Http2(session) => session.put_end(trailers),
        }
    }

    /// Done once the server has taken all that was put.
    pub(crate) fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UpstreamFailure>> {
        match self {
            Self::Http1(session) => session.poll_sent(cx),
            // Its connection writes what is gathered by itself.
            Self::Http2(session) => session.poll_sent(cx),
        }
    }

    /// The same.
    pub(crate) async fn sent(&mut self) -> Result<(), UpstreamFailure> {
        poll_fn(|cx| self.poll_sent(cx)).await
    }

    /// The next part of the answer.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part, UpstreamFailure>> {
        match self {
            Self::Http1(session) => session.poll_read(cx),
            Self::Http2(session) => session.poll_read(cx),
        }
    }

    /// The same. Nothing is lost where it is dropped.
    pub(crate) async fn read(&mut self) -> Result<Part, UpstreamFailure> {
        poll_fn(|cx| self.poll_read(cx)).await
    }

    /// Whoever takes the answer does not keep up: less of it is read ahead.
    pub(crate) fn read_less(&mut self) {
        match self {
            Self::Http1(session) => session.read_less(),
            // Its windows bound what is read.
            Self::Http2(_) => {}
        }
    }

    /// From here on bytes pass both ways.
    pub(crate) fn tunnel(&mut self) {
        match self {
            Self::Http1(session) => session.tunnel(),
            // Its body passes bytes already.
            Self::Http2(_) => {}
        }
    }

    /// The connection, where it may be kept for another request.
    pub(crate) fn into_kept(self) -> Option<Box<Wire>> {
        match self {
            Self::Http1(session) => session.into_kept(),
            // It is shared, and kept by whoever made it.
            Self::Http2(_) => None,
        }
    }
}
