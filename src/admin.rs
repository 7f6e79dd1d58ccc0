//! The admin pages: liveness, readiness, metrics and status.
//!
//! Read only. Connections are bounded in number and in time. A new connection always gets a place, so that readers
//! who stall keep no probe out. Pages about the configuration answer only to known hosts, against DNS rebinding.

mod hosts;
mod metrics;
mod sinks;
mod status;
mod stream;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::edge::Edge;
use crate::hostname::Hostname;
use crate::listen::set::ListenersStatus;
use crate::metrics::Registry;
use crate::ship::status::SinkBoard;
use crate::upstream::connect::Upstreams;
use hosts::AdminHosts;
use stream::AdminStream;

/// Connections at a time: pages have few readers, and each is answered at once. Beyond it the oldest is closed.
const CONNECTIONS: usize = 64;
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest life of a connection.
const LIFETIME: Duration = Duration::from_secs(60);
/// The pause of accepting for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// The state that the pages show.
#[derive(Clone, Debug)]
pub struct Pages {
    /// The snapshot, the record store, the clock.
    pub edge: Arc<Edge>,
    /// The state of upstream servers.
    pub upstreams: Arc<Upstreams>,
    /// Every metric.
    pub metrics: Registry,
    /// Which addresses are bound.
    pub listeners_status: watch::Receiver<ListenersStatus>,
    /// The state of every sink.
    pub sinks: SinkBoard,
}

/// Serves the pages for as long as it is polled. `hosts` are names that they may be asked by.
pub async fn serve(socket: TcpListener, pages: Pages, hosts: Vec<Hostname>) {
    let private = Router::new()
        .route("/status.json", get(status_json))
        .route("/", get(status_page))
        .fallback(|| async { StatusCode::NOT_FOUND })
        .layer(middleware::from_fn_with_state(AdminHosts::new(hosts), hosts::check));
    let router = Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics_page))
        .merge(private)
        .with_state(pages);
    let mut places = Places::default();
    loop {
        let stream = match socket.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "admin: accepting pauses");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(
                TokioIo::new(AdminStream::new(stream)),
                TowerToHyperService::new(router.clone()),
            );
        let task = tokio::spawn(async move {
            // A failure concerns this reader alone.
            let _ = timeout(LIFETIME, served).await;
        });
        places.take(task.abort_handle());
    }
}

/// The open connections, oldest first.
#[derive(Debug, Default)]
struct Places(VecDeque<AbortHandle>);

impl Places {
    /// Gives the new connection a place, and closes the oldest one if there is none left.
    fn take(&mut self, connection: AbortHandle) {
        self.0.retain(|open| !open.is_finished());
        if self.0.len() >= CONNECTIONS
            && let Some(oldest) = self.0.pop_front()
        {
            oldest.abort();
        }
        self.0.push_back(connection);
    }
}

async fn ready(State(pages): State<Pages>) -> (StatusCode, String) {
    match status::unready(&pages.edge, &pages.listeners_status.borrow()) {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")),
    }
}

async fn metrics_page(State(pages): State<Pages>) -> Response {
    match metrics::page(&pages.metrics, &pages.edge.snapshots.load()) {
        Ok(text) => {
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "admin: the metrics cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn status_of(pages: &Pages) -> serde_json::Value {
    status::status(&pages.edge, &pages.listeners_status.borrow(), &pages.sinks, pages.upstreams.now())
}

async fn status_json(State(pages): State<Pages>) -> Response {
    let status = status_of(&pages);
    ([(header::CONTENT_TYPE, "application/json")], format!("{status:#}\n")).into_response()
}

async fn status_page(State(pages): State<Pages>) -> Response {
    let status = status_of(&pages);
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], status::page(&status)).into_response()
}
