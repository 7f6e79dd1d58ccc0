//! Follows a store while it is written: its records in the order of `seq`, block by block.
//!
//! Only records below the durable watermark are returned: a record that is not synced may be lost and its
//! number given to another. Memory is one block, whatever the backlog.

use std::io;
use std::path::{Path, PathBuf};

use crate::access::fields::Fields;
use crate::retention::format::block::Unpacker;
use crate::retention::format::frames::{Frames, Step};
use crate::retention::format::rows::reader::RowReader;
use crate::retention::format::segment::{self, Segment};
use crate::retention::format::{BlockHead, Frame};

/// Reads a store from a given record up to the watermark.
pub struct Follower {
    directory: PathBuf,
    /// The `seq` of the next record.
    next_seq: u64,
    current: Option<Current>,
    unpacker: Unpacker,
    rows: Vec<u8>,
    /// The block in `rows`, while some of its records are not read.
    block: Option<OpenBlock>,
}

/// How far a block is read.
#[derive(Debug)]
struct OpenBlock {
    reader: RowReader,
    /// The first record to return.
    from: u64,
    /// The `seq` after the last record.
    to: u64,
}

struct Current {
    frames: Frames,
    first_block: u64,
    /// A newer segment exists, so this one no longer grows.
    is_final: bool,
}

/// What a follower finds next.
#[derive(Debug)]
pub enum Found<'f> {
    /// The records of one block. Those that are not taken come again with the next call.
    Records(Records<'f>),
    /// Records that cannot be read: damaged, or deleted before they were read.
    Missing(Missing),
}

/// Records `from..to`, by `seq`, that cannot be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Missing {
    /// The first.
    pub from: u64,
    /// The one after the last.
    pub to: u64,
}

/// The records of one block, in the order of `seq`.
#[derive(Debug)]
pub struct Records<'f> {
    rows: &'f [u8],
    /// `None` after the last record.
    block: &'f mut Option<OpenBlock>,
}

impl<'f> Iterator for Records<'f> {
    type Item = Result<Fields<'f>, Missing>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let block = self.block.as_mut()?;
            match block.reader.next(self.rows) {
                Some(Ok(fields)) if fields.seq < block.from => {}
                Some(Ok(fields)) => {
                    block.from = fields.seq + 1;
                    return Some(Ok(fields));
                }
                Some(Err(_)) => {
                    let missing = Missing { from: block.from, to: block.to };
                    *self.block = None;
                    return Some(Err(missing));
                }
                None => *self.block = None,
            }
        }
    }
}

impl Follower {
    /// Follows the store in `directory` from the record `seq` on.
    pub fn new(directory: &Path, seq: u64) -> io::Result<Self> {
        let (unpacker, rows) = (Unpacker::new()?, Vec::new());
        Ok(Self {
            directory: directory.to_owned(),
            next_seq: seq,
            current: None,
            unpacker,
            rows,
            block: None,
        })
    }

    /// The record that comes next.
    pub fn next_seq(&self) -> u64 {
        self.block.as_ref().map_or(self.next_seq, |block| block.from)
    }

    /// Bytes of the store from here to its end. Reads the directory.
    pub fn bytes_left(&self) -> io::Result<u64> {
        let (first, read) = self.current.as_ref().map_or((0, 0), |one| (one.first_block, one.frames.at()));
        let mut bytes = 0;
        for segment in segment::list(&self.directory)? {
            if segment.name.first_block >= first {
                bytes += fs_err::metadata(&segment.path)?.len();
            }
        }
        Ok(bytes.saturating_sub(read))
    }

    /// The next records, all before `synced_before`; `None` if there are no more yet. Reads the disk.
    pub fn next(&mut self, synced_before: u64) -> io::Result<Option<Found<'_>>> {
        if self.block.is_some() {
            return Ok(Some(self.records()));
        }
        while self.next_seq < synced_before {
            let Some(current) = &mut self.current else {
                let Some(first) = first_segment(&self.directory, self.next_seq)? else { return Ok(None) };
                self.current = Current::open(&first)?;
                continue;
            };
            match current.frames.next_step()? {
                Step::Frame(Frame::Head(head), _) if head.first_seq > self.next_seq => {
                    return Ok(Some(self.skip_to(head.first_seq.min(synced_before))));
                }
                Step::Frame(Frame::Block(head), at) if head.next_seq() > self.next_seq => {
                    if head.next_seq() > synced_before {
                        current.frames.rewind(at);
                        return Ok(None);
                    }
                    if head.first_seq > self.next_seq {
                        current.frames.rewind(at);
                        return Ok(Some(self.skip_to(head.first_seq)));
                    }
                    return self.read_block(&head, at).map(Some);
                }
                // Skips blocks read before, checkpoints, and damage: the next numbers tell what is missing.
                Step::Frame(..) | Step::Damage { .. } => {}
                Step::End { .. } => {
                    if !self.go_on()? {
                        return Ok(None);
                    }
                }
            }
        }
        Ok(None)
    }

    fn skip_to(&mut self, seq: u64) -> Found<'static> {
        let from = std::mem::replace(&mut self.next_seq, seq);
        Found::Missing(Missing { from, to: seq })
    }

    fn read_block(&mut self, head: &BlockHead, at: u64) -> io::Result<Found<'_>> {
        let from = std::mem::replace(&mut self.next_seq, head.next_seq());
        let whole = match &mut self.current {
            Some(current) => self.unpacker.unpack(*head, current.frames.payload(at, head)?, &mut self.rows),
            None => false,
        };
        if !whole {
            return Ok(Found::Missing(Missing { from, to: self.next_seq }));
        }
        self.block = Some(OpenBlock { reader: RowReader::of(head), from, to: self.next_seq });
        Ok(self.records())
    }

    fn records(&mut self) -> Found<'_> {
        Found::Records(Records { rows: &self.rows, block: &mut self.block })
    }

    /// At the end of a segment: whether there may be more to read, in it or in the next one.
    fn go_on(&mut self) -> io::Result<bool> {
        let Some(current) = &mut self.current else { return Ok(true) };
        let mut segments = segment::list(&self.directory)?.into_iter();
        let Some(next) = segments.find(|next| next.name.first_block > current.first_block) else {
            return Ok(false);
        };
        if std::mem::replace(&mut current.is_final, true) {
            self.current = Current::open(&next)?;
        }
        // A block may have been added between the end and the listing: the segment is read once more.
        Ok(true)
    }
}

impl Current {
    /// `None` if the segment was deleted since it was listed.
    fn open(segment: &Segment) -> io::Result<Option<Self>> {
        match Frames::open(&segment.path) {
            Ok(frames) => Ok(Some(Self { frames, first_block: segment.name.first_block, is_final: false })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The segment with the record `seq`, judged by segment heads; the oldest one if the record is older.
fn first_segment(directory: &Path, seq: u64) -> io::Result<Option<Segment>> {
    let mut segments = segment::list(directory)?;
    while segments.len() > 1 {
        let Some(newest) = segments.last() else { break };
        let first = match Frames::open_for_heads(&newest.path) {
            Ok(mut frames) => Some(frames.next_step()?),
            // Deleted since it was listed, like all before it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if matches!(first, Some(Step::Frame(Frame::Head(head), 0)) if head.first_seq <= seq) {
            break;
        }
        segments.pop();
    }
    Ok(segments.pop())
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").field("next_seq", &self.next_seq).finish_non_exhaustive()
    }
}
