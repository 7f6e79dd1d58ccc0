//! Plans a configuration from HAProxy's: frontends become listeners and sites, backends become origins.
//!
//! Each set of hosts that a frontend's rules name becomes a site. Every line ends up in the plan or in its notes.

mod backend;
mod sections;

use std::collections::BTreeMap;
use std::path::Path;

use super::plan::{Action, HeaderChanges, Pair, PathMatch, Place, Plan, Protocol, Route, Site};
use backend::Backends;
use sections::{Line, Section};

pub(super) fn import(path: &Path) -> anyhow::Result<Plan> {
    let sections = sections::read(path)?;
    let mut plan = Plan::default();
    let mut backends = Backends::default();
    let defaults: Vec<&Line> =
        sections.iter().filter(|one| one.kind == "defaults").flat_map(|one| &one.lines).collect();
    for section in &sections {
        match section.kind.as_str() {
            "backend" | "listen" => backends.define(&mut plan, section, &defaults),
            "frontend" => {}
            "defaults" => {
                let is_taken = |line: &Line| backend::is_default(line);
                section.lines.iter().filter(|line| !is_taken(line)).for_each(|line| note(&mut plan, line));
            }
            "global" => section.lines.iter().for_each(|line| note(&mut plan, line)),
            _ => plan.note(&section.place, &section.kind, "the section has no counterpart"),
        }
    }
    for section in sections.iter().filter(|one| matches!(one.kind.as_str(), "frontend" | "listen")) {
        import_frontend(&mut plan, &mut backends, section);
    }
    plan.origins = backends.into_used();
    Ok(plan)
}

fn note(plan: &mut Plan, line: &Line) {
    plan.note(&line.place, &line.text(), sections::reason(&line.words));
}

/// A condition that rules name.
#[derive(Clone, Debug)]
enum Condition {
    Hosts(Vec<String>),
    PathBegins(Vec<String>),
    PathIs(Vec<String>),
    Methods(Vec<String>),
    /// The connection is TLS.
    Tls,
}

/// The conditions of a rule: hosts, paths and methods.
#[derive(Clone, Debug, Default)]
struct Rule {
    hosts: Vec<String>,
    paths: Vec<PathMatch>,
    methods: Vec<String>,
}

/// What the lines of a frontend come to.
#[derive(Debug, Default)]
struct Frontend {
    /// In order, with the place each came from.
    rules: Vec<(Rule, Action, Place)>,
    request_headers: HeaderChanges,
    response_headers: HeaderChanges,
}

fn import_frontend(plan: &mut Plan, backends: &mut Backends, section: &Section) {
    let redirects = section.lines.iter().any(is_redirect_to_tls);
    let (listeners, certificate) = binds(plan, section, redirects);
    let frontend = frontend(plan, backends, section);
    let mut hosts: Vec<Vec<String>> = Vec::new();
    for (rule, _, _) in &frontend.rules {
        if !rule.hosts.is_empty() && !hosts.contains(&rule.hosts) {
            hosts.push(rule.hosts.clone());
        }
    }
    if hosts.is_empty() && !frontend.rules.is_empty() {
        let reason = "no rule names a host; put the filed hosts in place of example.cn";
        plan.note(&section.place, &section.kind, reason);
        hosts.push(vec!["example.cn".to_owned()]);
    }
    for hosts in hosts {
        let routes = frontend.routes(&hosts);
        let (listeners, certificate) = (listeners.clone(), certificate.clone());
        let place = section.place.clone();
        plan.sites.push(Site { hosts, listeners, certificate, routes, place, ..Site::default() });
    }
}

/// Reads the rules of a `frontend` or `listen` section.
fn frontend(plan: &mut Plan, backends: &mut Backends, section: &Section) -> Frontend {
    let mut conditions = BTreeMap::new();
    let mut frontend = Frontend::default();
    for line in &section.lines {
        let lead = |backends: &mut Backends, name: &str, rule| {
            let origin = backends.origin(name)?;
            Some((rule, Action::Origins(vec![origin]), line.place.clone()))
        };
        match line.words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["bind", ..] | ["mode", "http"] => {}
            ["acl", name, rest @ ..] => match condition(rest) {
                Some(known) => conditions.entry((*name).to_owned()).or_insert_with(Vec::new).push(known),
                None => note(plan, line),
            },
            _ if is_redirect_to_tls(line) => {}
            ["use_backend", name, "if", tests @ ..] => match rule(tests, &conditions) {
                Some(rule) => frontend.rules.extend(lead(backends, name, rule)),
                None => {
                    let reason = "routes match hosts, path prefixes, exact paths and methods";
                    plan.note(&line.place, &line.text(), reason);
                }
            },
            ["default_backend", name] => frontend.rules.extend(lead(backends, name, Rule::default())),
            ["http-response", "set-header", name, value] => {
                set(plan, &mut frontend.response_headers, line, name, value);
            }
            ["http-request", "set-header", name, value] => {
                set(plan, &mut frontend.request_headers, line, name, value);
            }
            ["http-response", "del-header", name] => {
                frontend.response_headers.remove.push(name.to_ascii_lowercase());
            }
            ["http-request", "del-header", name] => {
                frontend.request_headers.remove.push(name.to_ascii_lowercase());
            }
            // A `listen` section is a backend too, which took these.
            _ if section.kind == "listen" => {}
            _ => note(plan, line),
        }
    }
    if section.kind == "listen"
        && let Some(origin) = backends.origin(&section.name)
    {
        frontend.rules.push((Rule::default(), Action::Origins(vec![origin]), section.place.clone()));
    }
    frontend
}

impl Frontend {
    /// The routes of a site with these hosts: its own rules, and those that name no host.
    fn routes(&self, hosts: &[String]) -> Vec<Route> {
        let whole = [PathMatch::Prefix("/".to_owned())];
        let mut routes: Vec<Route> = Vec::new();
        for (rule, action, place) in &self.rules {
            if !rule.hosts.is_empty() && rule.hosts != hosts {
                continue;
            }
            let paths = if rule.paths.is_empty() { &whole[..] } else { &rule.paths };
            for path in paths {
                // The first rule for a path wins, as in HAProxy.
                if routes.iter().any(|known| known.path == *path && known.methods == rule.methods) {
                    continue;
                }
                routes.push(Route {
                    path: path.clone(),
                    methods: rule.methods.clone(),
                    from: Vec::new(),
                    action: action.clone(),
                    rewrite: None,
                    request_headers: self.request_headers.clone(),
                    response_headers: self.response_headers.clone(),
                    cache: None,
                    place: place.clone(),
                });
            }
        }
        routes
    }
}

/// The listeners of a section, and the certificate of its first TLS one.
fn binds(plan: &mut Plan, section: &Section, redirects: bool) -> (Vec<String>, Option<Pair>) {
    let (mut names, mut certificate) = (Vec::new(), None);
    for line in section.lines.iter().filter(|line| line.words[0] == "bind") {
        let has = |flag: &str| line.words.iter().any(|word| word == flag);
        let address = line.words.get(1).map_or("", String::as_str);
        if address.starts_with('/') || address.starts_with("unix@") || address.contains("quic") {
            plan.note(&line.place, &line.text(), "icpgate binds TCP addresses");
            continue;
        }
        let (host, port) = address.rsplit_once(':').unwrap_or((address, "80"));
        let host = if matches!(host, "" | "*") { "0.0.0.0" } else { host };
        let host = if host == "::" { "[::]" } else { host };
        let protocol = match (has("ssl"), redirects) {
            (true, _) => Protocol::Https,
            (false, true) => Protocol::HttpRedirect,
            (false, false) => Protocol::Http,
        };
        let listener = plan.listener(&format!("{host}:{port}"), protocol, &line.place);
        listener.proxy_protocol |= has("accept-proxy");
        names.push(listener.name.clone());
        if let Some(at) = line.words.iter().position(|word| word == "crt") {
            // HAProxy keeps chain and key in one file.
            let file = line.words.get(at + 1).cloned().unwrap_or_default();
            certificate = certificate.or(Some(Pair { chain: file.clone(), key: file }));
        }
    }
    (names, certificate)
}

fn is_redirect_to_tls(line: &Line) -> bool {
    let words: Vec<&str> = line.words.iter().map(String::as_str).collect();
    let rest = words.strip_prefix(&["http-request"]).unwrap_or(&words);
    rest.starts_with(&["redirect", "scheme", "https"])
}

fn condition(words: &[&str]) -> Option<Condition> {
    let (fetch, values) = words.split_first()?;
    let values: Vec<String> =
        values.iter().filter(|word| !word.starts_with('-')).map(|word| (*word).to_owned()).collect();
    let lower = |values: Vec<String>| values.into_iter().map(|value| value.to_ascii_lowercase()).collect();
    match *fetch {
        "hdr(host)" | "hdr(Host)" | "req.hdr(host)" | "req.hdr(Host)" | "ssl_fc_sni" => {
            Some(Condition::Hosts(lower(values)))
        }
        "path_beg" => Some(Condition::PathBegins(values)),
        "path" => Some(Condition::PathIs(values)),
        "method" => Some(Condition::Methods(values)),
        "ssl_fc" => Some(Condition::Tls),
        _ => None,
    }
}

/// A rule's conditions; `None` where one is unknown, negated, or an alternative.
fn rule(tests: &[&str], conditions: &BTreeMap<String, Vec<Condition>>) -> Option<Rule> {
    let mut rule = Rule::default();
    for test in tests {
        for condition in conditions.get(*test)? {
            match condition.clone() {
                Condition::Hosts(hosts) => rule.hosts.extend(hosts),
                Condition::PathBegins(paths) => rule.paths.extend(paths.into_iter().map(PathMatch::Prefix)),
                Condition::PathIs(paths) => rule.paths.extend(paths.into_iter().map(PathMatch::Exact)),
                Condition::Methods(methods) => rule.methods.extend(methods),
                Condition::Tls => {}
            }
        }
    }
    Some(rule)
}

fn set(plan: &mut Plan, changes: &mut HeaderChanges, line: &Line, name: &str, value: &str) {
    let name = name.to_ascii_lowercase();
    match value {
        // icpgate sets them itself.
        _ if name.starts_with("x-forwarded-") => {}
        "%[src]" => changes.set.push((name, "{client_ip}".to_owned())),
        _ if value.contains(['%', '{']) => {
            plan.note(&line.place, &line.text(), "it uses an expression without a counterpart");
        }
        _ => changes.set.push((name, value.to_owned())),
    }
}
