//! Room that is kept for when the disk is full: a file whose blocks are already allocated.
//!
//! When there is no space for a new segment, this file becomes it: it takes the records of exchanges
//! that were accepted before, and of what is missing. Until there is room for the next one, nothing
//! else is accepted.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use fs_err::os::unix::fs::OpenOptionsExt;
use fs_err::{File, OpenOptions};
use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
use rustix::io::Errno;

const FILE: &str = ".emergency";
/// What it takes: more than what can be under way.
const BYTES: u64 = 16 * 1024 * 1024;
/// On a small disk it takes so much less of what is free.
const SHARE: u64 = 8;
/// Less is of no use.
const LEAST: u64 = 64 * 1024;

/// Whether there is room.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Emergency {
    /// There is.
    Ready,
    /// It has been used, or there was none.
    Used,
    /// The file system cannot allocate ahead.
    Unsupported,
}

impl Emergency {
    /// Allocates the room, if that is not done.
    pub(super) fn prepare(directory: &File) -> io::Result<Self> {
        let path = directory.path().join(FILE);
        let allocated = |blocks: u64| blocks * 512 >= LEAST;
        if fs_err::metadata(&path).is_ok_and(|file| file.len() == 0 && allocated(file.blocks())) {
            return Ok(Self::Ready);
        }
        let disk = fstatvfs(directory)?;
        let bytes = BYTES.min(disk.f_bavail.saturating_mul(disk.f_frsize) / SHARE);
        if bytes < LEAST {
            return Err(Errno::NOSPC.into());
        }
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(&path)?;
        match fallocate(&file, FallocateFlags::KEEP_SIZE, 0, bytes) {
            Ok(()) => {
                file.sync_all()?;
                Ok(Self::Ready)
            }
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                fs_err::remove_file(path)?;
                Ok(Self::Unsupported)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Makes the room the file at `path`.
    pub(super) fn take(directory: &File, path: &Path) -> io::Result<File> {
        fs_err::rename(directory.path().join(FILE), path)?;
        directory.sync_all()?;
        OpenOptions::new().append(true).open(path)
    }
}

/// Whether there is no space for more.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
