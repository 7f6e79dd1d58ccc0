//! Reading a store, while it is written to or long after.
//!
//! Records come oldest first and as they were written, byte for byte. Memory is one line at a time,
//! however large the store is.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Read};
use std::iter::Peekable;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use fs_err::File;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::retention::segment::{self, LINE_LIMIT, Segment};

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

    fn takes(&self, time: Timestamp, fields: &Fields<'_>) -> bool {
        let host = |wanted: &String| {
            [&fields.host, &fields.server_name]
                .into_iter()
                .flatten()
                .any(|name| name.eq_ignore_ascii_case(wanted))
        };
        self.from.is_none_or(|from| time >= from)
            && self.to.is_none_or(|to| time < to)
            && self.client.is_none_or(|client| fields.client_ip == Some(client.to_canonical()))
            && self.host.as_ref().is_none_or(host)
    }
}

/// What a record is chosen by.
#[derive(Deserialize)]
struct Fields<'l> {
    seq: u64,
    time: &'l str,
    #[serde(borrow)]
    host: Option<Cow<'l, str>>,
    #[serde(borrow)]
    server_name: Option<Cow<'l, str>>,
    client_ip: Option<IpAddr>,
}

/// What a store holds, piece by piece.
#[derive(Debug, Eq, PartialEq)]
pub enum Item<'r> {
    /// A record that was wanted: its line, newline included.
    Record(&'r [u8]),
    /// A line that is no record.
    NoRecord {
        /// The segment.
        segment: &'r Path,
        /// The line, from 1.
        line: u64,
    },
    /// The rest of a failed write, whose records follow in the next segment.
    Rewritten {
        /// The segment.
        segment: &'r Path,
        /// The line, from 1.
        line: u64,
    },
}

/// Reads a store from its oldest record to its newest at the time.
pub struct Reader {
    segments: Peekable<std::vec::IntoIter<Segment>>,
    selection: Selection,
    current: Option<Current>,
    line: Vec<u8>,
}

struct Current {
    path: PathBuf,
    file: BufReader<File>,
    line: u64,
    /// The first number of the next segment.
    end: Option<u64>,
}

/// What can be read of a line.
enum Line {
    Whole,
    TooLong,
    /// The segment's end, or a line that is being written.
    End,
}

impl Reader {
    /// Opens the store in `directory`.
    pub fn open(directory: &Path, selection: Selection) -> io::Result<Self> {
        let segments = segment::list(directory)?.into_iter().peekable();
        Ok(Self { segments, selection, current: None, line: Vec::new() })
    }

    /// The next piece; `None` at the end. A segment that the writer has deleted since is passed over.
    pub fn next_item(&mut self) -> io::Result<Option<Item<'_>>> {
        let found = loop {
            let Some(current) = &mut self.current else {
                if !self.next_segment()? {
                    return Ok(None);
                }
                continue;
            };
            let read = read_line(&mut current.file, &mut self.line)?;
            current.line += 1;
            match read {
                Line::End => {
                    self.current = None;
                    continue;
                }
                Line::TooLong => break Found::NoRecord,
                Line::Whole => {}
            }
            let Some((time, fields)) = parse(&self.line) else { break Found::NoRecord };
            if current.end.is_some_and(|end| fields.seq >= end) {
                break Found::Rewritten;
            }
            if self.selection.takes(time, &fields) {
                break Found::Record;
            }
        };
        let Some(Current { path, line, .. }) = &self.current else { return Ok(None) };
        Ok(Some(match found {
            Found::Record => Item::Record(&self.line),
            Found::NoRecord => Item::NoRecord { segment: path, line: *line },
            Found::Rewritten => Item::Rewritten { segment: path, line: *line },
        }))
    }

    fn next_segment(&mut self) -> io::Result<bool> {
        while let Some(segment) = self.segments.next() {
            let opened = self
                .selection
                .may_be_in(&segment)
                .and_then(|wanted| if wanted { File::open(&segment.path).map(Some) } else { Ok(None) });
            match opened {
                Ok(Some(file)) => {
                    let end = self.segments.peek().map(|next| next.name.first_seq);
                    let file = BufReader::with_capacity(256 * 1024, file);
                    self.current = Some(Current { path: segment.path, file, line: 0, end });
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

enum Found {
    Record,
    NoRecord,
    Rewritten,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("selection", &self.selection).finish_non_exhaustive()
    }
}

fn read_line(file: &mut BufReader<File>, line: &mut Vec<u8>) -> io::Result<Line> {
    line.clear();
    file.by_ref().take(LINE_LIMIT as u64).read_until(b'\n', line)?;
    if line.last() == Some(&b'\n') {
        Ok(Line::Whole)
    } else if line.len() < LINE_LIMIT {
        Ok(Line::End)
    } else {
        line.clear();
        file.skip_until(b'\n')?;
        Ok(Line::TooLong)
    }
}

fn parse(line: &[u8]) -> Option<(Timestamp, Fields<'_>)> {
    let fields: Fields<'_> = serde_json::from_slice(line).ok()?;
    Some((fields.time.parse().ok()?, fields))
}

/// A store at a glance.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Summary {
    /// Segment files.
    pub segments: u64,
    /// Records in them.
    pub records: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// The time of the first record.
    pub from: Option<Timestamp>,
    /// The time of the last record.
    pub to: Option<Timestamp>,
    /// Bytes free on the store's disk.
    pub free_bytes: u64,
}

/// Sums a store up from its names, sizes, and first and last records.
pub fn summarize(directory: &Path) -> io::Result<Summary> {
    let segments = segment::list(directory)?;
    let disk = rustix::fs::statvfs(directory)?;
    let mut summary = Summary {
        segments: segments.len() as u64,
        records: 0,
        bytes: 0,
        from: None,
        to: None,
        free_bytes: disk.f_bavail.saturating_mul(disk.f_frsize),
    };
    for segment in &segments {
        summary.bytes += fs_err::metadata(&segment.path)?.len();
    }
    for segment in segments.iter().rev() {
        if let Some(last) = segment::last_stamp(&segment.path)? {
            summary.to = Some(last.time);
            // Numbers have no gap within a store.
            let first = segments.first().map_or(last.seq, |first| first.name.first_seq);
            summary.records = (last.seq + 1).saturating_sub(first);
            break;
        }
    }
    for segment in &segments {
        if let Some(first) = segment::first_stamp(&segment.path)? {
            summary.from = Some(first.time);
            break;
        }
    }
    Ok(summary)
}
