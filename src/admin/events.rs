//! `/events`: what changes, as server-sent events.
//!
//! Subscribers are bounded in number, and in the events that wait for them: a slow reader is cut.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, StreamExt as _};
use serde_json::Value;
use tokio::sync::mpsc;

use super::connection::AdminConnection;

/// Streams at a time.
const SUBSCRIBERS: usize = 16;
/// Events that wait for one reader.
const WAITING: usize = 1024;
/// The pause after which a comment is sent, so that proxies and readers see that the stream is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How soon a browser connects again.
const RETRY: Duration = Duration::from_secs(1);

/// Everybody who reads events. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Subscribers(Arc<Mutex<Vec<Subscriber>>>);

#[derive(Debug)]
struct Subscriber {
    events: mpsc::Sender<Arc<str>>,
    connection: AdminConnection,
}

impl Subscribers {
    /// Whether nobody reads.
    pub(super) fn is_empty(&self) -> bool {
        self.present().is_empty()
    }

    /// Sends an event to everybody. Does not wait: a reader that is too far behind is cut.
    pub(super) fn publish(&self, event: &Value) {
        let text: Arc<str> = event.to_string().into();
        self.present().retain(|subscriber| {
            let is_sent = subscriber.events.try_send(Arc::clone(&text)).is_ok();
            if !is_sent {
                subscriber.connection.cut();
            }
            is_sent
        });
    }

    /// The stream of events from now on, on `connection`.
    pub(super) fn stream(&self, connection: AdminConnection) -> Response {
        let Some(mut events) = self.subscribe(connection) else {
            let busy = "too many streams of events are open; close one\n";
            return (StatusCode::SERVICE_UNAVAILABLE, busy).into_response();
        };
        // Sent at once, so that the reader knows from when on it misses nothing.
        let hello = stream::iter([Event::default().comment("icpgate").retry(RETRY)]);
        let events = stream::poll_fn(move |cx| events.poll_recv(cx));
        let events = events.map(|text| Event::default().data(&*text));
        let keep_alive = KeepAlive::new().interval(KEEP_ALIVE).text("alive");
        Sse::new(hello.chain(events).map(Ok::<_, Infallible>)).keep_alive(keep_alive).into_response()
    }

    fn subscribe(&self, connection: AdminConnection) -> Option<mpsc::Receiver<Arc<str>>> {
        let mut present = self.present();
        if present.len() >= SUBSCRIBERS {
            return None;
        }
        connection.stream();
        let (events, received) = mpsc::channel(WAITING);
        present.push(Subscriber { events, connection });
        Some(received)
    }

    /// Those whose connection is still there.
    fn present(&self) -> MutexGuard<'_, Vec<Subscriber>> {
        let mut subscribers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        subscribers.retain(|subscriber| !subscriber.events.is_closed());
        subscribers
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn a_reader_that_is_too_far_behind_is_cut_and_frees_its_place() {
        let subscribers = Subscribers::default();
        let (slow, quick) = (AdminConnection::default(), AdminConnection::default());
        let _unread = subscribers.subscribe(slow.clone()).expect("a place");
        let mut read = subscribers.subscribe(quick).expect("a place");
        for number in 0..=WAITING {
            subscribers.publish(&json!({"number": number}));
            assert_eq!(read.recv().await.as_deref(), Some(format!("{{\"number\":{number}}}").as_str()));
        }
        slow.over().await;
        assert_eq!(subscribers.present().len(), 1);
    }

    #[tokio::test]
    async fn streams_are_bounded_in_number() {
        let subscribers = Subscribers::default();
        let subscribe = || subscribers.subscribe(AdminConnection::default());
        let mut readers: Vec<_> = (0..SUBSCRIBERS).map(|_| subscribe().expect("a place")).collect();
        assert!(subscribe().is_none());
        readers.pop();
        assert!(subscribe().is_some());
    }
}
