//! Making a connection to an upstream server: its addresses, TCP, what it is told of the client, TLS.
//!
//! Whoever calls bounds the time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::names::Names;
use super::{ConnectionOrigin, Told, UpstreamConnection};
use crate::listen::proxy_protocol;
use crate::listen::transport::Transport;
use crate::listen::wire::Wire;
use crate::origin::{Server, ServerHost};
use crate::snapshot::OriginState;

/// The most addresses of a name that are tried for one connection.
const ADDRESSES: usize = 4;

/// A new connection to `server`, TLS included: to the first of its addresses that takes it.
pub(super) async fn establish(
    names: &Names,
    state: &OriginState,
    server: &Server,
    told: Option<Told>,
) -> io::Result<UpstreamConnection> {
    let addresses = match &server.host {
        ServerHost::Address(address) => vec![*address],
        ServerHost::Name(name) => names.resolve(name.as_str(), server.port).await?,
    };
    let mut last = io::Error::other("the name has no address");
    for address in addresses.into_iter().take(ADDRESSES) {
        match open(state, SocketAddr::new(address, server.port), told).await {
            Ok(connection) => return Ok(connection),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn open(
    state: &OriginState,
    address: SocketAddr,
    told: Option<Told>,
) -> io::Result<UpstreamConnection> {
    let mut socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    match told {
        None => {}
        Some(Told::Local) => socket.write_all(&proxy_protocol::LOCAL_HEADER).await?,
        Some(Told::Client { client, destination }) => {
            socket.write_all(&proxy_protocol::write(client, destination)).await?;
        }
    }
    let local = socket.local_addr().ok();
    let transport = match &state.tls {
        None => Transport::Tcp(socket),
        Some(tls) => {
            let connector = TlsConnector::from(Arc::clone(&tls.config));
            Transport::Client(Box::new(connector.connect(tls.server_name.clone(), socket).await?))
        }
    };
    let wire = Wire::new(transport, BytesMut::new());
    Ok(UpstreamConnection { wire, address, local, origin: ConnectionOrigin::New, told })
}
