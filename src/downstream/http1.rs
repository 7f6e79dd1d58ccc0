//! One request on a client's HTTP/1 connection, and its answer.
//!
//! The answer's framing is made here, from its length or the lack of one; an answer that is not whole
//! cannot be ended.

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
use crate::net::deadline::Deadline;
use crate::net::wire::Wire;

/// How much of a request's body is read at once.
const BODY_READ: usize = 16 * 1024;
/// What a client may send ahead of the answer that it waits for, in bytes.
const AHEAD: usize = 16 * 1024;

/// A request and its answer.
pub(crate) struct Session {
    wire: Box<Wire>,
    /// The connection's timer.
    pub(crate) deadline: Deadline,
    /// What the client speaks.
    version: Version,
    body: BodyDecoder,
    trailers: Option<HeaderMap>,
    answer: Answer,
    /// What is to be written of the answer's body, and was not taken yet.
    waiting: Bytes,
    /// Whether the end of a chunk comes behind it.
    ends_chunk: bool,
    persistence: Persistence,
    /// How long one write of the answer may take.
    pub(crate) write_limit: Duration,
    /// The client has ended its side.
    ended: bool,
}

/// Where the answer stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Answer {
    /// Its head has not been written.
    Awaited,
    /// So many bytes of its body are to come.
    Length(u64),
    /// Its body goes out in chunks.
    Chunked,
    /// Its body goes out as it is.
    UntilClose,
    /// It is whole.
    Whole,
}

impl Session {
    pub(crate) fn new(wire: Box<Wire>, deadline: Deadline, request: &Request) -> Self {
        let Request { head, framing, persistence } = request;
        Self {
            wire,
            deadline,
            version: head.version,
            body: BodyDecoder::new(*framing),
            trailers: None,
            answer: Answer::Awaited,
            waiting: Bytes::new(),
            ends_chunk: false,
            persistence: *persistence,
            write_limit: Duration::MAX,
            ended: false,
        }
    }

    /// The connection with its timer, and whether it goes on.
    pub(crate) fn into_parts(self) -> (Box<Wire>, Deadline, Persistence) {
        (self.wire, self.deadline, self.persistence)
    }

    /// Makes the connection end with this answer.
    pub(crate) fn close_after(&mut self) {
        self.persistence = Persistence::Closed;
    }

    pub(crate) fn is_body_done(&self) -> bool {
        self.body.is_done()
    }

    /// The fields behind the body, once that has ended.
    pub(crate) fn take_trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take()
    }

    /// The next bytes of the body; `None` at its end. What was gathered of the answer leaves meanwhile.
    pub(crate) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        loop {
            match self.body.next(&mut self.wire.input) {
                Ok(Piece::Data(bytes)) => return Poll::Ready(Ok(Some(bytes))),
                Ok(Piece::End(trailers)) => {
                    self.trailers = trailers;
                    return Poll::Ready(Ok(None));
                }
                Ok(Piece::Wanting) => {}
                Err(bad) => return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, bad))),
            }
            if ready!(self.wire.poll_flush_and_fill(cx, BODY_READ))? == 0 {
                let ended = self.body.ends_with_input();
                return Poll::Ready(if ended { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) });
            }
        }
    }

    /// Until the client resets the connection. One that has ended its side alone waits for its answer; one
    /// that sends the next request is listened to as far as that is bounded.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.ended && self.wire.input.len() < AHEAD {
            match ready!(self.wire.poll_flush_and_fill(cx, AHEAD)) {
                Ok(0) => self.ended = true,
                Ok(_) => {}
                Err(_) => return Poll::Ready(()),
            }
        }
        self.poll_broken(cx)
    }

    /// Until what was gathered of the answer cannot leave.
    pub(crate) fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.wire.poll_flush(cx) {
            Poll::Ready(Err(_)) => Poll::Ready(()),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }

    /// Tells a client that waits for it to send the body.
    pub(crate) async fn write_continue(&mut self) -> Result<(), ClientFailure> {
        self.wire.output().put_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        self.flush().await
    }

    /// Writes the head of an answer; `end` when no body follows. An informational one is not the answer.
    pub(crate) fn write_head(&mut self, head: &ResponseHead, end: bool) {
        let out = self.wire.output();
        encode::status_line(head.status, out);
        encode::fields(&head.headers, out);
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            self.answer = Answer::UntilClose;
            self.persistence = Persistence::Closed;
            self.body = BodyDecoder::new(Framing::UntilClose);
        } else if !head.status.is_informational() {
            self.frame(&head.headers, end);
        }
        self.wire.output().put_slice(b"\r\n");
    }

    /// Frames a body by its length where there is one, else in chunks, else (HTTP/1.0) by the end of the
    /// connection, and says whether the connection goes on.
    fn frame(&mut self, headers: &HeaderMap, end: bool) {
        // What is left of a body would be taken for the next request.
        if !self.body.is_done() {
            self.persistence = Persistence::Closed;
        }
        self.answer = match fields::content_length(headers) {
            _ if end => Answer::Whole,
            Ok(Some(length)) => Answer::Length(length),
            _ if self.version == Version::HTTP_11 => Answer::Chunked,
            _ => Answer::UntilClose,
        };
        let out = self.wire.output();
        match self.answer {
            Answer::Chunked => encode::field(&header::TRANSFER_ENCODING, b"chunked", out),
            Answer::UntilClose => self.persistence = Persistence::Closed,
            Answer::Awaited | Answer::Length(_) | Answer::Whole => {}
        }
        match self.persistence {
            Persistence::Closed => encode::field(&header::CONNECTION, b"close", out),
            Persistence::Kept if self.version != Version::HTTP_11 => {
                encode::field(&header::CONNECTION, b"keep-alive", out);
            }
            Persistence::Kept => {}
        }
    }

    /// Takes bytes of the answer's body to be written, once those before them are. There must be some.
    pub(crate) fn put_body(&mut self, bytes: Bytes) -> Result<(), ClientFailure> {
        match &mut self.answer {
            Answer::Length(left) => match left.checked_sub(bytes.len() as u64) {
                Some(rest) => *left = rest,
                None => return Err(ClientFailure::Gone),
            },
            Answer::Chunked => encode::chunk_begin(bytes.len(), self.wire.output()),
            Answer::UntilClose => {}
            Answer::Awaited | Answer::Whole => return Err(ClientFailure::Gone),
        }
        self.ends_chunk = self.answer == Answer::Chunked;
        self.waiting = bytes;
        Ok(())
    }

    /// Done once what was put is written, but for what is gathered.
    pub(crate) fn poll_taken(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientFailure>> {
        ready!(self.wire.poll_write(cx, &mut self.waiting)).map_err(|_| ClientFailure::Gone)?;
        if std::mem::take(&mut self.ends_chunk) {
            self.wire.output().put_slice(encode::CHUNK_END);
        }
        Poll::Ready(Ok(()))
    }

    /// Ends the answer; it must be whole. `trailers` are passed on where it goes out in chunks.
    pub(crate) fn finish(&mut self, trailers: Option<&HeaderMap>) -> Result<(), ClientFailure> {
        match self.answer {
            Answer::Whole | Answer::Length(0) | Answer::UntilClose => {}
            Answer::Chunked => encode::last_chunk(trailers, self.wire.output()),
            Answer::Awaited | Answer::Length(_) => return Err(ClientFailure::Gone),
        }
        self.answer = Answer::Whole;
        Ok(())
    }

    /// Writes out what is gathered once others have had their turn. Answers that are ready together leave one
    /// right after the other, and the first of them wakes who reads them for all: to wake somebody on another core
    /// is the dearest part of a small write.
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

    /// Writes out what is gathered.
    pub(crate) async fn flush(&mut self) -> Result<(), ClientFailure> {
        within(self.write_limit, self.wire.flush()).await
    }
}

/// The outcome of a write that a client may keep waiting.
async fn within(limit: Duration, write: impl Future<Output = io::Result<()>>) -> Result<(), ClientFailure> {
    let mut write = std::pin::pin!(write);
    // Mostly there is room, and no timer is needed.
    let at_once = poll_fn(|cx| Poll::Ready(write.as_mut().poll(cx))).await;
    if let Poll::Ready(outcome) = at_once {
        return outcome.map_err(|_| ClientFailure::Gone);
    }
    match timeout(limit, write).await {
        Ok(outcome) => outcome.map_err(|_| ClientFailure::Gone),
        Err(_) => Err(ClientFailure::Slow),
    }
}
