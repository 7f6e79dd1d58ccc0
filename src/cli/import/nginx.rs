//! Plans a configuration from nginx's: servers become sites and listeners, upstreams become origins.
//!
//! Directives are inherited from `http` to `server` to `location` as in nginx. Every directive ends up in the plan
//! or in its notes.

mod location;
mod syntax;
mod upstream;
mod values;

use std::path::Path;

use super::plan::{Pair, Plan, Protocol, RateLimit, Site};
use location::Scope;
use syntax::Directive;
use upstream::Upstreams;
use values::note;

/// Imports the configuration at `path` and what it includes.
pub(super) fn import(path: &Path) -> anyhow::Result<Plan> {
    let directives = syntax::read(path)?;
    let mut plan = Plan::default();
    // A file of sites-available has only servers.
    let http: Vec<&Directive> = match directives.iter().find(|one| one.name == "http") {
        Some(http) => http.children().iter().collect(),
        None => directives.iter().collect(),
    };
    for other in
        directives.iter().filter(|one| one.name != "http" && http.iter().all(|known| known.name != one.name))
    {
        note(&mut plan, other);
    }
    let mut upstreams = Upstreams::default();
    let mut scope = Scope::default();
    let mut zones = Vec::new();
    for directive in &http {
        match directive.name.as_str() {
            "upstream" => upstreams.define(&mut plan, directive),
            "server" => {}
            "limit_req_zone" => zones.push((*directive).clone()),
            // `cache: on` of a site makes the cache.
            "proxy_cache_path" => plan.note(
                &directive.place,
                &directive.text(),
                "the cache is in memory, 256 MiB; `cache.disk` adds a folder",
            ),
            "gzip_types" | "gzip_min_length" => compress(&mut plan, directive),
            _ if scope.take(directive) => {}
            _ => note(&mut plan, directive),
        }
    }
    for server in http.iter().filter(|one| one.name == "server") {
        import_server(&mut plan, &mut upstreams, server, &scope, &zones);
    }
    redirect_to_sites(&mut plan);
    plan.origins = upstreams.into_used();
    Ok(plan)
}

/// Puts the sites that clear-text servers redirect to on the listeners of those servers: a listener that no site is on
/// stays closed.
fn redirect_to_sites(plan: &mut Plan) {
    let (sites, redirects): (Vec<Site>, Vec<Site>) =
        std::mem::take(&mut plan.sites).into_iter().partition(|site| !site.routes.is_empty());
    plan.sites = sites;
    for redirect in redirects {
        for site in &mut plan.sites {
            if site.hosts.iter().any(|host| redirect.hosts.contains(host)) {
                site.listeners.extend(redirect.listeners.iter().cloned());
                site.listeners.sort();
                site.listeners.dedup();
            }
        }
    }
}

fn import_server(
    plan: &mut Plan,
    upstreams: &mut Upstreams,
    server: &Directive,
    outer: &Scope,
    zones: &[Directive],
) {
    let mut site = Site { place: server.place.clone(), ..Site::default() };
    let (mut chain, mut key) = (None, None);
    let mut scope = outer.inner();
    for directive in server.children() {
        match directive.name.as_str() {
            "server_name" => server_names(plan, &mut site, directive),
            "ssl_certificate" => chain = Some(directive.first().to_owned()),
            "ssl_certificate_key" => key = Some(directive.first().to_owned()),
            "limit_req" => site.rate_limit = rate_limit(plan, directive, zones),
            "gzip_types" | "gzip_min_length" => compress(plan, directive),
            "listen" | "location" | "return" | "rewrite" | "if" | "proxy_pass" => {}
            _ if scope.take(directive) => {}
            _ => note(plan, directive),
        }
    }
    site.certificate = chain.zip(key).map(|(chain, key)| Pair { chain, key });
    let mut of_site = scope.clone();
    for directive in location::only_location(server).into_iter().flat_map(|one| one.children()) {
        of_site.take(directive);
    }
    site.max_body = of_site.max_body;
    site.compress = of_site.compress;
    site.is_cached = scope.cache == Some(true);
    site.routes = location::routes(plan, upstreams, server, &scope);
    let redirects = location::sends_everybody_to_tls(server);
    for listen in server.children().iter().filter(|one| one.name == "listen") {
        listen_on(plan, &mut site, listen, redirects);
    }
    if site.listeners.is_empty() {
        // nginx's default.
        let listener = plan.listener("0.0.0.0:80", Protocol::Http, &server.place);
        site.listeners.push(listener.name.clone());
    }
    if site.hosts.is_empty() {
        let reason = "it names no host that could be filed; icpgate resets unknown hosts by itself";
        plan.note(&server.place, "server", reason);
    } else if redirects {
        plan.sites.push(Site { routes: Vec::new(), ..site });
    } else if site.routes.is_empty() {
        plan.note(
            &server.place,
            "server",
            "no part of it leads to an origin; icpgate serves no files of its own",
        );
    } else {
        add_site(plan, site);
    }
}

/// Adds a site. Sites with the same hosts and routes on different ports are merged.
fn add_site(plan: &mut Plan, site: Site) {
    let same = plan.sites.iter_mut().find(|known| {
        known.hosts == site.hosts
            && (known.certificate == site.certificate || site.certificate.is_none())
            && known.routes.len() == site.routes.len()
            && known.routes.iter().zip(&site.routes).all(|(a, b)| a.path == b.path && a.action == b.action)
    });
    match same {
        Some(known) => known.listeners.extend(site.listeners),
        None => plan.sites.push(site),
    }
}

fn server_names(plan: &mut Plan, site: &mut Site, directive: &Directive) {
    for name in &directive.arguments {
        let plain = name.strip_prefix('.').or_else(|| name.strip_prefix("*.")).unwrap_or(name);
        let is_name =
            plain.contains('.') && plain.chars().all(|c| c.is_alphanumeric() || c == '.' || c == '-');
        if !is_name {
            plan.note(
                &directive.place,
                &format!("server_name {name}"),
                "hosts are names, or `*.` before one",
            );
            continue;
        }
        if name.starts_with('.') {
            site.hosts.push(plain.to_owned());
        }
        if plain == name.as_str() {
            site.hosts.push(name.clone());
        } else {
            site.hosts.push(format!("*.{plain}"));
            let reason =
                "carried over for one label: in icpgate `*.` stands for one, in nginx for any number";
            plan.note(&directive.place, &format!("server_name {name}"), reason);
        }
    }
}

fn listen_on(plan: &mut Plan, site: &mut Site, listen: &Directive, redirects: bool) {
    let has = |flag: &str| listen.arguments.iter().any(|word| word == flag);
    let address = match listen.first() {
        unix if unix.starts_with("unix:") => {
            return plan.note(&listen.place, &listen.text(), "icpgate binds TCP addresses");
        }
        port if port.chars().all(|c| c.is_ascii_digit()) => format!("0.0.0.0:{port}"),
        address if address.starts_with('*') => address.replacen('*', "0.0.0.0", 1),
        address if address.starts_with('[') && address.ends_with(']') => format!("{address}:80"),
        address if address.contains(':') => address.to_owned(),
        address => format!("{address}:80"),
    };
    let is_tls = has("ssl") || (site.certificate.is_some() && address.ends_with(":443"));
    let protocol = match (is_tls, redirects) {
        (true, _) => Protocol::Https,
        (false, true) => Protocol::HttpRedirect,
        (false, false) => Protocol::Http,
    };
    if has("quic") {
        return plan.note(&listen.place, &listen.text(), "icpgate speaks no HTTP/3");
    }
    let listener = plan.listener(&address, protocol, &listen.place);
    listener.proxy_protocol |= has("proxy_protocol");
    // One server that serves in clear text keeps the listener from redirecting all.
    if protocol == Protocol::Http && listener.protocol == Protocol::HttpRedirect {
        listener.protocol = Protocol::Http;
    }
    site.listeners.push(listener.name.clone());
}

/// `gzip_types` and `gzip_min_length`: icpgate has one list and one length for all sites, the union and the least.
fn compress(plan: &mut Plan, directive: &Directive) {
    if directive.name == "gzip_min_length" {
        let length = directive.first().parse().ok();
        plan.compress.min_bytes = plan.compress.min_bytes.into_iter().chain(length).min();
        return;
    }
    if directive.arguments.iter().any(|named| named.contains('*')) {
        plan.note(&directive.place, &directive.text(), "types are named one by one, without `*`");
        return;
    }
    // nginx always compresses pages.
    for named in std::iter::once("text/html").chain(directive.arguments.iter().map(String::as_str)) {
        let named = named.to_ascii_lowercase();
        if !plan.compress.types.contains(&named) {
            plan.compress.types.push(named);
        }
    }
}

/// `limit_req zone=NAME burst=N` with the rate of its zone.
fn rate_limit(plan: &mut Plan, directive: &Directive, zones: &[Directive]) -> Option<RateLimit> {
    let setting = |of: &Directive, key: &str| {
        of.arguments.iter().find_map(|word| word.strip_prefix(key)).map(str::to_owned)
    };
    let name = setting(directive, "zone=");
    let zone = zones.iter().find(|zone| {
        setting(zone, "zone=").and_then(|zone| zone.split(':').next().map(str::to_owned)) == name
    });
    let rate = zone
        .filter(|zone| zone.first().ends_with("remote_addr"))
        .and_then(|zone| setting(zone, "rate="))
        .and_then(|rate| values::rate(&rate));
    let Some(requests) = rate else {
        plan.note(&directive.place, &directive.text(), "only limits by client address have a counterpart");
        return None;
    };
    Some(RateLimit { requests, burst: setting(directive, "burst=").and_then(|burst| burst.parse().ok()) })
}
