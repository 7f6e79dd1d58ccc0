//! The intake: records from the lanes, refusals and gaps become rows.
//!
//! Records become rows in the order of their turns, whichever lane they came on. The intake stays with its
//! process: the rows go into the store, or to the process that writes the store now.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::access::packed::Clients;
use crate::access::texts::RequestTexts;
use crate::access::{AccessRecord, Gap};
use crate::retention::format::rows::Rows;
use crate::retention::write::client_budget::ClientBudget;
use crate::retention::write::gaps::Gaps;
use crate::retention::write::lanes::{Enough, LaneEnd};
use crate::retention::write::recorder::{Role, Shared};
use crate::retention::write::{Now, StoreFull};

/// Bytes of rows at which a block is sealed at once.
const BLOCK_BYTES: usize = 256 * 1024;
const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    pub(super) records: u64,
    /// Slots to release.
    pub(super) slots: usize,
    /// Exchanges and refusals, counted as lost if these are lost.
    pub(super) exchanges: u64,
}

pub(super) struct Intake {
    shared: Arc<Shared>,
    lanes: Vec<LaneEnd>,
    gaps: Gaps,
    budget: ClientBudget,
    second_ends: Instant,
    /// For rows that are not in a block yet.
    pub(super) loose: Load,
}

impl Intake {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let now = Instant::now();
        Self {
            shared,
            lanes: Vec::new(),
            gaps: Gaps::new(),
            budget: ClientBudget::new(now),
            second_ends: now + SECOND,
            loose: Load::default(),
        }
    }

    /// Turns waiting records into rows; returns whether they fill a block. Without `refusals`, refused
    /// connections stay counted in memory.
    pub(super) fn gather(&mut self, rows: &mut Rows, now: Now, refusals: bool) -> bool {
        let second_ended = now.monotonic >= self.second_ends;
        self.gather_refusals(rows, second_ended && refusals, refusals);
        if second_ended {
            self.second_ends = now.monotonic + SECOND;
        }
        let over = self.shared.stats.full().is_none();
        self.gather_gaps(rows, over, now);
        self.budget.turn(self.shared.policy.load().client_budget, now.monotonic);
        self.gather_lanes(rows)
    }

    /// Turns the gaps that are due into rows. `over`: records can be kept again.
    pub(super) fn gather_gaps(&mut self, rows: &mut Rows, over: bool, now: Now) {
        for gap in self.gaps.due(&self.shared.stats, over, now) {
            self.push_gap(rows, &gap);
        }
    }

    /// Takes records off the lanes in the order of their turns, up to a block; returns whether the block is
    /// full.
    fn gather_lanes(&mut self, rows: &mut Rows) -> bool {
        let (loose, budget, stats) = (&mut self.loose, &mut self.budget, &self.shared.stats);
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
    pub(super) fn gather_refusals(&mut self, rows: &mut Rows, second_ended: bool, singles: bool) {
        let (singles, shared) = {
            let mut refusals = self.shared.refusals();
            let singles = if singles { refusals.take_singles() } else { Vec::new() };
            (singles, second_ended.then(|| refusals.end_second()))
        };
        for record in &singles {
            self.push(rows, record, Clients::One);
        }
        for (record, clients) in shared.into_iter().flatten() {
            self.push(rows, &record, clients);
        }
    }

    fn push(&mut self, rows: &mut Rows, record: &AccessRecord, clients: Clients) {
        rows.push(record, &RequestTexts::default(), clients);
        self.loose.records += 1;
        self.loose.exchanges += record.count;
    }

    pub(super) fn push_gap(&mut self, rows: &mut Rows, gap: &Gap) {
        rows.push_gap(gap);
        self.loose.records += 1;
        let (reason, count) = (gap.reason.label(), gap.count.unwrap_or_default());
        tracing::warn!(reason, count, since = %gap.since, "Access records are missing; a gap record says so");
    }

    /// Drops everything that waits; returns how many records are lost.
    pub(super) fn drop_waiting(&mut self) -> u64 {
        self.shared.ended.store(true, Ordering::Release);
        self.shared.lanes.take_new(&mut self.lanes);
        let mut dropped = 0;
        for lane in &mut self.lanes {
            let (missing, _) = lane.drain(u64::MAX, |_, _| {
                dropped += 1;
                Enough::No
            });
            dropped += missing;
        }
        dropped
    }
}

impl Drop for Intake {
    /// However the writer ends, workers must learn that records can no longer be kept.
    fn drop(&mut self) {
        self.shared.stats.set_trouble(Some(StoreFull::Closed));
        let dropped = self.drop_waiting();
        self.shared.stats.lost.fetch_add(dropped, Ordering::Relaxed);
        self.shared.role.send_replace(Role::Ended);
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
