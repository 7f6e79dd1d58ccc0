//! nginx's upstreams, and the addresses that `proxy_pass` names directly, as origins.

use std::collections::BTreeMap;

use super::syntax::Directive;
use super::values;
use crate::cli::import::plan::{Origin, Place, Plan, Server};

/// The target of a `proxy_pass`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Target {
    pub(super) is_tls: bool,
    /// An upstream's name, or an address.
    pub(super) authority: String,
    /// The path after the authority, where there is one.
    pub(super) path: Option<String>,
}

impl Target {
    /// Reads the argument of `proxy_pass`; the error says why it cannot be carried over.
    pub(super) fn parse(url: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = url.split_once("://").ok_or("it is no URL")?;
        let is_tls = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err("icpgate speaks HTTP and HTTPS with origins"),
        };
        if rest.contains('$') {
            return Err("origins are fixed: a variable cannot choose one");
        }
        if rest.starts_with("unix:") {
            return Err("origins have TCP addresses");
        }
        let (authority, path) = match rest.find('/') {
            Some(at) => (&rest[..at], Some(rest[at..].to_owned())),
            None => (rest, None),
        };
        Ok(Self { is_tls, authority: authority.to_owned(), path })
    }
}

/// Timeouts of a location, for the origin that it leads to.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Timeouts {
    pub(super) connect: Option<String>,
    pub(super) first_byte: Option<String>,
}

/// Every upstream, and the origins that routes use.
#[derive(Debug, Default)]
pub(super) struct Upstreams {
    defined: BTreeMap<String, Origin>,
    used: Vec<Origin>,
}

impl Upstreams {
    /// Takes an `upstream` block.
    pub(super) fn define(&mut self, plan: &mut Plan, upstream: &Directive) {
        let mut origin =
            Origin { name: upstream.first().to_owned(), place: upstream.place.clone(), ..Origin::default() };
        for directive in upstream.children() {
            match directive.name.as_str() {
                "server" => match server(directive) {
                    Ok(server) => origin.servers.push(server),
                    Err(reason) => plan.note(&directive.place, &directive.text(), reason),
                },
                "ip_hash" => origin.balance = Some("{hash: client}".to_owned()),
                "hash" => origin.balance = hash(plan, directive),
                "least_conn" => {}
                _ => values::note(plan, directive),
            }
        }
        self.defined.insert(origin.name.clone(), origin);
    }

    /// The name of the origin for a target, made where there is none yet.
    pub(super) fn origin(
        &mut self,
        target: &Target,
        host: Option<String>,
        timeouts: &Timeouts,
        place: &Place,
    ) -> String {
        let mut wanted = self.defined.get(&target.authority).cloned().unwrap_or_else(|| {
            let name: String =
                target.authority.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
            let server = Server { address: with_port(&target.authority, target.is_tls), ..Server::default() };
            Origin {
                name: name.trim_matches('-').to_owned(),
                servers: vec![server],
                place: place.clone(),
                ..Origin::default()
            }
        });
        for server in &mut wanted.servers {
            server.address = with_port(&server.address, target.is_tls);
        }
        wanted.is_tls = target.is_tls;
        wanted.server_name =
            target.is_tls.then(|| host.clone().unwrap_or_else(|| host_of(&target.authority)));
        wanted.host = host;
        wanted.connect_timeout.clone_from(&timeouts.connect);
        wanted.first_byte_timeout.clone_from(&timeouts.first_byte);
        let is_same = |known: &&Origin| {
            (known.servers == wanted.servers, known.is_tls, &known.host)
                == (true, wanted.is_tls, &wanted.host)
                && known.connect_timeout == wanted.connect_timeout
                && known.first_byte_timeout == wanted.first_byte_timeout
        };
        if let Some(known) = self.used.iter().find(is_same) {
            return known.name.clone();
        }
        let stem = wanted.name.clone();
        let mut number = 2;
        while self.used.iter().any(|known| known.name == wanted.name) {
            wanted.name = format!("{stem}-{number}");
            number += 1;
        }
        self.used.push(wanted.clone());
        wanted.name
    }

    /// The origins that routes lead to.
    pub(super) fn into_used(self) -> Vec<Origin> {
        self.used
    }
}

/// The host of an authority, without its port.
fn host_of(authority: &str) -> String {
    authority.rsplit_once(':').map_or(authority, |(host, _)| host).to_owned()
}

fn with_port(address: &str, is_tls: bool) -> String {
    let has_port = address.rsplit_once(':').is_some_and(|(_, port)| port.chars().all(|c| c.is_ascii_digit()));
    if has_port { address.to_owned() } else { format!("{address}:{}", if is_tls { 443 } else { 80 }) }
}

fn server(directive: &Directive) -> Result<Server, &'static str> {
    let address = directive.first();
    if address.starts_with("unix:") {
        return Err("origins have TCP addresses");
    }
    if directive.arguments.iter().any(|word| word == "down") {
        return Err("the server is marked `down`");
    }
    Ok(Server {
        address: address.to_owned(),
        weight: directive.arguments.iter().find_map(|word| word.strip_prefix("weight=")?.parse().ok()),
        is_backup: directive.arguments.iter().any(|word| word == "backup"),
    })
}

fn hash(plan: &mut Plan, directive: &Directive) -> Option<String> {
    let key = directive.first();
    if values::with_placeholders(key).as_deref() == Some("{client_ip}") {
        return Some("{hash: client}".to_owned());
    }
    let named = |prefix: &str| key.strip_prefix(prefix).map(str::to_owned);
    if let Some(cookie) = named("$cookie_") {
        return Some(format!("{{hash: {{cookie: {cookie}}}}}"));
    }
    if let Some(header) = named("$http_") {
        return Some(format!("{{hash: {{header: {}}}}}", header.replace('_', "-")));
    }
    plan.note(&directive.place, &directive.text(), "servers are chosen by client, by a cookie or by a field");
    None
}
