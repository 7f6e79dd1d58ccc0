//! Whether the addresses of the listeners and of the admin pages are free, or held by the running program.
//!
//! A socket is bound for a moment and never listens: the port stays closed, and the program can bind it meanwhile.

use std::io;
use std::net::SocketAddr;

use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};

use super::finding::{Check, Finding};
use crate::config::Config;

/// `running` is the status of the running program, if there is one.
pub(super) fn check(config: &Config, running: Option<&Value>) -> Vec<Finding> {
    let held = held(running);
    let mut findings = Vec::new();
    for listener in &config.listeners {
        let subject = format!("listener {}", listener.name);
        findings.extend(listener.addresses.iter().map(|address| judge(&subject, *address, &held)));
    }
    if running.is_none() {
        findings.push(judge("admin", config.admin.address, &held));
    }
    findings
}

/// What the running program has bound.
pub(super) fn held(running: Option<&Value>) -> Vec<SocketAddr> {
    let listeners = running.and_then(|status| status["listeners"].as_array()).into_iter().flatten();
    let bound = listeners.filter_map(|listener| listener["bound"].as_array()).flatten();
    bound.filter_map(|address| address.as_str()?.parse().ok()).collect()
}

fn judge(subject: &str, address: SocketAddr, held: &[SocketAddr]) -> Finding {
    if held.contains(&address) {
        return Finding::ok(Check::Port, subject, format!("{address} is held by the running icpgate"));
    }
    let Err(error) = try_bind(address) else {
        return Finding::ok(Check::Port, subject, format!("{address} is free"));
    };
    match error.kind() {
        io::ErrorKind::AddrInUse => Finding::fail(
            Check::Port,
            subject,
            format!("{address} is held by another program"),
            format!("ss -ltnp 'sport = :{}' names it; stop it, or choose another address", address.port()),
        ),
        io::ErrorKind::AddrNotAvailable => Finding::fail(
            Check::Port,
            subject,
            format!("{address} is no address of this machine"),
            "ip address lists them; bind 0.0.0.0 or [::] for all",
        ),
        io::ErrorKind::PermissionDenied => Finding::warn(
            Check::Port,
            subject,
            format!("this user may not bind {address}, so it is not known whether it is free"),
            "run doctor as root; icpgate itself gets CAP_NET_BIND_SERVICE from its unit",
        ),
        _ => Finding::fail(
            Check::Port,
            subject,
            format!("{address} cannot be bound: {error}"),
            "correct the address",
        ),
    }
}

fn try_bind(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())
}
