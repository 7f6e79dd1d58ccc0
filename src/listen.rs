//! The downstream side of a connection, up to its first request: sockets, limits, the ClientHello,
//! the handshake, refusals.
//!
//! Only [`set`] binds, and only for a [`crate::gate::BindPermit`]; not one byte is sent before the
//! gate has answered.

pub mod accept;
pub mod clear;
pub mod downstream;
pub mod frames;
pub mod head;
pub mod hello;
pub mod limits;
pub mod proxy_protocol;
pub mod refuse;
pub mod set;
pub mod tls;
pub mod told;
pub mod transport;
pub mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::watch;
use tokio::time::Instant;

use crate::access::record::{BlockPlace, ConnectionFacts};
use crate::access::request_id::RequestIds;
use crate::access::{AccessRecord, Event};
use crate::clock::{Clock, Moment};
use crate::gate::{Coverage, Refusal};
use crate::hostname::Hostname;
use crate::metrics::{Metrics, OfListener};
use crate::retention::Recorder;
use crate::snapshot::Snapshots;
use downstream::EdgeStream;
use limits::{Admission, Admitted};

/// What every listener and every connection shares.
#[derive(Debug)]
pub struct Edge {
    /// What is judged and served by.
    pub snapshots: Snapshots,
    /// What time it is.
    pub clock: Clock,
    /// What is counted.
    pub metrics: Metrics,
    /// Where records go.
    pub recorder: Recorder,
    /// How far the program is from its end.
    pub phase: watch::Sender<Phase>,
    /// Whether it ends, for whoever asks often.
    pub draining: AtomicBool,
    /// How many connections there are.
    pub admission: Admission,
    /// Numbers connections.
    pub connections: AtomicU64,
}

/// How far the program is from its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// It serves.
    Serving,
    /// It ends: what is idle closes, what is in flight may finish.
    Draining,
}

impl Edge {
    /// The moment that is judged at.
    pub fn moment(&self) -> Moment {
        self.clock.moment()
    }

    /// Whether the program ends.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Lets the program end; whatever is open is told.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.phase.send_replace(Phase::Draining);
        self.snapshots.announce();
    }
}

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

impl Edge {
    /// Counts and records a refused connection; `named` is what it asked for.
    pub fn refused(&self, refusal: Refusal, ends: Ends, port: &Port, named: Named) {
        port.figures.refused(refusal);
        self.recorder.refused(AccessRecord {
            time: self.clock.now(),
            event: Event::Refused,
            reason: Some(refusal),
            count: 1,
            connection: Arc::new(ConnectionFacts {
                server_name: named.server_name,
                ..self.facts(ends, port)
            }),
            generation: self.snapshots.load().generation,
            request_id: None,
            client: ends.client,
            host: named.host,
            protocol: None,
            request: None,
            upstream: None,
        });
    }

    /// The facts of a connection, before any TLS.
    fn facts(&self, ends: Ends, port: &Port) -> ConnectionFacts {
        ConnectionFacts {
            id: self.connections.fetch_add(1, Ordering::Relaxed),
            peer: ends.peer,
            local: ends.local,
            listener: Arc::clone(&port.listener),
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
        self.edge.facts(self.ends, &self.port)
    }

    /// Counts and records that the connection is refused; `named` is what it asked for.
    fn record_refusal(&self, refusal: Refusal, named: Named) {
        self.edge.refused(refusal, self.ends, &self.port, named);
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
