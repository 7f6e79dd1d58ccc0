//! Which server of an origin is asked next.
//!
//! Servers take turns by their weights; of the one whose turn it is and another one drawn at random,
//! the one that is clearly less loaded is asked. A server that has as much as it may have is left out, one
//! that has come back gets its share by and by, and one of a later tier is asked only while no
//! other can be.

use std::time::Duration;

use super::Server;
use super::health::{ServerHealth, WHOLE};
use super::links::{TIERS, Tier};
use super::load::Load;

/// A server, and what is known of it.
#[derive(Clone, Copy, Debug)]
pub struct Known<'s> {
    /// As configured.
    pub server: &'s Server,
    /// Whether it may be tried.
    pub health: &'s ServerHealth,
    /// How busy it is.
    pub load: &'s Load,
    /// Those of the lowest that may be tried go first.
    pub tier: Tier,
}

impl Known<'_> {
    fn share(&self, now: Duration) -> u32 {
        self.health.share(now)
    }

    /// What one more request costs there. Nothing is said of a server that has just come back: it is
    /// idle, and everybody would be sent there.
    fn cost(&self, now: Duration) -> Option<u64> {
        (self.share(now) == WHOLE).then(|| self.load.cost(self.server.weight, now)).flatten()
    }
}

/// What one pick goes by.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    /// The most requests that a server has at once.
    pub max_in_flight: u32,
    /// Counts picks.
    pub turn: usize,
    /// Any number.
    pub random: usize,
    /// When it is.
    pub now: Duration,
}

/// The place of the server that is asked next, of the `count` that there are. `known` leaves out those
/// that are not to be asked; it is called a few times for each.
pub fn pick<'s>(count: usize, known: impl Fn(usize) -> Option<Known<'s>>, draw: Draw) -> Option<usize> {
    (0..TIERS).find_map(|tier| {
        let fit = |place| {
            let one = known(place)?;
            let fits = one.tier == tier
                && one.health.may_be_tried(draw.now)
                && one.load.has_room(draw.max_in_flight);
            fits.then_some(one)
        };
        pick_of(count, fit, draw)
    })
}

/// The first server of `order` that may be asked, of those of the lowest tier. `order` must name each of the `count`
/// servers again and again.
pub fn first_of<'s>(
    order: impl Iterator<Item = usize>,
    count: usize,
    known: impl Fn(usize) -> Option<Known<'s>>,
    draw: Draw,
) -> Option<usize> {
    let tier_of = |place: usize| {
        let one = known(place)?;
        let fits = one.health.may_be_tried(draw.now) && one.load.has_room(draw.max_in_flight);
        fits.then_some(one.tier)
    };
    let lowest = (0..count).filter_map(tier_of).min()?;
    // Loads change meanwhile: the server that was found may have none of them left.
    let mut steps = order.take(MAX_STEPS);
    steps.find(|place| tier_of(*place) == Some(lowest))
}

/// Where to stop on a ring: beyond its size.
const MAX_STEPS: usize = 1 << 24;

fn pick_of<'s>(count: usize, fit: impl Fn(usize) -> Option<Known<'s>>, draw: Draw) -> Option<usize> {
    let all = || (0..count).filter_map(|place| Some((place, fit(place)?)));
    let weight = |one: &Known<'_>| one.server.weight as usize * one.share(draw.now) as usize;
    let (mut many, mut weights, mut whole) = (0, 0, true);
    for (_, one) in all() {
        many += 1;
        weights += weight(&one);
        whole &= one.share(draw.now) == WHOLE;
    }
    if many < 2 {
        return all().next().map(|(place, _)| place);
    }
    // While shares are fractions, chance decides: turns would come to the same server in a row.
    let mut left = match whole {
        true => draw.turn.wrapping_mul(WHOLE as usize) % weights.max(1),
        false => draw.random / many % weights.max(1),
    };
    let (first, whose_turn) = all().find(|(_, one)| {
        let mine = left < weight(one);
        left = left.saturating_sub(weight(one));
        mine
    })?;
    let (other, drawn) = all().filter(|(place, _)| *place != first).nth(draw.random % (many - 1))?;
    match (whose_turn.cost(draw.now), drawn.cost(draw.now)) {
        (Some(mine), Some(others)) if others.saturating_mul(2) <= mine => Some(other),
        _ => Some(first),
    }
}

#[cfg(test)]
mod tests {
    use super::super::ServerHost;
    use super::super::health::Fault;
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    const PLENTY: u32 = 1000;

    #[derive(Default)]
    struct Origin {
        servers: Vec<Server>,
        health: Vec<ServerHealth>,
        load: Vec<Load>,
    }

    fn origin(servers: &[(u32, bool)]) -> Origin {
        let mut origin = Origin::default();
        for (port, (weight, backup)) in (1..).zip(servers) {
            let host = ServerHost::Address([10, 0, 0, 1].into());
            origin.servers.push(Server {
                host,
                port,
                weight: *weight,
                backup: *backup,
                link: "default".into(),
            });
            origin.health.push(ServerHealth::default());
            origin.load.push(Load::default());
        }
        origin
    }

    impl Origin {
        fn pick(&self, turn: usize, random: usize, now: Duration, tried: &[usize]) -> Option<usize> {
            let known = |place: usize| {
                let known = Known {
                    server: self.servers.get(place)?,
                    health: self.health.get(place)?,
                    load: self.load.get(place)?,
                    tier: if self.servers.get(place)?.backup { 2 } else { 0 },
                };
                (!tried.contains(&place)).then_some(known)
            };
            pick(self.servers.len(), known, Draw { max_in_flight: PLENTY, turn, random, now })
        }

        fn picks(&self, turns: usize) -> Vec<usize> {
            (0..turns).filter_map(|turn| self.pick(turn, turn, NOW, &[])).collect()
        }

        /// All that a request would try, one after the other.
        fn order(&self, turn: usize, now: Duration) -> Vec<usize> {
            let mut tried = Vec::new();
            while let Some(place) = self.pick(turn, 0, now, &tried) {
                tried.push(place);
            }
            tried
        }
    }

    #[test]
    fn servers_take_turns_by_weight_and_paused_ones_are_left_out() {
        let even = origin(&[(1, false), (1, false), (1, false)]);
        assert_eq!(even.picks(6), [0, 1, 2, 0, 1, 2]);
        even.health[1].failed(NOW, NOW);
        assert_eq!(even.picks(4), [0, 2, 0, 2]);
        assert_eq!(even.pick(1, 0, NOW + Duration::from_secs(1), &[]), Some(1));
        let weighted = origin(&[(3, false), (1, false)]);
        assert_eq!(weighted.picks(8), [0, 0, 0, 1, 0, 0, 0, 1]);
        assert_eq!(origin(&[]).pick(5, 5, NOW, &[]), None);
    }

    #[test]
    fn each_is_tried_once_and_backups_last_whatever_their_turn() {
        assert_eq!(origin(&[(1, false), (1, false), (1, false)]).order(2, NOW), [2, 0, 1]);
        let origin = origin(&[(1, true), (1, false), (9, true)]);
        assert_eq!(origin.order(0, NOW), [1, 0, 2]);
        assert_eq!(origin.order(3, NOW), [1, 2, 0]);
        origin.health[1].failed(NOW, NOW);
        assert_eq!(origin.order(0, NOW), [0, 2]);
        assert!(
            origin.health[1].fault(Fault::NoAnswer, NOW, NOW, true) || !origin.health[1].may_be_tried(NOW)
        );
    }

    #[test]
    fn who_is_clearly_less_loaded_is_asked() {
        let origin = origin(&[(1, false), (1, false)]);
        for load in &origin.load {
            load.answered(Duration::from_millis(10), NOW);
        }
        assert_eq!(origin.picks(4), [0, 1, 0, 1], "equals take turns");
        let busy = [origin.load[0].begin(PLENTY), origin.load[0].begin(PLENTY)];
        assert_eq!(origin.picks(4), [1, 1, 1, 1], "two requests more");
        drop(busy);
        assert_eq!(origin.picks(4), [0, 1, 0, 1]);
        for _ in 0..10 {
            origin.load[1].answered(Duration::from_millis(100), NOW);
        }
        assert_eq!(origin.picks(4), [0, 0, 0, 0], "ten times as slow");
        let later = NOW + Duration::from_secs(20);
        origin.load[0].answered(Duration::from_millis(10), later);
        assert_eq!(origin.pick(1, 0, later, &[]), Some(1), "it is given another chance");
    }

    #[test]
    fn who_has_come_back_gets_its_share_by_and_by() {
        let origin = origin(&[(1, false), (1, false)]);
        origin.health[0].failed(NOW, NOW);
        origin.health[0].succeeded(NOW, NOW);
        // Idle, and known to be fast, beside one that is busy.
        origin.load.iter().for_each(|load| load.answered(Duration::from_millis(10), NOW));
        let _busy = [(); 8].map(|()| origin.load[1].begin(PLENTY));
        let random = |n: usize| n.wrapping_mul(0x9e37_79b9) >> 7;
        let share = |later| {
            let now = NOW + Duration::from_secs(later);
            (0..1600).filter(|n| origin.pick(*n, random(*n), now, &[]) == Some(0)).count()
        };
        let (begins, half) = (share(0), share(5));
        assert!((50..=150).contains(&begins), "{begins}: one in seventeen");
        assert!((400..=670).contains(&half), "{half}: one in three");
        assert_eq!(share(10), 1600, "then the load counts");
    }

    #[test]
    fn a_server_has_no_more_than_it_may_have() {
        let origin = origin(&[(1, false), (1, false), (1, true)]);
        let filled: Vec<_> = (0..PLENTY).map(|_| origin.load[0].begin(PLENTY)).collect();
        assert!(filled.iter().all(Option::is_some) && origin.load[0].begin(PLENTY).is_none());
        assert_eq!(origin.order(0, NOW), [1, 2]);
        drop(filled);
        assert_eq!(origin.order(0, NOW), [0, 1, 2]);
    }
}
