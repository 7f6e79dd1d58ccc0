//! One request on a stream of a client's HTTP/2 connection, and its response.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::ext::Protocol;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version, header};
use tokio::time::timeout;

use super::ClientFailure;
use crate::message::{REQUEST_FIELDS, RequestHead, ResponseHead, fields, trailers, websocket};
use crate::net::outflow::Outflow;
use crate::net::timer::Timer;
use crate::net::untaken::{StreamUse, Untaken};

pub(crate) struct ClientHttp2 {
    body: RecvStream,
    /// Whether the end of the body was read.
    ended: bool,
    trailers: Option<HeaderMap>,
    respond: SendResponse<Bytes>,
    /// The response body, once a head without END_STREAM is sent.
    answer: Option<Outflow>,
    whole: bool,
    /// Limit for one write of the response.
    pub(crate) write_limit: Duration,
    pub(crate) deadline: Timer,
    /// What it makes the connection hold.
    uses: StreamUse,
}

/// What each field of a head takes in memory beside its bytes: its place in the map, which is not full.
const FIELD_BYTES: usize = 160;

/// A malformed request: it was answered with this status or reset.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Rejected(pub(crate) StatusCode);

impl ClientHttp2 {
    /// Accepts a request that names one host and states its length unambiguously (RFC 9113, 8.1.1 and 8.3.1). `None` if the
    /// connection holds too many heads already: the client may ask again.
    pub(crate) fn accept(
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
        untaken: &Untaken,
    ) -> Result<Option<(RequestHead, Self)>, Rejected> {
        let (parts, body) = request.into_parts();
        let protocol = parts.extensions.get::<Protocol>();
        let is_websocket = protocol.is_some_and(|protocol| protocol.as_str() == "websocket");
        let is_plain = protocol.is_none() || is_websocket;
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let has_bytes_of_a_target = target.bytes().all(|byte| byte > b' ' && byte != 0x7f);
        // A scheme of no bytes (RFC 9113, 8.3.1), blanks around a value (8.2.1).
        let has_no_scheme = parts.uri.scheme_str().is_some_and(str::is_empty);
        if !has_bytes_of_a_target
            || has_no_scheme
            || parts.headers.values().any(|value| is_padded(value.as_bytes()))
            || fields::content_length(&parts.headers).is_err()
        {
            respond.send_reset(Reason::PROTOCOL_ERROR);
            return Err(Rejected(StatusCode::BAD_REQUEST));
        }
        let mut head = RequestHead {
            target: Bytes::copy_from_slice(target.as_bytes()),
            authority: parts
                .uri
                .authority()
                .map(|authority| Bytes::copy_from_slice(authority.as_str().as_bytes())),
            method: parts.method,
            version: Version::HTTP_2,
            headers: parts.headers,
        };
        let status = if head.headers.len() > REQUEST_FIELDS {
            Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
        } else if !is_plain || !has_known_target(&head) || !is_for_one_host(&head) {
            Some(StatusCode::BAD_REQUEST)
        } else {
            None
        };
        if let Some(status) = status {
            let mut answer = Response::new(());
            *answer.status_mut() = status;
            // The client may already have reset the stream.
            let _ = respond.send_response(answer, true);
            return Err(Rejected(status));
        }
        let Some(uses) = untaken.begin(respond.stream_id().as_u32(), bytes_of(&head)) else {
            respond.send_reset(Reason::REFUSED_STREAM);
            return Ok(None);
        };
        if is_websocket {
            websocket::from_http2(&mut head);
        }
        let ended = body.is_end_stream();
        let session = Self {
            body,
            ended,
            trailers: None,
            respond,
            answer: None,
            whole: false,
            write_limit: Duration::MAX,
            deadline: Timer::default(),
            uses,
        };
        Ok(Some((head, session)))
    }

    pub(crate) fn is_body_done(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    /// The next bytes of the body; `None` at its end.
    pub(crate) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ClientFailure>> {
        if self.ended {
            return self.poll_reset(cx).map(|()| Err(ClientFailure::Gone));
        }
        Poll::Ready(match ready!(self.body.poll_data(cx)) {
            Some(Ok(bytes)) => {
                // Flow control: the window is returned when the bytes are handed on. The next read reports a
                // closed connection.
                let _ = self.body.flow_control().release_capacity(bytes.len());
                self.uses.read(bytes.len());
                Ok(Some(bytes))
            }
            Some(Err(_)) => Err(ClientFailure::Gone),
            None => {
                let sent = ready!(self.body.poll_trailers(cx)).map_err(|_| ClientFailure::Gone)?;
                sent.as_ref().map_or(Ok(()), trailers::check).map_err(|_| ClientFailure::Gone)?;
                self.trailers = sent;
                self.ended = true;
                Ok(None)
            }
        })
    }

    pub(crate) fn take_trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take()
    }

    /// Ready once the client has reset the stream or is gone.
    pub(crate) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.answer {
            Some(answer) => answer.poll_reset(cx),
            // The reason does not matter: nobody is left to answer.
            None if !self.whole => self.respond.poll_reset(cx).map(drop),
            None => Poll::Pending,
        }
    }

    /// Sends a response head; `end` if no body follows. Informational heads do not start the response.
    pub(crate) fn write_head(&mut self, mut head: ResponseHead, end: bool) -> Result<(), ClientFailure> {
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            websocket::into_http2(&mut head);
        }
        let mut response = Response::new(());
        *response.status_mut() = head.status;
        *response.version_mut() = Version::HTTP_2;
        *response.headers_mut() = head.headers;
        if head.status.is_informational() {
            return self.respond.send_informational(response).map_err(|_| ClientFailure::Gone);
        }
        let stream = self.respond.send_response(response, end).map_err(|_| ClientFailure::Gone)?;
        self.answer = (!end).then(|| Outflow::new(stream));
        self.whole = end;
        Ok(())
    }

    pub(crate) fn write_continue(&mut self) -> Result<(), ClientFailure> {
        let mut head = Response::new(());
        *head.status_mut() = StatusCode::CONTINUE;
        self.respond.send_informational(head).map_err(|_| ClientFailure::Gone)
    }

    /// Accepts body bytes to be sent after the previous ones.
    pub(crate) fn put_body(&mut self, bytes: Bytes) -> Result<(), ClientFailure> {
        self.answer.as_mut().ok_or(ClientFailure::Gone)?.put(bytes);
        Ok(())
    }

    /// Ready once flow control had room for all accepted bytes.
    pub(crate) fn poll_taken(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientFailure>> {
        let Some(answer) = &mut self.answer else { return Poll::Ready(Err(ClientFailure::Gone)) };
        answer.poll_sent(cx, Some(&self.uses)).map_err(|_| ClientFailure::Gone)
    }

    /// How much of the answer may be read from the server at once.
    pub(crate) fn piece(&self) -> usize {
        self.uses.piece()
    }

    pub(crate) fn finish(&mut self, trailers: Option<HeaderMap>) -> Result<(), ClientFailure> {
        if self.whole {
            return Ok(());
        }
        let Some(answer) = &mut self.answer else { return Err(ClientFailure::Gone) };
        self.whole = true;
        answer.finish(trailers).map_err(|_| ClientFailure::Gone)
    }

    /// Resets the stream unless the response is complete, so that the client notices.
    pub(crate) fn abort(mut self) {
        if !self.whole {
            self.respond.send_reset(Reason::INTERNAL_ERROR);
        }
    }

    /// Discards the rest of the body, for at most `limit`: some clients drop the response if the stream is
    /// reset after it.
    pub(crate) async fn drain(mut self, limit: Duration) {
        let rest = async {
            while let Some(Ok(bytes)) = self.body.data().await {
                let _ = self.body.flow_control().release_capacity(bytes.len());
                self.uses.read(bytes.len());
            }
        };
        if !self.ended {
            // After the limit, dropping the stream resets it.
            let _ = timeout(limit, rest).await;
        }
    }
}

/// What a head takes in memory.
fn bytes_of(head: &RequestHead) -> usize {
    let fields = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD_BYTES);
    head.target.len() + fields.sum::<usize>()
}

/// Whether a value begins or ends with white space.
fn is_padded(value: &[u8]) -> bool {
    let is_blank = |byte: Option<&u8>| byte.is_some_and(|byte| b" \t".contains(byte));
    is_blank(value.first()) || is_blank(value.last())
}

/// Whether the target is a path: an absolute form would name a second host.
fn has_known_target(head: &RequestHead) -> bool {
    head.target.starts_with(b"/") || (*head.target == *b"*" && head.method == Method::OPTIONS)
}

/// Whether the request names exactly one host, without userinfo.
fn is_for_one_host(head: &RequestHead) -> bool {
    let mut hosts = head.headers.get_all(header::HOST).iter().map(|host| host.as_bytes());
    let (host, second) = (hosts.next(), hosts.next());
    let authority = head.authority.as_deref();
    let has_userinfo = |named: Option<&[u8]>| named.is_some_and(|named| named.contains(&b'@'));
    second.is_none()
        && (host.is_some() || authority.is_some())
        && !has_userinfo(host)
        && !has_userinfo(authority)
        && host.zip(authority).is_none_or(|(host, authority)| host.eq_ignore_ascii_case(authority))
}
