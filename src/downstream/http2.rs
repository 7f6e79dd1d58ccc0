//! One request on a stream of a client's HTTP/2 connection, and its answer.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::ext::Protocol;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version, header};
use tokio::time::timeout;

use super::ClientFailure;
use crate::message::websocket;
use crate::message::{RequestHead, ResponseHead, fields};
use crate::net::deadline::Deadline;
use crate::net::outflow::Outflow;

/// The rest of a request, and its answer.
pub(crate) struct Session {
    body: RecvStream,
    /// The end of the body was read.
    ended: bool,
    trailers: Option<HeaderMap>,
    respond: SendResponse<Bytes>,
    /// The answer's body, once its head is sent and does not end it.
    answer: Option<Outflow>,
    whole: bool,
    /// How long one write of the answer may take.
    pub(crate) write_limit: Duration,
    pub(crate) deadline: Deadline,
}

/// A request that is none: it has been answered, or reset.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Rejected;

impl Session {
    /// Takes a request that says in one way whom it is for and where it ends (RFC 9113, 8.1.1 and 8.3.1).
    pub(crate) fn accept(
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
    ) -> Result<(RequestHead, Self), Rejected> {
        let (parts, body) = request.into_parts();
        let protocol = parts.extensions.get::<Protocol>();
        let is_websocket = protocol.is_some_and(|protocol| protocol.as_str() == "websocket");
        let is_plain = protocol.is_none() || is_websocket;
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let has_bytes_of_a_target = target.bytes().all(|byte| byte > b' ' && byte != 0x7f);
        if !has_bytes_of_a_target || fields::content_length(&parts.headers).is_err() {
            respond.send_reset(Reason::PROTOCOL_ERROR);
            return Err(Rejected);
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
        if !is_plain || !has_known_target(&head) || !is_for_one_host(&head) {
            let mut answer = Response::new(());
            *answer.status_mut() = StatusCode::BAD_REQUEST;
            // A client that has taken it back already does not want to know.
            let _ = respond.send_response(answer, true);
            return Err(Rejected);
        }
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
            deadline: Deadline::default(),
        };
        Ok((head, session))
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
                // Whoever reads has them now. That the connection is gone is told by the next read.
                let _ = self.body.flow_control().release_capacity(bytes.len());
                Ok(Some(bytes))
            }
            Some(Err(_)) => Err(ClientFailure::Gone),
            None => {
                self.trailers = ready!(self.body.poll_trailers(cx)).map_err(|_| ClientFailure::Gone)?;
                self.ended = true;
                Ok(None)
            }
        })
    }

    /// The fields behind the body, once that has ended.
    pub(crate) fn take_trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take()
    }

    /// Until the client takes its request back, or is gone.
    pub(crate) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.answer {
            Some(answer) => answer.poll_reset(cx),
            // Why does not matter: there is nobody left.
            None if !self.whole => self.respond.poll_reset(cx).map(drop),
            None => Poll::Pending,
        }
    }

    /// Sends the head of an answer; `end` when no body follows. An informational one is not the answer.
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

    /// Tells a client that waits for it to send the body.
    pub(crate) fn write_continue(&mut self) -> Result<(), ClientFailure> {
        let mut head = Response::new(());
        *head.status_mut() = StatusCode::CONTINUE;
        self.respond.send_informational(head).map_err(|_| ClientFailure::Gone)
    }

    /// Takes bytes of the answer's body to be sent, once those before them are.
    pub(crate) fn put_body(&mut self, bytes: Bytes) -> Result<(), ClientFailure> {
        self.answer.as_mut().ok_or(ClientFailure::Gone)?.put(bytes);
        Ok(())
    }

    /// Done once there was room for all that was put.
    pub(crate) fn poll_taken(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientFailure>> {
        let Some(answer) = &mut self.answer else { return Poll::Ready(Err(ClientFailure::Gone)) };
        answer.poll_sent(cx).map_err(|_| ClientFailure::Gone)
    }

    /// Ends the answer.
    pub(crate) fn finish(&mut self, trailers: Option<HeaderMap>) -> Result<(), ClientFailure> {
        if self.whole {
            return Ok(());
        }
        let Some(answer) = &mut self.answer else { return Err(ClientFailure::Gone) };
        self.whole = true;
        answer.finish(trailers).map_err(|_| ClientFailure::Gone)
    }

    /// Makes sure that the client does not take what it has for a whole answer.
    pub(crate) fn abort(mut self) {
        if !self.whole {
            self.respond.send_reset(Reason::INTERNAL_ERROR);
        }
    }

    /// Reads the rest of the body for nobody, for `limit` at most: some clients forget the answer over the
    /// reset that ends it.
    pub(crate) async fn drain(mut self, limit: Duration) {
        let rest = async {
            while let Some(Ok(bytes)) = self.body.data().await {
                let _ = self.body.flow_control().release_capacity(bytes.len());
            }
        };
        if !self.ended {
            // It is reset otherwise.
            let _ = timeout(limit, rest).await;
        }
    }
}

/// Whether the target is a path: an absolute form would name a second host.
fn has_known_target(head: &RequestHead) -> bool {
    head.target.starts_with(b"/") || (*head.target == *b"*" && head.method == Method::OPTIONS)
}

/// Whether a request names its host, and no second one.
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
