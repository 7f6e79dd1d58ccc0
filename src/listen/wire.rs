//! A connection that HTTP/1.1 is spoken on: what was read and not yet used, what is to be written.
//!
//! Small writes are gathered, so that a message leaves in one TLS record and one system call; whoever
//! waits for the other side flushes first. A connection that waits holds no buffer.

use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::transport::Transport;

/// Writes are gathered up to this many bytes: one TLS record of the largest size.
const GATHER: usize = 16 * 1024;
/// What TLS makes of a large write at once, in bytes: as much leaves in one system call.
const RECORDS: usize = 256 * 1024;
/// Where whatever is written leaves anew, the room for it is this at least.
const OUTPUT: usize = 4096;

/// A transport with its input and output.
#[derive(Debug)]
pub struct Wire {
    transport: Transport,
    /// What was read and not yet used.
    pub input: BytesMut,
    /// What is gathered. Whoever appends more than a head's length uses [`Wire::write`].
    pub output: BytesMut,
    /// What is written after the output, without being copied.
    large: Bytes,
    /// The transport was given bytes that it may still hold.
    unflushed: bool,
}

impl Wire {
    /// A wire on which `input` has already been read.
    pub fn new(mut transport: Transport, input: BytesMut) -> Self {
        transport.gather_records(RECORDS);
        Self { transport, input, output: BytesMut::new(), large: Bytes::new(), unflushed: false }
    }

    /// What carries the bytes.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// What carries the bytes, without what was read ahead.
    pub fn into_transport(self) -> Transport {
        self.transport
    }

    /// Reads more input, at most `room` bytes or what is left of the buffer. Zero at the end.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        if let Err(error) = ready!(self.transport.poll_readable(cx)) {
            return Poll::Ready(Err(error));
        }
        self.input.reserve(room);
        let read = poll_read_buf(Pin::new(&mut self.transport), cx, &mut self.input);
        if read.is_pending() && self.input.is_empty() {
            self.input = BytesMut::new();
        }
        read
    }

    /// The same. Nothing is lost where it is dropped.
    pub async fn fill(&mut self, room: usize) -> io::Result<usize> {
        poll_fn(|cx| self.poll_fill(cx, room)).await
    }

    /// The same for whoever waits for an answer to what was written: it leaves meanwhile.
    pub async fn flush_and_fill(&mut self, room: usize) -> io::Result<usize> {
        poll_fn(|cx| {
            if !self.is_flushed()
                && let Poll::Ready(Err(error)) = self.poll_flush(cx)
            {
                return Poll::Ready(Err(error));
            }
            self.poll_fill(cx, room)
        })
        .await
    }

    /// Room for a head in the output.
    pub fn output_for_head(&mut self) -> &mut BytesMut {
        self.output.reserve(OUTPUT);
        &mut self.output
    }

    /// Appends `bytes` to the output; writes it out where it is as much as a record.
    pub async fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        if self.output.len() + bytes.len() <= GATHER {
            self.output.extend_from_slice(&bytes);
            return Ok(());
        }
        self.large = bytes;
        poll_fn(|cx| self.poll_write_out(cx)).await
    }

    /// Whether there is something to flush.
    pub fn is_flushed(&self) -> bool {
        self.output.is_empty() && self.large.is_empty() && !self.unflushed
    }

    /// Writes out everything.
    pub async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Writes out everything, as far as the other side takes it.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_out(cx))?;
        if self.unflushed {
            ready!(Pin::new(&mut self.transport).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Hands everything to the transport.
    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { transport, output, large, .. } = self;
        let mut transport = Pin::new(transport);
        while !output.is_empty() || !large.is_empty() {
            let written = if large.is_empty() {
                ready!(transport.as_mut().poll_write(cx, output))?
            } else if output.is_empty() {
                ready!(transport.as_mut().poll_write(cx, large))?
            } else {
                let slices = [IoSlice::new(output), IoSlice::new(large)];
                ready!(transport.as_mut().poll_write_vectored(cx, &slices))?
            };
            if written == 0 {
                return Poll::Ready(Err(ErrorKind::WriteZero.into()));
            }
            let of_output = written.min(output.len());
            output.advance(of_output);
            large.advance(written - of_output);
            self.unflushed = true;
        }
        *large = Bytes::new();
        Poll::Ready(Ok(()))
    }

    /// Lets go of what is not needed while the connection waits.
    pub fn rest(&mut self) {
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        if self.output.is_empty() {
            self.output = BytesMut::new();
        }
    }

    /// Whether a kept connection is as it was left: open, nothing sent on it, nothing to be written.
    pub fn is_quiet(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        if !self.input.is_empty() || !self.is_flushed() {
            return false;
        }
        if self.transport.poll_readable(&mut cx).is_pending() {
            return true;
        }
        let mut first = [0];
        let mut buffer = ReadBuf::new(&mut first);
        Pin::new(&mut self.transport).poll_read(&mut cx, &mut buffer).is_pending()
    }
}
