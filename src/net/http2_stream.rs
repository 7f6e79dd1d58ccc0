//! The byte stream of a client's HTTP/2 connection.
//!
//! It bounds the time of a header block, which h2 does not, and defers flushes so that several streams share
//! one write.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::frames::HeaderBlocks;
use super::transport::Transport;
use super::untaken::Untaken;

/// A [`Transport`] with read-ahead input.
#[derive(Debug)]
pub struct Http2Stream {
    transport: Transport,
    ahead: BytesMut,
    header_blocks: Option<TimedBlocks>,
    untaken: Option<Untaken>,
    /// Bytes were written since the last flush.
    written: bool,
    /// Bytes of a flooding client that were thrown away after the end.
    discarded: usize,
}

/// What is still read of a flooding client after the end.
const LINGERING_BYTES: usize = 1024 * 1024;

/// Tracks header blocks, with a deadline for the open one.
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

impl Http2Stream {
    /// A stream on which `ahead` has already been read.
    pub fn new(transport: Transport, ahead: BytesMut) -> Self {
        Self { transport, ahead, header_blocks: None, untaken: None, written: false, discarded: 0 }
    }

    /// The transport and the read-ahead input.
    pub fn into_parts(self) -> (Transport, BytesMut) {
        (self.transport, self.ahead)
    }

    /// Lets TLS encrypt up to `bytes` before a flush.
    pub fn gather(&mut self, bytes: usize) {
        if let Transport::Server(tls) = &mut self.transport {
            tls.gather(bytes);
        }
    }

    /// Follows which streams become requests.
    pub fn follow_streams(&mut self) -> Untaken {
        self.untaken.get_or_insert_default().clone()
    }

    /// Limits the time from a header block's first byte to its last.
    pub fn bound_header_blocks(&mut self, limit: Duration) {
        self.header_blocks = Some(TimedBlocks { blocks: HeaderBlocks::default(), limit, deadline: None });
    }
}

impl AsyncRead for Http2Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // The task of the connection goes on when it has taken its requests.
        if this.untaken.as_ref().is_some_and(|untaken| !untaken.may_read()) {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let outcome = if this.ahead.is_empty() {
            Pin::new(&mut this.transport).poll_read(cx, buffer)
        } else {
            let taken = this.ahead.len().min(buffer.remaining());
            buffer.put_slice(&this.ahead.split_to(taken));
            Poll::Ready(Ok(()))
        };
        if let Some(untaken) = &this.untaken
            && buffer.filled().len() > before
        {
            untaken.came(&buffer.filled()[before..]);
        }
        if let Some(timed) = &mut this.header_blocks {
            timed.observe(&buffer.filled()[before..]);
            if outcome.is_pending() && timed.is_late(cx) {
                return Poll::Ready(Err(ErrorKind::TimedOut.into()));
            }
        }
        outcome
    }
}

impl AsyncWrite for Http2Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.written = true;
        let outcome = Pin::new(&mut self.transport).poll_write(cx, bytes);
        if let (Some(untaken), Poll::Ready(Ok(written))) = (&self.untaken, &outcome) {
            untaken.went(&bytes[..*written]);
        }
        outcome
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.written = true;
        let outcome = Pin::new(&mut self.transport).poll_write_vectored(cx, slices);
        if let (Some(untaken), Poll::Ready(Ok(written))) = (&self.untaken, &outcome) {
            let mut left = *written;
            for slice in slices {
                let of_slice = left.min(slice.len());
                untaken.went(&slice[..of_slice]);
                left -= of_slice;
            }
        }
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    /// Defers the first flush after a write to the next poll, so that several streams share one `writev`: h2
    /// flushes after each frame and at the end of each poll.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.written) {
            cx.waker().wake_by_ref();
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    /// Reads on for a while after a flood: with unread input, the kernel would reset the connection, and the client
    /// might miss the last frames.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(Pin::new(&mut this.transport).poll_shutdown(cx))?;
        if !this.untaken.as_ref().is_some_and(Untaken::is_flooded) {
            return Poll::Ready(Ok(()));
        }
        let mut bytes = [0; 4096];
        while this.discarded < LINGERING_BYTES {
            let mut read = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut this.transport).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                break;
            }
            this.discarded += read.filled().len();
        }
        Poll::Ready(Ok(()))
    }
}
