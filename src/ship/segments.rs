//! The lane of a sink that takes whole segments: directory, s3, oss.
//!
//! A segment is shipped once it is sealed, under its own name. The sink then holds what the store holds: segments,
//! checkpoints and verifier keys, so that `logs verify` proves it. Segments may be encrypted before they leave; the
//! others are not secret.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jiff::Timestamp;

use super::anchor_key::AnchorKey;
use super::lane::{Lane, Step, Work};
use super::sink::{Body, Promise, SegmentSink};
use crate::encryption::{self, Recipient};
use crate::remote::failure::RemoteFailure;
use crate::retention::format::Frame;
use crate::retention::format::frames::{self, Frames};
use crate::retention::format::note::{CHECKPOINT_FILE, VERIFIER_FILE, read_note, unverified};
use crate::retention::format::segment::{self, Segment};

/// Ships segments to a sink.
pub(super) struct Segments {
    sink: Box<dyn SegmentSink>,
    encrypt_to: Option<Recipient>,
    /// Sealed and not shipped yet, oldest first.
    waiting: VecDeque<Segment>,
    /// The store's sealed watermark at the last listing.
    listed_before: Option<u64>,
    /// The verifier keys that the sink has.
    published: Option<Vec<u8>>,
}

/// What a segment holds, from its frames' heads.
struct Contents {
    next_seq: Option<u64>,
    next_block: Option<u64>,
    newest: Option<Timestamp>,
    checkpoint: Option<Vec<u8>>,
}

impl Segments {
    pub(super) fn new(sink: Box<dyn SegmentSink>, encrypt_to: Option<Recipient>) -> Self {
        Self { sink, encrypt_to, waiting: VecDeque::new(), listed_before: None, published: None }
    }

    async fn ship_next(&mut self, lane: &mut Lane) -> Result<Step, RemoteFailure> {
        self.publish_keys(lane).await?;
        self.list(lane)?;
        let Some(segment) = self.waiting.front() else { return Ok(Step::Idle) };
        let contents = match contents(&segment.path) {
            Ok(contents) => contents,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                tracing::error!(
                    segment = %segment.path.display(), sink = %lane.status.look().name,
                    "A segment reached the end of its retention before the sink had taken it"
                );
                self.waiting.pop_front();
                return Ok(Step::Shipped);
            }
            Err(error) => return Err(RemoteFailure::of_store(&error)),
        };
        let newest = contents.newest.or(segment.name.opened_at()).unwrap_or_else(|| lane.clock.now());
        let until = lane.retain_until(newest);
        let segment = segment.clone();
        let key = self.put(lane, &segment, until).await?;
        let is_kept = lane.status.look().unkept.is_none();
        if let Some(next_block) = contents.next_block.filter(|_| is_kept)
            && self.sink.is_locked(&key, until).await?
        {
            lane.confirmed(segment.name.first_block, next_block);
        }
        if let Some(checkpoint) = contents.checkpoint.filter(|_| self.sink.replaces()) {
            self.sink.publish(CHECKPOINT_FILE, checkpoint.into(), until).await?;
        }
        let next_seq = contents.next_seq.unwrap_or(lane.cursor.next_seq);
        lane.acknowledged(next_seq, Some(segment.name.first_block));
        self.waiting.pop_front();
        Ok(Step::Shipped)
    }

    /// Stores a segment, encrypted where that is asked for; its key.
    async fn put(
        &mut self,
        lane: &Lane,
        segment: &Segment,
        until: Timestamp,
    ) -> Result<String, RemoteFailure> {
        let Some(recipient) = &self.encrypt_to else {
            let key = segment.name.to_string();
            self.sink.put(&key, &Body::File(segment.path.clone()), until).await?;
            return Ok(key);
        };
        let key = format!("{}{}", segment.name, encryption::SUFFIX);
        let of_store = |error: io::Error| RemoteFailure::of_store(&error);
        let plain = fs_err::metadata(&segment.path).map_err(of_store)?.len();
        // Encrypted a second time it would be different bytes, which no sink takes under the same key.
        let stored = self.sink.head(&key).await?;
        if stored.is_none_or(|stored| !encryption::may_hold(stored.bytes, plain)) {
            let scratch = lane.file.scratch().map_err(of_store)?;
            recipient.encrypt(&segment.path, &scratch).map_err(of_store)?;
            let put = self.sink.put(&key, &Body::File(scratch.clone()), until).await;
            fs_err::remove_file(scratch).map_err(of_store)?;
            put?;
        }
        Ok(key)
    }

    /// Looks for segments that were sealed since the last time.
    fn list(&mut self, lane: &Lane) -> Result<(), RemoteFailure> {
        let sealed_before = lane.progress().sealed_before;
        if self.listed_before == Some(sealed_before) {
            return Ok(());
        }
        let sealed = lane.feed.sealed_segments().map_err(|error| RemoteFailure::of_store(&error))?;
        let shipped = self.waiting.back().map(|last| last.name.first_block).or(lane.cursor.last_segment);
        let newest = sealed.last().map(|segment| segment.name.first_block);
        // A store that ends before what was shipped was cut: what it wrote since has lower numbers again.
        let is_cut = shipped > newest && newest.is_some();
        let is_new = |segment: &Segment| is_cut || shipped.is_none_or(|last| segment.name.first_block > last);
        self.waiting.extend(sealed.into_iter().filter(is_new));
        self.listed_before = Some(sealed_before);
        Ok(())
    }

    /// Sees that the sink has the keys that prove its segments.
    async fn publish_keys(&mut self, lane: &Lane) -> Result<(), RemoteFailure> {
        let keys = read_note(&lane.feed.directory().join(VERIFIER_FILE));
        let keys = keys.map_err(|error| RemoteFailure::of_store(&error))?;
        if self.published.as_ref() != Some(&keys) {
            let until = lane.retain_until(lane.clock.now());
            self.sink.publish(VERIFIER_FILE, keys.clone().into(), until).await?;
            self.published = Some(keys);
        }
        Ok(())
    }
}

impl Work for Segments {
    fn step<'a>(&'a mut self, lane: &'a mut Lane) -> BoxFuture<'a, Result<Step, RemoteFailure>> {
        self.ship_next(lane).boxed()
    }

    fn anchor<'a>(&'a mut self, lane: &'a Lane, note: &'a [u8]) -> BoxFuture<'a, Result<(), RemoteFailure>> {
        async move {
            let checkpoint = unverified(note).ok_or_else(|| {
                let what = format!("{CHECKPOINT_FILE} is no signed checkpoint");
                RemoteFailure::of_store(&io::Error::new(io::ErrorKind::InvalidData, what))
            })?;
            let now = lane.clock.now();
            let key = AnchorKey { at: now, size: checkpoint.size(), root: checkpoint.hash().0 }.to_string();
            let body = Body::Bytes(Bytes::copy_from_slice(note));
            self.sink.put(&key, &body, lane.retain_until(now)).await.map(|_| ())
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
        if !measure {
            return;
        }
        // Sealed or not: what the sink does not have waits.
        let Ok(segments) = segment::list(lane.feed.directory()) else { return };
        let shipped = lane.cursor.last_segment;
        let waiting = segments.iter().filter(|one| shipped.is_none_or(|last| one.name.first_block > last));
        let (mut oldest, mut bytes) = (None, 0);
        for segment in waiting {
            oldest = oldest.or(segment.name.opened_at());
            bytes += std::fs::metadata(&segment.path).map_or(0, |found| found.len());
        }
        lane.status.set_oldest_waiting(oldest);
        lane.status.set_lag_bytes(bytes);
    }
}

/// Reads the heads of a segment's frames.
fn contents(path: &Path) -> io::Result<Contents> {
    let mut frames = Frames::open_for_heads(path)?;
    let mut contents = Contents { next_seq: None, next_block: None, newest: None, checkpoint: None };
    loop {
        match frames.next_step()? {
            frames::Step::Frame(Frame::Block(block), _) => {
                contents.next_seq = Some(block.next_seq());
                contents.next_block = Some(block.number.saturating_add(1));
                contents.newest = contents.newest.max(block.latest_time());
            }
            frames::Step::Frame(Frame::Checkpoint(note), _) => contents.checkpoint = Some(note),
            frames::Step::Frame(..) | frames::Step::Damage { .. } => {}
            frames::Step::End { .. } => return Ok(contents),
        }
    }
}
