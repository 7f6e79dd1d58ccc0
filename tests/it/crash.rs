//! Repeated kills under load: synced records survive, and a gap record names what is missing.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tokio_util::task::TaskTracker;

use crate::support::client::{Http1, Target};
use crate::support::edge::{Edge, HOSTS, icpgate};

const CLIENTS: usize = 4;
/// Kills per store: every round reads the whole store.
const OF_A_STORE: u64 = 25;
/// For how long before a kill exchanges may be missing in most rounds: a record is kept within 100 ms. A machine that
/// is busy with other tests may hold up the disk for ten times as long now and then.
const MISSING: u64 = 100;

/// What clients have seen of one run of the program.
#[derive(Default)]
struct Seen {
    /// Answered paths, with the time of the answer.
    answered: Mutex<Vec<(String, Instant)>>,
    /// Records with a lower number were synced.
    synced_before: AtomicU64,
}

/// Environment: `CRASH_ROUNDS`, the number of kills (50); `CRASH_MISSING_MS`, the bound on how long
/// before a kill an exchange without a record may have ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_under_load_loses_no_synced_record_and_leaves_a_gap_record() {
    let asked = |name, usual| std::env::var(name).map_or(usual, |asked| asked.parse().expect("a number"));
    let rounds: u64 = asked("CRASH_ROUNDS", 50);
    let bound = Duration::from_millis(asked("CRASH_MISSING_MS", MISSING));
    let mut lost = Lost::default();
    let mut late = 0;
    let mut left = rounds;
    while left > 0 {
        let mut edge = Edge::builder().start().await;
        for round in 1..=left.min(OF_A_STORE) {
            let seen = load_and_kill(&mut edge, round).await;
            let (kept, oldest) = lost.count(&edge, &seen).await;
            late += u64::from(oldest > bound);
            assert!(
                lost.oldest <= bound * 10,
                "{:?} was answered {:?} before the kill",
                lost.path,
                lost.oldest
            );
            edge.restart().await;
            assert_gap_and_proof(&edge, round, kept).await;
            left -= 1;
        }
    }
    let Lost { answered, missing, oldest, .. } = lost;
    println!(
        "{rounds} kills, {answered} answers, {missing} without a record, at most {oldest:?} old; {late} rounds beyond {bound:?}"
    );
    assert!(late * 5 <= rounds, "more than {bound:?} were lost in {late} of {rounds} rounds");
}

/// What was lost in all rounds.
#[derive(Debug, Default)]
struct Lost {
    answered: usize,
    missing: usize,
    /// The longest time between an answer without a record and the kill, and the path of that answer.
    oldest: Duration,
    path: String,
}

impl Lost {
    /// Counts the losses of a kill: the number of kept records, and the age of the oldest missing one.
    async fn count(&mut self, edge: &Edge, (seen, killed): &(Arc<Seen>, Instant)) -> (usize, Duration) {
        let records = edge.records().await;
        let seqs: Vec<u64> = records.iter().map(|record| record["seq"].as_u64().expect("a number")).collect();
        assert!(seqs.iter().copied().eq(1..=seqs.len() as u64), "a hole or a duplicate");
        let synced = seen.synced_before.load(Ordering::Relaxed);
        assert!(seqs.len() as u64 + 1 >= synced, "synced before {synced}, kept {}", seqs.len());
        let paths: HashSet<&str> = records.iter().filter_map(|record| record["path"].as_str()).collect();
        let all = std::mem::take(&mut *seen.answered.lock().expect("not poisoned"));
        self.answered += all.len();
        let mut oldest = Duration::ZERO;
        for (path, at) in all.into_iter().filter(|(path, _)| !paths.contains(path.as_str())) {
            self.missing += 1;
            let age = killed.duration_since(at);
            oldest = oldest.max(age);
            if age > self.oldest {
                (self.oldest, self.path) = (age, path);
            }
        }
        (seqs.len(), oldest)
    }
}

/// Sends requests until the program is killed; what was seen, and the time of the kill.
async fn load_and_kill(edge: &mut Edge, round: u64) -> (Arc<Seen>, Instant) {
    let seen = Arc::new(Seen::default());
    let clients = TaskTracker::new();
    for client in 0..CLIENTS {
        let connection = Target::http(edge).http1(HOSTS[0]).await;
        clients.spawn(ask(connection, format!("/{round}/{client}"), Arc::clone(&seen)));
    }
    clients.close();
    let ends = Instant::now() + Duration::from_millis(fastrand::u64(30..200));
    // An empty store cannot show that its writer was killed.
    let mut synced = 0;
    while Instant::now() < ends || synced < 2 {
        synced = edge.status().await["retention"]["synced_before"].as_u64().expect("a number");
        seen.synced_before.store(synced, Ordering::Relaxed);
    }
    let killed = Instant::now();
    edge.signal(Signal::KILL);
    edge.wait_exit().await;
    clients.wait().await;
    (seen, killed)
}

async fn ask(mut connection: Http1, place: String, seen: Arc<Seen>) {
    for number in 0_u64.. {
        let path = format!("{place}/{number}");
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", HOSTS[0]);
        if connection.try_send(request).await.is_err() {
            return;
        }
        let Ok(answer) = connection.try_answer("GET").await else { return };
        assert_eq!(answer.status, 308);
        seen.answered.lock().expect("not poisoned").push((path, Instant::now()));
    }
}

/// After a start, a gap record names the kill, and `logs verify` accepts the store.
async fn assert_gap_and_proof(edge: &Edge, round: u64, before: usize) {
    let is_gap = |record: &Value| {
        let reason = record["reason"].as_str();
        record["event"] == "gap" && (reason == Some("unclean_stop") || reason == Some("torn_tail"))
    };
    let gaps = edge.records_where(round as usize, is_gap).await;
    assert_eq!(gaps.len() as u64, round);
    assert_eq!(gaps.last().expect("a gap")["seq"], before as u64 + 1, "right after what was kept");
    let directory = edge.path("access");
    let verified = icpgate(["logs".as_ref(), "verify".as_ref(), directory.as_os_str()]).await;
    assert_eq!(verified.code, 0, "round {round}: {verified:?}");
}
