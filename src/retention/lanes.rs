//! The lanes on which records go from the workers to the writer: one bounded ring for each thread.
//!
//! Putting a record on a lane waits for nobody and allocates nothing: its bytes are copied into one
//! ring, and a fixed entry into another. A record takes its number before that, so that one that did
//! not get through leaves a hole that the writer sees. Only where the ring of bytes is full, since
//! the disk stalls, a record's bytes take memory of their own; there is an entry for every slot.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rtrb::{Consumer, Producer, RingBuffer};
use thread_local::ThreadLocal;

use crate::access::AccessRecord;
use crate::access::packed::{Clients, Packed, Sections};
use crate::access::record::ConnectionFacts;
use crate::retention::recorder::SLOTS;

/// Bytes of packed records that a lane holds without allocating.
const BYTES: usize = 1024 * 1024;

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
    /// Where the first two sections end, and the last.
    ends: [u32; 3],
    /// Its bytes, where there was no room for them on the lane.
    apart: Option<Box<[u8]>>,
}

/// The lanes of a store, at the workers' end.
#[derive(Debug)]
pub(super) struct Lanes {
    own: ThreadLocal<RefCell<Lane>>,
    /// Those that the writer has not taken yet.
    new: Mutex<Vec<LaneEnd>>,
    /// Bytes of records that are not on a ring.
    apart: Arc<AtomicUsize>,
    /// The turn of the next record, whichever lane it goes on.
    turns: AtomicU64,
}

/// One thread's.
#[derive(Debug)]
struct Lane {
    entries: Producer<Entry>,
    bytes: Producer<u8>,
    packed: Packed,
    next: u64,
    /// Records with a lower number are on the lane, or lost.
    settled: Arc<AtomicU64>,
}

/// The writer's end of a lane.
#[derive(Debug)]
pub(super) struct LaneEnd {
    entries: Consumer<Entry>,
    bytes: Consumer<u8>,
    settled: Arc<AtomicU64>,
    apart: Arc<AtomicUsize>,
    next: u64,
    /// A record's bytes, where they are in two pieces on the ring.
    joined: Vec<u8>,
}

impl Lanes {
    /// `apart` counts the bytes of records that are not on a ring.
    pub(super) fn new(apart: Arc<AtomicUsize>) -> Self {
        Self { own: ThreadLocal::new(), new: Mutex::default(), apart, turns: AtomicU64::new(0) }
    }

    /// Sends a record on the lane of this thread. Where there is no entry for it, its number is missing.
    pub(super) fn put(&self, record: &AccessRecord) {
        let lane = self.own.get_or(|| RefCell::new(self.open()));
        lane.borrow_mut().put(record, self.turns.fetch_add(1, Ordering::AcqRel), &self.apart);
    }

    /// Records with a lower turn are on their lanes, or about to be.
    pub(super) fn turn(&self) -> u64 {
        self.turns.load(Ordering::Acquire)
    }

    /// Hands lanes to the writer that are new.
    pub(super) fn take_new(&self, ends: &mut Vec<LaneEnd>) {
        ends.append(&mut self.new.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn open(&self) -> Lane {
        let (entries, entries_end) = RingBuffer::new(SLOTS);
        let (bytes, bytes_end) = RingBuffer::new(BYTES);
        let settled = Arc::new(AtomicU64::new(0));
        let end = LaneEnd {
            entries: entries_end,
            bytes: bytes_end,
            settled: Arc::clone(&settled),
            apart: Arc::clone(&self.apart),
            next: 0,
            joined: Vec::new(),
        };
        self.new.lock().unwrap_or_else(PoisonError::into_inner).push(end);
        Lane { entries, bytes, packed: Packed::default(), next: 0, settled }
    }
}

impl Lane {
    fn put(&mut self, record: &AccessRecord, turn: u64, apart: &AtomicUsize) {
        let number = self.next;
        self.next += 1;
        // Not so with a slot: there is an entry for each.
        if !self.entries.is_full() {
            self.send(number, turn, record, apart);
        }
        self.settled.store(self.next, Ordering::Release);
    }

    fn send(&mut self, number: u64, turn: u64, record: &AccessRecord, apart: &AtomicUsize) {
        self.packed.pack(record, Clients::One);
        let (bytes, [own, referer]) = (self.packed.bytes(), self.packed.ends());
        let ends = [own as u32, referer as u32, bytes.len() as u32];
        let elsewhere = self.bytes.push_entire_slice(bytes).is_err().then(|| {
            apart.fetch_add(bytes.len(), Ordering::Relaxed);
            Box::from(bytes)
        });
        let time = record.time.as_millisecond();
        let connection = Arc::clone(&record.connection);
        // There is room: nobody else puts.
        let _ = self.entries.push(Entry { number, turn, time, connection, ends, apart: elsewhere });
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
        let Entry { time, connection, ends, apart, .. } = entry;
        let [own, referer, length] = ends.map(|end| end as usize);
        let show =
            |bytes: &[u8]| take(Arrived { connection, time, sections: Sections::of(bytes, [own, referer]) });
        if let Some(bytes) = apart {
            self.apart.fetch_sub(bytes.len(), Ordering::Relaxed);
            return show(&bytes);
        }
        // Its bytes were put before it.
        let Ok(chunk) = self.bytes.read_chunk(length) else { return Enough::No };
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
