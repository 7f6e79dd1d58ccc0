//! What files were when they were read, as far as the system tells without reading them.
//!
//! A stamp is taken before its file is read, so that a change in between shows as one.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The stamps of files.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Stamps(BTreeMap<PathBuf, Option<Stamp>>);

/// Device, inode, size, and the times of the last change of content and of inode.
type Stamp = (u64, u64, u64, (i64, i64), (i64, i64));

impl Stamps {
    /// Stamps a file, which may be missing, unless it is already.
    pub fn take(&mut self, file: &Path) {
        if !self.0.contains_key(file) {
            self.0.insert(file.to_owned(), stamp(file));
        }
    }

    /// The files.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.0.keys().map(PathBuf::as_path)
    }

    /// Whether each file is what it was.
    pub fn still_hold(&self) -> bool {
        self.0.iter().all(|(file, before)| stamp(file) == *before)
    }
}

fn stamp(file: &Path) -> Option<Stamp> {
    let found = fs_err::metadata(file).ok()?;
    Some((
        found.dev(),
        found.ino(),
        found.size(),
        (found.mtime(), found.mtime_nsec()),
        (found.ctime(), found.ctime_nsec()),
    ))
}
