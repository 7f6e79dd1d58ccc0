//! Writing a store: one writer thread, and the workers that hand records to it.

pub(crate) mod appender;
mod client_budget;
mod emergency;
mod expiry;
pub(crate) mod feed;
mod forwarder;
mod gaps;
mod intake;
pub(crate) mod kernel_clock;
mod lanes;
mod link;
mod lock;
pub(crate) mod notary;
mod predecessor;
mod prefetch;
mod premises;
pub(crate) mod recorder;
pub(crate) mod recovery;
mod refusals;
mod spool;
pub(crate) mod stats;
pub(crate) mod store;
mod syncer;
pub(crate) mod unrecorded;
mod writer;

use std::io;
use std::path::PathBuf;
use std::time::Instant;

use jiff::Timestamp;

/// Why no record can be kept now.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StoreFull {
    /// Every slot is taken, or the records that wait are too large.
    #[error("too many access records are under way or not yet written")]
    Queue,
    /// Less disk is free than `access_log.reserve`.
    #[error("the disk of the access records has less free than access_log.reserve")]
    Reserve,
    /// The last write found no space.
    #[error("the disk of the access records is full")]
    NoSpace,
    /// The file system became read-only.
    #[error("the file system of the access records is read-only")]
    ReadOnly,
    /// The last write or sync failed for another reason.
    #[error("the access records cannot be written")]
    Failing,
    /// The writer has ended.
    #[error("the store of access records is closed")]
    Closed,
}

impl StoreFull {
    /// All reasons.
    pub const ALL: [Self; 6] =
        [Self::Queue, Self::Reserve, Self::NoSpace, Self::ReadOnly, Self::Failing, Self::Closed];

    /// The label in metrics and on the status page.
    pub fn label(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Reserve => "reserve",
            Self::NoSpace => "no_space",
            Self::ReadOnly => "read_only",
            Self::Failing => "failing",
            Self::Closed => "closed",
        }
    }
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory or a file in it cannot be read or written.
    #[error("access_log.directory {}: {cause}{}", directory.display(), hint(cause))]
    Unusable {
        /// The store.
        directory: PathBuf,
        /// The failure. Its text is part of the message, so it is not a source.
        cause: io::Error,
    },
    /// Another process has it open.
    #[error(
        "access_log.directory {}: another process writes to it; give each edge a directory of its own",
        .0.display()
    )]
    InUse(PathBuf),
}

/// A hint for errors that the kind or the mode of the directory causes.
fn hint(cause: &io::Error) -> &'static str {
    match cause.kind() {
        // Creating a directory fails so where a file has its name.
        io::ErrorKind::PermissionDenied
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::AlreadyExists
        | io::ErrorKind::ReadOnlyFilesystem => "; it must be a directory that this user may write to",
        _ => "",
    }
}

/// Records could not be written when the store was closed.
#[derive(Debug, thiserror::Error)]
#[error("access_log.directory {}: {lost} access records are lost: {cause}", directory.display())]
pub struct CloseError {
    /// The store.
    pub directory: PathBuf,
    /// Exchanges and refusals that have no record.
    pub lost: u64,
    /// The last failure. Its text is part of the message, so it is not a source.
    pub cause: io::Error,
}

/// How much of a store is safe on the disk.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Progress {
    /// The durable watermark: every record with a lower `seq` is synced, and survives a power failure.
    pub synced_before: u64,
    /// Every segment whose first block has a lower number is complete and never changes again.
    pub sealed_before: u64,
}

/// A time on both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// For durations.
    pub(crate) monotonic: Instant,
    /// For records.
    pub(crate) wall: Timestamp,
}

#[cfg(test)]
mod tests;
