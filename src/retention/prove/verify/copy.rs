//! Verification of a copy: what a sink holds of a store, segment by segment, and the checkpoints anchored there.
//!
//! A copy begins where shipping began and ends with the last segment that was sealed. Both ends are held against the
//! anchored checkpoints, so that segments missing at either end are found.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::retention::format::segment::{Segment, SegmentName};
use crate::retention::prove::keys::Keys;
use crate::retention::prove::verify::{Against, Milestone, Stop, Verification, milestones};
use crate::retention::prove::{Break, Reason, Verdict};

/// How old an anchored checkpoint may be while its blocks are in no segment of the copy: a segment is sealed after
/// five minutes, and has to be sent.
const SEALED_AFTER: SignedDuration = SignedDuration::from_mins(15);
/// Anchors so close to the end of the retention may have outlived their segments.
const SLACK: SignedDuration = SignedDuration::from_hours(24);

/// What a sink holds.
#[derive(Clone, Debug, Default)]
pub struct Copy {
    /// The names of its segments, in any order.
    pub segments: Vec<SegmentName>,
    /// Verifier keys, one a line, used where `Against` gives none.
    pub keys: String,
    /// Checkpoints that were anchored there: some of each day, and the newest.
    pub anchors: Vec<Anchor>,
    /// The trees of all anchored checkpoints.
    pub roots: Vec<AnchoredRoot>,
}

/// The tree that an anchored checkpoint covers.
#[derive(Clone, Copy, Debug)]
pub struct AnchoredRoot {
    /// How many blocks it has.
    pub size: u64,
    /// Its root.
    pub root: [u8; 32],
}

/// A checkpoint by itself.
#[derive(Clone, Debug)]
pub struct Anchor {
    /// When it was anchored.
    pub at: Timestamp,
    /// The signed note.
    pub note: Vec<u8>,
}

/// Verifies what a sink holds of a store that keeps records for `retention`. `fetch` gives the file of a segment; it
/// may remove the one before.
pub fn verify_copy(
    copy: &Copy,
    against: &Against,
    retention: Duration,
    fetch: &mut dyn FnMut(SegmentName) -> io::Result<PathBuf>,
) -> io::Result<Verdict> {
    let mut verdict = Verdict::default();
    match run(copy, against, retention, fetch, &mut verdict) {
        Ok(()) => Ok(verdict),
        Err(Stop::Broken(found)) => {
            verdict.first_break = Some(found);
            Ok(verdict)
        }
        Err(Stop::Io(error)) => Err(error),
    }
}

fn run(
    copy: &Copy,
    against: &Against,
    retention: Duration,
    fetch: &mut dyn FnMut(SegmentName) -> io::Result<PathBuf>,
    verdict: &mut Verdict,
) -> Result<(), Stop> {
    let given = against.keys.iter().map(String::as_str);
    let keys = if against.keys.is_empty() { copy.keys.lines().collect() } else { given.collect::<Vec<_>>() };
    if keys.is_empty() {
        return Err(Reason::NoKey.into());
    }
    let keys = Keys::parse(keys).map_err(|key| Reason::BadKey(key.to_owned()))?;
    let mut segments: Vec<_> = copy
        .segments
        .iter()
        .map(|name| Segment { path: PathBuf::from(name.to_string()), name: *name })
        .collect();
    segments.sort_by_key(|segment| (segment.name.first_block, segment.name.opened));
    let first = segments.first().map_or(0, |segment| segment.name.first_block);
    let now = against.clock.now();
    let mut wanted = milestones(&keys, None, against.since.as_deref())?;
    let mut newest: Option<(u64, Timestamp)> = None;
    for anchor in &copy.anchors {
        let checkpoint = keys.open(&anchor.note).map_err(|_| Reason::BadAnchor)?;
        let size = checkpoint.size();
        newest = newest.max(Some((size, anchor.at)));
        if size > first {
            let shorter = Reason::Missing { from: first, to: size.saturating_sub(1) };
            wanted.push(Milestone { checkpoint, otherwise: Reason::OtherThanAnchored, shorter });
        } else if size > 0 && now.duration_since(anchor.at) < age(retention) - SLACK {
            return Err(Reason::Missing { from: size - 1, to: first.saturating_sub(1) }.into());
        }
    }
    let mut verification = Verification::new(keys, wanted, against, verdict)?;
    for AnchoredRoot { size, root } in copy.roots.iter().filter(|one| one.size > first) {
        // Two trees of one size are two histories.
        if verification.anchored.insert(*size, *root).is_some_and(|other| other != *root) {
            return Err(Reason::OtherThanAnchored.into());
        }
    }
    for (place, segment) in segments.iter().enumerate() {
        let fetched = Segment { path: fetch(segment.name)?, name: segment.name };
        let judged = verification.segment(&fetched, place == 0, segments.get(place + 1), false);
        judged.map_err(|stop| renamed(stop, segment))?;
    }
    end(verification, newest, now)
}

/// Judges the end of the copy by the newest anchor.
fn end(verification: Verification<'_>, newest: Option<(u64, Timestamp)>, now: Timestamp) -> Result<(), Stop> {
    let size = verification.position.tree.size();
    if let Some(milestone) = verification.milestones.iter().find(|one| one.checkpoint.size() < size) {
        return Err(milestone.otherwise.clone().into());
    }
    // The checkpoint of blocks that a killed program wrote is in the next segment. A block from the future counts as old.
    let is_old = |sealed: i64| {
        Timestamp::from_millisecond(sealed)
            .is_ok_and(|sealed| now.duration_since(sealed).abs() > SEALED_AFTER)
    };
    if let Some(block) = verification.unsigned.filter(|block| is_old(block.sealed)) {
        return Err(Reason::Unsigned { from: block.number, to: size.saturating_sub(1) }.into());
    }
    if let Some((anchored, at)) = newest
        && anchored > size
        && now.duration_since(at) > SEALED_AFTER
    {
        return Err(Reason::Missing { from: size, to: anchored - 1 }.into());
    }
    // A checkpoint that the auditor brought has no date: it is covered, or segments are missing.
    let since =
        verification.milestones.into_iter().find(|one| matches!(one.shorter, Reason::ShorterThanSince));
    since.map_or(Ok(()), |since| Err(since.shorter.into()))
}

fn age(retention: Duration) -> SignedDuration {
    SignedDuration::try_from(retention).unwrap_or(SignedDuration::MAX)
}

/// The break named by the segment rather than by the file that it was fetched into.
fn renamed(stop: Stop, segment: &Segment) -> Stop {
    match stop {
        Stop::Broken(found) => {
            Stop::Broken(Break { segment: found.segment.map(|_| segment.path.clone()), ..found })
        }
        Stop::Io(error) => Stop::Io(error),
    }
}
