//! The server side of TLS over a client's socket.
//!
//! Session tickets of TLS 1.3 are sent with the first application bytes or at the end: no client waits for
//! them, so they need no write of their own.

use std::io::{self, BufRead as _, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::server::Accepted;
use rustls::{ProtocolVersion, ServerConfig, ServerConnection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A connection with a finished handshake.
#[derive(Debug)]
pub struct ServerStream {
    socket: TcpStream,
    session: ServerConnection,
    /// Whether only buffered bytes may still be sent.
    closing: bool,
    /// Whether writes are buffered until a flush, as far as there is room.
    gathers: bool,
}

impl ServerStream {
    /// Performs the handshake with a client whose ClientHello was accepted. Failures are reported to it by a
    /// TLS alert.
    pub(crate) async fn accept(
        hello: Accepted,
        config: Arc<ServerConfig>,
        mut socket: TcpStream,
    ) -> io::Result<Self> {
        let session = match hello.into_connection(config) {
            Ok(session) => session,
            Err((error, mut alert)) => {
                let tell = |cx: &mut Context<'_>| {
                    let told = alert.write_all(&mut Blocking { socket: &mut socket, cx });
                    match told {
                        Err(error) if error.kind() == ErrorKind::WouldBlock => Poll::Pending,
                        told => Poll::Ready(told),
                    }
                };
                // The connection is closed either way.
                let _ = std::future::poll_fn(tell).await;
                return Err(io::Error::new(ErrorKind::InvalidData, error));
            }
        };
        let mut stream = Self { socket, session, closing: false, gathers: false };
        std::future::poll_fn(|cx| stream.poll_handshake(cx)).await?;
        Ok(stream)
    }

    /// The socket.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    pub(crate) fn session(&self) -> &ServerConnection {
        &self.session
    }

    /// Whether plaintext can be read without the socket.
    pub fn holds_plaintext(&mut self) -> bool {
        self.session.reader().into_first_chunk().is_ok()
    }

    /// Lets TLS encrypt up to `bytes` before they are written to the socket.
    pub fn gather_records(&mut self, bytes: usize) {
        self.session.set_buffer_limit(Some(bytes));
    }

    /// Buffers writes until a flush, up to `bytes`.
    pub fn gather(&mut self, bytes: usize) {
        self.gather_records(bytes);
        self.gathers = true;
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.session.is_handshaking() {
            ready!(self.poll_send(cx))?;
            if ready!(self.poll_receive(cx))? == 0 {
                return Poll::Ready(Err(ErrorKind::UnexpectedEof.into()));
            }
        }
        // A TLS 1.2 client waits for the end of the handshake.
        if self.session.protocol_version() == Some(ProtocolVersion::TLSv1_3) {
            return Poll::Ready(Ok(()));
        }
        self.poll_send(cx)
    }

    /// Reads once from the socket; 0 at its end.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let read = match self.session.read_tls(&mut Blocking { socket: &mut self.socket, cx }) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Poll::Pending,
            outcome => outcome?,
        };
        if let Err(error) = self.session.process_new_packets() {
            // Sends the alert if there is room; the error is what counts.
            let _ = self.session.write_tls(&mut Blocking { socket: &mut self.socket, cx });
            return Poll::Ready(Err(io::Error::new(ErrorKind::InvalidData, error)));
        }
        Poll::Ready(Ok(read))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut Blocking { socket: &mut self.socket, cx }) {
                Ok(0) => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Passes bytes to the session with `write`, and sends them unless it gathers and had room. Returns the
    /// number of bytes taken, at least one.
    fn poll_give(
        &mut self,
        cx: &mut Context<'_>,
        write: impl Fn(&mut rustls::Writer<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let given = write(&mut self.session.writer())?;
            if self.gathers && given > 0 {
                return Poll::Ready(Ok(given));
            }
            match self.poll_send(cx) {
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) | Poll::Pending if given > 0 => return Poll::Ready(Ok(given)),
                Poll::Pending => return Poll::Pending,
                // The session had no room before, and has now.
                Poll::Ready(Ok(())) => {}
            }
        }
    }
}

impl AsyncRead for ServerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            match self.session.reader().into_first_chunk() {
                Ok(chunk) => {
                    let taken = chunk.len().min(buffer.remaining());
                    buffer.put_slice(&chunk[..taken]);
                    self.session.reader().consume(taken);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            // The reader decides about the end of the socket: it may have been announced by close_notify.
            ready!(self.poll_receive(cx))?;
        }
    }
}

impl AsyncWrite for ServerStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.poll_give(cx, |writer| io::Write::write(writer, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if slices.iter().all(|slice| slice.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        self.poll_give(cx, |writer| io::Write::write_vectored(writer, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.closing, true) {
            self.session.send_close_notify();
        }
        ready!(self.poll_send(cx))?;
        match ready!(Pin::new(&mut self.socket).poll_shutdown(cx)) {
            Err(error) if error.kind() == ErrorKind::NotConnected => Poll::Ready(Ok(())),
            outcome => Poll::Ready(outcome),
        }
    }
}

/// The socket as the session uses it: `WouldBlock` instead of pending, with `cx` to be woken.
struct Blocking<'s, 'c, 'w> {
    socket: &'s mut TcpStream,
    cx: &'c mut Context<'w>,
}

fn blocked<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => Err(ErrorKind::WouldBlock.into()),
    }
}

impl io::Read for Blocking<'_, '_, '_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(bytes);
        blocked(Pin::new(&mut *self.socket).poll_read(self.cx, &mut buffer))?;
        Ok(buffer.filled().len())
    }
}

impl io::Write for Blocking<'_, '_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        blocked(Pin::new(&mut *self.socket).poll_write(self.cx, bytes))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        blocked(Pin::new(&mut *self.socket).poll_write_vectored(self.cx, slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
