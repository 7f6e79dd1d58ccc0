//! Follows one source: asks, checks what comes, keeps it on disk, and says what came of it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::copy::{Copy, Head, digest};
use super::etcd::EtcdClient;
use super::signature::key_text;
use super::status::{FetchResult, SourceStatus};
use super::url::UrlClient;
use super::{Answer, Content, Fetched, Held, News, NoAnswer};
use crate::clock::Clock;
use crate::config::filings;
use crate::config::filings_source::RemoteFilings;
use crate::config::problem::{Problem, Severity};
use crate::remote::failure::RemoteFailure;

/// The first pause after a failure; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause, unless the interval is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Between two attempts at etcd that it does not ask for itself.
const ETCD_INTERVAL: Duration = Duration::from_secs(1);
/// How often a failure that goes on is logged.
const LOG_EVERY: Duration = Duration::from_secs(600);
/// How often the time of the last confirmation is written to disk.
const NOTE_EVERY: Duration = Duration::from_secs(60);

/// Follows one source.
pub struct Follower {
    source: Arc<RemoteFilings>,
    client: Client,
    copy: Copy,
    clock: Clock,
    status: SourceStatus,
    news: mpsc::Sender<News>,
    /// Asks for a fetch at once.
    again: Arc<Notify>,
    held: Held,
    /// Failures and rejections in a row.
    failures: u32,
    /// The problem that was logged last, and when.
    logged: Option<(String, Instant)>,
    /// When the last confirmation was written to disk.
    noted: Option<Instant>,
}

enum Client {
    Url(Box<UrlClient>),
    Etcd(Box<EtcdClient>),
}

impl Follower {
    /// Follows `source` for the record store at `store`, whose folder holds the copy.
    pub fn new(
        source: Arc<RemoteFilings>,
        store: &Path,
        clock: Clock,
        status: SourceStatus,
        news: mpsc::Sender<News>,
        again: Arc<Notify>,
    ) -> Self {
        let client = match &*source {
            RemoteFilings::Url(url) => Client::Url(Box::new(UrlClient::new(url))),
            RemoteFilings::Etcd(etcd) => Client::Etcd(Box::new(EtcdClient::new(etcd))),
        };
        let copy = Copy::of(store, &source);
        let (held, failures, logged, noted) = (Held::default(), 0, None, None);
        Self { source, client, copy, clock, status, news, again, held, failures, logged, noted }
    }

    /// Follows it until `end`, or until nobody receives the news.
    pub async fn run(mut self, end: CancellationToken) {
        self.held = self.copied().unwrap_or_default();
        let follow = async {
            loop {
                let answer = match &mut self.client {
                    Client::Url(url) => url.fetch(&self.held).await,
                    Client::Etcd(etcd) => etcd.fetch(&self.held).await,
                };
                let news = self.judge(answer);
                if self.news.send(news).await.is_err() {
                    return;
                }
                let again = Arc::clone(&self.again);
                tokio::select! {
                    () = again.notified() => {}
                    () = self.wait() => {}
                }
            }
        };
        tokio::select! {
            () = end.cancelled() => {}
            () = follow => {}
        }
    }

    /// The copy on disk, if a snapshot can be built from it.
    fn copied(&self) -> Option<Held> {
        let key = self.source.public_key().map(key_text).transpose().ok()?;
        let (head, body) = self.copy.read(key.as_deref()).ok()??;
        filings::parse(self.copy.file(), &body, self.clock.now()).value?;
        let Head { sha256, version, serial, verified_by, .. } = head;
        Some(Held { digest: sha256, version, serial, verified_by })
    }

    /// Waits until it is time to ask again.
    async fn wait(&mut self) {
        match (&mut self.client, self.failures) {
            (Client::Etcd(etcd), 0) => etcd.wait().await,
            (Client::Etcd(_), failures) => tokio::time::sleep(pause(ETCD_INTERVAL, failures)).await,
            (Client::Url(_), failures) => {
                let RemoteFilings::Url(url) = &*self.source else { return };
                tokio::time::sleep(pause(url.interval, failures)).await;
            }
        }
    }

    fn judge(&mut self, answer: Result<Answer, NoAnswer>) -> News {
        match answer {
            Ok(Answer::Unchanged) => self.confirmed(),
            Ok(Answer::Content(content)) => self.accept(content),
            Err(NoAnswer::Rejected(reason)) => self.rejected(&reason, vec![self.problem(reason.clone())]),
            Err(NoAnswer::Failed(failure)) => self.failed(&failure),
        }
    }

    /// Checks an allowlist that differs from the one that is held.
    fn accept(&mut self, content: Content) -> News {
        let Content { body, version, serial, verified_by } = content;
        let sha256 = digest(&body);
        if let Err(reason) = self.follows(serial, &sha256) {
            return self.rejected(&reason, vec![self.problem(reason.clone())]);
        }
        let next = Held { digest: sha256, version, serial, verified_by };
        let is_same = next.digest == self.held.digest;
        let now = self.clock.now();
        let read = (!is_same).then(|| filings::parse(Path::new(&self.source.to_string()), &body, now));
        if let Some(read) = read.as_ref().filter(|read| read.value.is_none()) {
            let reason = read.problems.first().map(ToString::to_string).unwrap_or_default();
            return self.rejected(&format!("{} {reason}", next.digest), read.problems.clone());
        }
        let is_signed_anew = (next.serial, &next.verified_by) != (self.held.serial, &self.held.verified_by);
        if !is_same || is_signed_anew {
            self.keep(&next, &body, now);
        }
        self.held = next;
        match read {
            None => self.confirmed(),
            Some(filings) => {
                self.succeeded(FetchResult::Changed);
                News::Changed(Box::new(Fetched { source: Arc::clone(&self.source), filings }))
            }
        }
    }

    /// Whether a serial may come after the one that is held.
    fn follows(&self, serial: Option<u64>, sha256: &str) -> Result<(), String> {
        match (serial, self.held.serial) {
            (Some(next), Some(held)) if next < held => {
                Err(format!("it is rolled back: its serial is {next}, and {held} was in force"))
            }
            (Some(next), Some(held)) if next == held && sha256 != self.held.digest => Err(format!(
                "it is another allowlist with the serial {held}; raise the serial with every change"
            )),
            _ => Ok(()),
        }
    }

    /// Keeps an allowlist on disk. It is used even if that fails: a revocation does not wait for a disk.
    fn keep(&self, held: &Held, body: &[u8], now: Timestamp) {
        let Held { digest, version, serial, verified_by } = held.clone();
        let head = Head {
            source: self.source.to_string(),
            sha256: digest,
            version,
            serial,
            verified_by,
            fetched: now.to_string(),
        };
        if let Err(error) = self.copy.write(&head, body) {
            let file = self.copy.file().display();
            tracing::error!(%error, "the allowlist cannot be kept in {file}: a restart may begin with an older one");
        }
    }

    fn confirmed(&mut self) -> News {
        self.succeeded(FetchResult::Unchanged);
        News::Confirmed
    }

    fn succeeded(&mut self, result: FetchResult) {
        self.status.confirmed(self.held.serial, result);
        self.failures = 0;
        if self.logged.take().is_some() {
            tracing::info!(source = %self.source, "the allowlist's source gives a good allowlist again");
        }
        if self.noted.is_none_or(|noted| noted.elapsed() >= NOTE_EVERY) {
            self.noted = Some(Instant::now());
            if let Err(error) = self.copy.confirm(self.clock.now()) {
                tracing::warn!(%error, "the time of the last confirmed allowlist cannot be kept");
            }
        }
    }

    /// `key` tells one rejection from another: the same again is only counted.
    fn rejected(&mut self, key: &str, problems: Vec<Problem>) -> News {
        let reason = problems.first().map(ToString::to_string).unwrap_or_default();
        self.status.failed(&reason, FetchResult::Rejected);
        self.failures = self.failures.saturating_add(1);
        if self.is_logged(key) {
            return News::Failed;
        }
        News::Rejected(problems)
    }

    fn failed(&mut self, failure: &RemoteFailure) -> News {
        self.status.failed(&failure.to_string(), FetchResult::Failed(failure.kind));
        self.failures = self.failures.saturating_add(1);
        if !self.is_logged(failure.kind.name()) {
            tracing::error!(
                source = %self.source,
                %failure,
                "the allowlist's source does not answer; the last good allowlist stays in force"
            );
        }
        News::Failed
    }

    /// Whether the problem `key` was logged a short while ago; if not, it counts as logged now.
    fn is_logged(&mut self, key: &str) -> bool {
        let is_known =
            self.logged.as_ref().is_some_and(|(known, at)| known == key && at.elapsed() < LOG_EVERY);
        if !is_known {
            self.logged = Some((key.to_owned(), Instant::now()));
        }
        is_known
    }

    fn problem(&self, message: String) -> Problem {
        Problem {
            severity: Severity::Fatal,
            file: self.source.to_string().into(),
            place: String::new(),
            message,
            hint: None,
        }
    }
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").field("source", &self.source).finish_non_exhaustive()
    }
}

/// The pause before the next fetch: at most `interval`, jittered so that a thousand edges do not come at once. After
/// failures it grows to ten intervals, a minute at most.
fn pause(interval: Duration, failures: u32) -> Duration {
    let pause = match failures {
        0 => interval,
        _ => {
            let longest = interval.saturating_mul(10).min(LONGEST_PAUSE).max(interval);
            FIRST_PAUSE.saturating_mul(1 << (failures.min(20) - 1)).min(longest)
        }
    };
    pause.mul_f64(0.75 + fastrand::f64() / 4.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_jittered_and_grow_with_failures() {
        let seconds = Duration::from_secs;
        let pauses: Vec<_> = (0..200).map(|_| pause(seconds(10), 0)).collect();
        assert!(pauses.iter().all(|pause| (seconds(7)..=seconds(10)).contains(pause)), "{pauses:?}");
        assert!(pauses.iter().any(|pause| *pause != pauses[0]), "{pauses:?}");
        assert!(pause(seconds(10), 1) <= FIRST_PAUSE);
        assert!(pause(seconds(10), 50) >= seconds(45) && pause(seconds(10), 50) <= seconds(60));
        assert!(pause(seconds(1), 50) <= seconds(10));
        assert!(pause(seconds(600), 50) >= seconds(450));
    }
}
