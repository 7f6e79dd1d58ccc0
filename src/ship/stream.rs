//! A connection to a sink that is no HTTP service: TCP, with TLS over it where the sink's settings ask for it.
//!
//! Every wait has a deadline. Trusted roots are read at each connection, so that a renewed CA needs no restart.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::failure::{FailureKind, SinkFailure};
use super::http::{client_config, server_name, tls_failure};
use crate::config::sinks::{ServerAddress, SinkHost, TlsSettings};
use crate::tls::roots::without_alpn;

/// A name lookup, a connection and a TLS handshake together.
const CONNECT: Duration = Duration::from_secs(10);
/// A peer that takes no byte for so long is given up.
const WRITE: Duration = Duration::from_secs(30);

trait Duplex: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Duplex for T {}

/// A connection, and the peer's name for messages.
pub(super) struct Stream {
    inner: Box<dyn Duplex>,
    peer: String,
}

impl Stream {
    /// Connects to `address`. The server is verified by `server_name` of the settings, or by the host of the address.
    pub(super) async fn connect(
        address: &ServerAddress,
        tls: Option<&TlsSettings>,
    ) -> Result<Self, SinkFailure> {
        let inner = timeout(CONNECT, connect(address, tls)).await;
        let inner = inner.unwrap_or_else(|_| {
            let message = format!("{address}: no connection within {} s", CONNECT.as_secs());
            Err(SinkFailure::new(FailureKind::TimedOut, message))
        })?;
        Ok(Self { inner, peer: address.to_string() })
    }

    /// Sends all of `bytes`.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), SinkFailure> {
        let write = async {
            self.inner.write_all(bytes).await?;
            self.inner.flush().await
        };
        match timeout(WRITE, write).await {
            Ok(written) => written.map_err(|error| self.failed(&error)),
            Err(_) => Err(self.late("it took nothing", WRITE)),
        }
    }

    /// Appends what has arrived to `buffer`, after waiting for at least one byte for `patience`.
    pub(super) async fn read(&mut self, buffer: &mut Vec<u8>, patience: Duration) -> Result<(), SinkFailure> {
        match timeout(patience, self.inner.read_buf(buffer)).await {
            Ok(Ok(0)) => Err(self.failure(FailureKind::Unreachable, "it closed the connection")),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(self.failed(&error)),
            Err(_) => Err(self.late("it did not answer", patience)),
        }
    }

    /// Fills `buffer`, whose bytes must arrive within `patience`.
    pub(super) async fn read_exact(
        &mut self,
        buffer: &mut [u8],
        patience: Duration,
    ) -> Result<(), SinkFailure> {
        match timeout(patience, self.inner.read_exact(buffer)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                Err(self.failure(FailureKind::Unreachable, "it closed the connection"))
            }
            Ok(Err(error)) => Err(self.failed(&error)),
            Err(_) => Err(self.late("it did not answer", patience)),
        }
    }

    /// A failure that names the peer.
    pub(super) fn failure(&self, kind: FailureKind, what: impl std::fmt::Display) -> SinkFailure {
        SinkFailure::new(kind, format_args!("{}: {what}", self.peer))
    }

    fn late(&self, what: &str, after: Duration) -> SinkFailure {
        self.failure(FailureKind::TimedOut, format_args!("{what} within {} s", after.as_secs()))
    }

    /// Once a connection stands, an alert of TLS comes as an I/O error: a certificate of ours that is refused, say.
    fn failed(&self, error: &std::io::Error) -> SinkFailure {
        tls_failure(&self.peer, error)
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("peer", &self.peer).finish_non_exhaustive()
    }
}

async fn connect(address: &ServerAddress, tls: Option<&TlsSettings>) -> Result<Box<dyn Duplex>, SinkFailure> {
    let stream = match &address.host {
        SinkHost::Address(ip) => TcpStream::connect((*ip, address.port)).await,
        SinkHost::Name(name) => TcpStream::connect((name.as_str(), address.port)).await,
    };
    let stream = stream
        .map_err(|error| SinkFailure::new(FailureKind::Unreachable, format_args!("{address}: {error}")))?;
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else {
        return Ok(Box::new(stream));
    };
    let config = without_alpn(&*client_config(tls.trust.as_deref())?);
    let name = match &tls.server_name {
        Some(name) => server_name(&SinkHost::Name(name.clone())),
        None => server_name(&address.host),
    };
    let stream = TlsConnector::from(config).connect(name?, stream).await;
    Ok(Box::new(stream.map_err(|error| tls_failure(address, &error))?))
}
