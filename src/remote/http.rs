//! The HTTP client of services, such as sinks and allowlist sources: HTTP/1.1 over TLS or in clear text, one connection kept at a time.
//!
//! Every wait has a deadline and every answer a size limit. A request is sent once; trying again is the caller's.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{HeaderMap, RETRY_AFTER};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rustls::ClientConfig;
use tokio::time::timeout;

use super::connect::{client_config, connect};
use super::failure::{FailureKind, RemoteFailure};
use crate::config::sinks::{Endpoint, ServerAddress};
use crate::tls::roots::http1_alone;

/// From the end of the upload to the head of the answer.
const FIRST_BYTE: Duration = Duration::from_secs(30);
/// From the head of an answer to its end.
const ANSWER: Duration = Duration::from_secs(60);
/// An upload slower than this is given up: a 64 MiB segment gets nine minutes, in bytes per second.
const SLOWEST: u64 = 128 * 1024;
/// The largest answer read into memory: a listing of 1000 long keys.
const ANSWER_BYTES: usize = 2 * 1024 * 1024;
/// How much of a file is read at once.
const CHUNK: usize = 64 * 1024;

/// A client of one service.
pub struct HttpClient {
    endpoint: Endpoint,
    /// Where connections go to.
    at: ServerAddress,
    tls: Option<Arc<ClientConfig>>,
    kept: Option<SendRequest<Payload>>,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status, whatever it is: reading it is the caller's.
    pub status: StatusCode,
    /// The head.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// How long the service asks to be left alone, by seconds or by a date after `now`.
    pub fn retry_after(&self, now: Timestamp) -> Option<Duration> {
        let text = self.headers.get(RETRY_AFTER)?.to_str().ok()?;
        match text.parse() {
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            Err(_) => {
                let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
                Some(Duration::try_from(date.duration_since(now)).unwrap_or_default())
            }
        }
    }
}

impl HttpClient {
    /// A client of the service at `endpoint`, verified by the certificates in `trust` or the system's.
    pub fn new(endpoint: &Endpoint, trust: Option<&Path>) -> Result<Self, RemoteFailure> {
        Self::reached_at(endpoint, endpoint.address.clone(), trust)
    }

    /// A client of the service at `endpoint` that connects to `at`. The server is asked and verified by the endpoint's
    /// name all the same.
    pub fn reached_at(
        endpoint: &Endpoint,
        at: ServerAddress,
        trust: Option<&Path>,
    ) -> Result<Self, RemoteFailure> {
        let tls = if endpoint.is_tls { Some(http1_alone(&*client_config(trust)?)) } else { None };
        Ok(Self { endpoint: endpoint.clone(), at, tls, kept: None })
    }

    /// Sends a request whose `host` field is set, and reads the whole answer.
    pub async fn send(&mut self, request: Request<Payload>) -> Result<Answer, RemoteFailure> {
        let (head, body) = self.begin(request).await?.into_parts();
        let body = self.read(body, ANSWER_BYTES).await?;
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    /// Reads the whole body of an answer, up to `limit` bytes.
    pub async fn read(&mut self, mut body: Incoming, limit: usize) -> Result<Bytes, RemoteFailure> {
        let mut read = BytesMut::new();
        while let Some(chunk) = self.next_chunk(&mut body).await? {
            if read.len() + chunk.len() > limit {
                self.kept = None;
                let message = format!("{}: the answer is larger than {limit} bytes", self.endpoint);
                return Err(RemoteFailure::new(FailureKind::TooLarge, message));
            }
            read.extend_from_slice(&chunk);
        }
        Ok(read.freeze())
    }

    /// Sends a request and returns the answer's head; its body is read with [`next_chunk`](Self::next_chunk).
    pub async fn begin(&mut self, request: Request<Payload>) -> Result<Response<Incoming>, RemoteFailure> {
        let upload = Duration::from_secs(request.body().length / SLOWEST);
        let mut sender = match self.kept.take() {
            // The service may close a connection at any time; one that is known to be closed is not used.
            Some(kept) if kept.is_ready() => kept,
            _ => self.connect().await?,
        };
        let answer = match timeout(upload + FIRST_BYTE, sender.send_request(request)).await {
            Ok(answer) => answer.map_err(|error| self.failed(&error))?,
            Err(_) => return Err(self.late("did not answer", upload + FIRST_BYTE)),
        };
        self.kept = Some(sender);
        Ok(answer)
    }

    /// The next part of an answer's body; `None` at its end.
    pub async fn next_chunk(&mut self, body: &mut Incoming) -> Result<Option<Bytes>, RemoteFailure> {
        loop {
            match timeout(ANSWER, body.frame()).await {
                Ok(None) => return Ok(None),
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => return Ok(Some(data)),
                    // Trailers say nothing here.
                    Err(_) => continue,
                },
                Ok(Some(Err(error))) => {
                    self.kept = None;
                    return Err(self.failed(&error));
                }
                Err(_) => {
                    self.kept = None;
                    return Err(self.late("stopped in the middle of its answer", ANSWER));
                }
            }
        }
    }

    async fn connect(&self) -> Result<SendRequest<Payload>, RemoteFailure> {
        let host = &self.endpoint.address.host;
        let tls = self.tls.as_ref().map(|config| (Arc::clone(config), host));
        let stream = connect(&self.at, tls, &self.endpoint).await?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.failed(&error))?;
        tokio::spawn(async move {
            // What goes wrong on it is said to the request that was sent over it.
            let _ = connection.await;
        });
        Ok(sender)
    }

    fn failed(&self, error: &hyper::Error) -> RemoteFailure {
        let kind = if error.is_parse() { FailureKind::Protocol } else { FailureKind::Unreachable };
        let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
        RemoteFailure::new(kind, format_args!("{}: {error}{cause}", self.endpoint))
    }

    fn late(&self, what: &str, after: Duration) -> RemoteFailure {
        let message = format!("{} {what} within {} s", self.endpoint, after.as_secs());
        RemoteFailure::new(FailureKind::TimedOut, message)
    }
}

impl std::fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpClient").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// A request's body, of a length that is known before.
#[derive(Debug)]
pub struct Payload {
    length: u64,
    left: u64,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Bytes(Bytes),
    File(std::fs::File),
}

impl Payload {
    /// No bytes.
    pub fn empty() -> Self {
        Self::bytes(Bytes::new())
    }

    /// Bytes in memory.
    pub fn bytes(bytes: Bytes) -> Self {
        let length = bytes.len() as u64;
        Self { length, left: length, source: Source::Bytes(bytes) }
    }

    /// The first `length` bytes of a file, read as they are sent.
    pub fn file(file: std::fs::File, length: u64) -> Self {
        Self { length, left: length, source: Source::File(file) }
    }

    /// How many bytes it has.
    pub fn length(&self) -> u64 {
        self.length
    }
}

impl HttpBody for Payload {
    type Data = Bytes;
    type Error = std::io::Error;

    /// A file is read in place: the lane has this thread for itself.
    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        use std::io::Read as _;
        let this = self.get_mut();
        if this.left == 0 {
            return Poll::Ready(None);
        }
        let chunk = match &mut this.source {
            Source::Bytes(bytes) => Ok(std::mem::take(bytes)),
            Source::File(file) => {
                let mut chunk = vec![0; CHUNK.min(usize::try_from(this.left).unwrap_or(CHUNK))];
                file.read(&mut chunk).map(|read| {
                    chunk.truncate(read);
                    Bytes::from(chunk)
                })
            }
        };
        Poll::Ready(Some(match chunk {
            Ok(chunk) if chunk.is_empty() => Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(chunk) => {
                this.left -= chunk.len() as u64;
                Ok(Frame::data(chunk))
            }
            Err(error) => Err(error),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
