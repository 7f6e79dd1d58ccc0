//! Residency: requests never leave their region, whatever fails or is reloaded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{LISTENERS, sites};
use crate::support::client::Target;
use crate::support::edge::Edge;
use crate::support::origin::Origin;
use crate::support::{HOST, PATIENCE, eventually};

const ROUTES: &str = "{match: {path: /records}, origins: [mainland], residency: mainland}, \
                      {match: {path: /pay}, origins: [offshore], residency: offshore}, \
                      {origins: [mainland, offshore]}";

fn origins(mainland: [&Origin; 2], offshore: [&Origin; 2], weight: usize) -> String {
    let origin = |name: &str, [one, two]: [&Origin; 2]| {
        format!(
            "  - {{name: {name}, region: {name}, scheme: http, hedge_after: 5ms, servers: [\"{}\", {{address: \"{}\", weight: {weight}}}]}}\n",
            one.address, two.address
        )
    };
    origin("mainland", mainland) + &origin("offshore", offshore)
}

/// Clients that request every path back to back and count the outcomes.
struct Asking {
    stop: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<()>>,
    good: Arc<AtomicUsize>,
    bad: Arc<AtomicUsize>,
}

impl Asking {
    async fn start(edge: &Edge) -> Self {
        let (stop, good, bad) = <(Arc<AtomicBool>, Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let mut clients = Vec::new();
        for path in ["/records", "/pay", "/records/of/a/customer", "/"] {
            let target = Target::http(edge);
            let (stop, good, bad) = (Arc::clone(&stop), Arc::clone(&good), Arc::clone(&bad));
            clients.push(tokio::spawn(async move {
                let mut client = target.http1(HOST).await;
                while !stop.load(Ordering::Relaxed) {
                    client.ask("GET", HOST, path).await;
                    match client.answer("GET").await.status {
                        200 => good.fetch_add(1, Ordering::Relaxed),
                        502..=504 => bad.fetch_add(1, Ordering::Relaxed),
                        other => panic!("{other} {path}"),
                    };
                }
            }));
        }
        Self { stop, clients, good, bad }
    }

    fn answers(&self) -> usize {
        self.good.load(Ordering::Relaxed) + self.bad.load(Ordering::Relaxed)
    }

    /// Waits for `count` more answers of any status.
    async fn more(&self, count: usize) {
        let goal = self.answers() + count;
        eventually("answers", PATIENCE, async || (self.answers() >= goal).then_some(())).await;
    }
}

/// The number of reloads, applied or rejected.
async fn reloads(edge: &Edge) -> f64 {
    let metrics = edge.metrics().await;
    let count = |result| metrics.value(&format!("icpgate_reloads_total{{result=\"{result}\"}}"));
    count("applied") + count("rejected")
}

#[tokio::test]
async fn residency_holds_under_failures_and_reloads() {
    let mut mainland = [Origin::text("mainland").await, Origin::text("mainland").await];
    let mut offshore = [Origin::text("offshore").await, Origin::text("offshore").await];
    let text = |mainland: &[Origin; 2], offshore: &[Origin; 2], weight| {
        origins([&mainland[0], &mainland[1]], [&offshore[0], &offshore[1]], weight)
    };
    let listeners = LISTENERS.replace(", proxy_protocol: {trusted: [127.0.0.1]}", "");
    let edge = Edge::builder()
        .listeners(&listeners)
        .origins(&text(&mainland, &offshore, 1))
        .sites(&sites(ROUTES))
        .start()
        .await;
    let good = edge.configuration();
    let asking = Asking::start(&edge).await;
    for round in 0..24 {
        let [shore, other] =
            if round % 2 == 0 { [&mut mainland, &mut offshore] } else { [&mut offshore, &mut mainland] };
        // One server is down, then a whole region, then both regions.
        shore[0].stop().await;
        asking.more(10).await;
        if round % 3 > 0 {
            shore[1].stop().await;
        }
        if round % 6 == 5 {
            other[0].stop().await;
            other[1].stop().await;
        }
        let (before, after) = match round % 4 {
            // A route into the wrong region is rejected; the last good one stays.
            0 => (
                "origins: [mainland], residency: mainland",
                "origins: [mainland, offshore], residency: mainland",
            ),
            1 => ("weight: 1", "weight: 3"),
            2 => ("hedge_after: 5ms", "hedge_after: 9ms"),
            _ => ("", ""),
        };
        let reloaded = reloads(&edge).await;
        edge.replace("icpgate.yaml", good.replace(before, after));
        eventually("a reload", PATIENCE, async || (reloads(&edge).await > reloaded).then_some(())).await;
        asking.more(40).await;
        for server in mainland.iter_mut().chain(&mut offshore) {
            server.stop().await;
            server.up();
        }
        asking.more(20).await;
    }
    edge.replace("icpgate.yaml", &good);
    eventually("all is served again", PATIENCE * 2, async || {
        let client = Target::http(&edge);
        let all = [client.get(HOST, "/records").await, client.get(HOST, "/pay").await];
        all.iter().all(|answer| answer.status == 200).then_some(())
    })
    .await;
    asking.stop.store(true, Ordering::Relaxed);
    for client in asking.clients {
        client.await.expect("every status is a known one");
    }
    let count = |shore: &[Origin; 2], path: &str| -> usize {
        let seen = shore.iter().flat_map(Origin::seen);
        seen.filter(|request| request.target().starts_with(path)).count()
    };
    let (rejected, applied) = (
        edge.metric("icpgate_reloads_total{result=\"rejected\"}").await,
        edge.metric("icpgate_reloads_total{result=\"applied\"}").await,
    );
    println!(
        "24 rounds, {applied} reloads applied, {rejected} rejected: {} requests served, {} not; /records: {} on the mainland, {} offshore; \
         /pay: {} offshore, {} on the mainland",
        asking.good.load(Ordering::Relaxed),
        asking.bad.load(Ordering::Relaxed),
        count(&mainland, "/records"),
        count(&offshore, "/records"),
        count(&offshore, "/pay"),
        count(&mainland, "/pay"),
    );
    assert_eq!((count(&offshore, "/records"), count(&mainland, "/pay")), (0, 0));
    assert!(count(&mainland, "/records") > 20 && count(&offshore, "/pay") > 20);
    assert!(rejected >= 1.0 && applied >= 1.0, "{rejected} {applied}");
}
