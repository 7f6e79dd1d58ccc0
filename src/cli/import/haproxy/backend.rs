//! HAProxy's backends as origins.

use std::collections::BTreeMap;

use super::sections::{self, Line, Section};
use crate::cli::import::plan::{Origin, Plan, Server};

/// Every backend, and those that rules use.
#[derive(Debug, Default)]
pub(super) struct Backends {
    defined: BTreeMap<String, Origin>,
    used: Vec<String>,
}

impl Backends {
    /// Takes a `backend` section, or the servers of a `listen` section, with what `defaults` say of every backend.
    pub(super) fn define(&mut self, plan: &mut Plan, section: &Section, defaults: &[&Line]) {
        let mut origin =
            Origin { name: section.name.clone(), place: section.place.clone(), ..Origin::default() };
        let inherited = defaults.iter().copied().filter(|line| is_default(line));
        for line in inherited.chain(&section.lines) {
            match line.words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
                ["server", _, address, options @ ..] => server(plan, &mut origin, line, address, options),
                ["balance", "roundrobin" | "leastconn" | "random" | "static-rr"] | ["mode", "http"] => {}
                ["balance", "source"] => origin.balance = Some("{hash: client}".to_owned()),
                ["balance", header] if header.starts_with("hdr(") => {
                    let name = header.trim_start_matches("hdr(").trim_end_matches(')').to_ascii_lowercase();
                    origin.balance = Some(format!("{{hash: {{header: {name}}}}}"));
                }
                ["option", "httpchk", path] | ["option", "httpchk", _, path, ..] => {
                    origin.health_path = Some((*path).to_owned());
                }
                ["option", "httpchk"] => origin.health_path = Some("/".to_owned()),
                ["timeout", "connect", time] => origin.connect_timeout = self::time(time),
                ["timeout", "server", time] => origin.first_byte_timeout = self::time(time),
                // The frontend's half of a `listen` section looks at these.
                ["bind" | "acl" | "use_backend" | "default_backend" | "redirect", ..]
                    if section.kind == "listen" => {}
                ["http-request" | "http-response", ..] if section.kind == "listen" => {}
                _ => plan.note(&line.place, &line.text(), sections::reason(&line.words)),
            }
        }
        self.defined.insert(origin.name.clone(), origin);
    }

    /// The name of the origin for a backend; `None` where it has no servers.
    pub(super) fn origin(&mut self, name: &str) -> Option<String> {
        let origin = self.defined.get(name).filter(|origin| !origin.servers.is_empty())?;
        if !self.used.contains(&origin.name) {
            self.used.push(origin.name.clone());
        }
        Some(origin.name.clone())
    }

    /// The origins that rules lead to.
    pub(super) fn into_used(mut self) -> Vec<Origin> {
        self.used.iter().filter_map(|name| self.defined.remove(name)).collect()
    }
}

fn server(plan: &mut Plan, origin: &mut Origin, line: &Line, address: &str, options: &[&str]) {
    let following = |name: &str| {
        let at = options.iter().position(|option| *option == name)?;
        options.get(at + 1).copied()
    };
    let is_tls = options.contains(&"ssl");
    let address = if address.contains(':') {
        address.to_owned()
    } else {
        format!("{address}:{}", if is_tls { 443 } else { 80 })
    };
    if is_tls {
        origin.is_tls = true;
        let sni = following("sni").map(|sni| sni.trim_start_matches("str(").trim_end_matches(')'));
        let host = sni.or(following("verifyhost")).or(address.rsplit_once(':').map(|(host, _)| host));
        origin.server_name = host.map(str::to_owned);
        if following("verify") == Some("none") {
            plan.note(
                &line.place,
                "verify none",
                "TLS to origins is always verified; `trust` names private roots",
            );
        }
    }
    if options.iter().any(|option| option.starts_with("send-proxy")) {
        plan.note(&line.place, "send-proxy", "see `proxy_protocol` of an origin");
    }
    origin.servers.push(Server {
        address,
        weight: following("weight").and_then(|weight| weight.parse().ok()),
        is_backup: options.contains(&"backup"),
    });
}

/// Whether backends take this line of a `defaults` section.
pub(super) fn is_default(line: &Line) -> bool {
    let words: Vec<&str> = line.words.iter().map(String::as_str).collect();
    matches!(words.as_slice(), ["mode", "http"] | ["balance", _] | ["timeout", "connect" | "server", _])
}

/// A time such as `5s`, or a number of milliseconds.
fn time(value: &str) -> Option<String> {
    match value.parse::<u64>() {
        Ok(0) => None,
        Ok(milliseconds) => Some(format!("{milliseconds}ms")),
        Err(_) => value.ends_with(['s', 'm']).then(|| value.to_owned()),
    }
}
