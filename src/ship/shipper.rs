//! The shipper: a lane for every configured sink, each on a thread of its own.
//!
//! A reload begins, ends and replaces lanes without touching the others. At the end of the program the lanes get a
//! short time to ship what the store wrote last.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::cursor::CursorFile;
use super::lane::Lane;
use super::open::{OpenSink, open};
use super::records::Records;
use super::segments::Segments;
use super::status::{SinkBoard, SinkStatus};
use crate::background;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::sinks::Sink;
use crate::retention::StoreFeed;

/// How often the end of a lane is looked for.
const JOINING: Duration = Duration::from_millis(20);

/// The lanes of all configured sinks.
#[derive(Debug)]
pub struct Shipper {
    feed: StoreFeed,
    clock: Clock,
    board: SinkBoard,
    retention: watch::Sender<Duration>,
    ending: watch::Sender<bool>,
    /// `access_log.free_shipped`.
    free_shipped: bool,
    lanes: BTreeMap<Arc<str>, Running>,
}

#[derive(Debug)]
struct Running {
    sink: Arc<Sink>,
    status: Arc<SinkStatus>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Shipper {
    /// Ships nothing yet.
    pub fn new(feed: StoreFeed, clock: Clock, config: &Config) -> Self {
        let retention = watch::Sender::new(config.access_log.retention);
        let (board, ending) = (SinkBoard::default(), watch::Sender::new(false));
        Self {
            feed,
            clock,
            board,
            retention,
            ending,
            free_shipped: config.free_shipped,
            lanes: BTreeMap::new(),
        }
    }

    /// How the sinks do.
    pub fn board(&self) -> SinkBoard {
        self.board.clone()
    }

    /// Ships to the sinks of `config`: lanes of sinks that changed or are gone end, and new ones begin.
    pub fn configure(&mut self, config: &Config) {
        self.retention.send_if_modified(|known| {
            std::mem::replace(known, config.access_log.retention) != config.access_log.retention
        });
        self.free_shipped = config.free_shipped;
        self.free_confirmed();
        self.feed.await_segments(config.sinks.iter().any(|sink| sink.settings.takes_segments()));
        let wanted = |running: &Running| config.sinks.contains(&running.sink);
        let gone: Vec<_> = self
            .lanes
            .iter()
            .filter(|(_, running)| !wanted(running))
            .map(|(name, _)| Arc::clone(name))
            .collect();
        for name in gone {
            if let Some(running) = self.lanes.remove(&name) {
                running.stop.cancel();
                tracing::info!(sink = %name, "Nothing is shipped to this sink any more, as it was configured");
            }
            self.board.remove(&name);
        }
        for sink in &config.sinks {
            if !self.lanes.contains_key(&sink.name) {
                let status = Arc::new(SinkStatus::new(
                    Arc::clone(&sink.name),
                    sink.settings.type_name(),
                    sink.require,
                ));
                self.board.set(Arc::clone(&status));
                let running = self.start(sink, status);
                self.lanes.insert(Arc::clone(&sink.name), running);
            }
        }
    }

    /// Tells the store which segments it may free early when its disk runs low.
    pub fn free_confirmed(&self) {
        self.feed.free_confirmed(if self.free_shipped { self.board.confirmed_before() } else { 0 });
    }

    /// Ships nothing until [`Shipper::resume`], so that another process can; fails if a lane does not end within
    /// `patience`. What the sinks have promised stays known.
    pub async fn pause(&mut self, patience: Duration) -> Result<(), String> {
        for running in self.lanes.values() {
            running.stop.cancel();
        }
        let deadline = Instant::now() + patience;
        while let Some(running) = self.lanes.values().find(|running| !running.is_finished()) {
            if Instant::now() >= deadline {
                return Err(format!(
                    "sink {}: shipping does not pause within {patience:?}",
                    running.sink.name
                ));
            }
            sleep(JOINING).await;
        }
        Ok(())
    }

    /// Ships on from `feed` after a pause. Lanes that have not ended yet are waited for.
    pub async fn resume(&mut self, feed: StoreFeed) {
        self.feed = feed;
        while self.lanes.values().any(|running| !running.is_finished()) {
            sleep(JOINING).await;
        }
        let lanes = self.lanes.values().map(|running| self.start(&running.sink, Arc::clone(&running.status)));
        let lanes: Vec<Running> = lanes.collect();
        self.lanes = lanes.into_iter().map(|running| (Arc::clone(&running.sink.name), running)).collect();
    }

    fn start(&self, sink: &Arc<Sink>, status: Arc<SinkStatus>) -> Running {
        let stop = CancellationToken::new();
        let lane = Lane::new(
            (self.feed.clone(), self.clock.clone()),
            (Arc::clone(&status), self.board.clone()),
            self.retention.subscribe(),
            CursorFile::of(self.feed.directory(), sink),
            (self.ending.subscribe(), stop.clone()),
        );
        let (name, sink_of_thread) = (format!("ship-{}", sink.name), Arc::clone(sink));
        let thread = background::run_low(&name, move || ship(lane, sink_of_thread));
        let thread = thread
            .inspect_err(|error| tracing::error!(sink = %sink.name, %error, "No thread for the sink"))
            .ok();
        Running { sink: Arc::clone(sink), status, stop, thread }
    }

    /// Gives the lanes up to `patience` to ship what is left, once the store is closed; then ends them. What is
    /// not shipped then is shipped after the next start.
    pub async fn finish(mut self, patience: Duration) {
        self.ending.send_replace(true);
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline && self.lanes.values().any(|running| !running.is_finished()) {
            sleep(JOINING).await;
        }
        for running in self.lanes.values() {
            running.stop.cancel();
        }
        let deadline = Instant::now() + JOINING * 10;
        while Instant::now() < deadline && self.lanes.values().any(|running| !running.is_finished()) {
            sleep(JOINING).await;
        }
        self.lanes.clear();
    }
}

impl Running {
    fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

async fn ship(lane: Lane, sink: Arc<Sink>) {
    let node: Arc<str> = lane.feed.node().into();
    match open(&sink, &node, &lane.clock) {
        OpenSink::Segments(opened) => lane.run(Segments::new(opened, sink.encrypt_to.clone())).await,
        OpenSink::Records(sink) => lane.run(Records::new(sink)).await,
    }
}
