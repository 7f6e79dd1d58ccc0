//! Keeps the certificates of all sites that order theirs: it follows the configuration, and looks after each
//! certificate when it is due.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Mutex, Notify};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{sleep, timeout};

use super::job::{Failure, Job, Wanted};
use super::renewal::{Attended, attend};
use super::schedule;
use super::status::{LastOrder, OrderBoard, OrderResult};
use crate::edge::Edge;

/// Orders at the same time.
const AT_ONCE: usize = 4;
/// The longest that one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(15 * 60);
/// How often the wall clock is looked at, which may be set.
const LOOK: Duration = Duration::from_secs(60);
/// The shortest pause between two looks.
const SHORTEST: Duration = Duration::from_millis(100);

/// What is known of one certificate.
#[derive(Debug)]
struct Site {
    wanted: Arc<Wanted>,
    /// When to look after it.
    next: Timestamp,
    /// Failures in a row.
    failures: u32,
    running: Option<Id>,
    /// Whether it is to be tried again as soon as the attempt that runs has ended.
    again: bool,
}

/// A certificate that was looked after, and what came of it.
type Ended = (Arc<Wanted>, Result<Attended, Failure>);

struct Runner {
    edge: Arc<Edge>,
    board: OrderBoard,
    sites: HashMap<Arc<str>, Site>,
    attempts: JoinSet<Ended>,
    cloud_turn: Arc<Mutex<()>>,
}

/// Runs until the task is dropped. `retry` asks to try everything again at once.
pub async fn run(edge: Arc<Edge>, board: OrderBoard, retry: Arc<Notify>) {
    let mut changed = edge.snapshots.subscribe();
    let mut runner = Runner {
        edge,
        board,
        sites: HashMap::new(),
        attempts: JoinSet::new(),
        cloud_turn: Arc::new(Mutex::new(())),
    };
    loop {
        runner.follow();
        runner.start_due();
        let pause = runner.pause();
        tokio::select! {
            announced = changed.changed() => if announced.is_err() { return },
            () = retry.notified() => runner.retry_all(),
            Some(ended) = runner.attempts.join_next_with_id() => runner.ended(ended),
            () = sleep(pause) => {}
        }
    }
}

impl Runner {
    fn now(&self) -> Timestamp {
        self.edge.clock.now()
    }

    /// Takes over what the configuration orders. A site whose settings have changed is looked after at once.
    fn follow(&mut self) {
        let config = Arc::clone(&self.edge.snapshots.load().config);
        let now = self.now();
        let mut before = std::mem::take(&mut self.sites);
        for wanted in Wanted::all(&config) {
            let site = match before.remove(&wanted.site) {
                Some(site) if *site.wanted == wanted => site,
                known => Site {
                    wanted: Arc::new(wanted),
                    next: now,
                    failures: 0,
                    running: known.and_then(|known| known.running),
                    again: true,
                },
            };
            self.sites.insert(Arc::clone(&site.wanted.site), site);
        }
        self.board.retain(|site| self.sites.contains_key(site));
    }

    fn start_due(&mut self) {
        let now = self.now();
        let is_due = |site: &&mut Site| site.running.is_none() && site.next <= now;
        for site in self.sites.values_mut().filter(is_due) {
            if self.attempts.len() >= AT_ONCE {
                return;
            }
            let job = Job {
                wanted: Arc::clone(&site.wanted),
                clock: self.edge.clock.clone(),
                cloud_turn: Arc::clone(&self.cloud_turn),
            };
            site.again = false;
            let attempt = self.attempts.spawn(async move {
                let attended = timeout(ATTEMPT, Box::pin(attend(&job))).await.unwrap_or_else(|_| {
                    let message = format!("it was not done within {} minutes", ATTEMPT.as_secs() / 60);
                    Err(Failure::new(OrderResult::CaUnreachable, message))
                });
                (job.wanted, attended)
            });
            site.running = Some(attempt.id());
        }
    }

    /// How long nothing can be started.
    fn pause(&self) -> Duration {
        if self.attempts.len() >= AT_ONCE {
            return LOOK;
        }
        let now = self.now();
        let waiting = self.sites.values().filter(|site| site.running.is_none());
        let first = waiting.map(|site| site.next).min();
        let until = |next: Timestamp| Duration::try_from(next.duration_since(now)).unwrap_or_default();
        first.map_or(LOOK, |next| until(next).clamp(SHORTEST, LOOK))
    }

    fn retry_all(&mut self) {
        let now = self.now();
        for site in self.sites.values_mut() {
            (site.next, site.again) = (now, true);
        }
    }

    fn ended(&mut self, ended: Result<(Id, Ended), JoinError>) {
        let now = self.now();
        match ended {
            Ok((id, (wanted, attended))) => {
                let Some(site) = self.sites.values_mut().find(|site| site.running == Some(id)) else {
                    return;
                };
                site.running = None;
                site.after(attended, now, &wanted.site, &self.board);
            }
            Err(error) => {
                tracing::error!(%error, "an order of a certificate ended early");
                let running = self.sites.values_mut().find(|site| site.running == Some(error.id()));
                if let Some(site) = running {
                    site.running = None;
                    site.failed(now);
                }
            }
        }
    }
}

impl Site {
    fn after(
        &mut self,
        attended: Result<Attended, Failure>,
        now: Timestamp,
        name: &Arc<str>,
        board: &OrderBoard,
    ) {
        let (result, message) = match attended {
            Ok(Attended::Waits(next)) => {
                self.failures = 0;
                self.next = if self.again { now } else { next };
                return;
            }
            Ok(Attended::Ordered) => {
                tracing::info!(site = &**name, file = %self.wanted.file.display(), "the certificate was issued");
                self.failures = 0;
                self.next = if self.again { now } else { schedule::after_issue(now) };
                (OrderResult::Issued, String::new())
            }
            Err(Failure { result, message }) => {
                let pause = self.failed(now);
                tracing::error!(
                    site = &**name,
                    result = result.label(),
                    "no certificate was issued: {message}; {}. The last good one stays in use. The next attempt is \
                     in {} s; SIGHUP tries at once",
                    result.hint(),
                    pause.as_secs(),
                );
                (result, message)
            }
        };
        board.ended(name, LastOrder { result, at: now, message });
    }

    /// Puts the next attempt off, unless another was asked for meanwhile.
    fn failed(&mut self, now: Timestamp) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let pause = if self.again { Duration::ZERO } else { schedule::pause(self.failures, fastrand::f64()) };
        self.next = now.saturating_add(pause).unwrap_or(now);
        pause
    }
}
