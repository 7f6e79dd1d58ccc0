//! Which side of the border a client is on, by its address.
//!
//! The networks of the mainland are kept as sorted ranges; every other public address is offshore, and
//! any other address that is not public belongs to no region.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::origin::Region;

/// The networks of the mainland.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ClientRegions {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

/// Ranges with both ends, sorted and apart.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Ranges<A>(Vec<(A, A)>);

impl<A: Copy + Ord> Ranges<A> {
    /// `is_next` tells whether the second address follows the first.
    fn new(mut ranges: Vec<(A, A)>, is_next: impl Fn(A, A) -> bool) -> Self {
        ranges.sort_unstable();
        let mut apart: Vec<(A, A)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match apart.last_mut() {
                Some(before) if first <= before.1 || is_next(before.1, first) => {
                    before.1 = before.1.max(last)
                }
                Some(_) | None => apart.push((first, last)),
            }
        }
        apart.shrink_to_fit();
        Self(apart)
    }

    fn contains(&self, address: A) -> bool {
        let behind = self.0.partition_point(|(first, _)| *first <= address);
        behind.checked_sub(1).and_then(|place| self.0.get(place)).is_some_and(|(_, last)| address <= *last)
    }
}

impl FromIterator<IpNet> for ClientRegions {
    fn from_iter<I: IntoIterator<Item = IpNet>>(mainland: I) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in mainland {
            match network {
                IpNet::V4(network) => v4.push((network.network().to_bits(), network.broadcast().to_bits())),
                IpNet::V6(network) => v6.push((network.network().to_bits(), network.broadcast().to_bits())),
            }
        }
        Self {
            v4: Ranges::new(v4, |last, first| last.checked_add(1) == Some(first)),
            v6: Ranges::new(v6, |last, first| last.checked_add(1) == Some(first)),
        }
    }
}

impl ClientRegions {
    /// Where `client` is; `None` for an address that is neither public nor in a network that was named.
    pub fn region(&self, client: IpAddr) -> Option<Region> {
        let client = client.to_canonical();
        let mainland = match client {
            IpAddr::V4(client) => self.v4.contains(client.to_bits()),
            IpAddr::V6(client) => self.v6.contains(client.to_bits()),
        };
        if mainland {
            return Some(Region::Mainland);
        }
        (!is_internal(client) && !client.is_unspecified()).then_some(Region::Offshore)
    }

    /// How many ranges there are.
    pub fn len(&self) -> usize {
        self.v4.0.len() + self.v6.0.len()
    }

    /// Whether nothing is of the mainland.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Whether an address has no meaning beyond a network of its own.
pub fn is_internal(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            ip.is_loopback() || ip.is_private() || ip.is_link_local() || shared
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn regions(networks: &[&str]) -> ClientRegions {
        networks.iter().map(|network| network.parse::<IpNet>().expect("a network")).collect()
    }

    #[test]
    fn every_public_address_has_a_side_and_others_have_one_where_it_is_named() {
        let regions = regions(&["1.0.1.0/24", "1.0.2.0/23", "203.0.113.128/25", "2408::/20", "10.0.0.0/8"]);
        for (client, expected) in [
            ("1.0.0.255", Some(Region::Offshore)),
            ("1.0.1.0", Some(Region::Mainland)),
            ("1.0.3.255", Some(Region::Mainland)),
            ("1.0.4.0", Some(Region::Offshore)),
            ("203.0.113.127", Some(Region::Offshore)),
            ("203.0.113.255", Some(Region::Mainland)),
            ("::ffff:203.0.113.255", Some(Region::Mainland)),
            ("255.255.255.255", Some(Region::Offshore)),
            ("2408::1", Some(Region::Mainland)),
            ("2408:fff:ffff::", Some(Region::Mainland)),
            ("2408:1000::", Some(Region::Offshore)),
            ("2001:db8::1", Some(Region::Offshore)),
            ("10.0.0.1", Some(Region::Mainland)),
            ("172.31.0.1", None),
            ("192.168.1.1", None),
            ("100.64.0.1", None),
            ("127.0.0.1", None),
            ("169.254.1.1", None),
            ("::1", None),
            ("0.0.0.0", None),
            ("::", None),
            ("fd00::1", None),
            ("fe80::1", None),
            ("::ffff:10.0.0.1", Some(Region::Mainland)),
        ] {
            assert_eq!(regions.region(client.parse().expect("an address")), expected, "{client}");
        }
    }

    #[test]
    fn neighbours_and_overlaps_become_one_range() {
        assert_eq!(regions(&["1.0.0.0/24", "1.0.1.0/24", "1.0.0.0/16", "1.0.5.0/24"]).len(), 1);
        assert_eq!(regions(&["1.0.0.0/24", "1.0.2.0/24"]).len(), 2);
        assert_eq!(regions(&["0.0.0.0/0", "255.255.255.255/32", "::/0"]).len(), 2);
        assert!(regions(&[]).is_empty());
    }

    proptest! {
        /// What the ranges say is what a look at each network says.
        #[test]
        fn ranges_mean_their_networks(
            networks in prop::collection::vec((0_u32..1024, 24_u8..=32), 0..40),
            clients in prop::collection::vec(0_u32..2048, 50),
        ) {
            const BASE: u32 = 0x0100_0000;
            let networks: Vec<IpNet> = networks
                .into_iter()
                .map(|(low, length)| IpNet::new(IpAddr::V4((BASE + low * 4).into()), length).expect("a network"))
                .collect();
            let regions: ClientRegions = networks.iter().copied().collect();
            for client in clients {
                let client = IpAddr::V4((BASE + client * 2).into());
                let mainland = networks.iter().any(|network| network.contains(&client));
                prop_assert_eq!(regions.region(client) == Some(Region::Mainland), mainland);
            }
        }
    }
}
