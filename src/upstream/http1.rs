//! One request and its response on an HTTP/1.1 connection to a server.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes};
use http::{HeaderMap, HeaderName, Method, StatusCode};

use super::request::{self, UpstreamRequest};
use super::{ResponsePart, UpstreamFailure};
use crate::message::body::{BodyDecoder, Piece};
use crate::message::fields::EndOfHead;
use crate::message::interim::InterimHeads;
use crate::message::{BadMessage, Framing, Persistence, encode, response};
use crate::net::http1_stream::Http1Stream;

/// The longest response head, in bytes.
const HEAD_BYTES: usize = 128 * 1024;
/// Bytes of the first read; four times as many after each full read.
const READ: usize = 16 * 1024;
/// Bytes of the largest read: what is held for a client that stops reading, beside as much that TLS has encrypted.
const LARGEST_READ: usize = 64 * 1024;

pub(crate) struct ServerHttp1 {
    stream: Box<Http1Stream>,
    method: Method,
    upload: BodyEncoding,
    /// Body bytes that are not sent yet.
    waiting: Bytes,
    /// Whether `waiting` ends a chunk.
    ends_chunk: bool,
    answer: ReadState,
    persistence: Persistence,
    /// Whether the request asks for another protocol.
    asks_for_tunnel: bool,
    /// Fields of the answer that were dropped, and not counted yet.
    dropped: u32,
    read: usize,
    /// What `read` may grow to.
    most: usize,
}

/// How the request body is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum BodyEncoding {
    /// By its length.
    Plain,
    Chunked,
    /// Raw, until the client ends its side.
    Tunnel,
    /// The client has ended its side of the tunnel; the connection is half-closed next.
    Ending,
    Whole,
}

#[derive(Debug)]
enum ReadState {
    /// The final head, after informational ones.
    Head {
        end: EndOfHead,
        interim: InterimHeads,
    },
    Body(BodyDecoder),
}

impl ServerHttp1 {
    pub(crate) fn new(stream: Box<Http1Stream>) -> Self {
        Self {
            stream,
            method: Method::GET,
            upload: BodyEncoding::Whole,
            waiting: Bytes::new(),
            ends_chunk: false,
            answer: ReadState::Head { end: EndOfHead::default(), interim: InterimHeads::default() },
            persistence: Persistence::Kept,
            asks_for_tunnel: false,
            dropped: 0,
            read: READ,
            most: LARGEST_READ,
        }
    }

    pub(crate) fn send_head(&mut self, request: &UpstreamRequest<'_>) {
        self.method.clone_from(request.method());
        self.asks_for_tunnel = request.framing() == request::BodyFraming::Tunnel;
        self.upload = match request.framing() {
            request::BodyFraming::None | request::BodyFraming::Tunnel => BodyEncoding::Whole,
            request::BodyFraming::Length(_) => BodyEncoding::Plain,
            request::BodyFraming::Chunked => BodyEncoding::Chunked,
        };
        let out = self.stream.output();
        encode::request_line(request.method(), request.target(), out);
        request.fields(|name, value| encode::field(name, value, out));
        match request.framing() {
            request::BodyFraming::None => {}
            request::BodyFraming::Length(length) => encode::length(length, out),
            request::BodyFraming::Chunked => out.put_slice(b"transfer-encoding: chunked\r\n"),
            request::BodyFraming::Tunnel => out.put_slice(b"connection: upgrade\r\nupgrade: websocket\r\n"),
        }
        out.put_slice(b"\r\n");
    }

    /// Sends this edge's own request, without a body.
    pub(crate) async fn ask(
        &mut self,
        method: &Method,
        target: &[u8],
        fields: &[(HeaderName, &str)],
    ) -> Result<(), UpstreamFailure> {
        self.method.clone_from(method);
        let out = self.stream.output();
        encode::request_line(method, target, out);
        for (name, value) in fields {
            encode::field(name, value.as_bytes(), out);
        }
        out.put_slice(b"\r\n");
        Ok(self.stream.flush().await?)
    }

    pub(crate) fn put_body(&mut self, bytes: Bytes) {
        if self.upload == BodyEncoding::Chunked {
            encode::chunk_begin(bytes.len(), self.stream.output());
            self.ends_chunk = true;
        }
        self.waiting = bytes;
    }

    pub(crate) fn put_end(&mut self, trailers: Option<&HeaderMap>) {
        if self.upload == BodyEncoding::Chunked {
            encode::last_chunk(trailers, self.stream.output());
        }
        let is_tunnel = self.upload == BodyEncoding::Tunnel;
        self.upload = if is_tunnel { BodyEncoding::Ending } else { BodyEncoding::Whole };
    }

    pub(crate) fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UpstreamFailure>> {
        ready!(self.stream.poll_write(cx, &mut self.waiting))?;
        if std::mem::take(&mut self.ends_chunk) {
            self.stream.output().put_slice(encode::CHUNK_END);
        }
        if self.upload == BodyEncoding::Ending {
            ready!(self.stream.poll_shutdown(cx))?;
            self.upload = BodyEncoding::Whole;
        }
        self.stream.poll_flush(cx).map_err(UpstreamFailure::from)
    }

    pub(crate) async fn read(&mut self) -> Result<ResponsePart, UpstreamFailure> {
        poll_fn(|cx| self.poll_read(cx)).await
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponsePart, UpstreamFailure>> {
        loop {
            match &mut self.answer {
                ReadState::Head { end, .. } => match end.find(&self.stream.input) {
                    Some(length) if length <= HEAD_BYTES => return Poll::Ready(self.take_head(length)),
                    None if self.stream.input.len() < HEAD_BYTES => {}
                    Some(_) | None => return Poll::Ready(Err(BadMessage::Syntax.into())),
                },
                ReadState::Body(body) => match body.next(&mut self.stream.input)? {
                    Piece::Data(bytes) => return Poll::Ready(Ok(ResponsePart::Body(bytes))),
                    Piece::End(trailers) => {
                        self.dropped += body.dropped();
                        return Poll::Ready(Ok(ResponsePart::End(trailers)));
                    }
                    Piece::Wanting => {}
                },
            }
            match ready!(self.stream.poll_fill(cx, self.read))? {
                0 => return Poll::Ready(self.at_end()),
                read if read >= self.read => self.read = self.most.min(self.read * 4),
                _ => {}
            }
        }
    }

    /// How many fields of the response were dropped since the last call.
    pub(crate) fn take_dropped(&mut self) -> u32 {
        std::mem::take(&mut self.dropped)
    }

    /// Bytes that have come, and were not taken.
    pub(crate) fn unread(&self) -> usize {
        self.stream.input.len()
    }

    /// Reads less at a time: the client does not keep up.
    pub(crate) fn read_less(&mut self) {
        self.read = READ.min(self.most);
    }

    /// Reads at most this much at a time from now on.
    pub(crate) fn read_at_most(&mut self, bytes: usize) {
        self.most = LARGEST_READ.min(bytes);
        self.read = self.read.min(self.most);
    }

    fn at_end(&mut self) -> Result<ResponsePart, UpstreamFailure> {
        self.persistence = Persistence::Closed;
        match &self.answer {
            ReadState::Body(body) if body.ends_with_input() => Ok(ResponsePart::End(None)),
            ReadState::Body(_) | ReadState::Head { .. } => {
                Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into())
            }
        }
    }

    fn take_head(&mut self, length: usize) -> Result<ResponsePart, UpstreamFailure> {
        let bytes = self.stream.input.split_to(length).freeze();
        let response::Response { head, persistence, dropped } = response::parse(&bytes)?;
        self.dropped += dropped;
        if head.status == StatusCode::SWITCHING_PROTOCOLS && !self.asks_for_tunnel {
            return Err(BadMessage::Upgrade.into());
        }
        if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS {
            if let ReadState::Head { end, interim } = &mut self.answer {
                *end = EndOfHead::default();
                interim.count(&head)?;
            }
            return Ok(ResponsePart::Head { head, end: false });
        }
        let framing = response::framing(&head, &self.method)?;
        // A body framed by the end of the connection leaves nothing to reuse.
        self.persistence = if framing == Framing::UntilClose { Persistence::Closed } else { persistence };
        let body = BodyDecoder::of_answer(framing);
        let end = body.is_done();
        self.answer = ReadState::Body(body);
        Ok(ResponsePart::Head { head, end })
    }

    pub(crate) fn tunnel(&mut self) {
        self.answer = ReadState::Body(BodyDecoder::new(Framing::UntilClose));
        self.upload = BodyEncoding::Tunnel;
        self.persistence = Persistence::Closed;
    }

    /// The connection, if the exchange is complete in both directions and nothing follows.
    pub(crate) fn into_kept(mut self) -> Option<Box<Http1Stream>> {
        let is_over = matches!(&self.answer, ReadState::Body(body) if body.is_done())
            && self.upload == BodyEncoding::Whole
            && self.persistence == Persistence::Kept
            && self.stream.input.is_empty()
            && self.stream.is_flushed();
        self.stream.release_buffers();
        is_over.then_some(self.stream)
    }
}
