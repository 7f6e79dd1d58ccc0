//! File descriptors: how many are left, and who may have them.
//!
//! The kernel gives each new descriptor the lowest free number (open(2)). The number of a new socket therefore tells
//! how many are taken, without counting. The last ones are kept for files: reloads, the record store, name lookups.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The share of the limit that is kept for files, and as much again for connections to servers.
const RESERVED: u64 = 8;
/// More than files, lookups, sinks and pages need.
const RESERVED_AT_MOST: u64 = 128;

/// The process' limit of descriptors.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Descriptors {
    limit: u64,
}

/// How much room there is beyond a descriptor.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Room {
    /// For clients and servers.
    Ample,
    /// For connections to servers. An idle client must make room for a new one.
    Scarce,
    /// For files only.
    Exhausted,
}

impl Descriptors {
    /// The soft limit of this process.
    pub fn of_process() -> Self {
        Self { limit: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) }
    }

    /// The limit of another process.
    pub fn with_limit(limit: u64) -> Self {
        Self { limit }
    }

    /// Raises the soft limit to the hard one: a connection takes one descriptor, and often a second one upstream.
    pub fn raise() -> io::Result<Self> {
        let maximum = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
        Ok(Self::of_process())
    }

    /// The limit.
    pub fn limit(self) -> u64 {
        self.limit
    }

    /// How many are kept for files.
    pub fn reserved(self) -> u64 {
        (self.limit / RESERVED).min(RESERVED_AT_MOST)
    }

    /// How many client connections fit, each with one to a server.
    pub fn pairs(self) -> u64 {
        self.limit.saturating_sub(2 * self.reserved()) / 2
    }

    /// How much room there is beyond a descriptor that was just opened.
    pub fn room(self, opened: impl AsFd) -> Room {
        let number = u64::try_from(opened.as_fd().as_raw_fd()).unwrap_or(0);
        if number < self.limit.saturating_sub(2 * self.reserved()) {
            Room::Ample
        } else if number < self.limit.saturating_sub(self.reserved()) {
            Room::Scarce
        } else {
            Room::Exhausted
        }
    }
}

/// Whether a call failed for want of descriptors here, which says nothing about its peer.
pub fn is_shortage(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE].into_iter().any(|errno| Errno::from_io_error(error) == Some(errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_eighths_are_for_servers_and_for_files() {
        let opened = io::stderr();
        let number = u64::try_from(opened.as_fd().as_raw_fd()).expect("a number");
        let room = |limit| Descriptors { limit }.room(&opened);
        assert_eq!(number, 2);
        assert_eq!((room(u64::MAX), room(4), room(2)), (Room::Ample, Room::Ample, Room::Exhausted));
        let small = Descriptors { limit: 256 };
        assert_eq!((small.reserved(), small.pairs()), (32, 96));
        assert_eq!(Descriptors { limit: 1 << 20 }.reserved(), 128);
    }
}
