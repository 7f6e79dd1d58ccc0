//! Finds a channel to a server for one request: a stream of a shared HTTP/2 connection, or an HTTP/1.1
//! connection.
//!
//! The negotiated protocol decides. A WebSocket needs HTTP/1.1, unless the server speaks only HTTP/2 and
//! accepts WebSockets there (RFC 8441).

use std::io;
use std::sync::Arc;

use super::connect::Upstreams;
use super::http2::{Connected, ConnectionKind, Room, StreamSlot, WaitLimits};
use super::{
    AlpnOffer, ConnectFailure, ConnectionOrigin, NegotiatedProtocol, ProxyHeader, UpstreamConnection,
};
use crate::access::record::ServerFacts;
use crate::edge::holding::Ahead;
use crate::origin::Scheme;
use crate::snapshot::{OriginState, ServerState};
use crate::tls::roots::is_no_protocol_in_common;

/// What a request is sent on.
#[derive(Debug)]
pub(crate) enum Channel {
    /// Its own connection.
    Http1(UpstreamConnection),
    /// A stream of a shared connection.
    Http2(StreamSlot, Arc<ServerFacts>, ConnectionOrigin),
}

impl Channel {
    pub(crate) fn origin(&self) -> ConnectionOrigin {
        match self {
            Self::Http1(connection) => connection.origin,
            Self::Http2(_, _, origin) => *origin,
        }
    }
}

/// What a request needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Purpose {
    /// A response.
    Answer,
    /// A WebSocket.
    Tunnel,
}

/// A server and the PROXY header for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectTarget<'t> {
    pub(crate) origin: &'t Arc<OriginState>,
    pub(crate) index: usize,
    pub(crate) proxy_header: Option<ProxyHeader>,
    /// How much of the answer may come ahead of the client, over HTTP/2.
    pub(crate) ahead: Ahead,
}

impl Upstreams {
    /// A channel to a server, within the origin's connect timeout. Without `reuse`, idle connections are not
    /// used, since one has just failed.
    pub(crate) async fn reach(
        self: &Arc<Self>,
        target: ConnectTarget<'_>,
        purpose: Purpose,
        reuse: bool,
    ) -> Result<Channel, ConnectFailure> {
        match (&target.origin.origin.scheme, purpose) {
            (Scheme::Http, _) => self.own(target, reuse).await,
            (Scheme::Https { .. }, Purpose::Answer) => match self.shared(target).await? {
                Some(way) => Ok(way),
                None => self.own(target, reuse).await,
            },
            (Scheme::H2c, Purpose::Answer) => {
                self.shared(target).await?.ok_or_else(|| io::ErrorKind::Unsupported.into())
            }
            (Scheme::Https { .. }, Purpose::Tunnel) => match self.own(target, reuse).await {
                Err(unreached) if is_no_protocol_in_common(&unreached.error) => self.tunnel(target).await,
                outcome => outcome,
            },
            (Scheme::H2c, Purpose::Tunnel) => self.tunnel(target).await,
        }
    }

    /// Makes a connection for later requests.
    pub(crate) async fn prepare(self: &Arc<Self>, target: ConnectTarget<'_>) -> Result<(), ConnectFailure> {
        let ConnectTarget { origin, index, proxy_header, ahead: _ } = target;
        if origin.origin.scheme != Scheme::Http && self.shared(target).await?.is_some() {
            return Ok(());
        }
        let connection = self.connect(origin, index, proxy_header, AlpnOffer::Http1).await?;
        if let Some(server) = origin.servers.get(index) {
            self.idle.keep(server, connection, &origin.origin);
        }
        Ok(())
    }

    /// How many connections to a server are ready for requests.
    pub(super) fn ready(&self, server: &Arc<ServerState>) -> usize {
        self.idle.ready(server) + self.shared_with(server)
    }

    /// The number of shared connections to a server.
    pub(crate) fn shared_with(&self, server: &Arc<ServerState>) -> usize {
        self.http2.open(server)
    }

    /// A connection that speaks HTTP/1.1.
    async fn own(
        self: &Arc<Self>,
        target: ConnectTarget<'_>,
        reuse: bool,
    ) -> Result<Channel, ConnectFailure> {
        let ConnectTarget { origin, index, proxy_header, ahead: _ } = target;
        let server = origin.servers.get(index).ok_or(io::ErrorKind::NotFound)?;
        let connection = match reuse.then(|| self.idle.take(server, proxy_header)).flatten() {
            Some(connection) => connection,
            None => self.connect(origin, index, proxy_header, AlpnOffer::Http1).await?,
        };
        Ok(Channel::Http1(connection))
    }

    /// A stream of an HTTP/2 connection; `None` if the server speaks HTTP/1.1.
    async fn shared(self: &Arc<Self>, target: ConnectTarget<'_>) -> Result<Option<Channel>, ConnectFailure> {
        let ConnectTarget { origin, index, proxy_header, ahead } = target;
        let server = origin.servers.get(index).ok_or(io::ErrorKind::NotFound)?;
        let timeouts = origin.origin.timeouts;
        let waits = WaitLimits { room: timeouts.connect, idle: timeouts.idle };
        let make = || {
            let (upstreams, origin) = (Arc::clone(self), Arc::clone(origin));
            async move {
                let connection = upstreams.connect(&origin, index, proxy_header, AlpnOffer::Any).await?;
                if connection.protocol == NegotiatedProtocol::Http2 {
                    return Ok(Connected::Http2(connection.stream.into_transport(), connection.reached));
                }
                if let Some(server) = origin.servers.get(index) {
                    upstreams.idle.keep(server, connection, &origin.origin);
                }
                Ok(Connected::Http1)
            }
        };
        Ok(match self.http2.room(server, ConnectionKind { proxy_header, ahead }, waits, make).await? {
            Room::Shared(slot, reached) => Some(Channel::Http2(slot, reached, ConnectionOrigin::Reused)),
            Room::New(slot, reached) => Some(Channel::Http2(slot, reached, ConnectionOrigin::New)),
            Room::Http1 => None,
        })
    }

    /// A stream that can carry a WebSocket.
    async fn tunnel(self: &Arc<Self>, target: ConnectTarget<'_>) -> Result<Channel, ConnectFailure> {
        let way = self.shared(target).await?;
        let wait = target.origin.origin.timeouts.connect;
        match way {
            Some(Channel::Http2(slot, reached, origin)) if slot.takes_websockets(wait).await => {
                Ok(Channel::Http2(slot, reached, origin))
            }
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}
