//! The admin pages: whether the program lives, whether it is ready, what it counts, how it stands.
//!
//! They read and never change anything; they are served on a listener of their own.

mod status;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::listen::Edge;
use crate::listen::set::Standing;
use crate::metrics::StoreFigures;

/// What the pages are made from.
#[derive(Clone, Debug)]
struct Pages {
    edge: Arc<Edge>,
    standing: watch::Receiver<Standing>,
}

/// Serves the pages for as long as it is polled.
pub async fn serve(socket: TcpListener, edge: Arc<Edge>, standing: watch::Receiver<Standing>) {
    let router = Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/status.json", get(status_json))
        .route("/", get(status_page))
        .with_state(Pages { edge, standing });
    if let Err(error) = axum::serve(socket, router).await {
        tracing::error!(%error, "the admin pages are gone");
    }
}

async fn ready(State(pages): State<Pages>) -> (StatusCode, String) {
    match status::unready(&pages.edge, &pages.standing.borrow()) {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")),
    }
}

async fn metrics(State(pages): State<Pages>) -> Response {
    let edge = &pages.edge;
    let stats = edge.recorder.stats();
    let store = StoreFigures {
        records: stats.records(),
        lost: stats.lost(),
        bytes: stats.bytes(),
        clock_synchronized: stats.clock_synchronized(),
    };
    let text = edge.metrics.render(&edge.snapshots.load(), store, edge.moment());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn status_json(State(pages): State<Pages>) -> Response {
    let status = status::status(&pages.edge, &pages.standing.borrow());
    ([(header::CONTENT_TYPE, "application/json")], format!("{status:#}\n")).into_response()
}

async fn status_page(State(pages): State<Pages>) -> Response {
    let status = status::status(&pages.edge, &pages.standing.borrow());
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], status::page(&status)).into_response()
}
