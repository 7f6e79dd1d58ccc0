//! Reading a store: the selection of records, and what a reader returns.

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

/// 24 hours: an exchange is recorded when it ends, so segments opened later than this after `to` are not
/// searched for exchanges that began before it.
const LONGEST_EXCHANGE: SignedDuration = SignedDuration::from_hours(24);
/// How far a clock may have been set back while a segment was written: 1 hour.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_hours(1);

/// Which records to return: those that match every field that is set.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// At this time or later.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub to: Option<Timestamp>,
    /// With this host, or for a refused connection this TLS server name; ASCII case is ignored.
    pub host: Option<String>,
    /// From this client address.
    pub client: Option<IpAddr>,
}

impl Selection {
    /// Whether a segment may hold matching records, judged by its name: a segment ends with its day.
    pub(super) fn may_be_in(&self, segment: &Segment) -> bool {
        let from = self.from.and_then(|from| from.checked_sub(CLOCK_SLACK).ok());
        let to = self.to.and_then(|to| to.checked_add(LONGEST_EXCHANGE).ok());
        let name = &segment.name;
        end_of_day(name.opened.date()).zip(from).is_none_or(|(end, from)| end >= from)
            && name.opened_at().zip(to).is_none_or(|(opened, to)| opened <= to)
    }

    /// Whether a block may hold matching records.
    pub(super) fn may_be_in_block(&self, head: &BlockHead) -> bool {
        let time = |milliseconds| Timestamp::from_millisecond(milliseconds).ok();
        self.from.zip(time(head.latest)).is_none_or(|(from, latest)| {
            // Records have milliseconds; `from` may be finer.
            latest.as_millisecond() >= from.as_millisecond()
        }) && self.to.zip(time(head.earliest)).is_none_or(|(to, earliest)| earliest < to)
    }

    /// Whether a record matches.
    pub(super) fn wants(&self, fields: &Fields<'_>) -> bool {
        // The host of a request counts, not that of its connection.
        self.from.is_none_or(|from| fields.time >= from)
            && self.to.is_none_or(|to| fields.time < to)
            && self.client.is_none_or(|client| fields.client_ip() == Some(client.to_canonical()))
            && self.host.as_ref().is_none_or(|wanted| fields.name().eq_ignore_ascii_case(wanted))
    }
}

/// What a reader returns.
#[derive(Debug, Eq, PartialEq)]
pub enum Item<'r> {
    /// A matching record: its JSON line, newline included.
    Record(&'r [u8]),
    /// Records that cannot be read.
    Damage {
        /// The segment.
        segment: &'r Path,
        /// The first damaged byte.
        from: u64,
        /// The byte after the damage.
        to: u64,
    },
    /// Blocks are missing: a segment, or the end of one.
    Missing {
        /// The segment after the missing blocks.
        segment: &'r Path,
        /// The number of the first missing block.
        from: u64,
        /// The number of the last missing block.
        to: u64,
    },
}
