//! Rows: the records inside a block, each relative to those before it.
//!
//! A block describes each connection once, and a row leaves out what repeats the previous row of its
//! connection. A record of a busy connection takes a few dozen bytes before compression. Rows never refer to
//! another block. docs/retention-format.md is the specification.

pub(crate) mod reader;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::Timestamp;

use crate::access::fields::ClockState;
use crate::access::packed::Clients;
use crate::access::packed::pack::{Packed, pack_connection};
use crate::access::packed::setting_source::SettingSource;
use crate::access::record::{AccessRecord, ConnectionFacts};
use crate::access::texts::RequestTexts;
use crate::access::wire::{write_bytes, write_number, write_signed};
use crate::access::{Expired, Gap};

/// The tag of a row without a connection.
const NOTE: u64 = 0;
/// Bits of a tag: the sections that follow the own section.
const SETTING: u64 = 1;
const REFERER: u64 = 2;
const CONNECTION_SHIFT: u32 = 2;

const GAP: u8 = 0;
const EXPIRED: u8 = 1;

#[derive(Debug)]
pub(crate) struct Rows {
    node: Arc<str>,
    clock: ClockState,
    /// The rows after their common beginning; empty without rows.
    bytes: Vec<u8>,
    count: u32,
    span: (i64, i64),
    time: i64,
    connections: Vec<KnownConnection>,
    packed: Packed,
}

/// The rows of a block by themselves. They mean the same in every store.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct RowBlock {
    pub(crate) count: u32,
    /// The earliest and the latest time, in milliseconds.
    pub(crate) span: (i64, i64),
    pub(crate) bytes: Vec<u8>,
}

/// A connection described in this block, and what its last row said.
#[derive(Debug)]
struct KnownConnection {
    facts: Arc<ConnectionFacts>,
    setting: Range<usize>,
    /// What the setting was packed from, if known.
    of: Option<SettingSource>,
    referer: Range<usize>,
}

impl KnownConnection {
    fn describe(connection: &Arc<ConnectionFacts>, out: &mut Vec<u8>) -> Self {
        let mut description = Vec::with_capacity(128);
        pack_connection(connection, &mut description);
        write_bytes(&description, out);
        Self { facts: Arc::clone(connection), setting: 0..0, of: None, referer: 0..0 }
    }
}

impl Rows {
    /// No rows; `node` is the name of this edge.
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

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The earliest and the latest time, in milliseconds; `None` without rows.
    pub(crate) fn span(&self) -> Option<(i64, i64)> {
        (self.count > 0).then_some(self.span)
    }

    pub(crate) fn clock(&self) -> ClockState {
        self.clock
    }

    /// Sets the state of the clock for the whole block: the caller seals existing rows first.
    pub(crate) fn set_clock(&mut self, clock: ClockState) {
        self.clock = clock;
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
        self.connections.clear();
    }

    /// Takes the rows, if there are any.
    pub(crate) fn take(&mut self) -> Option<RowBlock> {
        let (count, span) = (self.count, self.span()?);
        let bytes = std::mem::take(&mut self.bytes);
        self.clear();
        Some(RowBlock { count, span, bytes })
    }

    /// Puts `block` in the place of the rows, which the caller has sealed before. It must be sealed by itself.
    pub(crate) fn adopt(&mut self, block: RowBlock) {
        debug_assert!(self.count == 0, "rows of two origins do not mix");
        (self.count, self.span, self.bytes) = (block.count, block.span, block.bytes);
    }

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
                // From the second record on: most connections in a block have only one.
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
            self.connections.push(KnownConnection::describe(connection, &mut self.bytes));
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

    pub(crate) fn push_gap(&mut self, gap: &Gap) {
        self.begin_note(gap.time, GAP);
        write_bytes(gap.reason.label().as_bytes(), &mut self.bytes);
        write_signed(gap.since.as_millisecond(), &mut self.bytes);
        write_number(gap.count.map_or(0, |count| count.saturating_add(1)), &mut self.bytes);
    }

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

    /// Counts a row; returns the milliseconds since the one before it.
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

fn append(section: &[u8], out: &mut Vec<u8>) -> Range<usize> {
    write_bytes(section, out);
    out.len() - section.len()..out.len()
}

#[cfg(test)]
mod tests;
