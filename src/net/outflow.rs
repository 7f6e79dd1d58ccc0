//! The bytes of a body on their way into an HTTP/2 stream, as far as the other side has room.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::HeaderMap;

/// A stream, and what it has no room for yet.
#[derive(Debug)]
pub(crate) struct Outflow {
    stream: SendStream<Bytes>,
    waiting: Bytes,
}

impl Outflow {
    pub(crate) fn new(stream: SendStream<Bytes>) -> Self {
        Self { stream, waiting: Bytes::new() }
    }

    /// Takes `bytes` to be sent, once those before them are.
    pub(crate) fn put(&mut self, bytes: Bytes) {
        self.waiting = bytes;
    }

    /// Done once there was room for all that was put.
    pub(crate) fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        let Self { stream, waiting } = self;
        while !waiting.is_empty() {
            stream.reserve_capacity(waiting.len());
            let room = stream.capacity();
            if room == 0 {
                match ready!(stream.poll_capacity(cx)) {
                    Some(room) => room?,
                    None => return Poll::Ready(Err(Reason::CANCEL.into())),
                };
                continue;
            }
            stream.send_data(waiting.split_to(room.min(waiting.len())), false)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Ends the stream, once all is sent.
    pub(crate) fn finish(&mut self, trailers: Option<HeaderMap>) -> Result<(), h2::Error> {
        match trailers {
            Some(trailers) => self.stream.send_trailers(trailers),
            None => self.stream.send_data(Bytes::new(), true),
        }
    }

    /// Until the other side resets the stream, or the connection ends.
    pub(crate) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Why does not matter: there is nobody left.
        self.stream.poll_reset(cx).map(drop)
    }
}
