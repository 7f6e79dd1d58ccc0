//! Stamps of files: whether a file has changed, without reading it.
//!
//! A stamp is taken before its file is read, so that a change in between is noticed.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The stamps of files.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Stamps(BTreeMap<PathBuf, Option<Stamp>>);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    mode: u32,
    /// mtime and ctime, in seconds and nanoseconds.
    changed: [(i64, i64); 2],
}

impl Stamp {
    /// Whether users outside the owner and the group may read the file.
    pub(super) fn is_readable_by_others(self) -> bool {
        self.mode & 0o007 != 0
    }
}

impl Stamps {
    /// Stamps a file, which may be missing, unless it is stamped already.
    pub fn take(&mut self, file: &Path) {
        self.stamp(file);
    }

    pub(super) fn stamp(&mut self, file: &Path) -> Option<Stamp> {
        if let Some(known) = self.0.get(file) {
            return *known;
        }
        let stamp = stamp(file);
        self.0.insert(file.to_owned(), stamp);
        stamp
    }

    /// The stamps of the same files now.
    pub(super) fn anew(&self) -> Self {
        let mut now = Self::default();
        self.files().for_each(|file| now.take(file));
        now
    }

    /// Adds stamps that were taken apart.
    pub(super) fn extend(&mut self, other: &Self) {
        self.0.extend(other.0.iter().map(|(file, stamp)| (file.clone(), *stamp)));
    }

    /// The stamped files.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.0.keys().map(PathBuf::as_path)
    }

    /// Whether every file is unchanged.
    pub fn still_hold(&self) -> bool {
        self.0.iter().all(|(file, before)| stamp(file) == *before)
    }
}

fn stamp(file: &Path) -> Option<Stamp> {
    let found = fs_err::metadata(file).ok()?;
    Some(Stamp {
        device: found.dev(),
        inode: found.ino(),
        size: found.size(),
        mode: found.mode(),
        changed: [(found.mtime(), found.mtime_nsec()), (found.ctime(), found.ctime_nsec())],
    })
}
