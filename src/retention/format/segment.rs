//! Segment files.
//!
//! A segment is named `access-<opened>-<first block>.seg` and only ever appended to. Segments are ordered by
//! block number, since a clock may be set back. A segment is responsible for the blocks from its own first to
//! the first of the next segment; later blocks in it are remains of a failed write, and the next segment has
//! them too.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use fs_err::os::unix::fs::OpenOptionsExt;
use fs_err::{File, OpenOptions};
use jiff::Timestamp;
use jiff::civil::DateTime;

use crate::clock::SHANGHAI;
use crate::encryption;

/// The name of a segment.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct SegmentName {
    /// When it was opened, in Asia/Shanghai, to the second.
    pub opened: DateTime,
    /// The number of its first block.
    pub first_block: u64,
}

impl SegmentName {
    /// The name of a segment opened at `opened`.
    pub fn new(opened: Timestamp, first_block: u64) -> Self {
        let opened = SHANGHAI.to_datetime(opened);
        Self { opened: opened.with().subsec_nanosecond(0).build().unwrap_or(opened), first_block }
    }

    /// Parses a file name; `None` if it is not the name of a segment.
    pub fn parse(name: &str) -> Option<Self> {
        let (opened, block) = name.strip_prefix("access-")?.strip_suffix(".seg")?.split_once('-')?;
        if block.len() != 20 || !block.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let opened = DateTime::strptime("%Y%m%dT%H%M%S", opened).ok()?;
        // The date parser is lenient; a name has exactly one spelling.
        Some(Self { opened, first_block: block.parse().ok()? }).filter(|parsed| parsed.to_string() == name)
    }

    /// When it was opened.
    pub fn opened_at(&self) -> Option<Timestamp> {
        SHANGHAI.to_timestamp(self.opened).ok()
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "access-{}-{:020}.seg", self.opened.strftime("%Y%m%dT%H%M%S"), self.first_block)
    }
}

/// A segment file.
#[derive(Clone, Debug)]
pub struct Segment {
    /// The path of the file.
    pub path: PathBuf,
    /// Its parsed name.
    pub name: SegmentName,
}

impl Segment {
    /// When the file was last modified.
    pub fn modified(&self) -> io::Result<Timestamp> {
        Timestamp::try_from(fs_err::metadata(&self.path)?.modified()?).map_err(io::Error::other)
    }
}

/// The segments of a copy of a store that are encrypted, oldest first: `access-….seg.age`.
pub(crate) fn list_encrypted(directory: &Path) -> io::Result<Vec<Segment>> {
    list_as(directory, |name| SegmentName::parse(name.strip_suffix(encryption::SUFFIX)?))
}

/// How many segments in `directory` are encrypted; 0 for a store, and where nothing can be read.
pub fn encrypted_segments(directory: &Path) -> usize {
    list_encrypted(directory).map_or(0, |segments| segments.len())
}

/// The segments of a store, oldest first.
pub(crate) fn list(directory: &Path) -> io::Result<Vec<Segment>> {
    list_as(directory, SegmentName::parse)
}

fn list_as(directory: &Path, parse: fn(&str) -> Option<SegmentName>) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for entry in fs_err::read_dir(directory)? {
        let entry = entry?;
        let Some(name) = entry.file_name().to_str().and_then(parse) else { continue };
        if entry.file_type()?.is_file() {
            segments.push(Segment { path: entry.path(), name });
        }
    }
    segments.sort_by_key(|segment| (segment.name.first_block, segment.name.opened));
    Ok(segments)
}

/// The path of a segment.
pub(crate) fn path(directory: &File, name: SegmentName) -> PathBuf {
    directory.path().join(name.to_string())
}

/// Creates an empty segment (mode 0640). The directory is synced when this returns; after an error the file
/// may exist.
pub(crate) fn create(directory: &File, name: SegmentName) -> io::Result<File> {
    let path = path(directory, name);
    let file = OpenOptions::new().append(true).create_new(true).mode(0o640).open(path)?;
    directory.sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_when_it_was_opened_and_where_it_begins() {
        let text = "access-20260302T000000-00000000000000000042.seg";
        let name = SegmentName::parse(text).expect("a segment");
        assert_eq!(name.first_block, 42);
        let opened = name.opened_at().expect("a time");
        assert_eq!(Some(opened), "2026-03-01T16:00:00Z".parse().ok());
        assert_eq!(name.to_string(), text);
        assert_eq!(SegmentName::new(opened + jiff::SignedDuration::from_millis(999), 42), name);
        for other in [
            "access-20260302T000000-42.seg",
            "access.seg",
            ".lock",
            "access-x-00000000000000000042.seg",
            "access-+20260302T000000-00000000000000000042.seg",
            "access-20260302T0000 0-00000000000000000042.seg",
        ] {
            assert_eq!(SegmentName::parse(other), None, "{other}");
        }
    }
}
