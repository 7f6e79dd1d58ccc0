//! Connections with clients up to their first request: bind, accept, PROXY header, ClientHello, handshake,
//! refusal.
//!
//! Only [`set`] binds, and only with a [`crate::gate::BindPermit`]. No byte is sent before the gate has
//! answered.

pub mod accept;
pub mod clear;
pub mod client_address;
pub mod handshake;
pub mod hello;
pub mod metrics;
pub mod refuse;
pub mod refused_names;
pub mod requested_host;
pub mod set;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use crate::access::record::{BlockPlace, ConnectionFacts};
use crate::access::request_id::RequestIds;
use crate::access::{AccessRecord, Event};
use crate::edge::Edge;
use crate::edge::admission::Admitted;
use crate::edge::client_use::ClientUse;
use crate::edge::presence::Presence;
use crate::gate::{Coverage, Refusal};
use crate::hostname::Hostname;
use crate::message::request::{NoRequest, Request};
use crate::net::address::{ClientAddress, LocalAddress, PeerAddress};
use crate::net::http2_stream::Http2Stream;
use metrics::ListenerCounters;

/// An accepted connection that has not been judged yet.
#[derive(Debug)]
pub struct Accepted {
    /// Shared state.
    pub edge: Arc<Edge>,
    /// The socket.
    pub socket: tokio::net::TcpStream,
    /// When it was accepted.
    pub began: Instant,
    /// Its addresses.
    pub endpoints: Endpoints,
    /// The bound address that accepted it.
    pub port: Arc<Port>,
    /// Counts it as open until dropped.
    pub admitted: Admitted,
}

/// A bound address of a listener.
#[derive(Debug)]
pub struct Port {
    /// The listener's name.
    pub listener: Arc<str>,
    /// The bound address.
    pub address: SocketAddr,
    /// The listener's metrics.
    pub counters: ListenerCounters,
}

/// The addresses of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Endpoints {
    /// The other end of the socket.
    pub peer: PeerAddress,
    /// The peer, or the client that its PROXY header names.
    pub client: ClientAddress,
    /// This end of the socket.
    pub local: LocalAddress,
}

/// A connection whose host is permitted and that may send requests.
#[derive(Debug)]
pub struct Connection {
    /// Shared state.
    pub edge: Arc<Edge>,
    /// What is fixed for all of its requests.
    pub established: Arc<Established>,
    /// The bytes, with read-ahead input.
    pub stream: Box<Http2Stream>,
    /// The negotiated protocol.
    pub protocol: HttpVersion,
    /// The first request, by which a clear-text connection was judged; `None` after TLS.
    pub first: Option<Box<Result<Request, NoRequest>>>,
    /// Counts it as open until dropped.
    pub admitted: Admitted,
}

/// What is fixed once a connection is established, for all of its requests.
#[derive(Clone, Debug)]
pub struct Established {
    /// Where it was accepted.
    pub port: Arc<Port>,
    /// The connection's part of its records.
    pub facts: Arc<ConnectionFacts>,
    /// The peer, or the client that its PROXY header names.
    pub client: ClientAddress,
    /// What the client uses, over all of its connections.
    pub uses: Arc<ClientUse>,
    /// The connection among the open ones, and what it holds.
    pub presence: Arc<Presence>,
    /// The host it was opened for: the server name in TLS, else that of the first request. `None` for a load
    /// balancer's probe in clear text, which may name any host.
    pub host: Option<Hostname>,
    /// The names that its certificate covers; `None` in clear text.
    pub coverage: Option<Arc<Coverage>>,
}

impl Established {
    /// Whether the gate still permits the host that the connection was opened for.
    pub fn is_permitted(&self, edge: &Edge) -> bool {
        let decide = |host| edge.snapshots.load().decide(&self.facts.listener, host, edge.moment());
        self.host.as_ref().is_some_and(|host| decide(host).is_ok())
    }
}

/// The negotiated protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HttpVersion {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

impl Port {
    /// Counts and records a refused connection; `named` is what it asked for.
    pub fn refused(&self, edge: &Edge, refusal: Refusal, endpoints: Endpoints, named: NamedHost) {
        let now = edge.clock.now();
        self.counters.refused(refusal, named.server_name.as_ref().or(named.host.as_ref()), now);
        edge.recorder.refused(AccessRecord {
            time: now,
            event: Event::Refused,
            reason: Some(refusal.into()),
            count: 1,
            connection: Arc::new(ConnectionFacts {
                server_name: named.server_name,
                ..self.facts(edge, endpoints)
            }),
            generation: edge.snapshots.load().generation,
            request_id: None,
            client: endpoints.client.0,
            host: named.host,
            protocol: None,
            request: None,
            upstream: None,
        });
    }

    fn facts(&self, edge: &Edge, endpoints: Endpoints) -> ConnectionFacts {
        ConnectionFacts {
            id: edge.connections.fetch_add(1, Ordering::Relaxed),
            peer: endpoints.peer.0,
            local: endpoints.local.0,
            listener: Arc::clone(&self.listener),
            server_name: None,
            tls_version: None,
            tls_cipher: None,
            ids: RequestIds::new(),
            place: BlockPlace::default(),
        }
    }
}

impl Accepted {
    fn facts(&self) -> ConnectionFacts {
        self.port.facts(&self.edge, self.endpoints)
    }

    fn record_refusal(&self, refusal: Refusal, named: NamedHost) {
        self.port.refused(&self.edge, refusal, self.endpoints, named);
    }

    /// Counts a connection that ended before its first byte.
    fn count_empty(&self) {
        self.port.counters.empty.inc();
    }
}

/// The host that a refused connection asked for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct NamedHost {
    /// In its ClientHello.
    pub server_name: Option<Arc<str>>,
    /// In its request head.
    pub host: Option<Arc<str>>,
}
