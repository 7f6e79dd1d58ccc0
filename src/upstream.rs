//! Servers of origins: names, connections, pools, health checks, and the two protocols spoken with them.

pub mod checks;
pub mod connect;
pub mod http1;
pub mod http2;
mod idle;
pub mod links;
pub mod loops;
pub mod maintenance;
pub mod measure;
pub mod metrics;
pub(crate) mod names;
mod probe_request;
pub mod reach;
pub mod request;
mod samples;
pub mod server_metrics;
pub mod session;
mod tcp_info;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

use crate::access::record::ServerFacts;
use crate::message::{BadMessage, ResponseHead};
use crate::net::address::{ClientAddress, LocalAddress};
use crate::net::http1_stream::Http1Stream;
use crate::net::transport::Transport;
use crate::origin::Scheme;

#[derive(Debug)]
pub(crate) struct UpstreamConnection {
    pub(crate) stream: Box<Http1Stream>,
    pub(crate) protocol: NegotiatedProtocol,
    pub(crate) reached: Arc<ServerFacts>,
    pub(crate) origin: ConnectionOrigin,
    pub(crate) proxy_header: Option<ProxyHeader>,
}

/// The PROXY header sent to the server on this connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ProxyHeader {
    /// The connection is on this edge's own behalf.
    Local,
    /// The connection is for a client.
    Client {
        client: ClientAddress,
        /// The address it connected to.
        destination: LocalAddress,
    },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NegotiatedProtocol {
    Http1,
    Http2,
}

impl NegotiatedProtocol {
    fn of(scheme: &Scheme, transport: &Transport) -> Self {
        let is_http2 = *scheme == Scheme::H2c || transport.is_http2_negotiated();
        if is_http2 { Self::Http2 } else { Self::Http1 }
    }
}

/// The protocols offered to a server by ALPN.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum AlpnOffer {
    /// HTTP/2 and HTTP/1.1.
    Any,
    /// HTTP/1.1 only.
    Http1,
}

/// Whether a connection is new.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ConnectionOrigin {
    New,
    /// Used before: the server may have closed it meanwhile.
    Reused,
}

#[derive(Debug)]
pub(crate) struct ConnectFailure {
    pub(crate) error: io::Error,
    /// The address that accepted TCP before the connection failed.
    pub(crate) address: Option<SocketAddr>,
}

impl<E: Into<io::Error>> From<E> for ConnectFailure {
    fn from(error: E) -> Self {
        Self { error: error.into(), address: None }
    }
}

#[derive(Debug)]
pub(crate) enum ResponsePart {
    Head {
        head: ResponseHead,
        /// Whether no body follows.
        end: bool,
    },
    Body(Bytes),
    /// The end, with trailers if there are any.
    End(Option<HeaderMap>),
}

/// Why a response is missing or incomplete.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamFailure {
    /// The connection failed or ended too early.
    #[error("the connection to the server broke off: {0}")]
    Broken(#[from] std::io::Error),
    /// The server has not processed the request, and will not.
    #[error("the server has not processed the request")]
    Unprocessed,
    /// The server sent a malformed response.
    #[error("the server's response is malformed: {0}")]
    Bad(#[from] BadMessage),
}
