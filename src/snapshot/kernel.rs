//! Asks the kernel whether it supports what a configuration needs.

use std::io::ErrorKind;

use socket2::{Domain, Socket, Type};

/// Whether connections of this user may use that congestion control. The error is a sentence for the operator.
pub(super) fn offers_congestion(name: &str) -> Result<(), String> {
    let set = Socket::new(Domain::IPV4, Type::STREAM, None)
        .and_then(|socket| socket.set_tcp_congestion(name.as_bytes()));
    let Err(error) = set else { return Ok(()) };
    let known = fs_err::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control");
    let known = known.map_or_else(|_| "unknown".to_owned(), |known| known.trim().replace(' ', ", "));
    Err(match error.kind() {
        ErrorKind::PermissionDenied => {
            format!("this user's connections may not have the congestion control {name} (there are: {known})")
        }
        _ => format!("this kernel has no congestion control {name} (there are: {known})"),
    })
}
