//! Connects to a service: TCP, and TLS over it where the settings ask for it.
//!
//! A server is verified always; there is no switch that turns it off.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::failure::{FailureKind, RemoteFailure};
use crate::config::sinks::{ServerAddress, SinkHost};
use crate::tls::roots::Roots;

/// A name lookup, a connection and a TLS handshake together.
const CONNECT: Duration = Duration::from_secs(10);

/// A connection, with TLS or without.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Duplex for T {}

/// The client side of TLS: what it trusts and offers, and the host to ask for and to verify.
pub(crate) type Tls<'a> = (Arc<ClientConfig>, &'a SinkHost);

/// Connects to `address`. Failures call the server `peer`.
pub(crate) async fn connect(
    address: &ServerAddress,
    tls: Option<Tls<'_>>,
    peer: impl Display,
) -> Result<Box<dyn Duplex>, RemoteFailure> {
    match timeout(CONNECT, connect_within(address, tls, &peer)).await {
        Ok(connected) => connected,
        Err(_) => {
            let message = format!("{peer}: no connection within {} s", CONNECT.as_secs());
            Err(RemoteFailure::new(FailureKind::TimedOut, message))
        }
    }
}

async fn connect_within(
    address: &ServerAddress,
    tls: Option<Tls<'_>>,
    peer: &impl Display,
) -> Result<Box<dyn Duplex>, RemoteFailure> {
    let stream = match &address.host {
        SinkHost::Address(ip) => TcpStream::connect((*ip, address.port)).await,
        SinkHost::Name(name) => TcpStream::connect((name.as_str(), address.port)).await,
    };
    // A name that is not found is a service that cannot be reached, not a bucket that is missing.
    let stream = stream
        .map_err(|error| RemoteFailure::new(FailureKind::Unreachable, format_args!("{peer}: {error}")))?;
    let _ = stream.set_nodelay(true);
    let Some((config, host)) = tls else {
        return Ok(Box::new(stream));
    };
    let stream = TlsConnector::from(config).connect(server_name(host)?, stream).await;
    Ok(Box::new(stream.map_err(|error| failed(peer, "the TLS handshake ended", &error))?))
}

/// The client side of TLS, verified by the certificates in `trust` or the system's.
pub(crate) fn client_config(trust: Option<&Path>) -> Result<Arc<ClientConfig>, RemoteFailure> {
    let config = Roots::load(trust).and_then(Roots::client_config);
    config.map_err(|error| RemoteFailure::new(FailureKind::Tls, error))
}

/// An error of a connection: a certificate or an alert is the peer's doing, the rest the network's.
pub(crate) fn failed(peer: impl Display, what: &str, error: &std::io::Error) -> RemoteFailure {
    let is_tls = error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
    let kind = if is_tls { FailureKind::Tls } else { FailureKind::Unreachable };
    RemoteFailure::new(kind, format_args!("{peer}: {what}: {error}"))
}

fn server_name(host: &SinkHost) -> Result<ServerName<'static>, RemoteFailure> {
    match host {
        SinkHost::Address(ip) => Ok(ServerName::IpAddress((*ip).into())),
        SinkHost::Name(name) => ServerName::try_from(name.as_str().to_owned())
            .map_err(|error| RemoteFailure::new(FailureKind::Tls, format_args!("{name}: {error}"))),
    }
}
