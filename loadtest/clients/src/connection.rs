//! A TLS connection over a blocking socket.
//!
//! The server closes first, so that no client port stays in TIME_WAIT.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use anyhow::{Context, ensure};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, StreamOwned};

/// A connection after its handshake.
pub(crate) struct Connection(StreamOwned<ClientConnection, TcpStream>);

impl Connection {
    pub(crate) fn establish(
        server: SocketAddr,
        config: &Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> anyhow::Result<Self> {
        let mut socket = TcpStream::connect(server).context("connecting")?;
        socket.set_nodelay(true)?;
        let mut tls = ClientConnection::new(Arc::clone(config), name)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut socket).context("the handshake")?;
        }
        ensure!(tls.alpn_protocol() == Some(b"http/1.1"), "a protocol that is not HTTP/1.1");
        Ok(Self(StreamOwned::new(tls, socket)))
    }

    pub(crate) fn handshake(&self) -> Option<HandshakeKind> {
        self.0.conn.handshake_kind()
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.0.write_all(bytes).and_then(|()| self.0.flush()).context("sending the request")
    }

    /// Waits for more bytes of the answer, and appends them.
    pub(crate) fn receive(&mut self, received: &mut Vec<u8>) -> anyhow::Result<()> {
        let mut some = [0; 16 * 1024];
        let count = self.0.read(&mut some).context("reading the answer")?;
        ensure!(count > 0, "the end of the connection, before that of the answer");
        received.extend_from_slice(&some[..count]);
        Ok(())
    }

    /// Closes in order: close_notify, the rest of what the server sends, then FIN.
    pub(crate) fn close(mut self) -> anyhow::Result<()> {
        self.0.conn.send_close_notify();
        self.0.flush().context("sending close_notify")?;
        let mut rest = [0; 1024];
        while self.0.sock.read(&mut rest).context("waiting for the end")? > 0 {}
        Ok(())
    }
}
