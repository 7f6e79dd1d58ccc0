//! How long a server takes: one request over a connection of its own, measured part by part.
//!
//! Nothing is remembered from one round to the next: names are looked up, and handshakes are whole.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use http::{Method, StatusCode};
use tokio::time::{Instant, timeout};

use super::connect::establish::{Established, establish};
use super::names::Names;
use super::once::{self, Asking};
use super::{Offer, Speaks, Told};
use crate::metrics::Metrics;
use crate::net::wire::Wire;
use crate::origin::{Probe, ProxyProtocol, ServerHost, UpstreamHost};
use crate::snapshot::{OriginState, OriginTls};
use crate::tls::roots;

/// What a server is asked, which changes nothing there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Question {
    /// GET of the path of its health check, or else HEAD of `/`.
    pub method: Method,
    /// The path.
    pub path: String,
    /// The host that is named.
    pub host: String,
}

/// What one round measured.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Where it was connected to.
    pub address: SocketAddr,
    /// Until the addresses of its name were known; `None` for an address.
    pub lookup: Option<Duration>,
    /// From then on until TCP was there.
    pub connect: Duration,
    /// The handshake; `None` in clear text.
    pub tls: Option<Duration>,
    /// From the request sent to the first byte of the answer.
    pub first_byte: Duration,
    /// Of the answer.
    pub status: StatusCode,
}

impl Question {
    /// What the server at `place` is asked.
    pub fn of(state: &OriginState, place: usize) -> Self {
        let origin = &state.origin;
        let (method, path) = match origin.health.as_ref().map(|check| &check.probe) {
            Some(Probe::Http { path, .. }) => (Method::GET, path.clone()),
            Some(Probe::Tcp) | None => (Method::HEAD, "/".to_owned()),
        };
        let host = match (&origin.host, state.tls.as_ref()) {
            (UpstreamHost::Fixed(host), _) => host.to_string(),
            (UpstreamHost::Preserve, Some(tls)) => tls.server_name.to_str().into_owned(),
            (UpstreamHost::Preserve, None) => {
                origin.servers.get(place).map(ToString::to_string).unwrap_or_default()
            }
        };
        Self { method, path, host }
    }
}

/// One round with the server at `place`, within the origin's limits. The error says what failed, in a
/// sentence.
pub async fn round(
    state: &OriginState,
    place: usize,
    name_servers: &[SocketAddr],
    metrics: &Metrics,
) -> Result<Round, String> {
    let server = state.origin.servers.get(place).ok_or("there is no such server")?;
    let timeouts = state.origin.timeouts;
    let names = Names::new(name_servers, metrics.clone());
    let tls = state.tls.as_ref().map(|tls| OriginTls {
        config: roots::without_resumption(&tls.config),
        http1: roots::without_resumption(&tls.http1),
        ..tls.clone()
    });
    let told = match state.origin.proxy_protocol {
        ProxyProtocol::None => None,
        ProxyProtocol::V2 => Some(Told::Local),
    };
    let (tls, mut connected) = (tls.as_ref(), None);
    let attempt = establish(&names, &state.origin, server, tls, told, Offer::Any, &mut connected);
    let established = match timeout(timeouts.connect, attempt).await {
        Ok(outcome) => outcome.map_err(|error| plain(&error))?,
        Err(_) => return Err(format!("no connection within {:?}", timeouts.connect)),
    };
    let Established { transport, address, took, .. } = established;
    let asked = Instant::now();
    let question = Question::of(state, place);
    let asking = Asking {
        method: &question.method,
        path: &question.path,
        host: &question.host,
        scheme: &state.origin.scheme,
    };
    let speaks = Speaks::of(&state.origin.scheme, &transport);
    let answer = once::ask(Box::new(Wire::new(transport, BytesMut::new())), speaks, asking);
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

/// Without the system's number of the error, which tells a reader nothing.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
