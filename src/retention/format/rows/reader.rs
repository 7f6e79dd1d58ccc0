//! Reads the rows of a block.
//!
//! The bytes may be anything: a row is a record or malformed, never a panic.

use std::ops::Range;

use jiff::Timestamp;

use crate::access::fields::{ClockState, Detail, Fields};
use crate::access::packed::Sections;
use crate::access::packed::unpack::unpack;
use crate::access::wire::Wire;
use crate::retention::format::BlockHead;
use crate::retention::format::rows::{CONNECTION_SHIFT, EXPIRED, GAP, NOTE, REFERER, SETTING};

/// Reads the rows of a block.
#[derive(Debug, Default)]
pub(crate) struct RowReader {
    at: usize,
    seq: u64,
    /// How many rows are left, if known from the head.
    left: Option<u32>,
    time: i64,
    clock: ClockState,
    node: Range<usize>,
    connections: Vec<ReadConnection>,
}

/// A connection described in the block, with the ranges of its last sections.
#[derive(Clone, Debug)]
struct ReadConnection {
    description: Range<usize>,
    setting: Range<usize>,
    referer: Range<usize>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Malformed;

impl RowReader {
    /// Reads the first rows of a block whose first record has the number `first_seq`.
    pub(crate) fn new(first_seq: u64) -> Self {
        Self { seq: first_seq, ..Self::default() }
    }

    /// Reads all rows of the block with `head`. More or fewer rows than it says are malformed, so that no
    /// number is given twice.
    pub(crate) fn of(head: &BlockHead) -> Self {
        Self { left: Some(head.count), ..Self::new(head.first_seq) }
    }

    /// The next record in `bytes`, the rows of the block; `None` at the end and after a malformed row.
    pub(crate) fn next<'b>(&mut self, bytes: &'b [u8]) -> Option<Result<Fields<'b>, Malformed>> {
        if self.at >= bytes.len() {
            // Missing rows are reported once.
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
            self.connections.push(ReadConnection { description, setting: 0..0, referer: 0..0 });
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
