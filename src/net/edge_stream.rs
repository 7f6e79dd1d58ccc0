//! The stream that HTTP/2 is spoken over with a client.
//!
//! It keeps what was read ahead, and bounds what the framing does not bound by itself: the time of a
//! header block. What is flushed leaves with what other streams have to say by the connection's next turn.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::frames::HeaderBlocks;
use super::transport::Transport;

/// A [`Transport`] with what was read ahead.
#[derive(Debug)]
pub struct EdgeStream {
    transport: Transport,
    ahead: BytesMut,
    header_blocks: Option<TimedBlocks>,
    /// Bytes were written since the last flush.
    written: bool,
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

impl EdgeStream {
    /// A stream on which `ahead` has already been read.
    pub fn new(transport: Transport, ahead: BytesMut) -> Self {
        Self { transport, ahead, header_blocks: None, written: false }
    }

    /// What carries the bytes, and what was read ahead.
    pub fn into_parts(self) -> (Transport, BytesMut) {
        (self.transport, self.ahead)
    }

    /// Lets up to `bytes` of TLS wait for the next turn of whoever flushes.
    pub fn gather(&mut self, bytes: usize) {
        if let Transport::Server(tls) = &mut self.transport {
            tls.gather(bytes);
        }
    }

    /// Each header block may take `limit` from its first byte to its last.
    pub fn bound_header_blocks(&mut self, limit: Duration) {
        self.header_blocks = Some(TimedBlocks { blocks: HeaderBlocks::default(), limit, deadline: None });
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
        let outcome = if this.ahead.is_empty() {
            Pin::new(&mut this.transport).poll_read(cx, buffer)
        } else {
            let taken = this.ahead.len().min(buffer.remaining());
            buffer.put_slice(&this.ahead.split_to(taken));
            Poll::Ready(Ok(()))
        };
        if let Some(timed) = &mut this.header_blocks {
            timed.observe(&buffer.filled()[before..]);
            if outcome.is_pending() && timed.is_late(cx) {
                return Poll::Ready(Err(ErrorKind::TimedOut.into()));
            }
        }
        outcome
    }
}

impl AsyncWrite for EdgeStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.written = true;
        Pin::new(&mut self.transport).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.written = true;
        Pin::new(&mut self.transport).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    /// The first after a write asks for another turn instead, and leaves it to that: the framing flushes after
    /// each frame, and at the end of each of its turns.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.written) {
            cx.waker().wake_by_ref();
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}
