//! The admin pages: whether the program lives, whether it is ready, what it counts, how it stands.
//!
//! They read and never change anything; they are served on a listener of their own, to so many at a
//! time and for so long.

mod metrics;
mod sinks;
mod status;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::edge::Edge;
use crate::listen::set::ListenersStatus;
use crate::metrics::Registry;
use crate::ship::status::SinkBoard;
use crate::upstream::connect::Upstreams;

/// Connections at a time: readers are few, and each is served at once.
const CONNECTIONS: usize = 64;
/// How long a request head, or the wait for the next one, may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may live, so that readers who do not read give up their place.
const LIFETIME: Duration = Duration::from_secs(60);
/// How long to wait when the system lacks what a connection needs.
const PAUSE: Duration = Duration::from_millis(100);

/// What the pages are made from.
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

/// Serves the pages for as long as it is polled.
pub async fn serve(socket: TcpListener, pages: Pages) {
    let router = Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics_page))
        .route("/status.json", get(status_json))
        .route("/", get(status_page))
        .with_state(pages);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    // The semaphore is never closed; who finds no place waits in the kernel's queue.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
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
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
        tokio::spawn(async move {
            let _place = place;
            // Whatever becomes of it concerns the reader alone.
            let _ = timeout(LIFETIME, served).await;
        });
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
