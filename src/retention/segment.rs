//! Segment files: what the store is made of.
//!
//! A segment is `access-<opened>-<first seq>.ndjson`: whole lines, one record each, only ever
//! appended to. Order is by sequence number, since a clock may have been set back in between. A
//! segment answers for the numbers from its own up to the next segment's first: lines beyond
//! are the remains of a failed write, and were written again there.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use fs_err::os::unix::fs::OpenOptionsExt;
use fs_err::{File, OpenOptions};
use jiff::Timestamp;
use jiff::civil::DateTime;
use serde::Deserialize;

use crate::clock::SHANGHAI;

/// The longest line that is taken for a record, in bytes.
pub(super) const LINE_LIMIT: usize = 1024 * 1024;

/// A segment's name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct SegmentName {
    /// When it was opened, in Asia/Shanghai, to the second.
    pub(super) opened: DateTime,
    /// The number of the first record in it.
    pub(super) first_seq: u64,
}

impl SegmentName {
    /// Parses a file name; `None` for a file that is no segment.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (opened, seq) = name.strip_prefix("access-")?.strip_suffix(".ndjson")?.split_once('-')?;
        if seq.len() != 20 || !seq.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(Self { opened: DateTime::strptime("%Y%m%dT%H%M%S", opened).ok()?, first_seq: seq.parse().ok()? })
    }

    /// When it was opened.
    pub(super) fn opened_at(&self) -> Option<Timestamp> {
        SHANGHAI.to_timestamp(self.opened).ok()
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "access-{}-{:020}.ndjson", self.opened.strftime("%Y%m%dT%H%M%S"), self.first_seq)
    }
}

/// A segment as a listing shows it.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    /// Where it is.
    pub(super) path: PathBuf,
    /// What its name says.
    pub(super) name: SegmentName,
}

impl Segment {
    /// When it was last written to.
    pub(super) fn modified(&self) -> io::Result<Timestamp> {
        Timestamp::try_from(fs_err::metadata(&self.path)?.modified()?).map_err(io::Error::other)
    }
}

/// The segments of a store, oldest first.
pub(super) fn list(directory: &Path) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for entry in fs_err::read_dir(directory)? {
        let entry = entry?;
        let Some(name) = entry.file_name().to_str().and_then(SegmentName::parse) else { continue };
        if entry.file_type()?.is_file() {
            segments.push(Segment { path: entry.path(), name });
        }
    }
    segments.sort_by_key(|segment| (segment.name.first_seq, segment.name.opened));
    Ok(segments)
}

/// Creates an empty segment (mode 0640) for records from `first_seq` on; its name is on disk when
/// this returns.
pub(super) fn create(directory: &File, opened: Timestamp, first_seq: u64) -> io::Result<File> {
    let name = SegmentName { opened: SHANGHAI.to_datetime(opened), first_seq };
    let path = directory.path().join(name.to_string());
    let file = OpenOptions::new().append(true).create_new(true).mode(0o640).open(&path)?;
    directory.sync_all().inspect_err(|_| drop(fs_err::remove_file(&path)))?;
    Ok(file)
}

/// What the store needs to know of a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Stamp {
    /// Its number.
    pub(super) seq: u64,
    /// Its time.
    pub(super) time: Timestamp,
}

impl Stamp {
    /// Reads a line, without its newline; `None` when it is no record.
    pub(super) fn of(line: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Fields<'l> {
            seq: u64,
            time: &'l str,
        }
        let fields: Fields<'_> = serde_json::from_slice(line).ok()?;
        Some(Self { seq: fields.seq, time: fields.time.parse().ok()? })
    }
}

/// Cuts off a last line that was never finished; how many bytes that were.
pub(super) fn cut_torn_tail(path: &Path) -> io::Result<u64> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let length = file.metadata()?.len();
    let whole = end_of_last_line(&mut file, length)?;
    if whole < length {
        file.set_len(whole)?;
        file.sync_all()?;
    }
    Ok(length - whole)
}

fn end_of_last_line(file: &mut File, length: u64) -> io::Result<u64> {
    const CHUNK: u64 = 64 * 1024;
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(CHUNK);
        let bytes = read_range(file, start, end)?;
        if let Some(newline) = bytes.iter().rposition(|&byte| byte == b'\n') {
            return Ok(start + newline as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// The stamp of the last whole line that is a record, if one is near the end.
pub(super) fn last_stamp(path: &Path) -> io::Result<Option<Stamp>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    for window in [16 * 1024, 2 * LINE_LIMIT as u64] {
        let start = length.saturating_sub(window);
        let bytes = read_range(&mut file, start, length)?;
        let mut lines = bytes.split(|&byte| byte == b'\n').rev();
        // What follows the last newline is not finished.
        lines.next();
        if let Some(stamp) = lines.find_map(Stamp::of) {
            return Ok(Some(stamp));
        }
    }
    Ok(None)
}

/// The stamp of the first line that is a record, if one is near the beginning.
pub(super) fn first_stamp(path: &Path) -> io::Result<Option<Stamp>> {
    let mut file = File::open(path)?;
    let bytes = read_range(&mut file, 0, 2 * LINE_LIMIT as u64)?;
    Ok(bytes.split(|&byte| byte == b'\n').find_map(Stamp::of))
}

/// The bytes from `start` to `end`, or to the end of the file.
fn read_range(file: &mut File, start: u64, end: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    file.take(end - start).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_when_it_was_opened_and_where_it_begins() {
        let name =
            SegmentName::parse("access-20260302T000000-00000000000000000042.ndjson").expect("a segment");
        assert_eq!(name.first_seq, 42);
        assert_eq!(name.opened_at(), "2026-03-01T16:00:00Z".parse().ok());
        assert_eq!(name.to_string(), "access-20260302T000000-00000000000000000042.ndjson");
        for other in [
            "access-20260302T000000-42.ndjson",
            "access.ndjson",
            ".lock",
            "access-x-00000000000000000042.ndjson",
        ] {
            assert_eq!(SegmentName::parse(other), None, "{other}");
        }
    }

    #[test]
    fn wherever_a_segment_is_torn_only_whole_lines_are_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("segment");
        let lines: String = (1..=3)
            .map(|seq| format!("{{\"seq\":{seq},\"time\":\"2026-03-02T00:00:00.000+08:00\"}}\n"))
            .collect();
        let line = lines.len() / 3;
        for cut in 0..=lines.len() {
            fs_err::write(&path, &lines.as_bytes()[..cut]).expect("written");
            assert_eq!(cut_torn_tail(&path).expect("cut") as usize, cut % line);
            assert_eq!(fs_err::metadata(&path).expect("there").len() as usize, cut / line * line);
            let last = last_stamp(&path).expect("read").map(|stamp| stamp.seq as usize);
            assert_eq!(last, (cut >= line).then_some(cut / line));
        }
    }

    #[test]
    fn a_tail_longer_than_a_chunk_is_cut_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("segment");
        let mut bytes = b"{}\n".to_vec();
        bytes.resize(300_000, 0);
        fs_err::write(&path, &bytes).expect("written");
        assert_eq!(cut_torn_tail(&path).expect("cut"), 299_997);
        assert_eq!(last_stamp(&path).expect("read"), None);
    }
}
