//! Sends body bytes into an HTTP/2 stream, as far as flow control allows, and the share of its connection.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::HeaderMap;

use super::untaken::StreamUse;

/// A stream, and the bytes that flow control has no room for yet.
#[derive(Debug)]
pub(crate) struct Outflow {
    stream: SendStream<Bytes>,
    waiting: Bytes,
}

impl Outflow {
    pub(crate) fn new(stream: SendStream<Bytes>) -> Self {
        Self { stream, waiting: Bytes::new() }
    }

    /// Accepts `bytes` to be sent after the previous ones.
    pub(crate) fn put(&mut self, bytes: Bytes) {
        self.waiting = bytes;
    }

    /// Ready once flow control had room for all accepted bytes. They share what a client's connection may hold with its other
    /// streams; towards a server, `shared` is `None`.
    pub(crate) fn poll_sent(
        &mut self,
        cx: &mut Context<'_>,
        shared: Option<&StreamUse>,
    ) -> Poll<Result<(), h2::Error>> {
        let Self { stream, waiting } = self;
        while !waiting.is_empty() {
            let most = match shared {
                Some(shared) => ready!(shared.poll_room(cx)),
                None => usize::MAX,
            };
            stream.reserve_capacity(waiting.len());
            let room = stream.capacity();
            if room == 0 {
                match ready!(stream.poll_capacity(cx)) {
                    Some(room) => room?,
                    None => return Poll::Ready(Err(Reason::CANCEL.into())),
                };
                continue;
            }
            let piece = waiting.split_to(room.min(waiting.len()).min(most));
            if let Some(shared) = shared {
                shared.queued(piece.len());
            }
            stream.send_data(piece, false)?;
        }
        Poll::Ready(Ok(()))
    }

    pub(crate) fn finish(&mut self, trailers: Option<HeaderMap>) -> Result<(), h2::Error> {
        match trailers {
            Some(trailers) => self.stream.send_trailers(trailers),
            None => self.stream.send_data(Bytes::new(), true),
        }
    }

    /// Ready once the peer has reset the stream or the connection has ended.
    pub(crate) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // The reason does not matter: nobody is left to send to.
        self.stream.poll_reset(cx).map(drop)
    }
}
