//! The server's side of an exchange, over HTTP/1.1 or HTTP/2.

use std::future::poll_fn;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;

use super::request::UpstreamRequest;
use super::{ResponsePart, UpstreamFailure, http1, http2};
use crate::net::http1_stream::Http1Stream;

pub(crate) enum ServerSession {
    Http1(http1::ServerHttp1),
    /// A stream of an HTTP/2 connection.
    Http2(Box<http2::ServerHttp2>),
}

impl ServerSession {
    /// Sends the request head. Over HTTP/1.1 it is buffered until the next flush.
    pub(crate) async fn send_head(&mut self, request: &UpstreamRequest<'_>) -> Result<(), UpstreamFailure> {
        match self {
            Self::Http1(session) => {
                session.send_head(request);
                Ok(())
            }
            Self::Http2(session) => session.send_head(request).await,
        }
    }

    /// Accepts body bytes to be sent after the previous ones.
    pub(crate) fn put_body(&mut self, bytes: Bytes) {
        match self {
            Self::Http1(session) => session.put_body(bytes),
            Self::Http2(session) => session.put_body(bytes),
        }
    }

    /// Ends the request after the accepted bytes, with trailers.
    pub(crate) fn put_end(&mut self, trailers: Option<HeaderMap>) -> Result<(), UpstreamFailure> {
        match self {
            Self::Http1(session) => {
                session.put_end(trailers.as_ref());
                Ok(())
            }
            Self::Http2(session) => session.put_end(trailers),
        }
    }

    /// Ready once the server has taken all accepted bytes.
    pub(crate) fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UpstreamFailure>> {
        match self {
            Self::Http1(session) => session.poll_sent(cx),
            // The connection's task flushes by itself.
            Self::Http2(session) => session.poll_sent(cx),
        }
    }

    pub(crate) async fn sent(&mut self) -> Result<(), UpstreamFailure> {
        poll_fn(|cx| self.poll_sent(cx)).await
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponsePart, UpstreamFailure>> {
        match self {
            Self::Http1(session) => session.poll_read(cx),
            Self::Http2(session) => session.poll_read(cx),
        }
    }

    /// The next part of the response. Cancel-safe.
    pub(crate) async fn read(&mut self) -> Result<ResponsePart, UpstreamFailure> {
        poll_fn(|cx| self.poll_read(cx)).await
    }

    /// How many fields of the response were dropped since the last call.
    pub(crate) fn take_dropped(&mut self) -> u32 {
        match self {
            Self::Http1(session) => session.take_dropped(),
            // The h2 crate refuses them.
            Self::Http2(_) => 0,
        }
    }

    /// Bytes of the answer that have come, and were not taken.
    pub(crate) fn unread(&mut self) -> usize {
        match self {
            Self::Http1(session) => session.unread(),
            Self::Http2(session) => session.unread(),
        }
    }

    /// Reads less ahead: the client does not keep up.
    pub(crate) fn read_less(&mut self) {
        match self {
            Self::Http1(session) => session.read_less(),
            // Flow control bounds what is read.
            Self::Http2(_) => {}
        }
    }

    /// Reads at most this much at a time from now on.
    pub(crate) fn read_at_most(&mut self, bytes: usize) {
        match self {
            Self::Http1(session) => session.read_at_most(bytes),
            // A frame is read at a time, and flow control bounds what waits.
            Self::Http2(_) => {}
        }
    }

    pub(crate) fn tunnel(&mut self) {
        match self {
            Self::Http1(session) => session.tunnel(),
            // The stream's body already does.
            Self::Http2(_) => {}
        }
    }

    pub(crate) fn into_kept(self) -> Option<Box<Http1Stream>> {
        match self {
            Self::Http1(session) => session.into_kept(),
            // It is shared, and the pool keeps it.
            Self::Http2(_) => None,
        }
    }
}
