//! The stream that a connection is served over, in TLS or in clear text, as the HTTP engine sees it.
//!
//! It keeps what was read ahead, holds small writes back until they are flushed, and bounds what the
//! engine does not bound by itself: the bytes of a request head, and the time of an HTTP/2 header
//! block. Nothing else of the engine is known in this layer.

use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::frames::HeaderBlocks;

/// Writes are gathered up to this many bytes: one TLS record of the largest size.
const GATHER_BYTES: usize = 16 * 1024;

/// What carries the bytes.
#[derive(Debug)]
pub enum Transport {
    /// Clear text.
    Tcp(TcpStream),
    /// TLS that a client began.
    Server(Box<tokio_rustls::server::TlsStream<TcpStream>>),
    /// TLS that this edge began.
    Client(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl Transport {
    /// The socket.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Tcp(tcp) => tcp,
            Self::Server(tls) => tls.get_ref().0,
            Self::Client(tls) => tls.get_ref().0,
        }
    }

    fn as_read(&mut self) -> Pin<&mut (dyn AsyncRead + Send + Unpin)> {
        match self {
            Self::Tcp(tcp) => Pin::new(tcp),
            Self::Server(tls) => Pin::new(&mut **tls),
            Self::Client(tls) => Pin::new(&mut **tls),
        }
    }

    fn as_write(&mut self) -> Pin<&mut (dyn AsyncWrite + Send + Unpin)> {
        match self {
            Self::Tcp(tcp) => Pin::new(tcp),
            Self::Server(tls) => Pin::new(&mut **tls),
            Self::Client(tls) => Pin::new(&mut **tls),
        }
    }
}

/// A [`Transport`] with what was read ahead and what is still to be written.
#[derive(Debug)]
pub struct EdgeStream {
    transport: Transport,
    ahead: BytesMut,
    gathered: BytesMut,
    /// The transport was given bytes that it may still hold.
    unflushed: bool,
    writing: Writing,
    budget: HeadBudget,
    header_blocks: Option<TimedBlocks>,
}

/// When written bytes leave.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Writing {
    /// When there is enough for a record, or when the reader waits: whoever writes an answer in parts
    /// does so between two reads, and one record and one system call carry all of it.
    Gathered,
    /// At once.
    Through,
}

/// What the head of a request may still take, shared with whoever reads it.
#[derive(Clone, Debug)]
pub struct HeadBudget(Arc<AtomicUsize>);

impl HeadBudget {
    /// Bounds what is read from now on to `bytes`; reading after that many fails with [`HeadTooLong`].
    pub fn begin(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    /// Ends the bound.
    pub fn end(&self) {
        self.0.store(usize::MAX, Ordering::Relaxed);
    }
}

/// The header blocks of an HTTP/2 connection, and the deadline of the one that is open.
#[derive(Debug)]
struct TimedBlocks {
    blocks: HeaderBlocks,
    limit: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl TimedBlocks {
    fn observe(&mut self, bytes: &[u8]) {
        self.blocks.observe(bytes);
        if !self.blocks.is_open() {
            self.deadline = None;
        } else if self.deadline.is_none() {
            self.deadline = Some(Box::pin(tokio::time::sleep(self.limit)));
        }
    }

    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready())
    }
}

/// More than `request_head_bytes` came without an end of the head.
#[derive(Debug, thiserror::Error)]
#[error("the request head is longer than its limit")]
pub struct HeadTooLong;

impl EdgeStream {
    /// A stream on which `ahead` has already been read.
    pub fn new(transport: Transport, ahead: BytesMut) -> Self {
        Self {
            transport,
            ahead,
            gathered: BytesMut::new(),
            unflushed: false,
            writing: Writing::Gathered,
            budget: HeadBudget(Arc::new(AtomicUsize::new(usize::MAX))),
            header_blocks: None,
        }
    }

    /// What carries the bytes.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// The bound of request heads.
    pub fn head_budget(&self) -> HeadBudget {
        self.budget.clone()
    }

    /// Prepares for HTTP/2: the engine gathers its writes by itself, and each header block may take
    /// `limit` from its first byte to its last.
    pub fn speak_http2(&mut self, limit: Duration) {
        self.writing = Writing::Through;
        self.header_blocks = Some(TimedBlocks { blocks: HeaderBlocks::default(), limit, deadline: None });
    }

    /// Puts back bytes that were read beyond a message.
    pub fn put_back(&mut self, bytes: BytesMut) {
        let later = std::mem::replace(&mut self.ahead, bytes);
        self.ahead.extend_from_slice(&later);
    }

    /// Writes out what is gathered, and waits until there is something to read. `false` at the end of
    /// the stream.
    pub async fn has_data(&mut self) -> io::Result<bool> {
        std::future::poll_fn(|cx| self.poll_write_gathered(cx)).await?;
        self.writing = Writing::Gathered;
        if !self.ahead.is_empty() {
            return Ok(true);
        }
        // One byte, so that a connection that waits holds no buffer.
        let mut first = [0];
        let mut buffer = ReadBuf::new(&mut first);
        std::future::poll_fn(|cx| self.transport.as_read().poll_read(cx, &mut buffer)).await?;
        self.ahead.extend_from_slice(buffer.filled());
        Ok(!self.ahead.is_empty())
    }

    /// Whether a kept connection is as it was left: open, nothing sent on it, nothing to be written.
    pub fn is_quiet(&mut self) -> bool {
        let mut first = [0];
        let mut buffer = ReadBuf::new(&mut first);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        self.ahead.is_empty()
            && self.gathered.is_empty()
            && self.transport.as_read().poll_read(&mut cx, &mut buffer).is_pending()
    }

    /// Writes out what was gathered, and what the transport holds, as far as the other side takes it.
    fn poll_write_gathered(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.gathered.is_empty() {
            let written = ready!(self.transport.as_write().poll_write(cx, &self.gathered))?;
            if written == 0 {
                return Poll::Ready(Err(ErrorKind::WriteZero.into()));
            }
            self.gathered.advance(written);
            self.unflushed = true;
        }
        if self.unflushed {
            // A connection that waits holds no buffer.
            self.gathered = BytesMut::new();
            ready!(self.transport.as_write().poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let budget = self.budget.0.load(Ordering::Relaxed);
        if budget == 0 {
            return Poll::Ready(Err(io::Error::other(HeadTooLong)));
        }
        let from_ahead = self.ahead.len().min(buffer.remaining()).min(budget);
        if from_ahead > 0 {
            buffer.put_slice(&self.ahead.split_to(from_ahead));
            if self.ahead.is_empty() {
                self.ahead = BytesMut::new();
            }
        }
        let wanted = buffer.remaining().min(budget - from_ahead);
        if wanted == 0 || !self.ahead.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let outcome = if wanted == buffer.remaining() {
            self.transport.as_read().poll_read(cx, buffer)
        } else {
            let mut part = ReadBuf::new(buffer.initialize_unfilled_to(wanted));
            let outcome = self.transport.as_read().poll_read(cx, &mut part);
            let read = part.filled().len();
            buffer.advance(read);
            outcome
        };
        if from_ahead > 0 { Poll::Ready(Ok(())) } else { outcome }
    }
}

impl AsyncRead for EdgeStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let wanted = buffer.remaining();
        let outcome = this.poll_fill(cx, buffer);
        let read = buffer.filled().len() - before;
        if read > 0 && this.budget.0.load(Ordering::Relaxed) != usize::MAX {
            this.budget.0.fetch_sub(read, Ordering::Relaxed);
        }
        if let Some(timed) = &mut this.header_blocks {
            timed.observe(&buffer.filled()[before..]);
            if outcome.is_pending() && timed.is_late(cx) {
                return Poll::Ready(Err(ErrorKind::TimedOut.into()));
            }
        }
        match outcome {
            // Whoever reads now waits for the other side, which may wait for what is gathered here.
            Poll::Pending => match this.poll_write_gathered(cx) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
            },
            // The end, or the one byte that the engine asks for to see whether there is more than the
            // request that it answers: it does not wait on this side again.
            Poll::Ready(Ok(())) if read == 0 || wanted == 1 => {
                this.writing = Writing::Through;
                match this.poll_write_gathered(cx) {
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(())),
                }
            }
            Poll::Ready(_) => outcome,
        }
    }
}

impl AsyncWrite for EdgeStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let gathers = this.writing == Writing::Gathered;
        if gathers && this.gathered.len() + bytes.len() <= GATHER_BYTES {
            this.gathered.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        if gathers && !this.gathered.is_empty() && this.gathered.len() < GATHER_BYTES {
            let taken = GATHER_BYTES - this.gathered.len();
            this.gathered.extend_from_slice(&bytes[..taken]);
            return match this.poll_write_gathered(cx) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(taken)),
            };
        }
        ready!(this.poll_write_gathered(cx))?;
        this.unflushed = true;
        this.transport.as_write().poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.writing == Writing::Gathered {
            let first = slices.iter().find(|slice| !slice.is_empty()).map_or(&[][..], |slice| slice);
            return self.poll_write(cx, first);
        }
        ready!(self.poll_write_gathered(cx))?;
        self.transport.as_write().poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.writing == Writing::Through
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.writing == Writing::Gathered {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_write_gathered(cx))?;
        self.transport.as_write().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_gathered(cx))?;
        self.transport.as_write().poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for EdgeStream {
    async fn shutdown(&mut self) {
        // The engine calls this for a connection that it will not use again, whatever becomes of it.
        if let Err(error) = AsyncWriteExt::shutdown(self).await {
            tracing::trace!(%error, "a connection could not be shut down");
        }
    }
}

impl UniqueID for EdgeStream {
    fn id(&self) -> UniqueIDType {
        self.transport.socket().as_raw_fd()
    }
}

impl Ssl for EdgeStream {}

impl GetTimingDigest for EdgeStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for EdgeStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for EdgeStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

impl Peek for EdgeStream {}
