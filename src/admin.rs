//! The admin pages: liveness, readiness, metrics, status, and the cache's purge.
//!
//! Read only but for the purge. Connections are bounded in number and in time. A new connection always gets a place, so that readers
//! who stall keep no probe out. Pages about the configuration answer only to known hosts, against DNS rebinding.

mod cache_state;
mod connection;
mod events;
mod filing_state;
mod hosts;
mod latency;
mod metrics;
mod news;
mod page;
mod pages;
pub mod process;
mod purge;
mod reports;
mod sinks;
mod status;
mod stream;

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router, middleware};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::connection::AdminConnection;
use self::events::Subscribers;
use self::hosts::AdminHosts;
use self::latency::Latencies;
use self::news::News;
use self::page::language::Language;
use self::stream::AdminStream;
use crate::edge::descriptors::{Descriptors, Room};
use crate::hostname::Hostname;

pub use self::pages::Pages;

/// Connections at a time: pages have few readers, and each is answered at once. Beyond it the oldest is closed.
const CONNECTIONS: usize = 64;
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may take once the pages end. A stream of events is cut then, and its reader comes back.
const LAST_ANSWER: Duration = Duration::from_secs(1);
/// The pause of accepting for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// What the status page may load: its own script and style, and its own data.
const CONTENT_SECURITY_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);

/// Serves the pages until `end`; answers that are under way then are finished. `hosts` are names that they may be
/// asked by.
pub async fn serve(socket: Arc<TcpListener>, pages: Pages, hosts: Vec<Hostname>, end: CancellationToken) {
    let (subscribers, latencies) = (Subscribers::default(), Latencies::default());
    let private = Router::new()
        .route("/status.json", get(status_json))
        .route("/events", get(events))
        .route("/purge", post(purge_cache))
        .route("/", get(status_page))
        .route("/page.js", get(|| asset("text/javascript; charset=utf-8", page::SCRIPT)))
        .route("/page.css", get(|| asset("text/css; charset=utf-8", page::STYLE)))
        .route("/icon.svg", get(|| asset("image/svg+xml", page::ICON)))
        .fallback(|| async { StatusCode::NOT_FOUND })
        .layer(middleware::from_fn_with_state(AdminHosts::new(hosts), hosts::check));
    let router = Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics_page))
        .merge(private)
        .layer(Extension(subscribers.clone()))
        .layer(Extension(latencies.clone()))
        .with_state(pages.clone());
    let edge = Arc::clone(&pages.edge);
    tokio::select! {
        () = accept(&socket, router, edge.descriptors, &end) => {}
        () = News::new(pages).run(&subscribers) => {}
        () = latencies.run(&edge) => {}
    }
}

async fn accept(socket: &TcpListener, router: Router, descriptors: Descriptors, end: &CancellationToken) {
    let mut places = Places::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = end.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "admin: accepting pauses");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        if descriptors.room(&stream) == Room::Exhausted {
            places.close_oldest();
        }
        let connection = AdminConnection::default();
        let (known, router) = (connection.clone(), TowerToHyperService::new(router.clone()));
        let service = service_fn(move |mut request| {
            known.ask();
            http::Request::extensions_mut(&mut request).insert(known.clone());
            router.call(request)
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(AdminStream::new(stream)), service);
        let end = end.clone();
        let task = tokio::spawn(async move {
            let mut served = pin!(served);
            let last_request = async {
                end.cancelled().await;
                // The first request of a connection that was just accepted may be on its way.
                let _ = timeout(LAST_ANSWER, connection.asked()).await;
            };
            tokio::select! {
                // A failure concerns this reader alone.
                _ = &mut served => return,
                () = connection.over() => return,
                () = last_request => {}
            }
            served.as_mut().graceful_shutdown();
            let _ = timeout(LAST_ANSWER, served).await;
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
        if self.0.len() >= CONNECTIONS {
            self.close_oldest();
        }
        self.0.push_back(connection);
    }

    fn close_oldest(&mut self) {
        if let Some(oldest) = self.0.pop_front() {
            oldest.abort();
        }
    }
}

async fn purge_cache(
    State(pages): State<Pages>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> (StatusCode, &'static str) {
    let config = Arc::clone(&pages.edge.snapshots.load().config);
    purge::purge(pages.cache.as_deref(), &config, &query.unwrap_or_default(), &headers)
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

async fn status_json(State(pages): State<Pages>) -> Response {
    let document = move || {
        let (edge, uptime) = (&pages.edge, pages.upstreams.now());
        let mut status = status::status(edge, &pages.listeners_status.borrow(), &pages.sinks, uptime);
        let (snapshot, now) = (edge.snapshots.load_full(), edge.clock.now());
        status["process"] = process::status(&pages.upgrades.borrow());
        status["due"] = reports::due(&snapshot.gate.filings, now).into();
        status["refused"] = reports::refused(&snapshot, &pages.listen, now).into();
        status["orders"] = reports::orders(&snapshot, &pages.orders).into();
        status["foreign_assets"] = reports::foreign_assets(&snapshot, &pages.exchanges);
        status["cache"] = reports::cache(pages.cache.as_deref(), &snapshot, &pages.exchanges);
        status["reloads"] = reports::reloads(&pages.journal).into();
        format!("{status:#}\n")
    };
    match rendered(document).await {
        Some(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The parameters of the status page.
#[derive(Debug, serde::Deserialize)]
struct PageQuery {
    lang: Option<String>,
    q: Option<String>,
}

async fn status_page(
    State(pages): State<Pages>,
    Extension(latencies): Extension<Latencies>,
    Query(query): Query<PageQuery>,
    headers: HeaderMap,
) -> Response {
    let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    let language = Language::choose(query.lang.as_deref(), accepted);
    let asked =
        page::Asked { language, is_chosen: query.lang.is_some(), search: query.q.unwrap_or_default() };
    match rendered(move || page::render(&pages, &latencies, &asked)).await {
        Some(Ok(text)) => {
            let mut answer = secured("text/html; charset=utf-8", text);
            let headers = answer.headers_mut();
            headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(language.tag()));
            headers.insert(header::VARY, HeaderValue::from_static("accept-language"));
            answer
        }
        Some(Err(error)) => {
            tracing::error!(%error, "admin: the status page cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn asset(content_type: &'static str, text: &'static str) -> Response {
    secured(content_type, text)
}

/// An answer that a browser runs, frames and keeps only as the page needs it.
fn secured(content_type: &'static str, text: impl IntoResponse) -> Response {
    let mut answer = text.into_response();
    for (name, value) in [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ] {
        answer.headers_mut().insert(name, value);
    }
    answer
}

async fn events(
    Extension(subscribers): Extension<Subscribers>,
    Extension(connection): Extension<AdminConnection>,
) -> Response {
    subscribers.stream(connection)
}

/// The outcome of work that may take some milliseconds, done on a thread that serves no traffic.
async fn rendered<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}
