//! The emergency file: disk space allocated ahead, for when the disk is full.
//!
//! When there is no space for a new segment, this file becomes it. It takes the records of exchanges that
//! were accepted before, and the record of the gap. Nothing else is accepted until the file can be allocated
//! again.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use fs_err::os::unix::fs::OpenOptionsExt;
use fs_err::{File, OpenOptions};
use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
use rustix::io::Errno;

const FILE: &str = ".emergency";
/// 16 MiB: more than all slots can need.
const BYTES: u64 = 16 * 1024 * 1024;
/// On a small disk the file takes this fraction of the free space: 1/8.
const SHARE: u64 = 8;
/// 64 KiB. A smaller file is not worth allocating.
const LEAST: u64 = 64 * 1024;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Emergency {
    Ready,
    /// It was used, or is not allocated yet.
    Used,
    /// The file system cannot allocate space ahead.
    Unsupported,
}

impl Emergency {
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

    /// Renames the file to `path`, a new segment.
    pub(super) fn take(directory: &File, path: &Path) -> io::Result<File> {
        fs_err::rename(directory.path().join(FILE), path)?;
        directory.sync_all()?;
        OpenOptions::new().append(true).open(path)
    }
}

pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
