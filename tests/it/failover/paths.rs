//! Paths to servers that go silent, drop connections or reset them.

use std::time::Duration;

use super::{HOST, edge_of};
use crate::support::client::{Http1, Target};
use crate::support::edge::Edge;
use crate::support::origin::Origin;
use crate::support::relay::Relay;
use crate::support::time::not_before;
use crate::support::{PATIENCE, eventually};

/// Two servers of one origin, each behind a relay.
struct Paths {
    edge: Edge,
    near: Relay,
    far: Relay,
    _servers: [Origin; 2],
}

impl Paths {
    async fn start(keys: &str) -> Self {
        let servers = [Origin::text("near").await, Origin::text("far").await];
        let near = Relay::to(servers[0].address, Duration::ZERO).await;
        let far = Relay::to(servers[1].address, Duration::ZERO).await;
        let edge = edge_of(&[near.address, far.address], keys).await;
        Self { edge, near, far, _servers: servers }
    }

    async fn client(&self) -> Http1 {
        Target::https(&self.edge).http1(HOST).await
    }
}

/// Sends requests until `server` answers one.
async fn serves(client: &mut Http1, server: &str) {
    eventually(server, PATIENCE, async || {
        let answer = client.get(HOST, "/").await;
        assert_eq!(answer.status, 200);
        (answer.text() == server).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_try_over_a_silent_path_times_out_and_another_server_answers() {
    let paths = Paths::start("retries: {per_try: 200ms}").await;
    let mut client = paths.client().await;
    serves(&mut client, "near").await;
    paths.near.goes_silent();
    for _ in 0..40 {
        assert_eq!(client.get(HOST, "/").await.text(), "far");
    }
    // Three failures in a row eject it; then one or two trials.
    let given_up = paths.edge.metric("icpgate_retries_total{origin=\"first\"}").await;
    assert!((3.0..=6.0).contains(&given_up), "{given_up} of 40 requests waited for the silent path");
    let records = paths.edge.records_where(1, |record| record["status"] == 200).await;
    assert!(records.iter().all(|record| record["upstream_status"] == 200));
    paths.near.opens();
    serves(&mut client, "near").await;
}

#[tokio::test]
async fn a_request_that_cannot_be_retried_waits_for_first_byte_timeout() {
    let paths = Paths::start("retries: {per_try: 100ms}, timeouts: {first_byte: 600ms}").await;
    let mut client = paths.client().await;
    paths.near.goes_silent();
    paths.far.goes_silent();
    for (method, tries) in [("POST", 1), ("GET", 2)] {
        let least = Duration::from_millis(if tries == 1 { 600 } else { 700 });
        let answer = not_before(least, async {
            client.ask(method, HOST, "/").await;
            client.answer(method).await
        });
        assert_eq!(answer.await.status, 504);
    }
}

#[tokio::test]
async fn no_get_fails_when_a_path_drops_or_resets_connections() {
    for trouble in [Relay::forgets, Relay::resets] {
        let paths = Paths::start("").await;
        let mut client = paths.client().await;
        for round in 0..5 {
            serves(&mut client, "near").await;
            serves(&mut client, "far").await;
            let relay = if round % 2 == 0 { &paths.near } else { &paths.far };
            trouble(relay);
            for _ in 0..10 {
                assert_eq!(client.get(HOST, "/").await.status, 200, "round {round}");
            }
            relay.opens();
        }
    }
}

#[tokio::test]
async fn a_single_server_is_retried_over_a_new_connection() {
    let server = Origin::text("fine").await;
    let relay = Relay::to(server.address, Duration::ZERO).await;
    let edge = Edge::builder().origin(relay.address).start().await;
    let mut client = Target::https(&edge).http1(HOST).await;
    for round in 0..5 {
        assert_eq!(client.get(HOST, "/").await.text(), "fine", "round {round}");
        relay.forgets();
        eventually("the server has lost it", PATIENCE, async || (server.open() == 0).then_some(())).await;
        relay.opens();
    }
    assert_eq!(relay.connections(), 5, "one for each round");
}
