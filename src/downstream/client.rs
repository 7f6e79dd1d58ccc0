//! The client of a response: over HTTP/1, over HTTP/2, or nobody.

use std::task::{Context, Poll};

use bytes::Bytes;

use super::{ClientFailure, Wanted, http1, http2};
use crate::net::timer::Timer;

/// Reads the rest of a request and writes its response.
pub(crate) enum ClientSession<'s> {
    Http1(&'s mut http1::ClientHttp1),
    Http2(&'s mut http2::ClientHttp2),
    /// Nobody: the response is for the cache alone.
    Absent(Timer),
}

impl ClientSession<'_> {
    pub(super) fn is_body_done(&self) -> bool {
        match self {
            Self::Http1(session) => session.is_body_done(),
            Self::Http2(session) => session.is_body_done(),
            Self::Absent(_) => true,
        }
    }

    pub(super) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        wanted: Wanted,
    ) -> Poll<Result<Option<Bytes>, ClientFailure>> {
        let gone = match (self, wanted) {
            (Self::Http1(session), Wanted::Body) => {
                return session.poll_body(cx).map_err(|_| ClientFailure::Gone);
            }
            (Self::Http2(session), Wanted::Body) => return session.poll_body(cx),
            (Self::Http1(session), Wanted::Presence) => session.poll_gone(cx),
            (Self::Http1(session), Wanted::Nothing) => session.poll_broken(cx),
            (Self::Http2(session), Wanted::Presence | Wanted::Nothing) => session.poll_reset(cx),
            (Self::Absent(_), _) => Poll::Pending,
        };
        gone.map(|()| Err(ClientFailure::Gone))
    }

    pub(super) fn put_body(&mut self, bytes: Bytes) -> Result<(), ClientFailure> {
        match self {
            Self::Http1(session) => session.put_body(bytes),
            Self::Http2(session) => session.put_body(bytes),
            Self::Absent(_) => Ok(()),
        }
    }

    pub(super) fn poll_taken(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientFailure>> {
        match self {
            Self::Http1(session) => session.poll_taken(cx),
            Self::Http2(session) => session.poll_taken(cx),
            Self::Absent(_) => Poll::Ready(Ok(())),
        }
    }
}
