//! TLS that a client began, over its socket.
//!
//! What the handshake leaves to be sent once it is over, session tickets in TLS 1.3, goes out with the first bytes
//! of the application or at the end: nobody waits for it, and it needs no write of its own.

use std::io::{self, BufRead as _, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::server::Accepted;
use rustls::{ProtocolVersion, ServerConfig, ServerConnection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A connection whose handshake is over.
#[derive(Debug)]
pub struct ServerStream {
    socket: TcpStream,
    session: ServerConnection,
    /// Nothing more is sent but what is left.
    closing: bool,
    /// What is written waits for a flush, as far as there is room.
    gathers: bool,
}

impl ServerStream {
    /// Shakes hands with a client whose hello was accepted. What fails is told to it, as far as TLS has words for it.
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
                    Poll::Ready(told)
                };
                // It is the end either way.
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

    /// What was negotiated.
    pub(crate) fn session(&self) -> &ServerConnection {
        &self.session
    }

    /// Whether something can be read without the socket.
    pub fn holds_plaintext(&mut self) -> bool {
        self.session.reader().into_first_chunk().is_ok()
    }

    /// Lets up to `bytes` be encrypted before they are written to the socket.
    pub fn gather_records(&mut self, bytes: usize) {
        self.session.set_buffer_limit(Some(bytes));
    }

    /// Lets what is written wait for a flush, up to `bytes` of it.
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
        // The client of TLS 1.2 waits for the end of the handshake.
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
            // The alert, if there is room for it; the error is what counts.
            let _ = self.session.write_tls(&mut Blocking { socket: &mut self.socket, cx });
            return Poll::Ready(Err(io::Error::new(ErrorKind::InvalidData, error)));
        }
        Poll::Ready(Ok(read))
    }

    /// Sends what the session holds.
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

    /// Gives bytes to the session by `write`, and sends, unless it gathers and had room: as many as were taken, once
    /// some were.
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
                // There was no room in the session, and now there is.
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
            // The end of the socket is the reader's to judge: it may have been announced.
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

/// A socket as the session reads and writes it: what would block is an error of that kind, and `cx` is woken.
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
