//! Makes a connection to a server: name, TCP, PROXY header, TLS.
//!
//! The caller bounds the time.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::race::{Finish, race};
use super::socket;
use crate::net::proxy_protocol;
use crate::net::transport::Transport;
use crate::origin::{Origin, Server, ServerHost};
use crate::snapshot::OriginTls;
use crate::upstream::names::NameCache;
use crate::upstream::{AlpnOffer, ProxyHeader};

/// The most addresses of a name tried for one connection.
const ADDRESSES: usize = 8;

#[derive(Debug)]
pub(crate) struct NewConnection {
    pub(crate) transport: Transport,
    pub(crate) address: SocketAddr,
    pub(crate) local: Option<SocketAddr>,
    pub(crate) took: Took,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    /// Name resolution.
    pub(crate) lookup: Duration,
    /// TCP connect, after name resolution.
    pub(crate) connect: Duration,
    /// The handshake; `None` in clear text.
    pub(crate) tls: Option<Duration>,
}

/// Connects to the first address of `server` that accepts, TLS included. `connected` is set to the last
/// address that accepted TCP, whatever happened then.
pub(crate) async fn establish(
    names: &NameCache,
    origin: &Origin,
    server: &Server,
    tls: Option<&OriginTls>,
    proxy_header: Option<ProxyHeader>,
    offer: AlpnOffer,
    connected: &mut Option<SocketAddr>,
) -> io::Result<NewConnection> {
    let began = Instant::now();
    let name = match &server.host {
        ServerHost::Address(_) => None,
        ServerHost::Name(name) => Some(name),
    };
    let mut left: VecDeque<SocketAddr> = match &server.host {
        ServerHost::Address(address) => [SocketAddr::new(*address, server.port)].into(),
        ServerHost::Name(name) => {
            let addresses = names.addresses(name).await?;
            addresses
                .into_iter()
                .take(ADDRESSES)
                .map(|address| SocketAddr::new(address, server.port))
                .collect()
        }
    };
    let lookup = began.elapsed();
    loop {
        let began = Instant::now();
        let connect = |address| socket::connect(address, origin.congestion.clone());
        let Finish { winner, failed, overtaken } = race(&mut left, connect).await;
        if let Some(name) = name {
            names.shun(name, failed.iter().chain(&overtaken).map(SocketAddr::ip));
        }
        let (address, socket) = winner?;
        *connected = Some(address);
        let connect = began.elapsed();
        let local = socket.local_addr().ok();
        match begin(socket, tls, proxy_header, offer).await {
            Ok((transport, tls)) => {
                let took = Took { lookup, connect, tls };
                return Ok(NewConnection { transport, address, local, took });
            }
            Err(error) => {
                if let Some(name) = name {
                    names.shun(name, [address.ip()]);
                }
                left.extend(overtaken);
                if left.is_empty() {
                    return Err(error);
                }
            }
        }
    }
}

/// Sends the PROXY header if wanted, and performs the handshake.
async fn begin(
    mut socket: TcpStream,
    tls: Option<&OriginTls>,
    proxy_header: Option<ProxyHeader>,
    offer: AlpnOffer,
) -> io::Result<(Transport, Option<Duration>)> {
    match proxy_header {
        None => {}
        Some(ProxyHeader::Local) => socket.write_all(&proxy_protocol::LOCAL_HEADER).await?,
        Some(ProxyHeader::Client { client, destination }) => {
            socket.write_all(&proxy_protocol::write(client.0, destination.0)).await?;
        }
    }
    let Some(tls) = tls else { return Ok((Transport::Tcp(socket), None)) };
    let began = Instant::now();
    let connector = TlsConnector::from(Arc::clone(match offer {
        AlpnOffer::Any => &tls.config,
        AlpnOffer::Http1 => &tls.http1,
    }));
    let stream = connector.connect(tls.server_name.clone(), socket).await?;
    Ok((Transport::Client(Box::new(stream)), Some(began.elapsed())))
}
