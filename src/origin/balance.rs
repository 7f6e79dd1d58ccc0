//! The order in which the servers of an origin are tried.
//!
//! Servers take turns by their weights; of the one whose turn it is and another one drawn at random,
//! the one that is clearly less loaded goes first. Backups come after all others.

use std::time::Duration;

use super::Server;
use super::health::ServerHealth;
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
}

/// The places of the `servers` that may be tried at `now`, in the order of trying them. `turn` counts
/// requests, `draw` is any number.
pub fn order(servers: &[Known<'_>], turn: usize, draw: usize, now: Duration) -> Vec<usize> {
    let mut order = Vec::with_capacity(servers.len());
    for backup in [false, true] {
        let fit = |place: &usize| {
            servers.get(*place).is_some_and(|one| one.server.backup == backup && one.health.may_be_tried(now))
        };
        let mut places: Vec<usize> = (0..servers.len()).filter(fit).collect();
        arrange(&mut places, servers, turn, draw, now);
        order.append(&mut places);
    }
    order
}

/// Puts first whose turn it is, or whoever is clearly less loaded; the others follow in their order.
fn arrange(places: &mut [usize], servers: &[Known<'_>], turn: usize, draw: usize, now: Duration) {
    if places.len() < 2 {
        return;
    }
    let weight = |place: &usize| servers.get(*place).map_or(1, |one| one.server.weight);
    let cost = |place: &usize| servers.get(*place).and_then(|one| one.load.cost(one.server.weight, now));
    let total: usize = places.iter().map(|place| weight(place) as usize).sum();
    let mut left = turn % total.max(1);
    let first = places.iter().position(|place| {
        let mine = left < weight(place) as usize;
        left = left.saturating_sub(weight(place) as usize);
        mine
    });
    places.rotate_left(first.unwrap_or(0));
    let other = 1 + draw % (places.len() - 1);
    if let (Some(mine), Some(others)) = (places.first().and_then(cost), places.get(other).and_then(cost))
        && others.saturating_mul(2) <= mine
    {
        places.swap(0, other);
    }
}

#[cfg(test)]
mod tests {
    use super::super::ServerHost;
    use super::super::health::Fault;
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

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
        fn order(&self, turn: usize, draw: usize, now: Duration) -> Vec<usize> {
            let all = self.servers.iter().zip(&self.health).zip(&self.load);
            let known: Vec<Known<'_>> =
                all.map(|((server, health), load)| Known { server, health, load }).collect();
            order(&known, turn, draw, now)
        }

        fn firsts(&self, turns: usize) -> Vec<usize> {
            (0..turns).map(|turn| self.order(turn, turn, NOW)[0]).collect()
        }
    }

    #[test]
    fn servers_take_turns_by_weight_and_paused_ones_are_left_out() {
        let even = origin(&[(1, false), (1, false), (1, false)]);
        assert_eq!(even.firsts(6), [0, 1, 2, 0, 1, 2]);
        assert_eq!(even.order(1, 0, NOW), [1, 2, 0]);
        even.health[1].failed(NOW);
        assert_eq!(even.firsts(4), [0, 2, 0, 2]);
        assert_eq!(even.order(1, 0, NOW + Duration::from_secs(1)), [1, 2, 0]);
        let weighted = origin(&[(3, false), (1, false)]);
        assert_eq!(weighted.firsts(8), [0, 0, 0, 1, 0, 0, 0, 1]);
        assert_eq!(origin(&[]).order(5, 5, NOW), [0; 0]);
    }

    #[test]
    fn backups_come_last_whatever_their_turn() {
        let origin = origin(&[(1, true), (1, false), (9, true)]);
        assert_eq!(origin.order(0, 0, NOW), [1, 0, 2]);
        assert_eq!(origin.order(3, 0, NOW), [1, 2, 0]);
        origin.health[1].failed(NOW);
        assert_eq!(origin.order(0, 0, NOW), [0, 2]);
        assert!(origin.health[1].fault(Fault::NoAnswer, NOW, true) || !origin.health[1].may_be_tried(NOW));
    }

    #[test]
    fn who_is_clearly_less_loaded_goes_first() {
        let origin = origin(&[(1, false), (1, false)]);
        for load in &origin.load {
            load.answered(Duration::from_millis(10), NOW);
        }
        assert_eq!(origin.firsts(4), [0, 1, 0, 1], "equals take turns");
        let busy = [origin.load[0].begin(), origin.load[0].begin()];
        assert_eq!(origin.firsts(4), [1, 1, 1, 1], "two requests more");
        drop(busy);
        assert_eq!(origin.firsts(4), [0, 1, 0, 1]);
        for _ in 0..10 {
            origin.load[1].answered(Duration::from_millis(100), NOW);
        }
        assert_eq!(origin.firsts(4), [0, 0, 0, 0], "ten times as slow");
        let later = NOW + Duration::from_secs(20);
        origin.load[0].answered(Duration::from_millis(10), later);
        assert_eq!(origin.order(1, 0, later)[0], 1, "it is given another chance");
    }
}
