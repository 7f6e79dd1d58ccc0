//! Sums over the last one to two minutes: two windows of a minute each, the current one and the one before.
//!
//! Adding takes no lock. What is added while a window is being cleared may be lost.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The length of a window.
const WINDOW: Duration = Duration::from_secs(60);

/// `COUNT` sums. Times (`now`) are those since the program started.
#[derive(Debug)]
pub(super) struct Recent<const COUNT: usize> {
    even: Window<COUNT>,
    odd: Window<COUNT>,
    /// The number of the current window, counted from the start of the program.
    current: AtomicU64,
}

type Window<const COUNT: usize> = [AtomicU64; COUNT];

impl<const COUNT: usize> Default for Recent<COUNT> {
    fn default() -> Self {
        let zeros = || array::from_fn(|_| AtomicU64::new(0));
        Self { even: zeros(), odd: zeros(), current: AtomicU64::new(0) }
    }
}

impl<const COUNT: usize> Recent<COUNT> {
    /// Adds to the sum at `index`.
    pub(super) fn add(&self, index: usize, amount: u64, now: Duration) {
        self.advance(now.as_secs() / WINDOW.as_secs());
        let window = self.window(self.current.load(Ordering::Relaxed));
        if let Some(sum) = window.get(index) {
            sum.fetch_add(amount, Ordering::Relaxed);
        }
    }

    /// The sums of both windows at `now`.
    pub(super) fn sums(&self, now: Duration) -> [u64; COUNT] {
        self.advance(now.as_secs() / WINDOW.as_secs());
        let both = self.even.iter().zip(&self.odd);
        let mut sums = both.map(|(even, odd)| even.load(Ordering::Relaxed) + odd.load(Ordering::Relaxed));
        array::from_fn(|_| sums.next().unwrap_or_default())
    }

    /// Adds what `other` has counted, window by window.
    pub(super) fn absorb(&self, other: &Self) {
        let last = other.current.load(Ordering::Relaxed);
        self.advance(last);
        let current = self.current.load(Ordering::Relaxed);
        for number in (last.saturating_sub(1)..=last).filter(|number| number + 1 >= current) {
            for (sum, more) in self.window(number).iter().zip(other.window(number)) {
                sum.fetch_add(more.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
    }

    fn window(&self, number: u64) -> &Window<COUNT> {
        if number.is_multiple_of(2) { &self.even } else { &self.odd }
    }

    /// Makes window `number` the current one, unless a later one is. The windows that this ends are cleared.
    fn advance(&self, number: u64) {
        let before = self.current.load(Ordering::Relaxed);
        if before < number
            && self.current.compare_exchange(before, number, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            let clear =
                |window: &Window<COUNT>| window.iter().for_each(|sum| sum.store(0, Ordering::Relaxed));
            clear(self.window(number));
            if number - before > 1 {
                clear(self.window(number - 1));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(minutes: u64) -> Duration {
        WINDOW * u32::try_from(minutes).expect("few")
    }

    #[test]
    fn sums_are_of_the_last_one_to_two_minutes() {
        let recent = Recent::<2>::default();
        recent.add(0, 5, minutes(0));
        recent.add(1, 7, minutes(1));
        recent.add(2, 9, minutes(1));
        assert_eq!(recent.sums(minutes(2) - Duration::from_secs(1)), [5, 7]);
        assert_eq!(recent.sums(minutes(2)), [0, 7]);
        assert_eq!(recent.sums(minutes(9)), [0, 0]);
    }

    #[test]
    fn absorbed_sums_end_when_they_would_have_ended() {
        for (ours, theirs, both) in [(4, 4, 3), (4, 5, 3), (5, 4, 3), (4, 6, 2), (6, 4, 1)] {
            let (one, other) = (Recent::<1>::default(), Recent::default());
            one.add(0, 1, minutes(ours));
            other.add(0, 2, minutes(theirs));
            one.absorb(&other);
            assert_eq!(one.sums(minutes(ours.max(theirs))), [both], "{ours} {theirs}");
        }
        let (one, other) = (Recent::<1>::default(), Recent::default());
        other.add(0, 2, minutes(0));
        one.absorb(&other);
        assert_eq!((one.sums(minutes(1)), one.sums(minutes(2))), ([2], [0]));
    }
}
