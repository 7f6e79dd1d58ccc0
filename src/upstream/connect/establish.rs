//! Making a connection to an upstream server: its addresses, TCP, what it is told of the client, TLS.
//!
//! Whoever calls bounds the time.

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
use crate::upstream::names::Names;
use crate::upstream::{Offer, Told};

/// The most addresses of a name that are tried for one connection.
const ADDRESSES: usize = 8;

/// A connection, ready for the first request.
#[derive(Debug)]
pub(crate) struct Established {
    pub(crate) transport: Transport,
    pub(crate) address: SocketAddr,
    pub(crate) local: Option<SocketAddr>,
    pub(crate) took: Took,
}

/// How long each part of it took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    /// To know the addresses.
    pub(crate) lookup: Duration,
    /// From then on until TCP was there.
    pub(crate) connect: Duration,
    /// The handshake; `None` in clear text.
    pub(crate) tls: Option<Duration>,
}

/// A new connection to `server`, TLS included: to the first of its addresses that takes it. `connected` is the
/// one that took the last connection, whatever became of that.
pub(crate) async fn establish(
    names: &Names,
    origin: &Origin,
    server: &Server,
    tls: Option<&OriginTls>,
    told: Option<Told>,
    offer: Offer,
    connected: &mut Option<SocketAddr>,
) -> io::Result<Established> {
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
        match begin(socket, tls, told, offer).await {
            Ok((transport, tls)) => {
                let took = Took { lookup, connect, tls };
                return Ok(Established { transport, address, local, took });
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

/// Says who the client is, where that is wanted, and shakes hands.
async fn begin(
    mut socket: TcpStream,
    tls: Option<&OriginTls>,
    told: Option<Told>,
    offer: Offer,
) -> io::Result<(Transport, Option<Duration>)> {
    match told {
        None => {}
        Some(Told::Local) => socket.write_all(&proxy_protocol::LOCAL_HEADER).await?,
        Some(Told::Client { client, destination }) => {
            socket.write_all(&proxy_protocol::write(client, destination)).await?;
        }
    }
    let Some(tls) = tls else { return Ok((Transport::Tcp(socket), None)) };
    let began = Instant::now();
    let connector = TlsConnector::from(Arc::clone(match offer {
        Offer::Any => &tls.config,
        Offer::Http1 => &tls.http1,
    }));
    let stream = connector.connect(tls.server_name.clone(), socket).await?;
    Ok((Transport::Client(Box::new(stream)), Some(began.elapsed())))
}
