//! What carries a connection's bytes: a TCP socket, with or without TLS.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::tls_stream::ServerStream;

/// 17 KiB: a piece of an upload with its framing.
const UPLOAD: usize = 17 * 1024;

/// A socket with its TLS session.
#[derive(Debug)]
pub enum Transport {
    /// Clear text.
    Tcp(TcpStream),
    /// TLS with a client.
    Server(Box<ServerStream>),
    /// TLS with a server.
    Client(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl Transport {
    /// The socket.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Tcp(tcp) => tcp,
            Self::Server(tls) => tls.socket(),
            Self::Client(tls) => tls.get_ref().0,
        }
    }

    /// Whether TLS negotiated HTTP/2 with a server.
    pub fn is_http2_negotiated(&self) -> bool {
        match self {
            Self::Client(tls) => tls.get_ref().1.alpn_protocol() == Some(b"h2"),
            Self::Tcp(_) | Self::Server(_) => false,
        }
    }

    /// Lets TLS encrypt up to `bytes` before they are written to the socket, and towards a server no more than a piece of an
    /// upload: a hundred of one client may wait for a server that does not read.
    pub fn gather_records(&mut self, bytes: usize) {
        match self {
            Self::Tcp(_) => {}
            Self::Server(tls) => tls.gather_records(bytes),
            Self::Client(tls) => tls.get_mut().1.set_buffer_limit(Some(bytes.min(UPLOAD))),
        }
    }

    /// Ready once a read may return something. Reads nothing itself, so that an idle connection needs no
    /// buffer.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let holds_plaintext = match self {
            Self::Tcp(_) => false,
            Self::Server(tls) => tls.holds_plaintext(),
            Self::Client(tls) => tls.get_mut().1.reader().into_first_chunk().is_ok(),
        };
        if holds_plaintext { Poll::Ready(Ok(())) } else { self.socket().poll_read_ready(cx) }
    }
}

macro_rules! carried {
    ($transport:expr, $method:ident($($argument:expr),*)) => {
        match $transport.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).$method($($argument),*),
            Self::Server(tls) => Pin::new(&mut **tls).$method($($argument),*),
            Self::Client(tls) => Pin::new(&mut **tls).$method($($argument),*),
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        carried!(self, poll_read(cx, buffer))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        carried!(self, poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        carried!(self, poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        carried!(self, poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        carried!(self, poll_shutdown(cx))
    }
}
