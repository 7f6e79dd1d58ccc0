//! The links that lead to an origin's servers, what was measured of each, and which of them are spared.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::first_bytes::{FirstBytes, Observed};
use super::metered::{Metered, Standing};
use super::{Origin, Server};

/// The links of one origin.
#[derive(Clone, Debug, Default)]
pub struct Links {
    all: Vec<OriginLink>,
    /// Of which of them each server is, by its place.
    of_server: Vec<usize>,
    /// Whether any costs more than the others.
    any_metered: bool,
}

/// A link, as one origin uses it.
#[derive(Clone, Debug)]
pub struct OriginLink {
    /// Its label.
    pub name: Arc<str>,
    /// When it is used, if it costs more than the others.
    pub metered: Option<Metered>,
    known: Arc<Known>,
}

/// What outlives a reload.
#[derive(Debug, Default)]
struct Known {
    first_bytes: FirstBytes,
    in_use: AtomicBool,
    look: Mutex<Look>,
}

/// What was seen of a link when it was judged last.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    /// When that was.
    pub at: Duration,
    /// How its servers have answered of late.
    pub observed: Observed,
    /// Whether it is used and why, for a link that costs more.
    pub standing: Standing,
}

impl OriginLink {
    /// How its servers have answered.
    pub fn first_bytes(&self) -> &FirstBytes {
        &self.known.first_bytes
    }

    /// What was seen of it last.
    pub fn look(&self) -> Look {
        *self.known.look.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_in_use(&self) -> bool {
        self.metered.is_some() && self.known.in_use.load(Ordering::Relaxed)
    }
}

/// What is preferred of the servers that may be tried: the lower, the sooner.
pub type Tier = u8;
/// How many tiers there are.
pub(super) const TIERS: Tier = 3;

impl Links {
    /// The links of an origin, with what was known of them `before`.
    pub fn new(origin: &Origin, before: Option<&Self>) -> Self {
        let mut links = Self::default();
        for server in &origin.servers {
            let known = links.all.iter().position(|link| link.name == server.link);
            let place = known.unwrap_or_else(|| {
                let before = before.and_then(|links| links.all.iter().find(|link| link.name == server.link));
                let metered = origin.metered.iter().find(|(name, _)| *name == server.link);
                links.all.push(OriginLink {
                    name: Arc::clone(&server.link),
                    metered: metered.map(|(_, metered)| metered.clone()),
                    known: before.map(|before| Arc::clone(&before.known)).unwrap_or_default(),
                });
                links.all.len() - 1
            });
            links.of_server.push(place);
        }
        links.any_metered = links.all.iter().any(|link| link.metered.is_some());
        links
    }

    /// Each once, in the order of the servers.
    pub fn iter(&self) -> impl Iterator<Item = &OriginLink> {
        self.all.iter()
    }

    /// The link that leads to the server at `place`.
    pub fn to(&self, place: usize) -> Option<&OriginLink> {
        self.all.get(*self.of_server.get(place)?)
    }

    /// Whether the server at `place` is on a link that costs more, and is not needed now.
    pub fn is_spared(&self, place: usize) -> bool {
        self.any_metered && self.to(place).is_some_and(|link| link.metered.is_some() && !link.is_in_use())
    }

    /// How soon the server at `place` is tried. A request that is to `look` how the other links do goes
    /// there although one that costs more is in use.
    pub fn tier(&self, server: &Server, place: usize, look: bool) -> Tier {
        if server.backup {
            return 2;
        }
        if !self.any_metered {
            return 0;
        }
        let in_use = !look && self.all.iter().any(OriginLink::is_in_use);
        let preferred = match self.to(place) {
            Some(link) if link.metered.is_some() => in_use && link.is_in_use(),
            Some(_) | None => !in_use,
        };
        Tier::from(!preferred)
    }

    /// Looks at every link at `now`, `minute` being that of the day in Shanghai, and judges those that cost
    /// more. Those that come into use or go out of it are told of.
    pub fn judge(&self, minute: u16, now: Duration) -> Vec<(&OriginLink, Standing)> {
        let others = self.all.iter().filter(|link| link.metered.is_none()).map(OriginLink::first_bytes);
        let others = if self.any_metered { Observed::of(others, now) } else { Observed::default() };
        let mut switched = Vec::new();
        for link in &self.all {
            let mut look = link.known.look.lock().unwrap_or_else(PoisonError::into_inner);
            let before = look.standing;
            let judge = |metered: &Metered| metered.judge(before, others, minute, now);
            let standing = link.metered.as_ref().map(judge).unwrap_or_default();
            *look = Look { at: now, observed: link.first_bytes().observed(now), standing };
            link.known.in_use.store(standing.in_use, Ordering::Relaxed);
            if standing.in_use != before.in_use && link.metered.is_some() {
                switched.push((link, standing));
            }
        }
        switched
    }
}
