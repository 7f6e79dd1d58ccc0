//! The way to a server for one request: a stream of a shared connection, or a connection of its own.
//!
//! What was negotiated decides. An upgrade needs HTTP/1.1, unless the server has nothing else than
//! HTTP/2 and takes WebSockets there (RFC 8441).

use std::io;
use std::sync::Arc;

use super::connect::Upstreams;
use super::http2::{Made, Room, Slot, Waits};
use super::{ConnectionOrigin, Offer, Speaks, Told, Unreached, UpstreamConnection};
use crate::access::record::ServerFacts;
use crate::edge::Edge;
use crate::origin::Scheme;
use crate::snapshot::{OriginState, ServerState};
use crate::tls::roots::is_no_protocol_in_common;

/// Where a request is sent.
#[derive(Debug)]
pub(crate) enum Way {
    /// Over a connection of its own.
    Http1(UpstreamConnection),
    /// Over a connection that others share.
    Http2(Slot, Arc<ServerFacts>, ConnectionOrigin),
}

impl Way {
    pub(crate) fn origin(&self) -> ConnectionOrigin {
        match self {
            Self::Http1(connection) => connection.origin,
            Self::Http2(_, _, origin) => *origin,
        }
    }
}

/// What a request is sent for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Purpose {
    /// An answer.
    Answer,
    /// A WebSocket.
    Tunnel,
}

/// A server, and what it is told of the client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'t> {
    pub(crate) origin: &'t Arc<OriginState>,
    pub(crate) place: usize,
    pub(crate) told: Option<Told>,
}

impl Upstreams {
    /// The way to a server, within the origin's limit. One that was kept from an earlier request is as
    /// good as another, unless it is `kept` no more since one has just failed.
    pub(crate) async fn reach(
        self: &Arc<Self>,
        edge: &Arc<Edge>,
        target: Target<'_>,
        purpose: Purpose,
        kept: bool,
    ) -> Result<Way, Unreached> {
        match (&target.origin.origin.scheme, purpose) {
            (Scheme::Http, _) => self.own(edge, target, kept).await,
            (Scheme::Https { .. }, Purpose::Answer) => match self.shared(edge, target).await? {
                Some(way) => Ok(way),
                None => self.own(edge, target, kept).await,
            },
            (Scheme::H2c, Purpose::Answer) => {
                self.shared(edge, target).await?.ok_or_else(|| io::ErrorKind::Unsupported.into())
            }
            (Scheme::Https { .. }, Purpose::Tunnel) => match self.own(edge, target, kept).await {
                Err(unreached) if is_no_protocol_in_common(&unreached.error) => {
                    self.tunnel(edge, target).await
                }
                outcome => outcome,
            },
            (Scheme::H2c, Purpose::Tunnel) => self.tunnel(edge, target).await,
        }
    }

    /// Makes a connection for requests to come.
    pub(crate) async fn prepare(
        self: &Arc<Self>,
        edge: &Arc<Edge>,
        target: Target<'_>,
    ) -> Result<(), Unreached> {
        let Target { origin, place, told } = target;
        if origin.origin.scheme != Scheme::Http && self.shared(edge, target).await?.is_some() {
            return Ok(());
        }
        let connection = self.connect(origin, place, told, Offer::Http1, &edge.metrics).await?;
        if let Some(server) = origin.servers.get(place) {
            self.kept.keep(server, connection, &origin.origin);
        }
        Ok(())
    }

    /// How many connections to a server are there that requests share.
    pub(crate) fn shared_with(&self, server: &Arc<ServerState>) -> usize {
        self.http2.open(server)
    }

    /// A connection that speaks HTTP/1.1.
    async fn own(self: &Arc<Self>, edge: &Edge, target: Target<'_>, kept: bool) -> Result<Way, Unreached> {
        let Target { origin, place, told } = target;
        let server = origin.servers.get(place).ok_or(io::ErrorKind::NotFound)?;
        let connection = match kept.then(|| self.kept.take(server, told)).flatten() {
            Some(connection) => connection,
            None => self.connect(origin, place, told, Offer::Http1, &edge.metrics).await?,
        };
        Ok(Way::Http1(connection))
    }

    /// A stream on a connection that speaks HTTP/2; `None` for a server that does not.
    async fn shared(
        self: &Arc<Self>,
        edge: &Arc<Edge>,
        target: Target<'_>,
    ) -> Result<Option<Way>, Unreached> {
        let Target { origin, place, told } = target;
        let server = origin.servers.get(place).ok_or(io::ErrorKind::NotFound)?;
        let timeouts = origin.origin.timeouts;
        let waits = Waits { room: timeouts.connect, idle: timeouts.idle };
        let make = || {
            let (upstreams, edge, origin) = (Arc::clone(self), Arc::clone(edge), Arc::clone(origin));
            async move {
                let connection = upstreams.connect(&origin, place, told, Offer::Any, &edge.metrics).await?;
                if connection.speaks == Speaks::Http2 {
                    return Ok(Made::Http2(connection.wire.into_transport(), connection.reached));
                }
                if let Some(server) = origin.servers.get(place) {
                    upstreams.kept.keep(server, connection, &origin.origin);
                }
                Ok(Made::Http1)
            }
        };
        Ok(match self.http2.room(server, told, waits, make).await? {
            Room::Shared(slot, reached) => Some(Way::Http2(slot, reached, ConnectionOrigin::Kept)),
            Room::New(slot, reached) => Some(Way::Http2(slot, reached, ConnectionOrigin::New)),
            Room::Http1 => None,
        })
    }

    /// A stream that takes a WebSocket.
    async fn tunnel(self: &Arc<Self>, edge: &Arc<Edge>, target: Target<'_>) -> Result<Way, Unreached> {
        let way = self.shared(edge, target).await?;
        let wait = target.origin.origin.timeouts.connect;
        match way {
            Some(Way::Http2(slot, reached, origin)) if slot.takes_websockets(wait).await => {
                Ok(Way::Http2(slot, reached, origin))
            }
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}
