//! One request on a client's HTTP/1 connection, and its response.
//!
//! The response is framed here: by its length, in chunks, or by the end of the connection. An incomplete
//! response cannot be finished.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{BufMut, Bytes};
use http::{HeaderMap, StatusCode, Version, header};
use tokio::time::timeout;

use super::ClientFailure;
use crate::message::body::{BodyDecoder, Piece};
use crate::message::request::Request;
use crate::message::{Framing, Persistence, ResponseHead, encode, fields};
use crate::net::http1_stream::Http1Stream;
use crate::net::timer::Timer;

const BODY_READ: usize = 16 * 1024;
/// Bytes that a client may send ahead while it waits for its response.
const AHEAD: usize = 16 * 1024;

pub(crate) struct ClientHttp1 {
    stream: Box<Http1Stream>,
    /// The connection's timer, lent to the exchange.
    pub(crate) deadline: Timer,
    version: Version,
    body: BodyDecoder,
    trailers: Option<HeaderMap>,
    answer: ResponseFraming,
    /// Body bytes that are not written yet.
    waiting: Bytes,
    /// Whether `waiting` ends a chunk.
    ends_chunk: bool,
    persistence: Persistence,
    /// Limit for one write of the response.
    pub(crate) write_limit: Duration,
    /// Whether the client has closed its side.
    ended: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum ResponseFraming {
    Awaited,
    /// This many bytes of the body are still to come.
    Length(u64),
    Chunked,
    /// The body ends with the connection.
    UntilClose,
    Whole,
}

impl ClientHttp1 {
    pub(crate) fn new(stream: Box<Http1Stream>, deadline: Timer, request: &Request) -> Self {
        let Request { head, framing, persistence } = request;
        Self {
            stream,
            deadline,
            version: head.version,
            body: BodyDecoder::new(*framing),
            trailers: None,
            answer: ResponseFraming::Awaited,
            waiting: Bytes::new(),
            ends_chunk: false,
            persistence: *persistence,
            write_limit: Duration::MAX,
            ended: false,
        }
    }

    /// The connection, its timer, and whether it stays open.
    pub(crate) fn into_parts(self) -> (Box<Http1Stream>, Timer, Persistence) {
        (self.stream, self.deadline, self.persistence)
    }

    /// Closes the connection after this response.
    pub(crate) fn close_after(&mut self) {
        self.persistence = Persistence::Closed;
    }

    pub(crate) fn is_body_done(&self) -> bool {
        self.body.is_done()
    }

    pub(crate) fn take_trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take()
    }

    /// The next bytes of the body; `None` at its end. Flushes buffered output while it waits.
    pub(crate) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        loop {
            match self.body.next(&mut self.stream.input) {
                Ok(Piece::Data(bytes)) => return Poll::Ready(Ok(Some(bytes))),
                Ok(Piece::End(trailers)) => {
                    self.trailers = trailers;
                    return Poll::Ready(Ok(None));
                }
                Ok(Piece::Wanting) => {}
                Err(bad) => return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, bad))),
            }
            if ready!(self.stream.poll_flush_and_fill(cx, BODY_READ))? == 0 {
                let ended = self.body.ends_with_input();
                return Poll::Ready(if ended { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) });
            }
        }
    }

    /// Ready once the client has reset the connection. A client that only closed its side still gets its
    /// response; of a pipelined request, no more than `AHEAD` bytes are read.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.ended && self.stream.input.len() < AHEAD {
            match ready!(self.stream.poll_flush_and_fill(cx, AHEAD)) {
                Ok(0) => self.ended = true,
                Ok(_) => {}
                Err(_) => return Poll::Ready(()),
            }
        }
        self.poll_broken(cx)
    }

    /// Ready once buffered output cannot be written.
    pub(crate) fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.stream.poll_flush(cx) {
            Poll::Ready(Err(_)) => Poll::Ready(()),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }

    pub(crate) async fn write_continue(&mut self) -> Result<(), ClientFailure> {
        self.stream.output().put_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        self.flush().await
    }

    /// Writes a response head; `end` if no body follows. Informational heads do not start the response.
    pub(crate) fn write_head(&mut self, head: &ResponseHead, end: bool) {
        let out = self.stream.output();
        encode::status_line(head.status, out);
        encode::fields(&head.headers, out);
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            self.answer = ResponseFraming::UntilClose;
            self.persistence = Persistence::Closed;
            self.body = BodyDecoder::new(Framing::UntilClose);
        } else if !head.status.is_informational() {
            self.frame(&head.headers, end);
        }
        self.stream.output().put_slice(b"\r\n");
    }

    /// Frames the body by its length if known, else in chunks, else (HTTP/1.0) by the end of the connection;
    /// and says whether the connection stays open.
    fn frame(&mut self, headers: &HeaderMap, end: bool) {
        // The rest of an unread body would be taken for the next request.
        if !self.body.is_done() {
            self.persistence = Persistence::Closed;
        }
        self.answer = match fields::content_length(headers) {
            _ if end => ResponseFraming::Whole,
            Ok(Some(length)) => ResponseFraming::Length(length),
            _ if self.version == Version::HTTP_11 => ResponseFraming::Chunked,
            _ => ResponseFraming::UntilClose,
        };
        let out = self.stream.output();
        match self.answer {
            ResponseFraming::Chunked => encode::field(&header::TRANSFER_ENCODING, b"chunked", out),
            ResponseFraming::UntilClose => self.persistence = Persistence::Closed,
            ResponseFraming::Awaited | ResponseFraming::Length(_) | ResponseFraming::Whole => {}
        }
        match self.persistence {
            Persistence::Closed => encode::field(&header::CONNECTION, b"close", out),
            Persistence::Kept if self.version != Version::HTTP_11 => {
                encode::field(&header::CONNECTION, b"keep-alive", out);
            }
            Persistence::Kept => {}
        }
    }

    /// Accepts body bytes to be written after the previous ones; must not be empty.
    pub(crate) fn put_body(&mut self, bytes: Bytes) -> Result<(), ClientFailure> {
        match &mut self.answer {
            ResponseFraming::Length(left) => match left.checked_sub(bytes.len() as u64) {
                Some(rest) => *left = rest,
                None => return Err(ClientFailure::Gone),
            },
            ResponseFraming::Chunked => encode::chunk_begin(bytes.len(), self.stream.output()),
            ResponseFraming::UntilClose => {}
            ResponseFraming::Awaited | ResponseFraming::Whole => return Err(ClientFailure::Gone),
        }
        self.ends_chunk = self.answer == ResponseFraming::Chunked;
        self.waiting = bytes;
        Ok(())
    }

    /// Ready once the accepted bytes are written or buffered.
    pub(crate) fn poll_taken(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientFailure>> {
        ready!(self.stream.poll_write(cx, &mut self.waiting)).map_err(|_| ClientFailure::Gone)?;
        if std::mem::take(&mut self.ends_chunk) {
            self.stream.output().put_slice(encode::CHUNK_END);
        }
        Poll::Ready(Ok(()))
    }

    /// Ends the response, which must be complete. Trailers are sent if the body is chunked.
    pub(crate) fn finish(&mut self, trailers: Option<&HeaderMap>) -> Result<(), ClientFailure> {
        match self.answer {
            ResponseFraming::Whole | ResponseFraming::Length(0) | ResponseFraming::UntilClose => {}
            ResponseFraming::Chunked => encode::last_chunk(trailers, self.stream.output()),
            ResponseFraming::Awaited | ResponseFraming::Length(_) => return Err(ClientFailure::Gone),
        }
        self.answer = ResponseFraming::Whole;
        Ok(())
    }

    /// Ends this side of a tunnel, once everything is written; the client may go on.
    pub(crate) fn poll_end_tunnel(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientFailure>> {
        self.answer = ResponseFraming::Whole;
        self.stream.poll_shutdown(cx).map_err(|_| ClientFailure::Gone)
    }

    /// Flushes after other tasks have had their turn. Responses that are ready together then leave back to
    /// back, and the first wakes a client that reads them all: waking a thread on another core is the most
    /// expensive part of a small write.
    pub(crate) async fn flush_in_turn(&mut self) -> Result<(), ClientFailure> {
        let mut waited = false;
        let others = poll_fn(|cx| {
            if std::mem::replace(&mut waited, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        });
        others.await;
        self.flush().await
    }

    pub(crate) async fn flush(&mut self) -> Result<(), ClientFailure> {
        within(self.write_limit, self.stream.flush()).await
    }
}

/// The result of a write within its limit.
async fn within(limit: Duration, write: impl Future<Output = io::Result<()>>) -> Result<(), ClientFailure> {
    let mut write = std::pin::pin!(write);
    // Usually there is room, and no timer is needed.
    let at_once = poll_fn(|cx| Poll::Ready(write.as_mut().poll(cx))).await;
    if let Poll::Ready(outcome) = at_once {
        return outcome.map_err(|_| ClientFailure::Gone);
    }
    match timeout(limit, write).await {
        Ok(outcome) => outcome.map_err(|_| ClientFailure::Gone),
        Err(_) => Err(ClientFailure::Slow),
    }
}
