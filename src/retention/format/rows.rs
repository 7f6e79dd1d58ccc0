//! What is inside a block: records as rows, each leaning on those before it.
//!
//! A connection is described once in a block, and a row leaves out what is the same as in the row
//! before it of the same connection, so that a busy connection's record is a few dozen bytes before
//! any compression. No row leans on another block. docs/retention-format.md is the specification.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::Timestamp;

use crate::access::fields::{ClockState, Detail, Fields};
use crate::access::packed::{Clients, Packed, Sections, SettingSource, pack_connection, unpack};
use crate::access::record::{AccessRecord, ConnectionFacts};
use crate::access::texts::RequestTexts;
use crate::access::wire::{Wire, write_bytes, write_number, write_signed};
use crate::access::{Expired, Gap};
use crate::retention::format::BlockHead;

/// A row that is of no connection.
const NOTE: u64 = 0;
/// The bits of a row's first number that say which sections follow its own.
const SETTING: u64 = 1;
const REFERER: u64 = 2;
const CONNECTION_SHIFT: u32 = 2;

const GAP: u8 = 0;
const EXPIRED: u8 = 1;

/// Rows that become a block.
#[derive(Debug)]
pub(crate) struct Rows {
    node: Arc<str>,
    clock: ClockState,
    /// Whole rows, after what they have in common; empty without any.
    bytes: Vec<u8>,
    count: u32,
    span: (i64, i64),
    /// The time of the last one.
    time: i64,
    connections: Vec<Written>,
    /// The record that is added.
    packed: Packed,
}

/// A connection that the block knows, and what its last row said.
#[derive(Debug)]
struct Written {
    facts: Arc<ConnectionFacts>,
    setting: Range<usize>,
    /// What that was packed of, where that is known.
    of: Option<SettingSource>,
    referer: Range<usize>,
}

impl Written {
    /// Describes a connection that has no row yet.
    fn describe(connection: &Arc<ConnectionFacts>, out: &mut Vec<u8>) -> Self {
        let mut description = Vec::with_capacity(128);
        pack_connection(connection, &mut description);
        write_bytes(&description, out);
        Self { facts: Arc::clone(connection), setting: 0..0, of: None, referer: 0..0 }
    }
}

impl Rows {
    /// None yet; `node` is this edge's name.
    pub(crate) fn new(node: Arc<str>) -> Self {
        Self {
            node,
            clock: ClockState::default(),
            bytes: Vec::new(),
            count: 0,
            span: (0, 0),
            time: 0,
            connections: Vec::new(),
            packed: Packed::default(),
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// They themselves.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The times of the earliest and the latest, if there are any.
    pub(crate) fn span(&self) -> Option<(i64, i64)> {
        (self.count > 0).then_some(self.span)
    }

    /// What is known of the clock that their times are by.
    pub(crate) fn clock(&self) -> ClockState {
        self.clock
    }

    /// What is known of the clock for rows to come. Those that there are keep what was known then:
    /// whoever calls makes a block of them first.
    pub(crate) fn set_clock(&mut self, clock: ClockState) {
        self.clock = clock;
    }

    /// Forgets them.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
        self.connections.clear();
    }

    /// Adds a record, with the texts of its request.
    pub(crate) fn push(&mut self, record: &AccessRecord, sent: &RequestTexts<'_>, clients: Clients) {
        let connection = &record.connection;
        let since = self.begin_row(record.time.as_millisecond());
        let place = connection.place.0.load(Ordering::Relaxed) as usize;
        let known = self.connections.get_mut(place).filter(|known| Arc::ptr_eq(&known.facts, connection));
        let is_same =
            known.as_ref().and_then(|known| known.of.as_ref()).is_some_and(|of| of.matches(record, sent));
        if is_same {
            self.packed.pack_but_setting(record, sent, clients);
        } else {
            self.packed.pack(record, sent, clients);
        }
        let sections = self.packed.sections();
        let (setting, referer) = match &known {
            Some(known) => (
                !is_same && self.bytes[known.setting.clone()] != *sections.setting,
                self.bytes[known.referer.clone()] != *sections.referer,
            ),
            None => (true, !sections.referer.is_empty()),
        };
        let place = if let Some(known) = known {
            if !is_same {
                // From its second record on: of most connections there is no more than one.
                known.of = Some(SettingSource::new(record, sent));
            }
            place
        } else {
            self.connections.len()
        };
        let bits = if setting { SETTING } else { 0 } | if referer { REFERER } else { 0 };
        write_number((place as u64 + 1) << CONNECTION_SHIFT | bits, &mut self.bytes);
        if place == self.connections.len() {
            connection.place.0.store(place as u32, Ordering::Relaxed);
            self.connections.push(Written::describe(connection, &mut self.bytes));
        }
        write_signed(since, &mut self.bytes);
        write_bytes(sections.own, &mut self.bytes);
        if setting {
            self.connections[place].setting = append(sections.setting, &mut self.bytes);
        }
        if referer {
            self.connections[place].referer = append(sections.referer, &mut self.bytes);
        }
    }

    /// Adds that records are missing.
    pub(crate) fn push_gap(&mut self, gap: &Gap) {
        self.begin_note(gap.time, GAP);
        write_bytes(gap.reason.label().as_bytes(), &mut self.bytes);
        write_signed(gap.since.as_millisecond(), &mut self.bytes);
        write_number(gap.count.map_or(0, |count| count.saturating_add(1)), &mut self.bytes);
    }

    /// Adds that records were deleted.
    pub(crate) fn push_expired(&mut self, expired: &Expired) {
        self.begin_note(expired.time, EXPIRED);
        write_number(expired.before_seq, &mut self.bytes);
    }

    fn begin_note(&mut self, time: Timestamp, kind: u8) {
        let since = self.begin_row(time.as_millisecond());
        write_number(NOTE, &mut self.bytes);
        write_signed(since, &mut self.bytes);
        self.bytes.push(kind);
    }

    /// Counts a row; the time since the one before it.
    fn begin_row(&mut self, time: i64) -> i64 {
        if self.count == 0 {
            write_bytes(self.node.as_bytes(), &mut self.bytes);
            self.bytes.push(self.clock.synchronized.into());
            write_signed(self.clock.offset_us, &mut self.bytes);
            write_signed(time, &mut self.bytes);
            (self.span, self.time) = ((time, time), time);
        }
        self.count += 1;
        self.span = (self.span.0.min(time), self.span.1.max(time));
        time.wrapping_sub(std::mem::replace(&mut self.time, time))
    }
}

/// Appends a section; where it is.
fn append(section: &[u8], out: &mut Vec<u8>) -> Range<usize> {
    write_bytes(section, out);
    out.len() - section.len()..out.len()
}

/// Reads the rows of a block, one after the other.
#[derive(Debug, Default)]
pub(crate) struct RowReader {
    at: usize,
    seq: u64,
    /// How many are to come, where the block's head says so.
    left: Option<u32>,
    time: i64,
    clock: ClockState,
    node: Range<usize>,
    connections: Vec<Read>,
}

/// A connection that was described, and what its last row said: where that stands.
#[derive(Clone, Debug)]
struct Read {
    description: Range<usize>,
    setting: Range<usize>,
    referer: Range<usize>,
}

/// What stands where a row should be is none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Malformed;

impl RowReader {
    /// For whoever reads the first rows of a block whose first record has the number `first_seq`.
    pub(crate) fn new(first_seq: u64) -> Self {
        Self { seq: first_seq, ..Self::default() }
    }

    /// For all rows of the block that begins with `head`: as many as it says, so that no number is
    /// given twice.
    pub(crate) fn of(head: &BlockHead) -> Self {
        Self { left: Some(head.count), ..Self::new(head.first_seq) }
    }

    /// The next record in `bytes`, the rows of the block; `None` at their end, and after what is none.
    pub(crate) fn next<'b>(&mut self, bytes: &'b [u8]) -> Option<Result<Fields<'b>, Malformed>> {
        if self.at >= bytes.len() {
            // Rows that are missing are told once.
            return self.left.take().is_some_and(|left| left > 0).then_some(Err(Malformed));
        }
        let fields = if self.left == Some(0) { None } else { self.row(bytes) };
        self.left = self.left.map(|left| left.saturating_sub(1));
        if fields.is_none() {
            (self.at, self.left) = (bytes.len(), None);
        }
        Some(fields.ok_or(Malformed))
    }

    fn row<'b>(&mut self, bytes: &'b [u8]) -> Option<Fields<'b>> {
        let mut wire = Wire(bytes.get(self.at..)?);
        let place = |wire: &Wire<'_>, taken: &[u8]| {
            let end = bytes.len() - wire.0.len();
            end - taken.len()..end
        };
        if self.at == 0 {
            let node = wire.text()?;
            self.node = place(&wire, node.as_bytes());
            self.clock.synchronized = wire.byte()? == 1;
            self.clock.offset_us = wire.signed()?;
            self.time = wire.signed()?;
        }
        let tag = wire.number()?;
        let index = usize::try_from(tag >> CONNECTION_SHIFT).ok()?.checked_sub(1);
        if let Some(index) = index
            && index == self.connections.len()
        {
            let description = wire.bytes()?;
            let description = place(&wire, description);
            self.connections.push(Read { description, setting: 0..0, referer: 0..0 });
        }
        self.time = self.time.wrapping_add(wire.signed()?);
        let detail = match index {
            None if tag == NOTE => note(&mut wire)?,
            None => return None,
            Some(index) => {
                let own = wire.bytes()?;
                let connection = self.connections.get_mut(index)?;
                if tag & SETTING != 0 {
                    let setting = wire.bytes()?;
                    connection.setting = place(&wire, setting);
                }
                if tag & REFERER != 0 {
                    let referer = wire.bytes()?;
                    connection.referer = place(&wire, referer);
                }
                let sections = Sections {
                    own,
                    referer: bytes.get(connection.referer.clone())?,
                    setting: bytes.get(connection.setting.clone())?,
                };
                Detail::Exchange(Box::new(unpack(bytes.get(connection.description.clone())?, sections)?))
            }
        };
        self.at = bytes.len() - wire.0.len();
        let seq = self.seq;
        self.seq = seq.checked_add(1)?;
        Some(Fields {
            seq,
            time: Timestamp::from_millisecond(self.time).ok()?,
            node: std::str::from_utf8(bytes.get(self.node.clone())?).ok()?,
            clock: self.clock,
            detail,
        })
    }
}

fn note<'b>(wire: &mut Wire<'b>) -> Option<Detail<'b>> {
    match wire.byte()? {
        GAP => {
            let (reason, since) = (wire.text()?, wire.signed()?);
            let since = Timestamp::from_millisecond(since).ok()?;
            Some(Detail::Gap { reason, since, count: wire.number()?.checked_sub(1) })
        }
        EXPIRED => Some(Detail::Expired { before_seq: wire.number()? }),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
