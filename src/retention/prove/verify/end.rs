//! The end of a store: whether the writer made it, or may still be writing.

use jiff::{SignedDuration, Timestamp};

use crate::retention::prove::verify::{Stop, Verification};
use crate::retention::prove::{Break, Reason};

/// 60 s: how long a block may stay unsigned, and a store without a writer may lack an orderly end.
const UNSIGNED: SignedDuration = SignedDuration::from_secs(60);

impl Verification<'_> {
    /// Judges the end of the store at the time `at`.
    pub(super) fn end(self, at: Timestamp, writing: bool, is_shown: bool) -> Result<(), Stop> {
        if let Some(milestone) = self.milestones.into_iter().next() {
            let before = milestone.checkpoint.size() < self.position.tree.size();
            return Err(if before { Reason::Before.into() } else { milestone.shorter.into() });
        }
        // A block from the future counts as old: a forger may choose the time.
        let is_old = |sealed: i64| {
            Timestamp::from_millisecond(sealed).is_ok_and(|sealed| at.duration_since(sealed).abs() > UNSIGNED)
        };
        let Some(last) = self.last else {
            return if self.position.tree.size() > 0 { Err(Reason::NoRecords.into()) } else { Ok(()) };
        };
        if let Some(block) = self.unsigned {
            let span = SignedDuration::from_millis(last.sealed.saturating_sub(block.sealed));
            if is_old(block.sealed) || span > UNSIGNED {
                let reason = Reason::Unsigned { from: block.number, to: last.number };
                return Err(Stop::Broken(Break {
                    reason,
                    segment: None,
                    byte: None,
                    block: Some(block.number),
                }));
            }
        }
        if let Some(first_seq) = self.deleted_before {
            return Err(Reason::Deleted { first_seq }.into());
        }
        // The writer replaces the checkpoint file after it has synced the checkpoint.
        let may_be_shown_later = writing && self.first_signed.is_some_and(|sealed| !is_old(sealed));
        if self.verdict.checkpoint.is_some() && !is_shown && !may_be_shown_later {
            return Err(Reason::NoCheckpoint.into());
        }
        if !last.is_end() && !writing && is_old(last.sealed) {
            let reason = Reason::NotEnded;
            return Err(Stop::Broken(Break { reason, segment: None, byte: None, block: Some(last.number) }));
        }
        if let Some((&to, _)) = self.remains.first_key_value().filter(|_| !writing) {
            return Err(Reason::Missing { from: self.position.tree.size(), to }.into());
        }
        self.shortened.map_or(Ok(()), |found| Err(Stop::Broken(found)))
    }
}
