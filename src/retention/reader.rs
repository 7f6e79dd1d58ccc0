//! Reading a store, while it is written to or long after.
//!
//! Records come oldest first and as they were written, byte for byte. Memory is one block at a time,
//! however large the store is. A damaged block costs its own records: it is named and passed over.

use std::borrow::Cow;
use std::io;
use std::iter::Peekable;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::retention::block::Unpacker;
use crate::retention::format::{BlockHead, Frame};
use crate::retention::frames::{Frames, Step};
use crate::retention::segment::{self, Segment};

pub use crate::retention::summary::{Summary, summarize};

/// An exchange is recorded when it ends: segments opened so long after `to` are not searched for
/// exchanges that began before it.
const LONGEST_EXCHANGE: SignedDuration = SignedDuration::from_hours(24);
/// How far a clock may have been set back while a segment was written.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_hours(1);

/// Which records are wanted: those for which everything given holds.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Not before this time.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub to: Option<Timestamp>,
    /// With this host, or for a refused connection this server name; upper and lower case alike.
    pub host: Option<String>,
    /// From this client.
    pub client: Option<IpAddr>,
}

impl Selection {
    fn may_be_in(&self, segment: &Segment) -> io::Result<bool> {
        let from = self.from.and_then(|from| from.checked_sub(CLOCK_SLACK).ok());
        if let Some(from) = from
            && segment.modified()? < from
        {
            return Ok(false);
        }
        let to = self.to.and_then(|to| to.checked_add(LONGEST_EXCHANGE).ok());
        Ok(segment.name.opened_at().zip(to).is_none_or(|(opened, to)| opened <= to))
    }

    /// Whether records of a block may be wanted.
    pub(super) fn may_be_in_block(&self, head: &BlockHead) -> bool {
        let time = |milliseconds| Timestamp::from_millisecond(milliseconds).ok();
        self.from.zip(time(head.latest)).is_none_or(|(from, latest)| {
            // Times are kept in milliseconds, and `from` may be finer.
            latest.as_millisecond() >= from.as_millisecond()
        }) && self.to.zip(time(head.earliest)).is_none_or(|(to, earliest)| earliest < to)
    }

    /// Whether the record that a line holds is wanted.
    pub(super) fn wants(&self, line: &[u8]) -> bool {
        let everything =
            self.from.is_none() && self.to.is_none() && self.host.is_none() && self.client.is_none();
        everything || parse(line).is_some_and(|(time, fields)| self.takes(time, &fields))
    }

    fn takes(&self, time: Timestamp, fields: &Fields<'_>) -> bool {
        // A connection serves requests for other hosts than the one that it was opened for.
        let name = fields.host.as_ref().or(fields.server_name.as_ref());
        let host = |wanted: &String| name.is_some_and(|name| name.eq_ignore_ascii_case(wanted));
        self.from.is_none_or(|from| time >= from)
            && self.to.is_none_or(|to| time < to)
            && self.client.is_none_or(|client| fields.client_ip == Some(client.to_canonical()))
            && self.host.as_ref().is_none_or(host)
    }
}

/// What a record is chosen by.
#[derive(Deserialize)]
struct Fields<'l> {
    time: &'l str,
    #[serde(borrow)]
    host: Option<Cow<'l, str>>,
    #[serde(borrow)]
    server_name: Option<Cow<'l, str>>,
    client_ip: Option<IpAddr>,
}

fn parse(line: &[u8]) -> Option<(Timestamp, Fields<'_>)> {
    let fields: Fields<'_> = serde_json::from_slice(line).ok()?;
    Some((fields.time.parse().ok()?, fields))
}

/// What a store holds, piece by piece.
#[derive(Debug, Eq, PartialEq)]
pub enum Item<'r> {
    /// A record that was wanted: its line, newline included.
    Record(&'r [u8]),
    /// Records that cannot be read.
    Damage {
        /// The segment.
        segment: &'r Path,
        /// The first byte of it.
        from: u64,
        /// The byte after it.
        to: u64,
    },
}

/// Reads a store from its oldest record to its newest at the time.
pub struct Reader {
    segments: Peekable<std::vec::IntoIter<Segment>>,
    selection: Selection,
    current: Option<Current>,
    /// The current segment, or the one before.
    path: PathBuf,
    unpacker: Unpacker,
    lines: Vec<u8>,
    /// Where the next line of `lines` begins.
    at: usize,
}

struct Current {
    frames: Frames,
    /// The first block of the next segment; none for the newest.
    end: Option<u64>,
}

impl Reader {
    /// Opens the store in `directory`, or a proof, which is a file.
    pub fn open(directory: &Path, selection: Selection) -> io::Result<Self> {
        let proof = directory.is_file();
        let segments = if proof { Vec::new() } else { segment::list(directory)? }.into_iter().peekable();
        let frames = if proof { Some(Frames::open(directory)?) } else { None };
        let unpacker = Unpacker::new()?;
        Ok(Self {
            segments,
            selection,
            current: frames.map(|frames| Current { frames, end: None }),
            path: directory.to_owned(),
            unpacker,
            lines: Vec::new(),
            at: 0,
        })
    }

    /// The next piece; `None` at the end. A segment that the writer has deleted since is passed over.
    pub fn next_item(&mut self) -> io::Result<Option<Item<'_>>> {
        loop {
            if let Some((start, end)) = self.next_wanted_line() {
                return Ok(Some(Item::Record(&self.lines[start..end])));
            }
            if self.current.is_none() && !self.next_segment()? {
                return Ok(None);
            }
            let Some(current) = &mut self.current else { continue };
            match current.frames.next_step()? {
                Step::Frame(Frame::Block(head), at) => {
                    let rewritten = current.end.is_some_and(|end| head.number >= end);
                    if rewritten || !self.selection.may_be_in_block(&head) {
                        continue;
                    }
                    let payload = current.frames.payload(at, &head)?;
                    self.at = 0;
                    if !self.unpacker.unpack(head, payload, &mut self.lines) {
                        self.lines.clear();
                        let to = current.frames.at();
                        return Ok(Some(Item::Damage { segment: &self.path, from: at, to }));
                    }
                }
                Step::Frame(..) => {}
                Step::Damage { from, to } => {
                    return Ok(Some(Item::Damage { segment: &self.path, from, to }));
                }
                Step::End { at, length } => {
                    // Only the newest segment may end with something unfinished.
                    let unfinished = at < length && current.end.is_some();
                    self.current = None;
                    if unfinished {
                        return Ok(Some(Item::Damage { segment: &self.path, from: at, to: length }));
                    }
                }
            }
        }
    }

    /// Where in `lines` the next record lies that is wanted.
    fn next_wanted_line(&mut self) -> Option<(usize, usize)> {
        while self.at < self.lines.len() {
            let start = self.at;
            let length =
                memchr::memchr(b'\n', &self.lines[start..]).map_or(self.lines.len() - start, |at| at + 1);
            self.at += length;
            if self.selection.wants(&self.lines[start..self.at]) {
                return Some((start, self.at));
            }
        }
        None
    }

    fn next_segment(&mut self) -> io::Result<bool> {
        while let Some(segment) = self.segments.next() {
            let opened = self
                .selection
                .may_be_in(&segment)
                .and_then(|wanted| if wanted { Frames::open(&segment.path).map(Some) } else { Ok(None) });
            match opened {
                Ok(Some(frames)) => {
                    let end = self.segments.peek().map(|next| next.name.first_block);
                    self.path = segment.path;
                    self.current = Some(Current { frames, end });
                    return Ok(true);
                }
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("selection", &self.selection).finish_non_exhaustive()
    }
}
