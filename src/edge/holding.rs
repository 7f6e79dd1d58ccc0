//! What one connection holds for its client beyond what every connection takes: heads, waiting answers, windows of decoders.
//!
//! Exchanges report their part whenever they wait, so that nothing is counted while bytes flow.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::net::untaken::Untaken;

/// Exchanges of a connection whose answers may come [`Ahead::Much`], and [`Ahead::Some`].
const MUCH: usize = 1;
const SOME: usize = 8;

/// What a connection holds.
#[derive(Debug, Default)]
pub struct Holding {
    /// What its exchanges have reported, in bytes.
    exchanges: AtomicUsize,
    /// The streams of HTTP/2.
    streams: OnceLock<Untaken>,
    much: AtomicUsize,
    some: AtomicUsize,
}

/// How much of an answer a server may send ahead of the client. A connection with few exchanges fills a long link; many
/// together hold no more than few.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ahead {
    /// What a link of high bandwidth and delay takes.
    Much,
    /// A few round trips for an image.
    Some,
    /// Half of an HTTP/2 frame.
    Little,
}

/// What one exchange holds, until it is dropped.
#[derive(Debug)]
pub struct HeldBytes<'h> {
    holding: &'h Holding,
    bytes: usize,
}

/// One of the places of a connection, until it is dropped.
#[derive(Debug)]
pub struct AheadPlace<'h> {
    holding: &'h Holding,
    ahead: Ahead,
}

impl Holding {
    /// Counts what the streams of HTTP/2 hold.
    pub fn follow(&self, streams: Untaken) {
        let _ = self.streams.set(streams);
    }

    /// Bytes in all.
    pub fn bytes(&self) -> usize {
        self.exchanges.load(Ordering::Relaxed) + self.streams.get().map_or(0, Untaken::held)
    }

    /// For one exchange, which holds nothing yet.
    pub fn begin(&self) -> HeldBytes<'_> {
        HeldBytes { holding: self, bytes: 0 }
    }

    /// The best place that is free.
    pub fn place(&self) -> AheadPlace<'_> {
        let takes = |taken: &AtomicUsize, most| {
            taken
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                    (taken < most).then_some(taken + 1)
                })
                .is_ok()
        };
        let ahead = if takes(&self.much, MUCH) {
            Ahead::Much
        } else if takes(&self.some, SOME) {
            Ahead::Some
        } else {
            Ahead::Little
        };
        AheadPlace { holding: self, ahead }
    }
}

impl AheadPlace<'_> {
    /// How much may come ahead.
    pub fn ahead(&self) -> Ahead {
        self.ahead
    }
}

impl Drop for AheadPlace<'_> {
    fn drop(&mut self) {
        match self.ahead {
            Ahead::Much => self.holding.much.fetch_sub(1, Ordering::Relaxed),
            Ahead::Some => self.holding.some.fetch_sub(1, Ordering::Relaxed),
            Ahead::Little => 0,
        };
    }
}

impl HeldBytes<'_> {
    /// The exchange holds this much now.
    pub fn set(&mut self, bytes: usize) {
        let before = std::mem::replace(&mut self.bytes, bytes);
        if bytes > before {
            self.holding.exchanges.fetch_add(bytes - before, Ordering::Relaxed);
        } else if bytes < before {
            self.holding.exchanges.fetch_sub(before - bytes, Ordering::Relaxed);
        }
    }

    /// What the whole connection holds.
    pub fn of_connection(&self) -> usize {
        self.holding.bytes()
    }
}

impl Drop for HeldBytes<'_> {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_exchanges_hold_is_counted_until_they_end() {
        let holding = Holding::default();
        let (mut one, mut other) = (holding.begin(), holding.begin());
        one.set(100);
        other.set(10);
        one.set(50);
        assert_eq!((holding.bytes(), other.of_connection()), (60, 60));
        drop((one, other));
        assert_eq!(holding.bytes(), 0);
    }

    #[test]
    fn the_first_exchanges_have_the_best_places() {
        let holding = Holding::default();
        let mut places: Vec<_> = (0..11).map(|_| holding.place()).collect();
        let count = |ahead| places.iter().filter(|place| place.ahead() == ahead).count();
        assert_eq!([Ahead::Much, Ahead::Some, Ahead::Little].map(count), [1, 8, 2]);
        drop(places.remove(0));
        assert_eq!(holding.place().ahead(), Ahead::Much);
    }
}
