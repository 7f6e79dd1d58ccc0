//! Many edges on one allowlist: a commit reaches all of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use icpgate::clock::{Clock, Moment};
use icpgate::config::FilingsSource;
use icpgate::fleet::status::SourceBoard;
use icpgate::fleet::{Follower, News};
use icpgate::hostname::Hostname;
use icpgate::snapshot;
use icpgate::tls::Tickets;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::support::edge::{APPROVED, Edge, Folder, SUSPENDED};
use crate::support::peer::{Peer, nginx};
use crate::support::time::within;

/// More on request: `ICPGATE_TEST_EDGES=1000`.
fn edges() -> usize {
    std::env::var("ICPGATE_TEST_EDGES").ok().and_then(|count| count.parse().ok()).unwrap_or(50)
}

/// Whether the host of the folder's configuration is permitted, as an edge of the fleet answers after each fetch.
async fn follow(folder: Arc<Folder>, store: tempfile::TempDir, permitted: watch::Sender<Option<bool>>) {
    let (tickets, clock) = (Tickets::new().expect("keys"), Clock::system());
    let build = |fetched: &[icpgate::fleet::Fetched]| {
        let built = snapshot::build(&folder.config_path(), None, fetched, &tickets, clock.now());
        built.expect("readable").snapshot.expect("no problems")
    };
    let config = build(&[]).config;
    let FilingsSource::Remote(source) = config.filings.clone() else { panic!("{:?}", config.filings) };
    let status = SourceBoard::new(&config, clock.now()).current();
    let (sender, mut news) = mpsc::channel(16);
    let again = Arc::new(Notify::new());
    let follower = Follower::new(source, store.path(), clock.clone(), status, sender, again);
    let end = CancellationToken::new();
    let following = tokio::spawn(follower.run(end.clone()));
    let host = Hostname::parse("www.example.cn").expect("a host name");
    while let Some(news) = news.recv().await {
        let News::Changed(fetched) = news else { continue };
        let snapshot = build(&[*fetched]);
        let answer = snapshot.decide("https", &host, Moment::at(clock.now()));
        if permitted.send(Some(answer.is_ok())).is_err() {
            break;
        }
    }
    following.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_reaches_every_edge() {
    // The folder of this edge is what nginx serves.
    let publisher = Edge::builder().start().await;
    publisher.ports_open().await;
    let address = publisher.beside(8081);
    publisher.replace("published.yaml", APPROVED);
    let root = publisher.path("").display().to_string();
    let server = format!("  server {{ listen {address}; root {root}; keepalive_timeout 300s; }}\n");
    let _nginx: Peer = nginx(&publisher, &server, address).await;

    let filings = format!("{{url: \"http://{address}/published.yaml\", interval: 1s}}");
    let folder = Arc::new(super::builder(&filings).write());
    let mut fleet = Vec::new();
    let mut answers = Vec::new();
    for _ in 0..edges() {
        let (permitted, answer) = watch::channel(None);
        let store = tempfile::tempdir().expect("a folder");
        fleet.push(tokio::spawn(follow(Arc::clone(&folder), store, permitted)));
        answers.push(answer);
    }
    let count = fleet.len();
    let mut latest = Duration::ZERO;
    for (allowlist, permitted) in [(APPROVED, true), (SUSPENDED, false), (APPROVED, true)] {
        let began = Instant::now();
        publisher.replace("published.yaml", allowlist);
        let mut slowest = Duration::ZERO;
        for answer in &mut answers {
            within("the gate's answer", answer.wait_for(|answer| *answer == Some(permitted)))
                .await
                .expect("it follows");
            slowest = slowest.max(began.elapsed());
        }
        latest = slowest;
    }
    println!("{count} edges: from the last commit to the last answer of a gate {latest:?}");
    fleet.iter().for_each(tokio::task::JoinHandle::abort);
}
