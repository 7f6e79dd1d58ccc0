//! A connection of a reader. A reader who stalls is cut off.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::net::timer::Timer;

/// How long a write may wait for the reader.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// A socket whose writes fail once none has made progress for [`WRITE_TIMEOUT`].
#[derive(Debug)]
pub(super) struct AdminStream {
    socket: TcpStream,
    timer: Timer,
    stalled_since: Option<Instant>,
}

impl AdminStream {
    pub(super) fn new(socket: TcpStream) -> Self {
        Self { socket, timer: Timer::default(), stalled_since: None }
    }
}

impl AsyncRead for AdminStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl AsyncWrite for AdminStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Poll::Ready(written) = Pin::new(&mut this.socket).poll_write(cx, bytes) {
            this.stalled_since = None;
            return Poll::Ready(written);
        }
        let since = *this.stalled_since.get_or_insert_with(Instant::now);
        ready!(this.timer.poll_reached(cx, since + WRITE_TIMEOUT));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
