//! The machine's own IP addresses, as the kernel lists them.

use std::net::{IpAddr, Ipv6Addr};

/// Every address of this network namespace, loopback included. What cannot be read is left out.
pub(super) fn addresses() -> Vec<IpAddr> {
    let read = |file: &str| fs_err::read_to_string(file).unwrap_or_default();
    let mut addresses = v4(&read("/proc/net/fib_trie"));
    addresses.extend(v6(&read("/proc/net/if_inet6")));
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// The local addresses of a routing table: `|-- 10.0.0.5`, with `/32 host LOCAL` on the next line.
fn v4(table: &str) -> Vec<IpAddr> {
    let lines: Vec<&str> = table.lines().map(str::trim).collect();
    let is_local = |line: &str| line.starts_with("/32 host LOCAL");
    lines
        .windows(2)
        .filter(|pair| is_local(pair[1]))
        .filter_map(|pair| pair[0].strip_prefix("|-- ")?.parse().ok())
        .collect()
}

/// The first column of a list of interfaces: 32 hexadecimal digits.
fn v6(list: &str) -> Vec<IpAddr> {
    let digits = list.lines().filter_map(|line| line.split_whitespace().next());
    digits
        .filter(|digits| digits.len() == 32)
        .filter_map(|digits| u128::from_str_radix(digits, 16).ok())
        .map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_from_the_kernel_s_tables() {
        let table = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     |-- 10.0.0.5\n        \
                     /32 host LOCAL\n     |-- 10.0.0.255\n        /32 link BROADCAST\n";
        assert_eq!(v4(table), ["10.0.0.5".parse::<IpAddr>().expect("an address")]);
        let list = "00000000000000000000000000000001 01 80 10 80       lo\n20010db8000000000000000000000001 02 40 00 80 eth0\n";
        let expected: [IpAddr; 2] = [Ipv6Addr::LOCALHOST.into(), "2001:db8::1".parse().expect("an address")];
        assert_eq!(v6(list), expected);
        assert!(addresses().contains(&"127.0.0.1".parse().expect("an address")), "{:?}", addresses());
    }
}
