//! `listeners`: named sets of addresses, no two of which overlap.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use super::{Value, ip_address, network, or};
use crate::config::reader::Fields;
use crate::config::{ClientAddressSource, HealthCheck, Listener, Protocol, Redirect, RefusalMode, schema};

pub(super) fn listener(item: &Value<'_>, claims: &RefCell<AddressClaims>) -> Option<Listener> {
    let fields = item.fields(schema::LISTENER)?;
    let name = fields.required("name").and_then(Value::name);
    let owner = format!("listener {:?}", name.unwrap_or("without a name"));
    let addresses = fields.required("addresses").and_then(Value::items).map(|items| {
        items.iter().filter_map(|value| claimed_address(value, claims, &owner)).collect::<Vec<_>>()
    });
    let public_addresses =
        or(fields.get("public_addresses"), Vec::new(), |list| distinct_or_none(list, ip_address));
    let trusted_proxies =
        or(fields.get("trusted_proxies"), Vec::new(), |list| distinct_or_none(list, network));
    let client_address = or(fields.get("proxy_protocol"), ClientAddressSource::default(), proxy_protocol);
    let protocol = fields.required("protocol").and_then(|value| {
        match value.word(&[("https", true), ("http", false)])? {
            true => https(&fields),
            false => http(&fields),
        }
    });
    if let Some(Protocol::Http { redirect: Redirect::Https, .. }) = protocol
        && trusted_proxies.as_ref().is_some_and(|proxies| !proxies.is_empty())
    {
        fields.useless("trusted_proxies", "the listener only redirects");
    }
    Some(Listener {
        name: name?.into(),
        addresses: addresses?,
        protocol: protocol?,
        public_addresses: public_addresses?,
        client_address: client_address?,
        trusted_proxies: trusted_proxies?,
    })
}

fn proxy_protocol(value: &Value<'_>) -> Option<ClientAddressSource> {
    let fields = value.fields(schema::PROXY_PROTOCOL)?;
    let trusted = fields.required("trusted")?;
    let networks = trusted.distinct(network)?;
    if let Some(all) = networks.iter().find(|network| network.prefix_len() == 0) {
        trusted.warn(
            format_args!("{all} is everywhere: any peer could claim any client address"),
            "name the load balancer's own addresses".to_owned(),
        );
    }
    Some(ClientAddressSource::ProxyHeader(networks))
}

fn https(fields: &Fields<'_>) -> Option<Protocol> {
    for key in ["redirect", "health_check"] {
        fields.useless(key, "it is for http listeners, and this one is https");
    }
    let words =
        [("reset", RefusalMode::Reset), ("alert", RefusalMode::Alert), ("silent", RefusalMode::Silent)];
    let refusal = or(fields.get("refusal"), RefusalMode::default(), |value| value.word(&words))?;
    Some(Protocol::Https { refusal })
}

fn http(fields: &Fields<'_>) -> Option<Protocol> {
    fields.useless("refusal", "it is for https listeners; over http a refusal is always a reset");
    let redirect = or(fields.get("redirect"), Redirect::default(), |value| {
        value.word(&[("https", Redirect::Https), ("none", Redirect::None)])
    });
    let health_check = or(fields.get("health_check"), None, |value| health_check(value).map(Some));
    Some(Protocol::Http { redirect: redirect?, health_check: health_check? })
}

fn health_check(value: &Value<'_>) -> Option<HealthCheck> {
    let fields = value.fields(schema::HEALTH_CHECK)?;
    let path = fields.required("path").and_then(path);
    let from = fields.required("from").and_then(|list| list.distinct(network));
    Some(HealthCheck { path: path?, from: from? })
}

pub(super) fn path(value: &Value<'_>) -> Option<String> {
    value.parsed("a path", "/pay; anything but visible ASCII is written as %E6, as clients send it", |text| {
        if !text.starts_with('/') {
            Err("it does not begin with /")
        } else if text.contains(['?', '#']) {
            Err("it holds ? or #, which end a path")
        } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Err("it holds something other than visible ASCII")
        } else {
            Ok(text.to_owned())
        }
    })
}

fn distinct_or_none<T: Clone + Eq + std::hash::Hash>(
    list: &Value<'_>,
    read: impl Fn(&Value<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    if list.items_or_none()?.is_empty() { Some(Vec::new()) } else { list.distinct(read) }
}

pub(super) fn socket_address(value: &Value<'_>) -> Option<SocketAddr> {
    let address: SocketAddr =
        value.parsed("an address with a port", "0.0.0.0:443 or \"[::]:443\"", str::parse)?;
    if let IpAddr::V6(ip) = address.ip()
        && let Some(v4) = ip.to_ipv4_mapped()
    {
        let hint = format!("write {}", SocketAddr::from((v4, address.port())));
        value.fatal(format_args!("{address} is an IPv4-mapped IPv6 address"), hint);
        return None;
    }
    if address.port() == 0 {
        value.warn("with port 0 the system chooses another port at every bind", "give a port".to_owned());
    }
    Some(address)
}

fn claimed_address(value: &Value<'_>, claims: &RefCell<AddressClaims>, owner: &str) -> Option<SocketAddr> {
    let address = socket_address(value)?;
    if let Some((other, owner)) = claims.borrow_mut().claim(address, owner) {
        value.fatal(
            format_args!("{address} overlaps with {other} of {owner}"),
            "give every listener a port or an address of its own".to_owned(),
        );
    }
    Some(address)
}

/// The addresses claimed so far, with their listeners. IPv6 sockets are bound for IPv6 only, so that the families
/// never overlap.
#[derive(Default)]
pub(super) struct AddressClaims {
    by_port: HashMap<(u16, bool), HashMap<IpAddr, String>>,
}

impl AddressClaims {
    /// Claims an address. Returns an address that overlaps with it, and that one's listener.
    pub(super) fn claim(&mut self, address: SocketAddr, owner: &str) -> Option<(SocketAddr, String)> {
        if address.port() == 0 {
            return None;
        }
        let taken = self.by_port.entry((address.port(), address.is_ipv4())).or_default();
        let other = if address.ip().is_unspecified() {
            taken.iter().min()
        } else {
            taken.iter().find(|(ip, _)| ip.is_unspecified()).or(taken.get_key_value(&address.ip()))
        };
        let other = other.map(|(ip, owner)| (SocketAddr::from((*ip, address.port())), owner.clone()));
        taken.entry(address.ip()).or_insert_with(|| owner.to_owned());
        other
    }
}

/// Warns of redirects to https without an https listener.
pub(super) fn warn_of_lost_redirects(items: &[Value<'_>], listeners: &[Option<Listener>]) {
    let is_https = |listener: &Listener| matches!(listener.protocol, Protocol::Https { .. });
    let known: Vec<_> = listeners.iter().flatten().collect();
    if known.len() < listeners.len() || known.iter().any(|listener| is_https(listener)) {
        return;
    }
    for (item, listener) in items.iter().zip(known) {
        if matches!(listener.protocol, Protocol::Http { redirect: Redirect::Https, .. }) {
            item.warn(
                "it redirects to https, but there is no https listener",
                "add one, or `redirect: none` to serve in clear text".to_owned(),
            );
        }
    }
}
