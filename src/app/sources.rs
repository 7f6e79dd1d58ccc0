//! The sources of the allowlist that are no files: one in force, and one that a rejected configuration waits for.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::background;
use crate::clock::Clock;
use crate::config::filings_source::RemoteFilings;
use crate::config::{Config, FilingsSource};
use crate::edge::Edge;
use crate::fleet::status::{SourceBoard, SourceStatus};
use crate::fleet::{Fetched, Follower, News};
use crate::snapshot::Snapshot;

/// News that wait; a follower that has more to say waits.
const WAITING: usize = 16;

/// Follows sources, each on a thread of its own.
pub(super) struct Sources {
    board: SourceBoard,
    clock: Clock,
    /// `access_log.directory`, which holds copies. It needs a restart.
    store: PathBuf,
    followed: Vec<Followed>,
    /// The last good allowlist of each.
    fetched: Vec<Fetched>,
    sender: mpsc::Sender<News>,
    receiver: mpsc::Receiver<News>,
}

struct Followed {
    source: Arc<RemoteFilings>,
    status: SourceStatus,
    again: Arc<Notify>,
    /// Ends the follower when dropped.
    _end: DropGuard,
}

impl Sources {
    pub(super) fn new(edge: &Edge) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        Self {
            board: edge.filings_source.clone(),
            clock: edge.clock.clone(),
            store: edge.snapshots.load().config.access_log.directory.clone(),
            followed: Vec::new(),
            fetched: Vec::new(),
            sender,
            receiver,
        }
    }

    /// Follows the source of `wanted`, which is the one in force if it `is_applied`; else that of `in_force` too.
    pub(super) fn follow(&mut self, in_force: &Config, wanted: &Config, is_applied: bool) {
        let kept = if is_applied { &wanted.filings } else { &in_force.filings };
        let is_followed = |source: &Arc<RemoteFilings>| {
            [kept, &wanted.filings].iter().any(|one| one.remote() == Some(source))
        };
        self.followed.retain(|followed| is_followed(&followed.source));
        self.fetched.retain(|fetched| is_followed(&fetched.source));
        for source in [kept, &wanted.filings] {
            if let FilingsSource::Remote(remote) = source
                && !self.followed.iter().any(|followed| followed.source == *remote)
            {
                self.begin(wanted, source, remote);
            }
        }
        if kept.to_string() != self.board.current().look().name {
            let followed = self.followed.iter().find(|followed| kept.remote() == Some(&followed.source));
            let status = followed.map(|followed| followed.status.clone());
            let of_file = || self.board.another(wanted, kept, self.clock.now());
            self.board.switch(status.unwrap_or_else(of_file));
        }
    }

    fn begin(&mut self, config: &Config, source: &FilingsSource, remote: &Arc<RemoteFilings>) {
        let current = self.board.current();
        let is_current = current.look().name == source.to_string();
        let status = if is_current { current } else { self.board.another(config, source, self.clock.now()) };
        let (again, end) = (Arc::new(Notify::new()), CancellationToken::new());
        let follower = Follower::new(
            Arc::clone(remote),
            &self.store,
            self.clock.clone(),
            status.clone(),
            self.sender.clone(),
            Arc::clone(&again),
        );
        let ended = end.clone();
        if let Err(error) = background::run_low("filings", move || follower.run(ended)) {
            // The next reload tries again.
            tracing::error!(%error, "the thread that follows {source} cannot be started");
            return;
        }
        let source = Arc::clone(remote);
        self.followed.push(Followed { source, status, again, _end: end.drop_guard() });
    }

    /// Asks every source at once.
    pub(super) fn ask_again(&self) {
        self.followed.iter().for_each(|followed| followed.again.notify_one());
    }

    /// The next news of any source.
    pub(super) async fn news(&mut self) -> News {
        match self.receiver.recv().await {
            Some(news) => news,
            // Not reached: this value holds a sender.
            None => std::future::pending().await,
        }
    }

    /// Keeps an allowlist for the next build.
    pub(super) fn keep(&mut self, fetched: Fetched) {
        self.fetched.retain(|known| known.source != fetched.source);
        self.fetched.push(fetched);
    }

    pub(super) fn fetched(&self) -> &[Fetched] {
        &self.fetched
    }
}

/// `first`, or the same without filings if the copy that it was built from is older than `filings_stale_after`.
pub(super) fn unless_stale(first: Snapshot, board: &SourceBoard) -> Snapshot {
    let stale_after = first.config.limits.filings_stale_after;
    let closes_at = board.current().closes_at(stale_after);
    if first.gate.filings.is_empty() || closes_at.is_none_or(|at| at > std::time::Instant::now()) {
        return first;
    }
    tracing::error!(
        source = %first.config.filings,
        "the copy of the allowlist is older than filings_stale_after: nothing opens until the source answers"
    );
    let mut closed = first.without_filings();
    closed.generation = first.generation;
    closed
}
