//! The downstream side of a connection, up to its first request: sockets, limits, the ClientHello,
//! the handshake, refusals.
//!
//! Only [`set`] binds, and only for a [`crate::gate::BindPermit`]; not one byte is sent before the
//! gate has answered.

pub mod accept;
pub mod clear;
pub mod client_address;
pub mod handshake;
pub mod head;
pub mod hello;
pub mod refuse;
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
use crate::gate::{Coverage, Refusal};
use crate::hostname::Hostname;
use crate::metrics::OfListener;
use crate::net::edge_stream::EdgeStream;

/// A connection that was accepted, and has not said what it wants.
#[derive(Debug)]
pub struct Accepted {
    /// What it shares with all others.
    pub edge: Arc<Edge>,
    /// The socket.
    pub socket: tokio::net::TcpStream,
    /// When it was accepted.
    pub began: Instant,
    /// Between whom it is.
    pub ends: Ends,
    /// Where it was accepted.
    pub port: Arc<Port>,
    /// Its place among the open connections, given up with it.
    pub admitted: Admitted,
}

/// A bound address of a listener.
#[derive(Debug)]
pub struct Port {
    /// The listener's name.
    pub listener: Arc<str>,
    /// What is bound.
    pub address: SocketAddr,
    /// What is counted of the listener.
    pub figures: OfListener,
}

/// Between whom a connection is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ends {
    /// The other end of the socket.
    pub peer: SocketAddr,
    /// Who the client is: the peer, or whom it speaks for.
    pub client: SocketAddr,
    /// This end of the socket.
    pub local: SocketAddr,
}

/// A connection that may send requests.
#[derive(Debug)]
pub struct Connection {
    /// What it shares with all others.
    pub edge: Arc<Edge>,
    /// What it was opened as.
    pub opened: Arc<Opened>,
    /// Its bytes.
    pub stream: Box<EdgeStream>,
    /// What was negotiated.
    pub protocol: HttpVersion,
    /// Its place among the open connections.
    pub admitted: Admitted,
}

/// What a connection was opened as, for all of its requests.
#[derive(Debug)]
pub struct Opened {
    /// What its records share.
    pub facts: Arc<ConnectionFacts>,
    /// Who the client is, as far as the connection itself tells.
    pub client: SocketAddr,
    /// The host that it was opened for: the server name, or that of the first request.
    pub host: Hostname,
    /// What its certificate covers; `None` in clear text.
    pub coverage: Option<Arc<Coverage>>,
}

/// What a connection speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HttpVersion {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

impl Port {
    /// Counts and records a refused connection; `named` is what it asked for.
    pub fn refused(&self, edge: &Edge, refusal: Refusal, ends: Ends, named: Named) {
        self.figures.refused(refusal);
        edge.recorder.refused(AccessRecord {
            time: edge.clock.now(),
            event: Event::Refused,
            reason: Some(refusal),
            count: 1,
            connection: Arc::new(ConnectionFacts {
                server_name: named.server_name,
                ..self.facts(edge, ends)
            }),
            generation: edge.snapshots.load().generation,
            request_id: None,
            client: ends.client,
            host: named.host,
            protocol: None,
            request: None,
            upstream: None,
        });
    }

    /// The facts of a connection, before any TLS.
    fn facts(&self, edge: &Edge, ends: Ends) -> ConnectionFacts {
        ConnectionFacts {
            id: edge.connections.fetch_add(1, Ordering::Relaxed),
            peer: ends.peer,
            local: ends.local,
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
    /// The facts of the connection, before any TLS.
    fn facts(&self) -> ConnectionFacts {
        self.port.facts(&self.edge, self.ends)
    }

    /// Counts and records that the connection is refused; `named` is what it asked for.
    fn record_refusal(&self, refusal: Refusal, named: Named) {
        self.port.refused(&self.edge, refusal, self.ends, named);
    }

    /// Counts that the connection ended before it sent a byte.
    fn count_empty(&self) {
        self.port.figures.empty.inc();
    }
}

/// What a refused connection asked for, as far as it said.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Named {
    /// In its ClientHello.
    pub server_name: Option<Arc<str>>,
    /// In its request head.
    pub host: Option<Arc<str>>,
}
