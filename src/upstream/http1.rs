//! One request and its answer on an HTTP/1.1 connection to a server.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes};
use http::{HeaderMap, HeaderName, Method, StatusCode};

use super::request::{self, UpstreamRequest};
use super::{Part, UpstreamFailure};
use crate::message::body::{BodyDecoder, Piece};
use crate::message::fields::EndOfHead;
use crate::message::{BadMessage, Framing, Persistence, encode, response};
use crate::net::wire::Wire;

/// The longest head of an answer, in bytes.
const HEAD_BYTES: usize = 128 * 1024;
/// The most informational heads before an answer.
const INTERIM_HEADS: u32 = 16;
/// How much is read at once, at first; four times as much each time that there was more.
const READ: usize = 16 * 1024;
/// The most that is read at once: what is held for a client that stops taking it.
const LARGEST_READ: usize = 256 * 1024;

/// A request and its answer.
pub(crate) struct Session {
    wire: Box<Wire>,
    method: Method,
    upload: Upload,
    /// What is to be sent of the request's body, and was not taken yet.
    waiting: Bytes,
    /// Whether the end of a chunk comes behind it.
    ends_chunk: bool,
    answer: Answer,
    persistence: Persistence,
    read: usize,
}

/// How the request's body goes out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Upload {
    /// As it is.
    Plain,
    /// In chunks.
    Chunked,
    /// It is whole.
    Whole,
}

/// Where the answer stands.
#[derive(Debug)]
enum Answer {
    /// Its head is to come, after so many informational ones.
    Head { end: EndOfHead, interim: u32 },
    /// Its body is to come.
    Body(BodyDecoder),
}

impl Session {
    pub(crate) fn new(wire: Box<Wire>) -> Self {
        Self {
            wire,
            method: Method::GET,
            upload: Upload::Whole,
            waiting: Bytes::new(),
            ends_chunk: false,
            answer: Answer::Head { end: EndOfHead::default(), interim: 0 },
            persistence: Persistence::Kept,
            read: READ,
        }
    }

    pub(crate) fn send_head(&mut self, request: &UpstreamRequest<'_>) {
        self.method.clone_from(request.method());
        self.upload = match request.framing() {
            request::Framing::None | request::Framing::Tunnel => Upload::Whole,
            request::Framing::Length(_) => Upload::Plain,
            request::Framing::Chunked => Upload::Chunked,
        };
        let out = self.wire.output();
        encode::request_line(request.method(), request.target(), out);
        request.fields(|name, value| encode::field(name, value, out));
        match request.framing() {
            request::Framing::None => {}
            request::Framing::Length(length) => encode::length(length, out),
            request::Framing::Chunked => out.put_slice(b"transfer-encoding: chunked\r\n"),
            request::Framing::Tunnel => out.put_slice(b"connection: upgrade\r\nupgrade: websocket\r\n"),
        }
        out.put_slice(b"\r\n");
    }

    /// Sends a request of our own, without a body.
    pub(crate) async fn ask(
        &mut self,
        method: &Method,
        target: &[u8],
        fields: &[(HeaderName, &str)],
    ) -> Result<(), UpstreamFailure> {
        self.method.clone_from(method);
        let out = self.wire.output();
        encode::request_line(method, target, out);
        for (name, value) in fields {
            encode::field(name, value.as_bytes(), out);
        }
        out.put_slice(b"\r\n");
        Ok(self.wire.flush().await?)
    }

    pub(crate) fn put_body(&mut self, bytes: Bytes) {
        if self.upload == Upload::Chunked {
            encode::chunk_begin(bytes.len(), self.wire.output());
            self.ends_chunk = true;
        }
        self.waiting = bytes;
    }

    pub(crate) fn put_end(&mut self, trailers: Option<&HeaderMap>) {
        if self.upload == Upload::Chunked {
            encode::last_chunk(trailers, self.wire.output());
        }
        self.upload = Upload::Whole;
    }

    pub(crate) fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UpstreamFailure>> {
        ready!(self.wire.poll_write(cx, &mut self.waiting))?;
        if std::mem::take(&mut self.ends_chunk) {
            self.wire.output().put_slice(encode::CHUNK_END);
        }
        self.wire.poll_flush(cx).map_err(UpstreamFailure::from)
    }

    pub(crate) async fn read(&mut self) -> Result<Part, UpstreamFailure> {
        poll_fn(|cx| self.poll_read(cx)).await
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part, UpstreamFailure>> {
        loop {
            match &mut self.answer {
                Answer::Head { end, .. } => match end.find(&self.wire.input) {
                    Some(length) if length <= HEAD_BYTES => return Poll::Ready(self.take_head(length)),
                    None if self.wire.input.len() < HEAD_BYTES => {}
                    Some(_) | None => return Poll::Ready(Err(BadMessage::Syntax.into())),
                },
                Answer::Body(body) => match body.next(&mut self.wire.input)? {
                    Piece::Data(bytes) => return Poll::Ready(Ok(Part::Body(bytes))),
                    Piece::End(trailers) => return Poll::Ready(Ok(Part::End(trailers))),
                    Piece::Wanting => {}
                },
            }
            match ready!(self.wire.poll_fill(cx, self.read))? {
                0 => return Poll::Ready(self.at_end()),
                read if read >= self.read => self.read = LARGEST_READ.min(self.read * 4),
                _ => {}
            }
        }
    }

    /// Whoever takes the answer does not keep up: less of it is held.
    pub(crate) fn read_less(&mut self) {
        self.read = READ;
    }

    /// The server has ended the connection.
    fn at_end(&mut self) -> Result<Part, UpstreamFailure> {
        self.persistence = Persistence::Closed;
        match &self.answer {
            Answer::Body(body) if body.ends_with_input() => Ok(Part::End(None)),
            Answer::Body(_) | Answer::Head { .. } => {
                Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into())
            }
        }
    }

    fn take_head(&mut self, length: usize) -> Result<Part, UpstreamFailure> {
        let bytes = self.wire.input.split_to(length).freeze();
        let response::Response { head, persistence } = response::parse(&bytes)?;
        if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS {
            if let Answer::Head { end, interim } = &mut self.answer {
                *end = EndOfHead::default();
                *interim += 1;
                if *interim > INTERIM_HEADS {
                    return Err(BadMessage::Syntax.into());
                }
            }
            return Ok(Part::Head { head, end: false });
        }
        let framing = response::framing(&head, &self.method)?;
        // What ends with the connection ends it.
        self.persistence = if framing == Framing::UntilClose { Persistence::Closed } else { persistence };
        let body = BodyDecoder::new(framing);
        let end = body.is_done();
        self.answer = Answer::Body(body);
        Ok(Part::Head { head, end })
    }

    pub(crate) fn tunnel(&mut self) {
        self.answer = Answer::Body(BodyDecoder::new(Framing::UntilClose));
        self.upload = Upload::Plain;
        self.persistence = Persistence::Closed;
    }

    /// The connection, if both sides have said all, and nothing more has come.
    pub(crate) fn into_kept(mut self) -> Option<Box<Wire>> {
        let is_over = matches!(&self.answer, Answer::Body(body) if body.is_done())
            && self.upload == Upload::Whole
            && self.persistence == Persistence::Kept
            && self.wire.input.is_empty()
            && self.wire.is_flushed();
        self.wire.rest();
        is_over.then_some(self.wire)
    }
}
