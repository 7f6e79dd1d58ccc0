//! Gathering: records from the lanes, refusals and gaps become rows.
//!
//! Records become rows in the order of their turns, whichever lane they came on.

use std::sync::atomic::Ordering;

use super::{BLOCK_BYTES, SECOND, Spool};
use crate::access::packed::Clients;
use crate::access::texts::RequestTexts;
use crate::access::{AccessRecord, Gap};
use crate::retention::write::Now;
use crate::retention::write::lanes::{Enough, LaneEnd};

impl Spool {
    /// Turns waiting records into rows; returns whether they fill a block.
    pub(super) fn gather(&mut self, now: Now) -> bool {
        let second_ended = now.monotonic >= self.second_ends;
        self.gather_refusals(second_ended && !self.below_reserve, !self.below_reserve);
        if second_ended {
            self.second_ends = now.monotonic + SECOND;
        }
        let over = self.shared.stats.full().is_none();
        for gap in self.gaps.due(&self.shared.stats, over, now) {
            self.encode_gap(&gap);
        }
        self.budget.turn(self.shared.policy.load().client_budget, now.monotonic);
        self.gather_lanes()
    }

    /// Takes records off the lanes in the order of their turns, up to a block; returns whether the block is
    /// full.
    fn gather_lanes(&mut self) -> bool {
        let (rows, loose, stats) = (&mut self.appender.rows, &mut self.loose, &self.shared.stats);
        let budget = &mut self.budget;
        // A record that arrives meanwhile must not overtake one on another lane.
        let now = self.shared.lanes.turn();
        self.shared.lanes.take_new(&mut self.lanes);
        while let Some((place, others)) = first_lane(&self.lanes) {
            let (missing, enough) = self.lanes[place].drain(others.min(now), |record, sent| {
                loose.slots += 1;
                loose.records += 1;
                loose.exchanges += 1;
                if budget.push(record, sent, rows) {
                    stats.truncated.fetch_add(1, Ordering::Relaxed);
                }
                if rows.bytes().len() >= BLOCK_BYTES { Enough::Yes } else { Enough::No }
            });
            stats.lost.fetch_add(missing, Ordering::Relaxed);
            if enough == Enough::Yes {
                return true;
            }
            if others >= now {
                break;
            }
        }
        let missing = self.shared.lanes.settle(&mut self.lanes);
        stats.lost.fetch_add(missing, Ordering::Relaxed);
        false
    }

    /// Takes waiting refusals. Below the reserve they stay counted in memory: the rest of the disk is for
    /// accepted requests.
    pub(super) fn gather_refusals(&mut self, second_ended: bool, singles: bool) {
        let (singles, shared) = {
            let mut refusals = self.shared.refusals();
            let singles = if singles { refusals.take_singles() } else { Vec::new() };
            (singles, second_ended.then(|| refusals.end_second()))
        };
        for record in &singles {
            self.encode(record, Clients::One);
        }
        for (record, clients) in shared.into_iter().flatten() {
            self.encode(&record, clients);
        }
    }

    fn encode(&mut self, record: &AccessRecord, clients: Clients) {
        self.appender.rows.push(record, &RequestTexts::default(), clients);
        self.loose.records += 1;
        self.loose.exchanges += record.count;
    }

    pub(super) fn encode_gap(&mut self, gap: &Gap) {
        self.appender.rows.push_gap(gap);
        self.loose.records += 1;
        let (reason, count) = (gap.reason.label(), gap.count.unwrap_or_default());
        tracing::warn!(reason, count, since = %gap.since, "Access records are missing; a gap record says so");
    }
}

/// The lane whose first record has the lowest turn, and the lowest turn on any other lane.
fn first_lane(lanes: &[LaneEnd]) -> Option<(usize, u64)> {
    let mut turns: Option<(u64, usize)> = None;
    let mut others = u64::MAX;
    for (place, turn) in lanes.iter().enumerate().filter_map(|(place, lane)| Some((place, lane.next_turn()?)))
    {
        match turns {
            Some((first, _)) if first < turn => others = others.min(turn),
            known => {
                others = known.map_or(others, |(first, _)| first);
                turns = Some((turn, place));
            }
        }
    }
    turns.map(|(_, place)| (place, others))
}
