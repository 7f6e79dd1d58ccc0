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
/// The room for what is gathered, at first: a head and a small body.
const OUTPUT: usize = 2048;
/// What is larger is written from where it stands.
const COPIED: usize = 2048;

/// A transport with its input and output.
#[derive(Debug)]
pub struct Wire {
    transport: Transport,
    /// What was read and not yet used.
    pub input: BytesMut,
    /// What is gathered: first this,
    output: BytesMut,
    /// then this, which is not copied,
    large: Bytes,
    /// then this.
    tail: BytesMut,
    /// The transport was given bytes that it may still hold.
    unflushed: bool,
}

impl Wire {
    /// A wire on which `input` has already been read.
    pub fn new(mut transport: Transport, input: BytesMut) -> Self {
        transport.gather_records(RECORDS);
        let (output, large, tail) = (BytesMut::new(), Bytes::new(), BytesMut::new());
        Self { transport, input, output, large, tail, unflushed: false }
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
    pub fn poll_flush_and_fill(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        if !self.is_flushed()
            && let Poll::Ready(Err(error)) = self.poll_flush(cx)
        {
            return Poll::Ready(Err(error));
        }
        self.poll_fill(cx, room)
    }

    /// The end of what is gathered, to append little to: a head, what stands around a chunk.
    pub fn output(&mut self) -> &mut BytesMut {
        // The parts leave in their order, and a part may have left before the next.
        let is_first = self.large.is_empty() && self.tail.is_empty();
        let end = if is_first { &mut self.output } else { &mut self.tail };
        if end.capacity() == 0 {
            end.reserve(OUTPUT);
        }
        end
    }

    /// Takes `bytes` to what is gathered, and writes it out where it is more than a record: done once they
    /// are taken, and no more than that waits.
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

    /// The same.
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
            let of_large = (written - of_output).min(large.len());
            output.advance(of_output);
            large.advance(of_large);
            tail.advance(written - of_output - of_large);
        }
        self.large = Bytes::new();
        Poll::Ready(Ok(()))
    }

    /// Lets go of what is not needed while the connection waits.
    pub fn rest(&mut self) {
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        if self.is_written_out() {
            (self.output, self.tail) = (BytesMut::new(), BytesMut::new());
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

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// What arrives of writes of those lengths, with a byte appended after each, and how much was sent.
    async fn arrives(lengths: &[usize]) -> (Vec<u8>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (socket, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let mut wire = Wire::new(Transport::Tcp(socket.expect("a connection")), BytesMut::new());
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
            wire.write(Bytes::from(bytes)).await.expect("written");
            wire.output().extend_from_slice(b"|");
            sent.push(b'|');
        }
        wire.flush().await.expect("flushed");
        assert!(wire.is_flushed());
        drop(wire);
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
