//! A summary of a store, read from heads only.

use std::io;
use std::path::Path;

use jiff::Timestamp;

use crate::retention::format::Frame;
use crate::retention::format::frames::{Frames, Step};
use crate::retention::format::note::{VERIFIER_FILE, read_note};
use crate::retention::format::segment;

/// A summary of a store.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Summary {
    /// Segment files.
    pub segments: u64,
    /// Records in the store.
    pub records: u64,
    /// Bytes of all segments.
    pub bytes: u64,
    /// The time of the earliest record.
    pub from: Option<Timestamp>,
    /// The time of the latest record.
    pub to: Option<Timestamp>,
    /// Bytes free on the disk of the store.
    pub free_bytes: u64,
    /// The verifier key in use.
    pub verifier_key: Option<String>,
}

/// Summarizes a store from the first and the last blocks of its segments.
pub fn summarize(directory: &Path) -> io::Result<Summary> {
    let segments = segment::list(directory)?;
    let disk = rustix::fs::statvfs(directory)?;
    let key = read_note(&directory.join(VERIFIER_FILE)).ok().and_then(|keys| String::from_utf8(keys).ok());
    let mut summary = Summary {
        segments: segments.len() as u64,
        records: 0,
        bytes: 0,
        from: None,
        to: None,
        free_bytes: disk.f_bavail.saturating_mul(disk.f_frsize),
        verifier_key: key.and_then(|keys| Some(keys.lines().next()?.to_owned())),
    };
    let mut first_seq = None;
    for segment in &segments {
        summary.bytes += fs_err::metadata(&segment.path)?.len();
        let mut frames = Frames::open_for_heads(&segment.path)?;
        if let Some((seq, from)) = first_block(&mut frames)?.filter(|_| first_seq.is_none()) {
            (first_seq, summary.from) = (Some(seq), from);
        }
    }
    for segment in segments.iter().rev() {
        if let Some((next_seq, to)) = last_block(&mut Frames::open_for_heads(&segment.path)?)? {
            summary.to = to;
            // Record numbers have no gap within a store.
            summary.records = next_seq.saturating_sub(first_seq.unwrap_or(next_seq));
            break;
        }
    }
    Ok(summary)
}

/// The number and the time of the first record of a segment.
fn first_block(frames: &mut Frames) -> io::Result<Option<(u64, Option<Timestamp>)>> {
    loop {
        match frames.next_step()? {
            Step::Frame(Frame::Block(head), _) if !head.is_end() => {
                return Ok(Some((head.first_seq, Timestamp::from_millisecond(head.earliest).ok())));
            }
            Step::End { .. } => return Ok(None),
            Step::Frame(..) | Step::Damage { .. } => {}
        }
    }
}

/// The number after the last record of a segment, and the time of its latest record.
fn last_block(frames: &mut Frames) -> io::Result<Option<(u64, Option<Timestamp>)>> {
    let mut found: Option<(u64, Option<Timestamp>)> = None;
    loop {
        match frames.next_step()? {
            Step::Frame(Frame::Block(head), _) if !head.is_end() => {
                let latest = found.and_then(|(_, latest)| latest).max(head.latest_time());
                found = Some((head.next_seq(), latest));
            }
            Step::End { .. } => return Ok(found),
            Step::Frame(..) | Step::Damage { .. } => {}
        }
    }
}
