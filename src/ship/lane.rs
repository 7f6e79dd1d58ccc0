//! A lane: one sink's task, from the store to the sink.
//!
//! It ships whatever there is, reads the sink's promise back and anchors checkpoints. What fails is tried again
//! until it succeeds: nothing is passed over because a sink is down.

use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::cursor::{Cursor, CursorFile};
use super::pace::Pace;
use super::sink::Promise;
use super::status::{SinkBoard, SinkStatus};
use crate::clock::Clock;
use crate::remote::failure::RemoteFailure;
use crate::retention::{Progress, StoreFeed};

/// How often a sink's promise is read back.
const PROMISE_EVERY: Duration = Duration::from_secs(600);
/// How often the store is asked for a checkpoint that is not anchored yet. It makes one within 45 s.
const ANCHOR_EVERY: Duration = Duration::from_secs(10);
/// How often the cursor is written at most.
const CURSOR_EVERY: Duration = Duration::from_secs(1);
/// How often what waits is measured, which reads the store's directory.
const MEASURE_EVERY: Duration = Duration::from_secs(5);
/// How often a failure that goes on is logged.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// What a lane knows besides its sink.
pub(super) struct Lane {
    pub(super) feed: StoreFeed,
    pub(super) clock: Clock,
    pub(super) status: std::sync::Arc<SinkStatus>,
    pub(super) board: SinkBoard,
    /// `access_log.retention`.
    pub(super) retention: watch::Receiver<Duration>,
    pub(super) cursor: Cursor,
    pub(super) file: CursorFile,
    /// When the cursor was last written, and whether it has moved since.
    written: Option<Instant>,
    moved: bool,
    progress: watch::Receiver<Progress>,
    /// Set once the store is closed: the lane ends when it has shipped all of it.
    ending: watch::Receiver<bool>,
    stop: CancellationToken,
    logged: Option<(Instant, crate::remote::failure::FailureKind)>,
}

/// What a step came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// Something was shipped; there may be more.
    Shipped,
    /// Everything that may be shipped is.
    Idle,
}

/// What the two kinds of sinks do differently.
pub(super) trait Work: Send {
    /// Ships the next part of what the store has, and moves the cursor.
    fn step<'a>(&'a mut self, lane: &'a mut Lane) -> BoxFuture<'a, Result<Step, RemoteFailure>>;

    /// Sends a checkpoint by itself.
    fn anchor<'a>(&'a mut self, lane: &'a Lane, note: &'a [u8]) -> BoxFuture<'a, Result<(), RemoteFailure>>;

    /// Reads the sink's promise back.
    fn promise(&mut self, retention: Duration) -> BoxFuture<'_, Result<Promise, RemoteFailure>>;

    /// Publishes what waits, for the figures. `measure` asks for what the disk has to be asked for.
    fn publish_lag(&mut self, lane: &Lane, measure: bool);
}

impl Lane {
    pub(super) fn new(
        (feed, clock): (StoreFeed, Clock),
        (status, board): (std::sync::Arc<SinkStatus>, SinkBoard),
        retention: watch::Receiver<Duration>,
        file: CursorFile,
        (ending, stop): (watch::Receiver<bool>, CancellationToken),
    ) -> Self {
        let (cursor, progress) = (file.read(), feed.progress());
        let (written, moved, logged) = (None, false, None);
        Self {
            feed,
            clock,
            status,
            board,
            retention,
            cursor,
            file,
            written,
            moved,
            progress,
            ending,
            stop,
            logged,
        }
    }

    /// How much of the store is safe on the disk.
    pub(super) fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    /// Ships until the lane is stopped, or the store is closed and all of it shipped.
    pub(super) async fn run(mut self, mut work: impl Work) {
        let stop = self.stop.clone();
        self.status.set_acknowledged(self.cursor.next_seq.saturating_sub(1));
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.ship(&mut work) => {}
        }
        if self.moved {
            self.write_cursor();
        }
    }

    async fn ship(&mut self, work: &mut impl Work) {
        let mut pace = Pace::default();
        let (mut promise_due, mut anchor_due) = (Instant::now(), Instant::now());
        let mut measure_due = Instant::now();
        let mut anchored: Option<Vec<u8>> = None;
        loop {
            // Read before the step: a store that is closed during it may have sealed more than the step saw.
            let is_closed = *self.ending.borrow_and_update();
            self.progress.mark_unchanged();
            if Instant::now() >= promise_due {
                promise_due = self.check_promise(work).await;
            }
            let outcome = match work.step(self).await {
                Ok(step) if Instant::now() >= anchor_due => {
                    anchor_due = Instant::now() + ANCHOR_EVERY;
                    self.anchor(work, &mut anchored).await.map(|()| step)
                }
                outcome => outcome,
            };
            let measure = Instant::now() >= measure_due;
            if measure {
                measure_due = Instant::now() + MEASURE_EVERY;
            }
            work.publish_lag(self, measure);
            let step = match outcome {
                Ok(step) => step,
                Err(failure) => {
                    let pause = pace.pause_after(&failure);
                    self.failed(&failure, pause);
                    if is_closed {
                        return;
                    }
                    tokio::select! {
                        () = sleep(pause) => {}
                        _ = self.ending.changed() => {}
                    }
                    continue;
                }
            };
            pace.succeeded();
            self.succeeded();
            self.keep_cursor();
            if step == Step::Idle {
                if is_closed {
                    return;
                }
                let wake = promise_due.min(anchor_due).min(Instant::now() + MEASURE_EVERY);
                tokio::select! {
                    changed = self.progress.changed() => {
                        if changed.is_err() {
                            sleep_until(wake).await;
                        }
                    }
                    _ = self.ending.changed() => {}
                    () = sleep_until(wake) => {}
                }
            }
        }
    }

    /// Reads the promise back and compares it; when to do so again.
    async fn check_promise(&mut self, work: &mut impl Work) -> Instant {
        let retention = *self.retention.borrow();
        let name = &self.status.look().name;
        let (promise, next) = match work.promise(retention).await {
            Ok(promise) => (promise, PROMISE_EVERY),
            // What was read before still counts while the sink cannot be reached.
            Err(failure) if !failure.kind.is_permanent() && self.status.look().promise.is_some() => {
                self.status.failed(&failure, self.clock.now());
                return Instant::now() + LOG_EVERY;
            }
            Err(failure) => {
                self.status.failed(&failure, self.clock.now());
                (Promise::Broken { why: format!("it cannot be read: {failure}") }, LOG_EVERY)
            }
        };
        let confirmed = if promise.is_immutable_for(retention) { self.cursor.confirmed_before } else { 0 };
        self.status.set_confirmed(confirmed);
        let unkept = promise.suffices(retention).err();
        let shown = promise.to_string();
        if self.status.set_promise(promise, unkept.clone()) {
            match unkept {
                Some(unkept) => tracing::error!(
                    sink = %name,
                    "The sink does not keep records as long as access_log.retention asks: {unkept}"
                ),
                None => tracing::info!(sink = %name, promise = shown, "The sink's promise was read"),
            }
            self.board.announce();
        }
        Instant::now() + next
    }

    /// Sends the store's newest checkpoint, unless it was sent before.
    async fn anchor(
        &mut self,
        work: &mut impl Work,
        anchored: &mut Option<Vec<u8>>,
    ) -> Result<(), RemoteFailure> {
        let note = self.feed.checkpoint().map_err(|error| RemoteFailure::of_store(&error))?;
        if let Some(note) = note.filter(|note| Some(note) != anchored.as_ref()) {
            work.anchor(self, &note).await?;
            *anchored = Some(note);
        }
        Ok(())
    }

    /// Notes a failure, and says so in the log unless it has just said the same.
    fn failed(&mut self, failure: &RemoteFailure, pause: Duration) {
        self.status.failed(failure, self.clock.now());
        let name = &self.status.look().name;
        let is_known = self.logged.is_some_and(|(at, kind)| kind == failure.kind && at.elapsed() < LOG_EVERY);
        if is_known {
            return;
        }
        self.logged = Some((Instant::now(), failure.kind));
        let seconds = pause.as_secs_f64();
        if failure.kind.is_permanent() {
            tracing::error!(
                sink = %name,
                "The sink does not take records, and will not until something is changed; the lane is parked and \
                 tries again every {seconds:.0} s: {failure}"
            );
        } else {
            tracing::warn!(sink = %name, "The sink does not take records now; again in {seconds:.1} s: {failure}");
        }
    }

    fn succeeded(&mut self) {
        if self.logged.take().is_some() {
            tracing::info!(sink = %self.status.look().name, "The sink takes records again");
        }
        self.status.succeeded();
    }

    /// Moves the cursor: every record before `next_seq` is acknowledged.
    pub(super) fn acknowledged(&mut self, next_seq: u64, last_segment: Option<u64>) {
        self.cursor.next_seq = next_seq;
        self.cursor.last_segment = last_segment;
        self.cursor.epoch = self.epoch_of(next_seq.saturating_sub(1));
        self.moved = true;
        self.status.set_acknowledged(next_seq.saturating_sub(1));
    }

    /// Notes that the sink keeps a segment of the blocks `first..next`, immutable for the whole retention. Only what
    /// follows the segments confirmed before it counts.
    pub(super) fn confirmed(&mut self, first: u64, next: u64) {
        if self.cursor.last_segment.is_none() || self.cursor.confirmed_before == first {
            self.cursor.confirmed_before = next;
            self.status.set_confirmed(next);
        }
    }

    /// The epoch of a record, as messages have it.
    pub(super) fn epoch_of(&self, seq: u64) -> String {
        self.feed.epochs().of(seq).map(|epoch| epoch.to_string()).unwrap_or_default()
    }

    fn keep_cursor(&mut self) {
        if self.moved && self.written.is_none_or(|written| written.elapsed() >= CURSOR_EVERY) {
            self.write_cursor();
        }
    }

    /// The store's disk is the store's trouble: a cursor that cannot be written only costs repeats.
    fn write_cursor(&mut self) {
        (self.written, self.moved) = (Some(Instant::now()), false);
        if let Err(error) = self.file.write(&self.cursor) {
            tracing::warn!(sink = %self.status.look().name, %error, "The sink's cursor cannot be written");
        }
    }

    /// Until when something must be kept whose newest record is of `newest`.
    pub(super) fn retain_until(&self, newest: Timestamp) -> Timestamp {
        let retention = *self.retention.borrow();
        newest.checked_add(retention).unwrap_or(Timestamp::MAX)
    }
}
