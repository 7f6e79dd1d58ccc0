//! Connections to servers, each made under one deadline.
//!
//! An idle connection belongs to one [`ServerState`](crate::snapshot::ServerState) and is never used for another, so that it was always
//! made under the configured verification. A connection with a PROXY header is reused for the same client
//! only.

pub mod establish;
mod race;
mod socket;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;

use super::http2::Http2Connections;
use super::idle::IdleConnections;
use super::metrics::UpstreamMetrics;
use super::names::NameCache;
use super::samples::Samples;
use super::tcp_info::Kernel;
use super::{
    AlpnOffer, ConnectFailure, ConnectionOrigin, NegotiatedProtocol, ProxyHeader, UpstreamConnection,
};
use crate::access::record::ServerFacts;
use crate::config::Config;
use crate::edge::descriptors::{self, Descriptors};
use crate::net::http1_stream::Http1Stream;
use crate::origin::{Origin, ServerHost};
use crate::snapshot::OriginState;
use crate::tls::roots;
use establish::NewConnection;

/// The state of all servers, apart from their health.
#[derive(Debug)]
pub struct Upstreams {
    started: Instant,
    /// Connections without a request.
    pub(crate) idle: IdleConnections,
    pub(crate) metrics: UpstreamMetrics,
    names: NameCache,
    pub(super) http2: Arc<Http2Connections>,
    samples: Samples,
    kernel: Option<Kernel>,
}

impl Upstreams {
    /// Starts with the names of the servers in `config`.
    pub fn new(config: &Config, metrics: UpstreamMetrics) -> Self {
        let upstreams = Self {
            started: Instant::now(),
            idle: IdleConnections::new(Descriptors::of_process()),
            names: NameCache::new(&config.name_servers, metrics.name_lookups.clone()),
            metrics,
            http2: Arc::default(),
            samples: Samples::default(),
            kernel: Kernel::open()
                .inspect_err(|error| tracing::info!(%error, "sock_diag(7) is not available: round trips and losses are not sampled"))
                .ok(),
        };
        upstreams.configure(config);
        upstreams
    }

    /// Follows a new configuration: resolves the names of its servers and no others.
    pub fn configure(&self, config: &Config) {
        let servers = config.origins.iter().flat_map(|origin| &origin.servers);
        let names = servers.filter_map(|server| match &server.host {
            ServerHost::Name(name) => Some(name),
            ServerHost::Address(_) => None,
        });
        self.names.configure(&config.name_servers, names);
    }

    /// The clock of server health: time since start.
    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Closes connections that have expired, or whose server is no longer configured.
    pub fn sweep(&self) {
        self.http2.sweep();
        self.idle.sweep();
    }

    /// A new connection to a server of an origin, TLS included, within the origin's connect timeout.
    pub(crate) async fn connect(
        &self,
        state: &OriginState,
        index: usize,
        proxy_header: Option<ProxyHeader>,
        offer: AlpnOffer,
    ) -> Result<UpstreamConnection, ConnectFailure> {
        let (Some(server), Some(health)) = (state.origin.servers.get(index), state.servers.get(index)) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let (began, since) = (Instant::now(), self.now());
        let (tls, mut connected) = (state.tls.as_ref(), None);
        let attempt = establish::establish(
            &self.names,
            &state.origin,
            server,
            tls,
            proxy_header,
            offer,
            &mut connected,
        );
        let outcome = match tokio::time::timeout(state.origin.timeouts.connect, attempt).await {
            Ok(outcome) => outcome,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        let labels = [&*state.origin.name, &*server.link];
        self.metrics.connect.with_label_values(&labels).observe(began.elapsed().as_secs_f64());
        if let Err(error) = &outcome
            && !roots::is_no_protocol_in_common(error)
            && !descriptors::is_shortage(error)
            && health.health.failed(since, self.now())
        {
            tracing::warn!(origin = %state.origin.name, server = %health.label, %error, "the server cannot be connected to");
        }
        let NewConnection { transport, address, local, took } =
            outcome.map_err(|error| ConnectFailure { error, address: connected })?;
        tracing::debug!(origin = %state.origin.name, server = %health.label, %address, lookup = ?took.lookup,
            connect = ?took.connect, tls = ?took.tls, "connected");
        health.connect_time.add(took.connect, self.now());
        if let Some(local) = local {
            self.samples.follow(health, local, address);
        }
        if let Some(tls) = took.tls {
            health.tls_time.add(tls, self.now());
            self.metrics.tls.with_label_values(&labels).observe(tls.as_secs_f64());
        }
        let protocol = NegotiatedProtocol::of(&state.origin.scheme, &transport);
        let stream = Box::new(Http1Stream::new(transport, BytesMut::new()));
        let Origin { name, region, .. } = &state.origin;
        let (origin, link) = (Arc::clone(name), Arc::clone(&server.link));
        let reached = Arc::new(ServerFacts { origin, region: *region, link, address, local });
        Ok(UpstreamConnection { stream, protocol, reached, origin: ConnectionOrigin::New, proxy_header })
    }

    /// Samples the kernel's statistics of open connections.
    pub(crate) fn sample(&self) {
        if let Some(kernel) = &self.kernel {
            self.samples.take(kernel, self.now());
        }
    }

    /// Refreshes names whose answers are about to expire.
    pub(crate) fn refresh_names(&self) {
        self.names.refresh();
    }
}
