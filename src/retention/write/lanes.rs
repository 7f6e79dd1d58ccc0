//! Lanes: bounded rings, one per thread, that carry records from workers to the writer.
//!
//! Handing over a record neither waits nor allocates: the record moves into one ring and the texts of its
//! request are copied into another. Packing is left to the writer, which packs many records in a row: that
//! costs a third of what it costs between two requests, with a cold cache. A record takes its number before
//! it is sent, so that a lost one leaves a hole that the writer sees. A lane that fills up wakes the writer.
//!
//! When a lane is full because the writer is late or the disk stalls, its thread opens another, so that every
//! slot has room. The total size of full lanes limits how many slots are given.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rtrb::{Consumer, Producer, RingBuffer};
use thread_local::ThreadLocal;

use crate::access::AccessRecord;
use crate::access::texts::{Lengths, RequestTexts};
use crate::retention::write::prefetch::prefetch;

const RECORDS: usize = 1024;
const BYTES: usize = 192 * 1024;
/// Bytes of texts to prefetch: more than most records have.
const FETCHED_BYTES: usize = 256;
const LANE_BYTES: usize = RECORDS * size_of::<Entry>() + BYTES;

#[derive(Debug)]
struct Entry {
    /// Its number on this lane.
    number: u64,
    /// Its order among the records of all lanes.
    turn: u64,
    lengths: Lengths,
    record: AccessRecord,
}

#[derive(Debug)]
pub(super) struct Lanes {
    own: ThreadLocal<RefCell<Lane>>,
    /// New lanes that the writer has not taken over yet.
    new: Mutex<Vec<LaneEnd>>,
    /// Bytes of full lanes that the writer has not emptied yet.
    full_bytes: Arc<AtomicUsize>,
    /// The turn of the next record on any lane.
    turns: AtomicU64,
}

#[derive(Debug)]
struct Lane {
    entries: Producer<Entry>,
    bytes: Producer<u8>,
    next: u64,
    /// Every record with a lower number is on the lane, or lost.
    settled: Arc<AtomicU64>,
    /// Bytes added since the fill level was last checked.
    unseen: usize,
}

#[derive(Debug)]
pub(super) struct LaneEnd {
    entries: Consumer<Entry>,
    bytes: Consumer<u8>,
    settled: Arc<AtomicU64>,
    next: u64,
    /// A buffer for texts that wrap around the end of the ring.
    joined: Vec<u8>,
}

impl Lanes {
    /// `full_bytes` counts the memory of full lanes that are not emptied yet.
    pub(super) fn new(full_bytes: Arc<AtomicUsize>) -> Self {
        Self { own: ThreadLocal::new(), new: Mutex::default(), full_bytes, turns: AtomicU64::new(0) }
    }

    /// Sends a record on the lane of this thread; returns whether the lane is filling up, so that the writer
    /// should be woken.
    pub(super) fn put(&self, record: AccessRecord, sent: &RequestTexts<'_>) -> bool {
        let mut lane = self.own.get_or(|| RefCell::new(self.open())).borrow_mut();
        let turn = self.turns.fetch_add(1, Ordering::AcqRel);
        let texts = sent.kept();
        let lengths = Lengths::of(texts);
        let is_full = !lane.has_room(lengths);
        if is_full {
            self.full_bytes.fetch_add(LANE_BYTES, Ordering::Relaxed);
            *lane = self.open();
        }
        lane.push(turn, record, texts, lengths);
        is_full || lane.fills_up()
    }

    /// Every record with a lower turn is on its lane, or about to be.
    pub(super) fn turn(&self) -> u64 {
        self.turns.load(Ordering::Acquire)
    }

    pub(super) fn take_new(&self, ends: &mut Vec<LaneEnd>) {
        ends.append(&mut self.new.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Returns how many records were lost at the end of the lanes, and removes abandoned lanes that are
    /// empty.
    pub(super) fn settle(&self, ends: &mut Vec<LaneEnd>) -> u64 {
        let mut missing = 0;
        ends.retain_mut(|end| {
            let is_left = end.is_left();
            missing += end.drain(0, |_, _| Enough::No).0;
            if is_left {
                self.full_bytes.fetch_sub(LANE_BYTES, Ordering::Relaxed);
            }
            !is_left
        });
        missing
    }

    fn open(&self) -> Lane {
        let (entries, entries_end) = RingBuffer::new(RECORDS);
        let (bytes, bytes_end) = RingBuffer::new(BYTES);
        let settled = Arc::new(AtomicU64::new(0));
        let end = LaneEnd {
            entries: entries_end,
            bytes: bytes_end,
            settled: Arc::clone(&settled),
            next: 0,
            joined: Vec::new(),
        };
        self.new.lock().unwrap_or_else(PoisonError::into_inner).push(end);
        Lane { entries, bytes, next: 0, settled, unseen: 0 }
    }
}

impl Lane {
    fn has_room(&self, lengths: Lengths) -> bool {
        let length = lengths.sum();
        // Reads the writer's position only if the cached one does not suffice.
        !self.entries.is_full() && (self.bytes.cached_slots() >= length || self.bytes.slots() >= length)
    }

    /// Gives a record the next number and sends it. The caller has checked that there is room.
    fn push<const TEXTS: usize>(
        &mut self,
        turn: u64,
        record: AccessRecord,
        texts: [&[u8]; TEXTS],
        lengths: Lengths,
    ) {
        let number = self.next;
        self.next += 1;
        for text in texts.into_iter().filter(|text| !text.is_empty()) {
            let _ = self.bytes.push_entire_slice(text);
        }
        self.unseen += lengths.sum();
        let _ = self.entries.push(Entry { number, turn, lengths, record });
        self.settled.store(self.next, Ordering::Release);
        self.fetch_next();
    }

    /// Prefetches the memory of the next record, which comes after another request.
    fn fetch_next(&mut self) {
        if let Ok(mut place) = self.entries.write_chunk_uninit(1) {
            prefetch(place.as_mut_slices().0);
        }
        if let Ok(mut place) = self.bytes.write_chunk_uninit(FETCHED_BYTES) {
            prefetch(place.as_mut_slices().0);
        }
    }

    /// Whether the lane is half full. Checked only now and then: the writer's position is in the cache of
    /// another core.
    fn fills_up(&mut self) -> bool {
        if self.unseen < BYTES / 4 && !self.next.is_multiple_of(RECORDS as u64 / 4) {
            return false;
        }
        self.unseen = 0;
        self.entries.slots() < RECORDS / 2 || self.bytes.slots() < BYTES / 2
    }
}

impl LaneEnd {
    /// Whether the lane is empty and its worker has left it.
    fn is_left(&self) -> bool {
        self.entries.is_abandoned() && self.entries.is_empty()
    }

    pub(super) fn next_turn(&self) -> Option<u64> {
        Some(self.entries.peek().ok()?.turn)
    }

    /// Passes the records that have arrived with a turn before `before` to `take`, until it has enough.
    /// Returns how many are missing between them, and whether it had enough.
    pub(super) fn drain(
        &mut self,
        before: u64,
        mut take: impl FnMut(&AccessRecord, &RequestTexts<'_>) -> Enough,
    ) -> (u64, Enough) {
        let settled = self.settled.load(Ordering::Acquire);
        let mut missing = 0;
        // Read in place: an entry is large.
        while let Ok(first) = self.entries.read_chunk(1) {
            let ([entry], _) = first.as_slices() else { break };
            if entry.turn >= before {
                return (missing, Enough::No);
            }
            missing += entry.number.saturating_sub(self.next);
            self.next = entry.number + 1;
            let enough = show(entry, &mut self.bytes, &mut self.joined, &mut take);
            first.commit_all();
            if enough == Enough::Yes {
                return (missing, Enough::Yes);
            }
        }
        // A record that was settled before the lane was found empty, and did not arrive, is lost.
        missing += settled.saturating_sub(self.next);
        self.next = self.next.max(settled);
        (missing, Enough::No)
    }
}

/// Passes a record to `take` with its texts, which are the next in `bytes`.
fn show(
    entry: &Entry,
    bytes: &mut Consumer<u8>,
    joined: &mut Vec<u8>,
    take: &mut impl FnMut(&AccessRecord, &RequestTexts<'_>) -> Enough,
) -> Enough {
    let mut show = |texts| take(&entry.record, &RequestTexts::of(texts, entry.lengths));
    // Texts are sent before their record.
    let Ok(texts) = bytes.read_chunk(entry.lengths.sum()) else { return Enough::No };
    let enough = match texts.as_slices() {
        (whole, []) => show(whole),
        (front, back) => {
            joined.clear();
            joined.extend_from_slice(front);
            joined.extend_from_slice(back);
            show(joined)
        }
    };
    texts.commit_all();
    enough
}

/// Whether the records taken make a block.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Enough {
    Yes,
    No,
}
