//! Servers of origins: their names, connections, pools and checks, and the two protocols spoken with them.

pub mod checks;
pub mod connect;
pub mod http1;
pub mod http2;
mod kept;
mod kernel;
pub mod links;
pub mod maintenance;
pub mod measure;
mod names;
mod once;
pub mod reach;
pub mod request;
mod samples;
pub mod stream;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

use crate::access::record::ServerFacts;
use crate::message::{BadMessage, ResponseHead};
use crate::net::transport::Transport;
use crate::net::wire::Wire;
use crate::origin::Scheme;

/// A connection to an upstream server.
#[derive(Debug)]
pub(crate) struct UpstreamConnection {
    pub(crate) wire: Box<Wire>,
    pub(crate) speaks: Speaks,
    pub(crate) reached: Arc<ServerFacts>,
    pub(crate) origin: ConnectionOrigin,
    pub(crate) told: Option<Told>,
}

/// What a server was told of the client when the connection was made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Told {
    /// The connection is this edge's own.
    Local,
    /// Who it is.
    Client {
        /// Its address.
        client: SocketAddr,
        /// Where it connected to.
        destination: SocketAddr,
    },
}

/// What was agreed on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Speaks {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

impl Speaks {
    fn of(scheme: &Scheme, transport: &Transport) -> Self {
        let is_http2 = *scheme == Scheme::H2c || transport.is_http2_negotiated();
        if is_http2 { Self::Http2 } else { Self::Http1 }
    }
}

/// What a server is offered where TLS negotiates.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Offer {
    /// HTTP/2, or else HTTP/1.1.
    Any,
    /// HTTP/1.1 alone.
    Http1,
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ConnectionOrigin {
    /// Made for this request.
    New,
    /// Kept from an earlier one, so that the server may have closed it meanwhile.
    Kept,
}

/// Why there is no connection to a server.
#[derive(Debug)]
pub(crate) struct Unreached {
    pub(crate) error: io::Error,
    /// The address that took a connection, which came to nothing.
    pub(crate) address: Option<SocketAddr>,
}

impl<E: Into<io::Error>> From<E> for Unreached {
    fn from(error: E) -> Self {
        Self { error: error.into(), address: None }
    }
}

/// A part of an answer, in their order.
#[derive(Debug)]
pub(crate) enum Part {
    /// A head, informational or final; `end` when no body follows.
    Head {
        /// The head.
        head: ResponseHead,
        /// Whether that is all.
        end: bool,
    },
    /// Bytes of the body.
    Body(Bytes),
    /// The end, with the fields behind the body.
    End(Option<HeaderMap>),
}

/// Why there is no answer, or no more of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamFailure {
    /// The connection failed, or ended too early.
    #[error("the connection to the server broke off: {0}")]
    Broken(#[from] std::io::Error),
    /// The server has not looked at the request, and will not.
    #[error("the server does not take the request")]
    Unprocessed,
    /// What came is no answer.
    #[error("the server's answer cannot be used: {0}")]
    Bad(#[from] BadMessage),
}
