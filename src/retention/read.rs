//! Reading a store: which records are wanted, and what comes of it.

pub(crate) mod capacity;
pub(crate) mod follow;
pub(crate) mod reader;
pub(crate) mod summary;

use std::net::IpAddr;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use crate::access::fields::Fields;
use crate::clock::end_of_day;
use crate::retention::format::BlockHead;
use crate::retention::format::segment::Segment;

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
    /// Whether records of a segment may be wanted, told by its name alone: a segment ends with its day.
    pub(super) fn may_be_in(&self, segment: &Segment) -> bool {
        let from = self.from.and_then(|from| from.checked_sub(CLOCK_SLACK).ok());
        let to = self.to.and_then(|to| to.checked_add(LONGEST_EXCHANGE).ok());
        let name = &segment.name;
        end_of_day(name.opened.date()).zip(from).is_none_or(|(end, from)| end >= from)
            && name.opened_at().zip(to).is_none_or(|(opened, to)| opened <= to)
    }

    /// Whether records of a block may be wanted.
    pub(super) fn may_be_in_block(&self, head: &BlockHead) -> bool {
        let time = |milliseconds| Timestamp::from_millisecond(milliseconds).ok();
        self.from.zip(time(head.latest)).is_none_or(|(from, latest)| {
            // Times are kept in milliseconds, and `from` may be finer.
            latest.as_millisecond() >= from.as_millisecond()
        }) && self.to.zip(time(head.earliest)).is_none_or(|(to, earliest)| earliest < to)
    }

    /// Whether a record is wanted.
    pub(super) fn wants(&self, fields: &Fields<'_>) -> bool {
        // A connection serves requests for other hosts than the one that it was opened for.
        self.from.is_none_or(|from| fields.time >= from)
            && self.to.is_none_or(|to| fields.time < to)
            && self.client.is_none_or(|client| fields.client_ip() == Some(client.to_canonical()))
            && self.host.as_ref().is_none_or(|wanted| fields.name().eq_ignore_ascii_case(wanted))
    }
}

/// What a store holds, piece by piece.
#[derive(Debug, Eq, PartialEq)]
pub enum Item<'r> {
    /// A record that was wanted: its line, newline included.
    Record(&'r [u8]),
    /// Records that cannot be read.
    Damage {
        /// The segment.
        segment: &'r Path,
        /// The first byte of it.
        from: u64,
        /// The byte after it.
        to: u64,
    },
    /// Blocks that are not there: a segment is missing, or the end of one.
    Missing {
        /// The segment after them.
        segment: &'r Path,
        /// The number of the first.
        from: u64,
        /// The number of the last.
        to: u64,
    },
}
