//! Connections to upstream servers: made under one deadline, kept for the next request, found again.
//!
//! A kept connection belongs to one [`ServerState`] and is never used for another, so that it is
//! always one made under the verification that is configured; where a server is told the client, it
//! belongs to that client too.

pub mod establish;
mod race;
mod socket;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;

use super::http2::Http2Connections;
use super::kept::KeptConnections;
use super::kernel::Kernel;
use super::names::Names;
use super::samples::Samples;
use super::{ConnectionOrigin, Offer, Speaks, Told, Unreached, UpstreamConnection};
use crate::access::record::ServerFacts;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::net::wire::Wire;
use crate::origin::{Origin, ServerHost};
use crate::snapshot::OriginState;
use crate::tls::roots;
use establish::Established;

/// What is known of upstream servers besides their health.
#[derive(Debug)]
pub struct Upstreams {
    started: Instant,
    /// Those that no request has now.
    pub(crate) kept: KeptConnections,
    names: Names,
    pub(super) http2: Arc<Http2Connections>,
    samples: Samples,
    kernel: Option<Kernel>,
}

impl Upstreams {
    /// Nothing is known of the servers that `config` names.
    pub fn new(config: &Config, metrics: &Metrics) -> Self {
        let upstreams = Self {
            started: Instant::now(),
            kept: KeptConnections::default(),
            names: Names::new(&config.name_servers, metrics.clone()),
            http2: Arc::default(),
            samples: Samples::default(),
            kernel: Kernel::open()
                .inspect_err(|error| tracing::info!(%error, "round trips and losses are not known"))
                .ok(),
        };
        upstreams.configure(config);
        upstreams
    }

    /// Knows the names of the servers that `config` names, and no others.
    pub fn configure(&self, config: &Config) {
        let servers = config.origins.iter().flat_map(|origin| &origin.servers);
        let names = servers.filter_map(|server| match &server.host {
            ServerHost::Name(name) => Some(name),
            ServerHost::Address(_) => None,
        });
        self.names.configure(&config.name_servers, names);
    }

    /// The time that server health is told in.
    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Closes connections whose time is over, or whose server is no longer named.
    pub fn sweep(&self) {
        self.http2.sweep();
        self.kept.sweep();
    }

    /// A new connection to the server at `place` of an origin, TLS included, within the origin's limit.
    pub(crate) async fn connect(
        &self,
        state: &OriginState,
        place: usize,
        told: Option<Told>,
        offer: Offer,
        metrics: &Metrics,
    ) -> Result<UpstreamConnection, Unreached> {
        let (Some(server), Some(health)) = (state.origin.servers.get(place), state.servers.get(place)) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let (began, since) = (Instant::now(), self.now());
        let (tls, mut connected) = (state.tls.as_ref(), None);
        let attempt =
            establish::establish(&self.names, &state.origin, server, tls, told, offer, &mut connected);
        let outcome = match tokio::time::timeout(state.origin.timeouts.connect, attempt).await {
            Ok(outcome) => outcome,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        let labels = [&*state.origin.name, &*server.link];
        metrics.upstream_connect.with_label_values(&labels).observe(began.elapsed().as_secs_f64());
        if let Err(error) = &outcome
            && !roots::is_no_protocol_in_common(error)
        {
            metrics.origin_up.with_label_values(&[&*state.origin.name, &health.label]).set(0);
            if health.health.failed(since, self.now()) {
                tracing::warn!(origin = %state.origin.name, server = %health.label, %error, "cannot be connected to");
            }
        }
        let Established { transport, address, local, took } =
            outcome.map_err(|error| Unreached { error, address: connected })?;
        tracing::debug!(origin = %state.origin.name, server = %health.label, %address, lookup = ?took.lookup,
            connect = ?took.connect, tls = ?took.tls, "connected");
        health.measured.connect.took(took.connect, self.now());
        if let Some(local) = local {
            self.samples.follow(health, local, address);
        }
        if let Some(tls) = took.tls {
            health.measured.tls.took(tls, self.now());
            metrics.upstream_tls.with_label_values(&labels).observe(tls.as_secs_f64());
        }
        let speaks = Speaks::of(&state.origin.scheme, &transport);
        let wire = Box::new(Wire::new(transport, BytesMut::new()));
        let Origin { name, region, .. } = &state.origin;
        let (origin, link) = (Arc::clone(name), Arc::clone(&server.link));
        let reached = Arc::new(ServerFacts { origin, region: *region, link, address, local });
        Ok(UpstreamConnection { wire, speaks, reached, origin: ConnectionOrigin::New, told })
    }

    /// Looks at what the kernel knows of connections.
    pub(crate) fn sample(&self) {
        if let Some(kernel) = &self.kernel {
            self.samples.take(kernel, self.now());
        }
    }

    /// Asks for the names whose answers are about to be too old.
    pub(crate) fn refresh_names(&self) {
        self.names.refresh();
    }
}
