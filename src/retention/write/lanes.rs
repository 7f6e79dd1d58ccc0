//! The lanes on which records go from the workers to the writer: a bounded ring for each thread.
//!
//! Putting a record on a lane waits for nobody and allocates nothing: it is moved into one ring as it is,
//! and the texts of its request are copied into another. Packing it is the writer's: who packs one record
//! after the other needs a third of the time of who has served a request in between. A record takes its
//! number before it is put, so that one that did not get through leaves a hole that the writer sees. The
//! writer is woken when a lane fills up.
//! Where one is full, since the writer is late or the disk stalls, its thread leaves it for another, so
//! that whoever has a slot has room; how much is full bounds who gets a slot.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rtrb::{Consumer, Producer, RingBuffer};
use thread_local::ThreadLocal;

use crate::access::AccessRecord;
use crate::access::texts::{Lengths, RequestTexts};
use crate::retention::write::prefetch::prefetch;

/// Records that a lane holds.
const RECORDS: usize = 1024;
/// Bytes of texts that a lane holds.
const BYTES: usize = 192 * 1024;
/// As much of the texts of a record is fetched ahead: more than most have.
const FETCHED_BYTES: usize = 256;
/// The memory of a lane.
const LANE_BYTES: usize = RECORDS * size_of::<Entry>() + BYTES;

/// A record on its way.
#[derive(Debug)]
struct Entry {
    /// Among those of its lane.
    number: u64,
    /// Among those of all lanes.
    turn: u64,
    /// Of its texts.
    lengths: Lengths,
    record: AccessRecord,
}

/// The lanes of a store, at the workers' end.
#[derive(Debug)]
pub(super) struct Lanes {
    own: ThreadLocal<RefCell<Lane>>,
    /// Those that the writer has not taken yet.
    new: Mutex<Vec<LaneEnd>>,
    /// Bytes of lanes that were full, and that the writer has not emptied yet.
    full_bytes: Arc<AtomicUsize>,
    /// The turn of the next record, whichever lane it goes on.
    turns: AtomicU64,
}

/// The worker's end of a lane.
#[derive(Debug)]
struct Lane {
    entries: Producer<Entry>,
    bytes: Producer<u8>,
    next: u64,
    /// Records with a lower number are on the lane, or lost.
    settled: Arc<AtomicU64>,
    /// Bytes that were put since it was last looked how full it is.
    unseen: usize,
}

/// The writer's end of a lane.
#[derive(Debug)]
pub(super) struct LaneEnd {
    entries: Consumer<Entry>,
    bytes: Consumer<u8>,
    settled: Arc<AtomicU64>,
    next: u64,
    /// The texts of a record, where they are in two pieces on the ring.
    joined: Vec<u8>,
}

impl Lanes {
    /// `full_bytes` counts the memory of lanes that were full and are not emptied yet.
    pub(super) fn new(full_bytes: Arc<AtomicUsize>) -> Self {
        Self { own: ThreadLocal::new(), new: Mutex::default(), full_bytes, turns: AtomicU64::new(0) }
    }

    /// Sends a record on the lane of this thread; whether the writer should look, since that fills up.
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

    /// Records with a lower turn are on their lanes, or about to be.
    pub(super) fn turn(&self) -> u64 {
        self.turns.load(Ordering::Acquire)
    }

    /// Hands lanes to the writer that are new.
    pub(super) fn take_new(&self, ends: &mut Vec<LaneEnd>) {
        ends.append(&mut self.new.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// How many records did not get through at the end of a lane. Lanes that were full and are empty now
    /// are forgotten.
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
        // What the writer freed meanwhile is looked at only where what is known does not suffice.
        !self.entries.is_full() && (self.bytes.cached_slots() >= length || self.bytes.slots() >= length)
    }

    /// Gives a record the next number and sends it. There is room.
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

    /// Has the memory fetched that the next record goes to, which comes when another request is over.
    fn fetch_next(&mut self) {
        if let Ok(mut place) = self.entries.write_chunk_uninit(1) {
            prefetch(place.as_mut_slices().0);
        }
        if let Ok(mut place) = self.bytes.write_chunk_uninit(FETCHED_BYTES) {
            prefetch(place.as_mut_slices().0);
        }
    }

    /// Whether it is half full, looked at now and then: the writer's end is another core's memory.
    fn fills_up(&mut self) -> bool {
        if self.unseen < BYTES / 4 && !self.next.is_multiple_of(RECORDS as u64 / 4) {
            return false;
        }
        self.unseen = 0;
        self.entries.slots() < RECORDS / 2 || self.bytes.slots() < BYTES / 2
    }
}

impl LaneEnd {
    /// Whether nothing is on it, and nothing will be.
    fn is_left(&self) -> bool {
        self.entries.is_abandoned() && self.entries.is_empty()
    }

    /// The turn of the first record that has arrived.
    pub(super) fn next_turn(&self) -> Option<u64> {
        Some(self.entries.peek().ok()?.turn)
    }

    /// Shows `take` the records that have arrived and have a turn before `before`, until it has enough; how
    /// many are missing between them, and whether it had enough.
    pub(super) fn drain(
        &mut self,
        before: u64,
        mut take: impl FnMut(&AccessRecord, &RequestTexts<'_>) -> Enough,
    ) -> (u64, Enough) {
        let settled = self.settled.load(Ordering::Acquire);
        let mut missing = 0;
        // Where it stands: it is large.
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
        // What was settled before the lane was found empty, and did not come, will not come.
        missing += settled.saturating_sub(self.next);
        self.next = self.next.max(settled);
        (missing, Enough::No)
    }
}

/// Shows `take` a record with its texts, which are the next in `bytes`.
fn show(
    entry: &Entry,
    bytes: &mut Consumer<u8>,
    joined: &mut Vec<u8>,
    take: &mut impl FnMut(&AccessRecord, &RequestTexts<'_>) -> Enough,
) -> Enough {
    let mut show = |texts| take(&entry.record, &RequestTexts::of(texts, entry.lengths));
    // They were put before it.
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

/// Whether a block's worth has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Enough {
    /// It has.
    Yes,
    /// More may come.
    No,
}
