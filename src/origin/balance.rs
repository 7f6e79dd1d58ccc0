//! The order in which servers are tried.
//!
//! Servers take turns; paused ones come after all others, the one whose pause ends first before the
//! rest, so that the last server of all is never given up.

use std::time::Duration;

use super::health::ServerHealth;

/// The places of `servers` in the order of trying them. `turn` counts requests.
pub fn order<'h>(
    servers: impl ExactSizeIterator<Item = &'h ServerHealth>,
    turn: usize,
    now: Duration,
) -> Vec<usize> {
    let count = servers.len();
    let mut places: Vec<(Duration, usize, usize)> = servers
        .enumerate()
        .map(|(place, health)| {
            let pause = health.paused_until().saturating_sub(now);
            // A count of zero yields no item, so that there is nothing to divide by.
            (pause, (place + count - turn % count) % count, place)
        })
        .collect();
    places.sort_unstable();
    places.into_iter().map(|(_, _, place)| place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_take_turns_and_paused_ones_come_last() {
        let servers = [ServerHealth::default(), ServerHealth::default(), ServerHealth::default()];
        let now = Duration::from_secs(100);
        assert_eq!(order(servers.iter(), 0, now), [0, 1, 2]);
        assert_eq!(order(servers.iter(), 1, now), [1, 2, 0]);
        servers[1].failed(now);
        assert_eq!(order(servers.iter(), 1, now), [2, 0, 1]);
        servers[2].failed(now);
        servers[2].failed(now);
        servers[0].failed(now - Duration::from_millis(500));
        assert_eq!(order(servers.iter(), 1, now), [0, 1, 2]);
        assert_eq!(order([].iter(), 5, now), [0; 0]);
    }
}
