//! The byte stream of an HTTP/1.1 connection: read-ahead input and gathered output.
//!
//! Small writes are gathered, so that a message leaves in one TLS record and one system call. Flush before
//! waiting for the other side. An idle connection holds no buffers.

use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::transport::Transport;

/// Writes are gathered up to this many bytes: one TLS record of maximum size.
const GATHER: usize = 16 * 1024;
/// Bytes that TLS may encrypt ahead, so that a large write leaves in one system call.
const RECORDS: usize = 64 * 1024;
/// Initial capacity of the output buffer, in bytes: a head and a small body.
const OUTPUT: usize = 2048;
/// Longer byte strings are written from where they are, without a copy.
const COPIED: usize = 2048;

/// A transport with input and output buffers.
#[derive(Debug)]
pub struct Http1Stream {
    transport: Transport,
    /// Bytes that were read and not yet parsed.
    pub input: BytesMut,
    /// Gathered output: first this,
    output: BytesMut,
    /// then this, which is not copied,
    large: Bytes,
    /// then this.
    tail: BytesMut,
    /// Whether the transport may hold bytes that were not flushed.
    unflushed: bool,
}

impl Http1Stream {
    /// A stream on which `input` has already been read.
    pub fn new(mut transport: Transport, input: BytesMut) -> Self {
        transport.gather_records(RECORDS);
        let (output, large, tail) = (BytesMut::new(), Bytes::new(), BytesMut::new());
        Self { transport, input, output, large, tail, unflushed: false }
    }

    /// The transport.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// The transport; buffered input is dropped.
    pub fn into_transport(self) -> Transport {
        self.transport
    }

    /// Reads more input: at most `room` bytes, or the buffer's spare capacity if that is larger. 0 at the
    /// end.
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

    /// Reads more input. Cancel-safe.
    pub async fn fill(&mut self, room: usize) -> io::Result<usize> {
        poll_fn(|cx| self.poll_fill(cx, room)).await
    }

    /// Flushes while it waits for input, for a caller that expects an answer to what it wrote.
    pub fn poll_flush_and_fill(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        if !self.is_flushed()
            && let Poll::Ready(Err(error)) = self.poll_flush(cx)
        {
            return Poll::Ready(Err(error));
        }
        self.poll_fill(cx, room)
    }

    /// The end of the gathered output, for short appends: a head, the framing of a chunk.
    pub fn output(&mut self) -> &mut BytesMut {
        // The parts leave in order, and the first may have left already.
        let is_first = self.large.is_empty() && self.tail.is_empty();
        let end = if is_first { &mut self.output } else { &mut self.tail };
        if end.capacity() == 0 {
            end.reserve(OUTPUT);
        }
        end
    }

    /// Adds `bytes` to the gathered output. Writes out if more than a record is gathered, and is ready once
    /// all bytes are taken and no more than a record waits.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &mut Bytes) -> Poll<io::Result<()>> {
        let gathered = self.output.len() + self.large.len() + self.tail.len();
        let fits = gathered + bytes.len() <= GATHER;
        let is_first = self.large.is_empty() && self.tail.is_empty();
        if fits && (bytes.len() <= COPIED || !is_first) {
            if !bytes.is_empty() {
                self.output().extend_from_slice(bytes);
                *bytes = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        if !bytes.is_empty() {
            if !is_first {
                ready!(self.poll_write_out(cx))?;
            }
            self.large = std::mem::take(bytes);
            if fits {
                return Poll::Ready(Ok(()));
            }
        }
        self.poll_write_out(cx)
    }

    /// Adds `bytes` to the gathered output, as [`Self::poll_write`] does.
    pub async fn write(&mut self, mut bytes: Bytes) -> io::Result<()> {
        poll_fn(|cx| self.poll_write(cx, &mut bytes)).await
    }

    /// Whether there is nothing to flush.
    pub fn is_flushed(&self) -> bool {
        self.is_written_out() && !self.unflushed
    }

    fn is_written_out(&self) -> bool {
        self.output.is_empty() && self.large.is_empty() && self.tail.is_empty()
    }

    /// Writes out everything.
    pub async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Writes out everything, as far as the peer takes it.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_out(cx))?;
        if self.unflushed {
            ready!(Pin::new(&mut self.transport).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Writes out everything, and ends this side of the connection. The other side may go on.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }

    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_written_out() {
            let Self { transport, output, large, tail, unflushed, .. } = self;
            let transport = Pin::new(transport);
            let written = if large.is_empty() && tail.is_empty() {
                ready!(transport.poll_write(cx, output))?
            } else {
                let slices = [IoSlice::new(output), IoSlice::new(large), IoSlice::new(tail)];
                ready!(transport.poll_write_vectored(cx, &slices))?
            };
            if written == 0 {
                return Poll::Ready(Err(ErrorKind::WriteZero.into()));
            }
            *unflushed = true;
            let of_output = written.min(output.len());
            // A long head is not kept in memory until the next message.
            let was_long = of_output > GATHER;
            let of_large = (written - of_output).min(large.len());
            output.advance(of_output);
            large.advance(of_large);
            tail.advance(written - of_output - of_large);
            if was_long && output.is_empty() {
                *output = BytesMut::new();
            }
        }
        self.large = Bytes::new();
        Poll::Ready(Ok(()))
    }

    /// Frees the buffers that an idle connection does not need.
    pub fn release_buffers(&mut self) {
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        if self.is_written_out() {
            (self.output, self.tail) = (BytesMut::new(), BytesMut::new());
        }
    }

    /// Whether an idle connection is still usable: open, nothing received, nothing to be written.
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

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// What arrives of writes of these lengths, with one byte appended after each, and what was sent.
    async fn arrives(lengths: &[usize]) -> (Vec<u8>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (socket, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let mut stream = Http1Stream::new(Transport::Tcp(socket.expect("a connection")), BytesMut::new());
        let (mut other, _) = accepted.expect("a connection");
        let reading = tokio::spawn(async move {
            let mut all = Vec::new();
            // Slowly, so that writes end within a part.
            let mut part = vec![0; 7000];
            loop {
                match other.read(&mut part).await.expect("bytes") {
                    0 => return all,
                    read => all.extend_from_slice(&part[..read]),
                }
                tokio::task::yield_now().await;
            }
        });
        let mut sent = Vec::new();
        for (number, length) in lengths.iter().enumerate() {
            let bytes: Vec<u8> = (0..*length).map(|place| (number + place) as u8).collect();
            sent.extend_from_slice(&bytes);
            stream.write(Bytes::from(bytes)).await.expect("written");
            stream.output().extend_from_slice(b"|");
            sent.push(b'|');
        }
        stream.flush().await.expect("flushed");
        assert!(stream.is_flushed());
        drop(stream);
        (reading.await.expect("all"), sent)
    }

    #[tokio::test]
    async fn what_is_written_arrives_in_its_order() {
        for lengths in [
            &[10, 20][..],
            &[3000, 10, 3000, 10, 14_000],
            &[10_000, 300, 20],
            &[16_384, 1, 16_383, 2048, 2049],
            &[1_000_000, 5, 3_000_000, 2500, 2_000_000],
        ] {
            let (arrived, sent) = arrives(lengths).await;
            assert!(arrived == sent, "{lengths:?}");
        }
    }
}
