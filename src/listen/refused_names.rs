//! The names that were refused in the last hour on one listener: which, why, and how often.
//!
//! Memory is fixed, whatever strangers send: 512 names of at most 253 bytes. Names share sets of eight slots, and a full
//! set counts as Space-Saving does (Metwally, Agrawal, El Abbadi 2005): a new name takes the slot of the rarest and
//! inherits its count as a possible error. A name that is refused often is therefore never missed for long.

use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::quality::RandomState;
use jiff::Timestamp;

use crate::gate::Refusal;

/// The hour, in steps of five minutes.
const STEPS: usize = 12;
const STEP_SECONDS: i64 = 5 * 60;
const SETS: usize = 64;
const SLOTS_PER_SET: usize = 8;
/// The longest name that DNS knows. Longer ones are cut.
const NAME_BYTES: usize = 253;
/// New names that are kept until somebody takes them.
const NEWCOMERS: usize = 16;

/// Counts refused names.
#[derive(Debug, Default)]
pub struct RefusedNames {
    hasher: RandomState,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// The step in use, counted from 1970.
    step: i64,
    /// Empty until the first refusal.
    sets: Vec<Vec<Slot>>,
    /// In the order of [`Refusal::ALL`].
    reasons: [Recent; Refusal::ALL.len()],
    newcomers: Vec<(Arc<str>, Refusal)>,
}

/// One name with one reason.
#[derive(Debug)]
struct Slot {
    name: Arc<str>,
    refusal: Refusal,
    recent: Recent,
    /// What the name inherited from the slot's former one: it may have been refused so often more.
    inherited: u32,
    last: Timestamp,
}

impl Slot {
    fn weight(&self) -> u32 {
        self.recent.sum.saturating_add(self.inherited)
    }
}

/// A count of the last hour.
#[derive(Clone, Copy, Debug, Default)]
struct Recent {
    steps: [u32; STEPS],
    sum: u32,
}

impl Recent {
    fn add(&mut self, step: usize) {
        if let Some(count) = self.steps.get_mut(step)
            && self.sum < u32::MAX
        {
            *count += 1;
            self.sum += 1;
        }
    }

    fn forget(&mut self, step: usize) {
        if let Some(count) = self.steps.get_mut(step) {
            self.sum -= std::mem::take(count);
        }
    }
}

/// The refusals of the last hour.
#[derive(Clone, Debug, Default)]
pub struct RefusedLook {
    /// Every refusal by reason, the most frequent first.
    pub reasons: Vec<(Refusal, u64)>,
    /// The most refused names first.
    pub names: Vec<RefusedName>,
}

/// One name with one reason.
#[derive(Clone, Debug)]
pub struct RefusedName {
    /// As the client sent it.
    pub name: Arc<str>,
    /// Why.
    pub refusal: Refusal,
    /// At least so often.
    pub count: u64,
    /// The last time.
    pub last: Timestamp,
}

impl RefusedNames {
    /// Counts a refusal of `name` at `now`.
    pub fn count(&self, refusal: Refusal, name: Option<&Arc<str>>, now: Timestamp) {
        let mut counts = self.counts();
        let step = counts.advance(now);
        if let Some(count) = counts.reasons.get_mut(refusal as usize) {
            count.add(step);
        }
        if let Some(name) = name {
            let hash = self.hasher.hash_one(name);
            counts.count_name(hash, refusal, name, step, now);
        }
    }

    /// The refusals of the hour before `now`.
    pub fn look(&self, now: Timestamp) -> RefusedLook {
        let mut counts = self.counts();
        counts.advance(now);
        let of_reason = Refusal::ALL.iter().zip(&counts.reasons).filter(|(_, count)| count.sum > 0);
        let mut reasons: Vec<_> = of_reason.map(|(refusal, count)| (*refusal, count.sum.into())).collect();
        reasons.sort_by_key(|(_, count): &(Refusal, u64)| std::cmp::Reverse(*count));
        let shown = |slot: &Slot| RefusedName {
            name: Arc::clone(&slot.name),
            refusal: slot.refusal,
            count: slot.recent.sum.into(),
            last: slot.last,
        };
        let mut names: Vec<_> = counts.sets.iter().flatten().map(shown).collect();
        names.sort_by(|one, other| other.count.cmp(&one.count).then_with(|| one.name.cmp(&other.name)));
        RefusedLook { reasons, names }
    }

    /// Names that were not among the refused before, since the last call; the first few of a flood.
    pub fn take_newcomers(&self) -> Vec<(Arc<str>, Refusal)> {
        std::mem::take(&mut self.counts().newcomers)
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    /// Forgets what is an hour old; the place of the present step.
    fn advance(&mut self, now: Timestamp) -> usize {
        let step = now.as_second().div_euclid(STEP_SECONDS);
        // A clock that was set back makes nothing older.
        let passed = step.saturating_sub(self.step).clamp(0, STEPS as i64);
        for old in (step - passed + 1)..=step {
            let place = place_of(old);
            self.reasons.iter_mut().for_each(|count| count.forget(place));
            for set in &mut self.sets {
                for slot in set.iter_mut() {
                    slot.recent.forget(place);
                    slot.inherited /= 2;
                }
                set.retain(|slot| slot.recent.sum > 0);
            }
        }
        self.step = step;
        place_of(step)
    }

    fn count_name(&mut self, hash: u64, refusal: Refusal, name: &Arc<str>, step: usize, now: Timestamp) {
        if self.sets.is_empty() {
            self.sets.resize_with(SETS, Vec::new);
        }
        let set = usize::try_from(hash % SETS as u64).unwrap_or(0);
        let Some(set) = self.sets.get_mut(set) else { return };
        let name = &*cut(name);
        if let Some(known) = set.iter_mut().find(|slot| slot.refusal == refusal && slot.name == *name) {
            known.recent.add(step);
            known.last = now;
            return;
        }
        let mut slot =
            Slot { name: Arc::clone(name), refusal, recent: Recent::default(), inherited: 0, last: now };
        slot.recent.add(step);
        if self.newcomers.len() < NEWCOMERS {
            self.newcomers.push((Arc::clone(name), refusal));
        }
        if set.len() < SLOTS_PER_SET {
            set.push(slot);
        } else if let Some(rarest) = set.iter_mut().min_by_key(|slot| slot.weight()) {
            slot.inherited = rarest.weight();
            *rarest = slot;
        }
    }
}

fn place_of(step: i64) -> usize {
    usize::try_from(step.rem_euclid(STEPS as i64)).unwrap_or(0)
}

/// The name, or its first [`NAME_BYTES`] bytes.
fn cut(name: &Arc<str>) -> std::borrow::Cow<'_, Arc<str>> {
    if name.len() <= NAME_BYTES {
        std::borrow::Cow::Borrowed(name)
    } else {
        std::borrow::Cow::Owned(name[..name.floor_char_boundary(NAME_BYTES)].into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + minutes * 60).expect("a time")
    }

    fn count(names: &RefusedNames, name: &str, times: usize, now: Timestamp) {
        let name = Arc::from(name);
        (0..times).for_each(|_| names.count(Refusal::NotFiled, Some(&name), now));
    }

    fn counts(look: &RefusedLook) -> Vec<(&str, u64)> {
        look.names.iter().map(|name| (&*name.name, name.count)).collect()
    }

    #[test]
    fn names_are_counted_with_their_reason_for_an_hour() {
        let names = RefusedNames::default();
        count(&names, "www.example.net", 3, at(0));
        count(&names, "www.example.org", 2, at(30));
        names.count(Refusal::NoServerName, None, at(30));
        let look = names.look(at(31));
        assert_eq!(counts(&look), [("www.example.net", 3), ("www.example.org", 2)]);
        assert_eq!(look.reasons, [(Refusal::NotFiled, 5), (Refusal::NoServerName, 1)]);
        assert_eq!(counts(&names.look(at(70))), [("www.example.org", 2)]);
        let nothing = names.look(at(200));
        assert!(nothing.names.is_empty() && nothing.reasons.is_empty());
    }

    #[test]
    fn a_clock_set_back_loses_nothing_and_goes_on() {
        let names = RefusedNames::default();
        count(&names, "www.example.net", 3, at(600));
        count(&names, "www.example.net", 1, at(0));
        assert_eq!(counts(&names.look(at(0))), [("www.example.net", 4)]);
        assert!(names.look(at(90)).names.is_empty());
    }

    #[test]
    fn a_flood_of_names_takes_fixed_space_and_hides_no_frequent_name() {
        let names = RefusedNames::default();
        for number in 0..200_000 {
            count(&names, &format!("{number}.example.net"), 1, at(0));
            if number % 20 == 0 {
                count(&names, "www.example.org", 1, at(0));
            }
        }
        let look = names.look(at(1));
        assert!(look.names.len() <= SETS * SLOTS_PER_SET, "{}", look.names.len());
        assert_eq!(look.reasons, [(Refusal::NotFiled, 210_000)]);
        let frequent = look.names.first().expect("a name");
        assert_eq!(&*frequent.name, "www.example.org");
        assert!((9_000..=10_000).contains(&frequent.count), "{}", frequent.count);
        assert_eq!(names.take_newcomers().len(), NEWCOMERS);
    }

    #[test]
    fn a_long_name_is_cut() {
        let names = RefusedNames::default();
        count(&names, &"名".repeat(1_000), 2, at(0));
        assert_eq!(counts(&names.look(at(0))), [("名".repeat(84).as_str(), 2)]);
    }
}
