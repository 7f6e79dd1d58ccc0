//! A connection to a sink that is no HTTP service: TCP, with TLS over it where the sink's settings ask for it.
//!
//! Every wait has a deadline. Trusted roots are read at each connection, so that a renewed CA needs no restart.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::config::sinks::{ServerAddress, SinkHost, TlsSettings};
use crate::remote::connect::{Duplex, client_config, connect, failed};
use crate::remote::failure::{FailureKind, RemoteFailure};
use crate::tls::roots::without_alpn;

/// A peer that takes no byte for so long is given up.
const WRITE: Duration = Duration::from_secs(30);

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
    ) -> Result<Self, RemoteFailure> {
        let inner = match tls {
            None => connect(address, None, address).await?,
            Some(tls) => {
                let name = tls.server_name.clone().map(SinkHost::Name);
                let config = without_alpn(&*client_config(tls.trust.as_deref())?);
                connect(address, Some((config, name.as_ref().unwrap_or(&address.host))), address).await?
            }
        };
        Ok(Self { inner, peer: address.to_string() })
    }

    /// Sends all of `bytes`.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), RemoteFailure> {
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
    pub(super) async fn read(
        &mut self,
        buffer: &mut Vec<u8>,
        patience: Duration,
    ) -> Result<(), RemoteFailure> {
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
    ) -> Result<(), RemoteFailure> {
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
    pub(super) fn failure(&self, kind: FailureKind, what: impl std::fmt::Display) -> RemoteFailure {
        RemoteFailure::new(kind, format_args!("{}: {what}", self.peer))
    }

    fn late(&self, what: &str, after: Duration) -> RemoteFailure {
        self.failure(FailureKind::TimedOut, format_args!("{what} within {} s", after.as_secs()))
    }

    /// Once a connection stands, an alert of TLS comes as an I/O error: a certificate of ours that is refused, say.
    fn failed(&self, error: &std::io::Error) -> RemoteFailure {
        failed(&self.peer, "the connection ended", error)
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("peer", &self.peer).finish_non_exhaustive()
    }
}
