//! The lanes on which records go from the workers to the writer: a bounded ring for each thread.
//!
//! Putting a record on a lane waits for nobody and allocates nothing: its bytes are copied into one
//! ring, and a fixed entry into another. A record takes its number before that, so that one that did
//! not get through leaves a hole that the writer sees. A lane is small, so that its memory stays in a
//! core's cache: that is most of what a record costs its thread. The writer is woken when one fills up.
//! Where one is full, since the writer is late or the disk stalls, its thread leaves it for another, so
//! that whoever has a slot has room; how much is full bounds who gets a slot.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rtrb::{Consumer, Producer, RingBuffer};
use thread_local::ThreadLocal;

use crate::access::AccessRecord;
use crate::access::packed::{Clients, Ends, Packed, Sections};
use crate::access::record::ConnectionFacts;

/// Records that a lane holds.
const ENTRIES: usize = 1024;
/// Bytes of packed records that a lane holds.
const BYTES: usize = 192 * 1024;
/// The memory of a lane.
const LANE_BYTES: usize = ENTRIES * size_of::<Entry>() + BYTES;

/// A record on its way.
#[derive(Debug)]
struct Entry {
    /// Among those of its lane.
    number: u64,
    /// Among those of all lanes.
    turn: u64,
    /// In milliseconds.
    time: i64,
    connection: Arc<ConnectionFacts>,
    /// Of its packed form.
    length: u32,
    ends: Ends,
}

/// The lanes of a store, at the workers' end.
#[derive(Debug)]
pub(super) struct Lanes {
    own: ThreadLocal<RefCell<Own>>,
    /// Those that the writer has not taken yet.
    new: Mutex<Vec<LaneEnd>>,
    /// Bytes of lanes that were full, and that the writer has not emptied yet.
    full_bytes: Arc<AtomicUsize>,
    /// The turn of the next record, whichever lane it goes on.
    turns: AtomicU64,
}

/// One thread's.
#[derive(Debug)]
struct Own {
    packed: Packed,
    lane: Lane,
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
    /// A record's bytes, where they are in two pieces on the ring.
    joined: Vec<u8>,
}

impl Lanes {
    /// `full_bytes` counts the memory of lanes that were full and are not emptied yet.
    pub(super) fn new(full_bytes: Arc<AtomicUsize>) -> Self {
        Self { own: ThreadLocal::new(), new: Mutex::default(), full_bytes, turns: AtomicU64::new(0) }
    }

    /// Sends a record on the lane of this thread; whether the writer should look, since that fills up.
    pub(super) fn put(&self, record: &AccessRecord) -> bool {
        let own = self.own.get_or(|| RefCell::new(Own { packed: Packed::default(), lane: self.open() }));
        let Own { packed, lane } = &mut *own.borrow_mut();
        let turn = self.turns.fetch_add(1, Ordering::AcqRel);
        lane.next += 1;
        let ends = packed.pack(record, Clients::One);
        let was_full = !lane.has_room(packed);
        if was_full {
            self.full_bytes.fetch_add(LANE_BYTES, Ordering::Relaxed);
            // It never had the number that it just gave.
            *lane = self.open();
            lane.next = 1;
        }
        lane.push(turn, record, packed.bytes(), ends);
        was_full || lane.fills_up(packed.bytes().len())
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
            missing += end.drain(0, |_| Enough::No).0;
            if is_left {
                self.full_bytes.fetch_sub(LANE_BYTES, Ordering::Relaxed);
            }
            !is_left
        });
        missing
    }

    fn open(&self) -> Lane {
        let (entries, entries_end) = RingBuffer::new(ENTRIES);
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
    fn has_room(&self, packed: &Packed) -> bool {
        let length = packed.bytes().len();
        // What the writer freed meanwhile is looked at only where what is known does not suffice.
        !self.entries.is_full() && (self.bytes.cached_slots() >= length || self.bytes.slots() >= length)
    }

    /// Whether it is half full, looked at now and then: the writer's end is another core's memory.
    fn fills_up(&mut self, put: usize) -> bool {
        self.unseen += put;
        if self.unseen < BYTES / 4 && !self.next.is_multiple_of(ENTRIES as u64 / 4) {
            return false;
        }
        self.unseen = 0;
        self.entries.slots() < ENTRIES / 2 || self.bytes.slots() < BYTES / 2
    }

    /// Sends the record that took the last number. There is room.
    fn push(&mut self, turn: u64, record: &AccessRecord, bytes: &[u8], ends: Ends) {
        // Before the rings, whose memory may be far away: counting waits for all that was written before.
        let connection = Arc::clone(&record.connection);
        if self.bytes.push_entire_slice(bytes).is_ok() {
            let (number, time) = (self.next - 1, record.time.as_millisecond());
            let length = bytes.len() as u32;
            let _ = self.entries.push(Entry { number, turn, time, connection, length, ends });
        }
        self.settled.store(self.next, Ordering::Release);
    }
}

/// A record that arrived.
#[derive(Debug)]
pub(super) struct Arrived<'l> {
    /// Its connection.
    pub(super) connection: Arc<ConnectionFacts>,
    /// Its time, in milliseconds.
    pub(super) time: i64,
    /// Itself.
    pub(super) sections: Sections<'l>,
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
        mut take: impl FnMut(Arrived<'_>) -> Enough,
    ) -> (u64, Enough) {
        let settled = self.settled.load(Ordering::Acquire);
        let mut missing = 0;
        while let Ok(entry) = self.entries.peek() {
            if entry.turn >= before {
                return (missing, Enough::No);
            }
            let Ok(entry) = self.entries.pop() else { break };
            missing += entry.number.saturating_sub(self.next);
            self.next = entry.number + 1;
            if self.show(entry, &mut take) == Enough::Yes {
                return (missing, Enough::Yes);
            }
        }
        // What was settled before the lane was found empty, and did not come, will not come.
        missing += settled.saturating_sub(self.next);
        self.next = self.next.max(settled);
        (missing, Enough::No)
    }

    fn show(&mut self, entry: Entry, take: &mut impl FnMut(Arrived<'_>) -> Enough) -> Enough {
        let Entry { time, connection, length, ends, .. } = entry;
        let show = |bytes: &[u8]| take(Arrived { connection, time, sections: Sections::of(bytes, ends) });
        // Its bytes were put before it.
        let Ok(chunk) = self.bytes.read_chunk(length as usize) else { return Enough::No };
        let enough = match chunk.as_slices() {
            (whole, []) => show(whole),
            (front, back) => {
                self.joined.clear();
                self.joined.extend_from_slice(front);
                self.joined.extend_from_slice(back);
                show(&self.joined)
            }
        };
        chunk.commit_all();
        enough
    }
}

/// Whether a block's worth has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Enough {
    /// It has.
    Yes,
    /// More may come.
    No,
}
