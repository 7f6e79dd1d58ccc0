//! Times one request to a server over its own connection, part by part.
//!
//! Nothing is cached between rounds: names are resolved and handshakes are full.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use http::{Method, StatusCode};
use tokio::time::{Instant, timeout};

use super::connect::establish::{NewConnection, establish};
use super::names::NameCache;
use super::probe_request::{self, ProbeRequest};
use super::{AlpnOffer, NegotiatedProtocol, ProxyHeader};
use crate::metrics::IntCounterVec;
use crate::net::http1_stream::Http1Stream;
use crate::origin::{Probe, ProxyProtocol, ServerHost, UpstreamHost};
use crate::snapshot::{OriginState, OriginTls};
use crate::tls::roots;

/// The request that is timed; it changes nothing on the server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Question {
    /// GET for the health check's path, else HEAD for `/`.
    pub method: Method,
    /// The path.
    pub path: String,
    /// The `host` that is sent.
    pub host: String,
}

/// The times of one round.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// The address connected to.
    pub address: SocketAddr,
    /// Name resolution; `None` for an address.
    pub lookup: Option<Duration>,
    /// TCP connect, after name resolution.
    pub connect: Duration,
    /// The handshake; `None` in clear text.
    pub tls: Option<Duration>,
    /// From the request to the first byte of the response.
    pub first_byte: Duration,
    /// The response's status.
    pub status: StatusCode,
}

impl Question {
    /// The request to the server at `index`.
    pub fn of(state: &OriginState, index: usize) -> Self {
        let origin = &state.origin;
        let (method, path) = match origin.health.as_ref().map(|check| &check.probe) {
            Some(Probe::Http { path, .. }) => (Method::GET, path.clone()),
            Some(Probe::Tcp) | None => (Method::HEAD, "/".to_owned()),
        };
        let host = match (&origin.host, state.tls.as_ref()) {
            (UpstreamHost::Fixed(host), _) => host.to_string(),
            (UpstreamHost::Preserve, Some(tls)) => tls.server_name.to_str().into_owned(),
            (UpstreamHost::Preserve, None) => {
                origin.servers.get(index).map(ToString::to_string).unwrap_or_default()
            }
        };
        Self { method, path, host }
    }
}

/// One round with the server at `index`, within the origin's timeouts. The error is a sentence that says what
/// failed.
pub async fn round(
    state: &OriginState,
    index: usize,
    name_servers: &[SocketAddr],
    lookups: &IntCounterVec,
) -> Result<Round, String> {
    let server = state.origin.servers.get(index).ok_or("there is no such server")?;
    let timeouts = state.origin.timeouts;
    let names = NameCache::new(name_servers, lookups.clone());
    let tls = state.tls.as_ref().map(|tls| OriginTls {
        config: roots::without_resumption(&tls.config),
        http1: roots::without_resumption(&tls.http1),
        ..tls.clone()
    });
    let proxy_header = match state.origin.proxy_protocol {
        ProxyProtocol::None => None,
        ProxyProtocol::V2 => Some(ProxyHeader::Local),
    };
    let (tls, mut connected) = (tls.as_ref(), None);
    let attempt = establish(&names, &state.origin, server, tls, proxy_header, AlpnOffer::Any, &mut connected);
    let established = match timeout(timeouts.connect, attempt).await {
        Ok(outcome) => outcome.map_err(|error| plain(&error))?,
        Err(_) => return Err(format!("no connection within {:?}", timeouts.connect)),
    };
    let NewConnection { transport, address, took, .. } = established;
    let asked = Instant::now();
    let question = Question::of(state, index);
    let request = ProbeRequest {
        method: &question.method,
        path: &question.path,
        host: &question.host,
        scheme: &state.origin.scheme,
    };
    let protocol = NegotiatedProtocol::of(&state.origin.scheme, &transport);
    let answer =
        probe_request::ask(Box::new(Http1Stream::new(transport, BytesMut::new())), protocol, request);
    let status = match timeout(timeouts.first_byte, answer).await {
        Ok(outcome) => outcome.map_err(|failure| failure.to_string())?,
        Err(_) => return Err(format!("no answer within {:?}", timeouts.first_byte)),
    };
    let first_byte = asked.elapsed();
    if let Some(Probe::Http { expect, .. }) = state.origin.health.as_ref().map(|check| &check.probe)
        && !expect.iter().any(|range| range.contains(&status.as_u16()))
    {
        return Err(format!("status {}", status.as_u16()));
    }
    let is_name = matches!(server.host, ServerHost::Name(_));
    let lookup = is_name.then_some(took.lookup);
    Ok(Round { address, lookup, connect: took.connect, tls: took.tls, first_byte, status })
}

/// Without the error number, which tells a reader nothing.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
