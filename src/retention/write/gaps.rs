//! Gap records: missing records are recorded too, from counters and from how the previous writer ended.
//!
//! While nothing can be kept, a gap is recorded once a minute, so that a kill loses at most a minute of it,
//! and once more when it is over.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::access::{Gap, GapReason};
use crate::retention::write::Now;
use crate::retention::write::recovery::Ended;
use crate::retention::write::stats::StoreStats;

const EVERY: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Gaps {
    dropped: Open,
    refused: Open,
}

/// A counter, and how much of it is in gap records.
#[derive(Debug)]
struct Open {
    recorded: u64,
    /// When the counter was first seen to grow, on both clocks.
    since: Option<(Timestamp, Instant)>,
}

impl Gaps {
    pub(super) fn new() -> Self {
        let none = || Open { recorded: 0, since: None };
        Self { dropped: none(), refused: none() }
    }

    /// The gaps to record now. `over`: records can be kept again.
    pub(super) fn due(
        &mut self,
        stats: &StoreStats,
        over: bool,
        now: Now,
    ) -> impl Iterator<Item = Gap> + use<> {
        let dropped = self.dropped.due(stats.lost.load(Ordering::Relaxed), over, now);
        let refused = self.refused.due(stats.turned_away.load(Ordering::Relaxed), over, now);
        let gap = move |(since, count), reason| Gap { time: now.wall, since, reason, count: Some(count) };
        let dropped = dropped.map(|found| gap(found, GapReason::Dropped));
        dropped.into_iter().chain(refused.map(|found| gap(found, GapReason::Refused)))
    }
}

impl Open {
    fn due(&mut self, count: u64, over: bool, now: Now) -> Option<(Timestamp, u64)> {
        if count == self.recorded {
            return None;
        }
        let (since, seen) = *self.since.get_or_insert((now.wall, now.monotonic));
        if !over && now.monotonic.saturating_duration_since(seen) < EVERY {
            return None;
        }
        self.since = None;
        Some((since, count - std::mem::replace(&mut self.recorded, count)))
    }
}

/// The gap that the previous writer left, unless it ended in good order.
pub(super) fn left(ended: Ended, shortened: bool, now: Timestamp) -> Option<Gap> {
    let (since, reason) = match ended {
        Ended::Killed { after, .. } | Ended::InOrder { after } if shortened => (after, GapReason::Shortened),
        Ended::Never if shortened => (now, GapReason::Shortened),
        Ended::Killed { after, cut } => {
            (after, if cut > 0 { GapReason::TornTail } else { GapReason::UncleanStop })
        }
        Ended::Never | Ended::InOrder { .. } => return None,
    };
    Some(Gap { time: now, since, reason, count: None })
}
