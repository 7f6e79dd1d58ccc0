//! The lane of a sink that takes a message per record: sls, kafka, relp.
//!
//! Records come from the store in order and leave in order. A batch that a sink rejects is halved until the record
//! at fault stands alone; that record is set aside by name, and the rest goes on. It stays in the store's chain.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::lane::{Lane, Step, Work};
use super::sink::{Message, MessageKind, Promise, RecordSink};
use crate::access::export::write_line;
use crate::clock::shanghai_time;
use crate::remote::failure::RemoteFailure;
use crate::retention::format::note::unverified;
use crate::retention::{Epoch, Follower, Found};

/// The most JSON that a lane holds before it sends, in bytes; one record may come on top.
const HELD_BYTES: usize = 4 * 1024 * 1024;
/// 64 KiB: consecutive messages share an allocation of this size, which is freed with the last of them.
const LINES_BYTES: usize = 64 * 1024;

/// Ships records to a sink.
pub(super) struct Records {
    sink: Box<dyn RecordSink>,
    follower: Option<Follower>,
    /// Read and not acknowledged, in order.
    held: Vec<Message>,
    held_bytes: usize,
    /// The room for the JSON of the next messages.
    lines: BytesMut,
    /// The epoch of the last record read, and its text.
    epoch: (Option<Epoch>, Arc<str>),
}

impl Records {
    pub(super) fn new(sink: Box<dyn RecordSink>) -> Self {
        let lines = BytesMut::with_capacity(LINES_BYTES);
        Self { sink, follower: None, held: Vec::new(), held_bytes: 0, lines, epoch: (None, "".into()) }
    }

    async fn ship_next(&mut self, lane: &mut Lane) -> Result<Step, RemoteFailure> {
        let read = self.read(lane).map_err(|error| RemoteFailure::of_store(&error));
        if read.is_err() {
            // Where it stands is not known any more.
            self.forget();
        }
        read?;
        if self.held.is_empty() {
            return Ok(Step::Idle);
        }
        let batch = batch_of(&self.held, self.sink.limits());
        let sent = match self.sink.send(&self.held[..batch]).await {
            Err(failure) if failure.kind.is_about_the_batch() => self.halve(lane, batch, failure).await,
            sent => sent,
        };
        if let Err(failure) = sent {
            if failure.kind.is_about_the_batch() {
                // The next attempt begins with what has come since, so that a record at fault is not alone.
                self.forget();
            }
            return Err(failure);
        }
        let next_seq = self.held[batch - 1].seq + 1;
        self.held_bytes -= self.held[..batch].iter().map(|message| message.json.len()).sum::<usize>();
        self.held.drain(..batch);
        lane.acknowledged(next_seq, None);
        Ok(Step::Shipped)
    }

    /// Begins again at the cursor.
    fn forget(&mut self) {
        self.follower = None;
        self.held = Vec::new();
        self.held_bytes = 0;
    }

    /// Reads from the store until enough is held, or there is no more.
    fn read(&mut self, lane: &mut Lane) -> io::Result<()> {
        let limits = self.sink.limits();
        let enough = |held: &[Message], bytes: usize| {
            bytes >= limits.bytes.min(HELD_BYTES) || held.len() >= limits.records
        };
        let synced_before = lane.progress().synced_before;
        if self.follower.is_none() {
            let from = resume_at(lane, synced_before);
            self.follower = Some(lane.feed.follow(from)?);
        }
        let Some(follower) = &mut self.follower else { return Ok(()) };
        while !enough(&self.held, self.held_bytes) {
            let Some(found) = follower.next(synced_before)? else { break };
            match found {
                Found::Missing(missing) => warn_of_missing(lane, missing.from, missing.to),
                Found::Records(records) => {
                    let mut line = Vec::new();
                    for record in records {
                        let fields = match record {
                            Ok(fields) => fields,
                            Err(missing) => {
                                warn_of_missing(lane, missing.from, missing.to);
                                continue;
                            }
                        };
                        let epoch = lane.feed.epochs().of(fields.seq);
                        if epoch != self.epoch.0 {
                            self.epoch = (epoch, lane.epoch_of(fields.seq).into());
                        }
                        let epoch = Arc::clone(&self.epoch.1);
                        line.clear();
                        write_line(&fields, &mut line);
                        self.lines.extend_from_slice(with_epoch(&mut line, &epoch));
                        let (seq, time) = (fields.seq, fields.time);
                        let json = self.lines.split().freeze();
                        self.held_bytes += json.len();
                        self.held.push(Message { kind: MessageKind::Record, epoch, seq, time, json });
                        // A block of records that repeat each other is many times as large as JSON.
                        if enough(&self.held, self.held_bytes) {
                            break;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Sends the halves of a batch that was rejected as a whole, and theirs, down to single records.
    async fn halve(
        &mut self,
        lane: &Lane,
        batch: usize,
        failure: RemoteFailure,
    ) -> Result<(), RemoteFailure> {
        let (mut accepted, mut suspects) = (0, Vec::new());
        let mut ranges = vec![(0, batch, failure)];
        while let Some((from, to, failure)) = ranges.pop() {
            if to - from == 1 {
                suspects.push((self.held[from].seq, failure));
                continue;
            }
            let middle = from + (to - from) / 2;
            // The first half last, since it is taken from the end.
            for (from, to) in [(middle, to), (from, middle)] {
                match self.sink.send(&self.held[from..to]).await {
                    Ok(()) => accepted += to - from,
                    Err(failure) if failure.kind.is_about_the_batch() => ranges.push((from, to, failure)),
                    Err(failure) => return Err(failure),
                }
            }
        }
        // A sink that takes nothing at all is at fault itself.
        if let Some((_, failure)) = suspects.first().filter(|_| accepted == 0) {
            return Err(failure.clone());
        }
        for (seq, failure) in suspects {
            lane.status.count_set_aside();
            tracing::error!(
                sink = %lane.status.look().name, seq,
                "The sink takes the records around this one and rejects it: it is set aside, and stays in the \
                 store: {failure}"
            );
        }
        Ok(())
    }
}

impl Work for Records {
    fn step<'a>(&'a mut self, lane: &'a mut Lane) -> BoxFuture<'a, Result<Step, RemoteFailure>> {
        self.ship_next(lane).boxed()
    }

    fn anchor<'a>(&'a mut self, lane: &'a Lane, note: &'a [u8]) -> BoxFuture<'a, Result<(), RemoteFailure>> {
        async move {
            let time = lane.clock.now();
            let seq = lane.cursor.next_seq;
            let epoch = lane.epoch_of(seq);
            let json = serde_json::json!({
                "event": "checkpoint",
                "node": lane.feed.node(),
                "epoch": epoch,
                "seq": seq,
                "time": shanghai_time(time),
                "blocks": unverified(note).map_or(0, |checkpoint| checkpoint.size()),
                "checkpoint": String::from_utf8_lossy(note),
            });
            let json = Bytes::from(json.to_string());
            let message = Message { kind: MessageKind::Checkpoint, epoch: epoch.into(), seq, time, json };
            self.sink.send(&[message]).await
        }
        .boxed()
    }

    fn promise(&mut self, retention: Duration) -> BoxFuture<'_, Result<Promise, RemoteFailure>> {
        self.sink.promise(retention)
    }

    fn publish_lag(&mut self, lane: &Lane, measure: bool) {
        if lane.progress().synced_before <= lane.cursor.next_seq {
            lane.status.set_oldest_waiting(None);
            return lane.status.set_lag_bytes(0);
        }
        let oldest = self.held.first().map_or_else(|| lane.clock.now(), |message| message.time);
        lane.status.set_oldest_waiting(Some(oldest));
        if measure {
            let unread = self.follower.as_ref().and_then(|follower| follower.bytes_left().ok());
            lane.status.set_lag_bytes(unread.unwrap_or(0) + self.held_bytes as u64);
        }
    }
}

/// How many messages make a batch: at least one.
fn batch_of(held: &[Message], limits: super::sink::BatchLimits) -> usize {
    let mut bytes = 0;
    let fits = held.iter().take(limits.records).take_while(|message| {
        bytes += message.json.len();
        bytes <= limits.bytes
    });
    fits.count().max(1)
}

/// The record to begin with: the cursor's, unless the store was cut and written anew before it.
fn resume_at(lane: &mut Lane, synced_before: u64) -> u64 {
    let cursor = &lane.cursor;
    let before = cursor.next_seq.saturating_sub(1);
    let is_same = cursor.epoch.is_empty() || cursor.epoch == lane.epoch_of(before);
    let from = if is_same {
        cursor.next_seq.min(synced_before)
    } else {
        // Numbers were given again since: from the beginning of the epoch after the one that was shipped.
        let mut from = cursor.next_seq.min(synced_before);
        while from > 1 && lane.epoch_of(from - 1) != cursor.epoch && !lane.epoch_of(from - 1).is_empty() {
            from -= 1;
        }
        from
    };
    if from < cursor.next_seq {
        tracing::warn!(
            sink = %lane.status.look().name, from, was = cursor.next_seq,
            "The store of access records was cut since the sink got its last record: what was written since is shipped"
        );
        lane.cursor.next_seq = from;
    }
    from
}

fn warn_of_missing(lane: &Lane, from: u64, to: u64) {
    tracing::error!(
        sink = %lane.status.look().name, from, to,
        "Records cannot be read from the store, or were deleted at the end of their retention before the sink had \
         taken them; those after them go on"
    );
}

/// The line with the epoch as its last field, and without its newline.
fn with_epoch<'l>(line: &'l mut Vec<u8>, epoch: &str) -> &'l [u8] {
    line.truncate(line.len().saturating_sub(b"}\n".len()));
    line.extend_from_slice(b",\"epoch\":\"");
    line.extend_from_slice(epoch.as_bytes());
    line.extend_from_slice(b"\"}");
    line
}
