//! What the system gives the program: descriptors, and the kernel's settings for sockets.

use std::ops::RangeInclusive;

use super::finding::{Check, Finding};
use crate::config::Config;
use crate::edge::descriptors::Descriptors;

/// The queue of a listening socket that icpgate asks for.
const BACKLOG: u64 = 4096;
/// Connections under way that a flood of SYNs may take before cookies are sent.
const SYN_BACKLOG: u64 = 1024;
/// Fewer local ports than these limit the connections to one server's address.
const LOCAL_PORTS: u64 = 16_384;

/// Whether the connections of `limits` have descriptors. `process` is the running program's id.
pub(super) fn descriptors(config: &Config, process: Option<u64>) -> Finding {
    let wanted = config.limits.connections as u64;
    let (subject, of) = match process.and_then(limit_of) {
        Some(limit) => ("icpgate run".to_owned(), Descriptors::with_limit(limit)),
        None => ("this shell".to_owned(), Descriptors::raise().unwrap_or_else(|_| Descriptors::of_process())),
    };
    let (limit, pairs) = (of.limit(), of.pairs());
    if pairs >= wanted {
        let message =
            format!("{limit} are enough for limits.connections ({wanted}), each with one to a server");
        return Finding::ok(Check::Descriptors, subject, message);
    }
    Finding::warn(
        Check::Descriptors,
        subject,
        format!("{limit} are enough for {pairs} connections, and limits.connections is {wanted}"),
        format!(
            "raise the limit to {} (LimitNOFILE= of the systemd unit, ulimits of a container), or lower \
             limits.connections",
            2 * (wanted + 128)
        ),
    )
}

/// The hard limit of a running process, to which icpgate raises its own.
fn limit_of(process: u64) -> Option<u64> {
    let limits = fs_err::read_to_string(format!("/proc/{process}/limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// The kernel's settings. One that this kernel or container does not have is left out.
pub(super) fn kernel(config: &Config) -> Vec<Finding> {
    let least = |name: &str, least: u64, why: &str| {
        let value = number(name)?;
        Some(if value >= least {
            Finding::ok(Check::Kernel, dotted(name), format!("{value}"))
        } else {
            let hint = format!("sysctl -w {}={least}, and in /etc/sysctl.d", dotted(name));
            Finding::warn(Check::Kernel, dotted(name), format!("{value}, less than {least}: {why}"), hint)
        })
    };
    let mut findings = Vec::new();
    findings.extend(least("net/core/somaxconn", BACKLOG, "connections are dropped in a burst"));
    findings.extend(least("net/ipv4/tcp_max_syn_backlog", SYN_BACKLOG, "handshakes are dropped in a burst"));
    findings.extend(local_ports(config));
    let tracked = 4 * config.limits.connections as u64;
    findings.extend(least(
        "net/netfilter/nf_conntrack_max",
        tracked,
        "new connections are dropped once the table is full (each takes up to four entries with its server and TIME_WAIT)",
    ));
    findings
}

fn local_ports(config: &Config) -> Vec<Finding> {
    const NAME: &str = "net/ipv4/ip_local_port_range";
    let Some(range) = read(NAME).as_deref().and_then(port_range) else { return Vec::new() };
    let count = u64::from(range.end().saturating_sub(*range.start())) + 1;
    let shown = format!("{} to {}", range.start(), range.end());
    let mut findings = vec![if count >= LOCAL_PORTS {
        Finding::ok(Check::Kernel, dotted(NAME), &*shown)
    } else {
        Finding::warn(
            Check::Kernel,
            dotted(NAME),
            format!("{shown}: at most {count} connections to one address of a server"),
            "sysctl -w net.ipv4.ip_local_port_range='16384 60999'",
        )
    }];
    let reserved = read("net/ipv4/ip_local_reserved_ports").unwrap_or_default();
    for listener in &config.listeners {
        for address in listener.addresses.iter().filter(|address| range.contains(&address.port())) {
            if !is_reserved(&reserved, address.port()) {
                findings.push(Finding::warn(
                    Check::Kernel,
                    format!("listener {}", listener.name),
                    format!(
                        "the kernel may give port {} to an outgoing connection while it is closed",
                        address.port()
                    ),
                    format!("sysctl -w net.ipv4.ip_local_reserved_ports={}", address.port()),
                ));
            }
        }
    }
    findings
}

fn port_range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut words = text.split_whitespace();
    Some(words.next()?.parse().ok()?..=words.next()?.parse().ok()?)
}

/// Whether a list such as `8080,9000-9010` names the port.
fn is_reserved(list: &str, port: u16) -> bool {
    list.trim().split(',').any(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        matches!((first.parse::<u16>(), last.parse::<u16>()), (Ok(first), Ok(last)) if (first..=last).contains(&port))
    })
}

fn read(name: &str) -> Option<String> {
    fs_err::read_to_string(format!("/proc/sys/{name}")).ok()
}

fn number(name: &str) -> Option<u64> {
    read(name)?.trim().parse().ok()
}

/// The name as sysctl has it.
fn dotted(name: &str) -> String {
    name.replace('/', ".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_lists_of_ports_are_read_as_the_kernel_writes_them() {
        assert_eq!(port_range("32768\t60999\n"), Some(32_768..=60_999));
        assert_eq!(port_range(""), None);
        assert!(is_reserved("8080,9000-9010\n", 8080) && is_reserved("8080,9000-9010\n", 9005));
        assert!(!is_reserved("8080,9000-9010\n", 8081) && !is_reserved("\n", 8080));
        assert!(limit_of(u64::from(std::process::id())).is_some_and(|limit| limit > 0));
    }
}
