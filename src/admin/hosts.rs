//! Which hosts the pages may be asked by.
//!
//! A page of a stranger that an operator's browser shows can ask a name that it makes resolve to the admin address (DNS
//! rebinding). The browser then sends that name as `host`, which nobody but the operator could have allowed.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::hostname::{Hostname, split_port};

/// The names that are configured. Loopback names and addresses are always allowed.
#[derive(Clone, Debug)]
pub(super) struct AdminHosts(Arc<[Hostname]>);

impl AdminHosts {
    pub(super) fn new(names: Vec<Hostname>) -> Self {
        Self(names.into())
    }

    /// Whether a page may be asked by `authority`, a host with or without a port.
    fn allow(&self, authority: &str) -> bool {
        if is_address(authority) {
            return true;
        }
        let Ok((host, _)) = split_port(authority) else { return false };
        let host = host.strip_suffix('.').unwrap_or(host);
        // RFC 6761, 6.3: no name below `localhost` leaves the machine.
        Hostname::parse(host)
            .is_ok_and(|host| host.top_level_domain() == "localhost" || self.0.contains(&host))
    }
}

/// Whether the host is an IP address, which no name server can redirect.
fn is_address(authority: &str) -> bool {
    match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').is_some_and(|(address, port)| {
            address.parse::<Ipv6Addr>().is_ok() && (port.is_empty() || port.starts_with(':'))
        }),
        None => split_port(authority).is_ok_and(|(host, _)| host.parse::<IpAddr>().is_ok()),
    }
}

/// The host that a request names; `None` without one, or with several.
fn authority(request: &Request) -> Option<&str> {
    let mut fields = request.headers().get_all(header::HOST).iter();
    match (request.uri().authority(), fields.next(), fields.next()) {
        (_, _, Some(_)) => None,
        // An absolute target goes before the field (RFC 9112, 3.2.2).
        (Some(authority), ..) => Some(authority.as_str()),
        (None, field, None) => field?.to_str().ok(),
    }
}

/// Answers 421 to a request for a host that is not allowed.
pub(super) async fn check(State(hosts): State<AdminHosts>, request: Request, next: Next) -> Response {
    if authority(&request).is_some_and(|authority| hosts.allow(authority)) {
        return next.run(request).await;
    }
    let text = "ask by an address, by localhost, or by a name in admin.hosts\n";
    (StatusCode::MISDIRECTED_REQUEST, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_loopback_names_and_configured_names_are_allowed() {
        let hosts = AdminHosts::new(vec![Hostname::parse("edge.internal").expect("a name")]);
        for allowed in [
            "127.0.0.1",
            "10.0.0.1:9180",
            "[::1]",
            "[2001:db8::1]:9180",
            "localhost",
            "LOCALHOST:9180",
            "localhost.",
            "a.localhost:1",
            "edge.internal",
            "Edge.Internal.:9180",
        ] {
            assert!(hosts.allow(allowed), "{allowed}");
        }
        for refused in [
            "",
            ":9180",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "notlocalhost",
            "x.edge.internal",
            "localhost:x",
            "[::1",
            "[::1]x",
            "[localhost]",
            "me@localhost",
        ] {
            assert!(!hosts.allow(refused), "{refused}");
        }
    }
}
