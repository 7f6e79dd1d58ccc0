//! Servers that come and go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{HOST, ONE_ORIGIN, origin, up};
use crate::support::client::Target;
use crate::support::edge::Edge;
use crate::support::origin::{Origin, ok};
use crate::support::time::best_within;
use crate::support::{PATIENCE, eventually};

/// Clients that send requests back to back and count the outcomes.
struct Clients {
    stop: Arc<AtomicBool>,
    asking: Vec<tokio::task::JoinHandle<()>>,
    served: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
}

impl Clients {
    async fn start(edge: &Edge, count: usize) -> Self {
        let (stop, served, failed) = <(Arc<AtomicBool>, Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let mut asking = Vec::new();
        for number in 0..count {
            let mut client = Target::https(edge).http1(HOST).await;
            let (stop, served, failed) = (Arc::clone(&stop), Arc::clone(&served), Arc::clone(&failed));
            asking.push(tokio::spawn(async move {
                // One of the idempotent methods.
                let method = ["GET", "HEAD", "DELETE", "GET"][number % 4];
                while !stop.load(Ordering::Relaxed) {
                    client.ask(method, HOST, "/").await;
                    let counted = if client.answer(method).await.status == 200 { &served } else { &failed };
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
        Self { stop, asking, served, failed }
    }

    fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }

    /// Waits until `more` more requests were served.
    async fn serve(&self, more: usize) {
        let until = self.served() + more;
        eventually("they are served", PATIENCE, async || (self.served() >= until).then_some(())).await;
    }

    /// Stops the clients: requests served, and requests failed.
    async fn end(self) -> (usize, usize) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.asking {
            client.await.expect("every answer is one");
        }
        (self.served.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }
}

#[tokio::test]
async fn no_idempotent_request_fails_while_one_of_two_servers_flaps() {
    const FLAPS: usize = 200;
    let (mut one, two) = (Origin::text("one").await, Origin::text("two").await);
    // A fast health check readmits the server, so that requests meet every flap.
    let checked = origin("first", &[&one, &two])
        .replace("scheme: http,", "scheme: http, health: {kind: tcp, interval: 20ms},");
    let edge = Edge::builder().sites(ONE_ORIGIN).origins(&checked).start().await;
    let clients = Clients::start(&edge, 4).await;
    for flap in 0..FLAPS {
        let before = one.seen_count();
        eventually("it has requests", PATIENCE, async || (one.seen_count() > before).then_some(())).await;
        one.stop().await;
        // Every twentieth time, long enough for an ejection.
        if flap % 20 == 19 {
            clients.serve(20).await;
        }
        one.up();
    }
    // Long enough for it to be out of service.
    let up = up(&one);
    one.stop().await;
    edge.metric_becomes(&up, 0.0).await;
    one.up();
    let before = one.seen_count();
    eventually("it serves again", PATIENCE, async || (one.seen_count() > before).then_some(())).await;
    let (served, failed) = clients.end().await;
    let retries = edge.metric("icpgate_retries_total{origin=\"first\"}").await;
    println!(
        "{FLAPS} flaps: {served} requests served, {failed} failed, {retries} sent again to the other server"
    );
    assert_eq!(failed, 0);
}

#[tokio::test]
async fn the_first_good_answer_comes_within_a_second_of_an_origins_return() {
    let mut servers = [Origin::down(|_| ok("one"), None), Origin::down(|_| ok("two"), None)];
    let [one, two] = &servers;
    let edge = Edge::builder().sites(ONE_ORIGIN).origins(&origin("first", &[one, two])).start().await;
    let mut client = Target::https(&edge).http1(HOST).await;
    best_within(Duration::from_secs(1), 10, async |round| {
        // Down for so long that the pauses between trials are the longest.
        eventually("nobody is tried", PATIENCE, async || {
            (client.get(HOST, "/").await.status == 503).then_some(())
        })
        .await;
        let returns = round % 2;
        servers[returns].up();
        let returned = Instant::now();
        eventually("it is served", PATIENCE, async || {
            (client.get(HOST, "/").await.status == 200).then_some(())
        })
        .await;
        let took = returned.elapsed();
        servers[returns].stop().await;
        took
    })
    .await;
}
