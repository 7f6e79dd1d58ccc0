//! Paths that drop or reset TCP segments, in network namespaces of the tests' own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::{HOST, edge_of};
use crate::support::client::Target;
use crate::support::edge::Edge;
use crate::support::netns::{Network, Trouble, heals, network};
use crate::support::origin::Origin;
use crate::support::time::pause;
use crate::support::{PATIENCE, eventually};

/// Clients that send requests back to back; every request must be answered with 200.
struct Asking {
    answers: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Asking {
    async fn begin(edge: &Edge) -> Self {
        let (answers, over) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let mut clients = Vec::new();
        for _ in 0..8 {
            let mut client = Target::https(edge).http1(HOST).await;
            let (answers, over) = (Arc::clone(&answers), Arc::clone(&over));
            clients.push(tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    assert_eq!(client.get(HOST, "/").await.status, 200);
                    answers.fetch_add(1, Ordering::Relaxed);
                    pause(Duration::from_millis(2)).await;
                }
            }));
        }
        Self { answers, over, clients }
    }

    async fn more(&self, count: usize) {
        let goal = self.answers.load(Ordering::Relaxed) + count;
        let come = || (self.answers.load(Ordering::Relaxed) >= goal).then_some(());
        eventually("answers", PATIENCE, async || come()).await;
    }

    /// Stops the clients; the total number of answers.
    async fn end(self) -> usize {
        self.over.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.expect("every request is answered");
        }
        self.answers.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn no_get_fails_while_a_path_drops_or_resets_segments() {
    let name = "failover::network::no_get_fails_while_a_path_drops_or_resets_segments";
    if network(name).await == Network::Passed {
        return;
    }
    let (near, far) = (Origin::text("near").await, Origin::text("far").await);
    let keys = "timeouts: {connect: 500ms}, retries: {attempts: 3, budget: 50%, per_try: 300ms}";
    let edge = edge_of(&[near.address, far.address], keys).await;
    let asking = Asking::begin(&edge).await;
    for round in 0..3 {
        for trouble in [Trouble::Cut, Trouble::Resets, Trouble::Loses(30)] {
            trouble.befalls(near.address.port()).await;
            asking.more(300).await;
            heals().await;
            let before = near.seen_count();
            let asked = || (near.seen_count() > before + 20).then_some(());
            eventually(&format!("{round} {trouble:?}: it serves again"), PATIENCE, async || asked()).await;
        }
    }
    println!("{} requests, none failed", asking.end().await);
}

#[tokio::test]
async fn segment_loss_of_a_path_is_measured() {
    if network("failover::network::segment_loss_of_a_path_is_measured").await == Network::Passed {
        return;
    }
    let (well, lossy) = (Origin::text("well").await, Origin::text("lossy").await);
    let edge = edge_of(&[well.address, lossy.address], "").await;
    Trouble::Loses(10).befalls(lossy.address.port()).await;
    let asking = Asking::begin(&edge).await;
    let series = |server: &Origin, what: &str| {
        format!(
            "icpgate_upstream_{what}_total{{origin=\"first\",server=\"{}\",link=\"default\"}}",
            server.address
        )
    };
    let lost = eventually("a loss is seen", PATIENCE, async || {
        let metrics = edge.metrics().await;
        let lost = metrics.get(&series(&lossy, "retransmits"))?;
        (lost >= 3.0).then(|| lost / metrics.value(&series(&lossy, "segments")))
    })
    .await;
    asking.end().await;
    assert!((0.01..=0.5).contains(&lost), "{lost}");
    let metrics = edge.metrics().await;
    assert_eq!(metrics.value(&series(&well, "retransmits")), 0.0);
    assert!(metrics.value(&series(&well, "segments")) > 0.0);
    let status = edge.status().await;
    let shown = |place: usize| status["origins"][0]["servers"][place]["loss"].as_f64();
    println!("10 % loss each way: {lost:.3} of the segments were sent again; shown {:?}", shown(1));
    assert!(shown(1).is_some_and(|loss| loss > 0.0) && shown(0) == Some(0.0), "{status:#}");
}
