//! Writes a plan as icpgate.yaml, each part with the place it came from.
//!
//! Texts are written as JSON strings, which YAML reads as they are: nothing in them can become syntax.

use std::fmt::{Display, Write as _};

use super::plan::{
    Action, Compress, HeaderChanges, Listener, Origin, PathMatch, PathRewrite, Plan, Protocol, Route, Server,
    Site,
};

/// The whole file.
pub(super) fn yaml(plan: &Plan) -> String {
    let mut text = String::from(
        "# Imported. Review it, then: icpgate check --config FILE\n\
         # The allowlist decides what is served: write filings.yaml with your own filings.\n\
         filings: filings.yaml\n\n",
    );
    if plan
        .sites
        .iter()
        .any(|site| site.is_cached || site.routes.iter().any(|route| route.cache == Some(true)))
    {
        text.push_str("cache: {memory: 256MiB}\n\n");
    }
    write_compress(&mut text, plan);
    text.push_str("listeners:\n");
    for (address, listener) in &plan.listeners {
        write_listener(&mut text, address, listener);
    }
    text.push_str("\nsites:\n");
    let mut names: Vec<String> = Vec::new();
    for site in &plan.sites {
        write_site(&mut text, site, &mut names);
    }
    text.push_str("\norigins:\n");
    for origin in &plan.origins {
        write_origin(&mut text, origin);
    }
    text.push_str("\naccess_log: {directory: /var/lib/icpgate/access}\n");
    text
}

/// A text in double quotes, with JSON's escapes.
fn quoted(text: impl Display) -> String {
    serde_json::Value::String(text.to_string()).to_string()
}

fn list<T: Display>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(quoted).collect();
    format!("[{}]", items.join(", "))
}

/// Appends one line; a `String` takes all that is written to it.
macro_rules! line {
    ($text:expr, $($format:tt)*) => {{
        let _ = writeln!($text, $($format)*);
    }};
}

/// The section `compress`, where a site compresses what came plain.
fn write_compress(text: &mut String, plan: &Plan) {
    let Compress { types, min_bytes } = &plan.compress;
    let min_bytes = min_bytes.map(|bytes| format!("min_bytes: {bytes}"));
    let types = (!types.is_empty()).then(|| format!("types: {}", list(types)));
    let both: Vec<String> = min_bytes.into_iter().chain(types).collect();
    if !both.is_empty() && plan.sites.iter().any(|site| site.compress == Some("on")) {
        line!(text, "compress: {{{}}}\n", both.join(", "));
    }
}

fn write_listener(text: &mut String, address: &str, listener: &Listener) {
    line!(text, "  - name: {}  # {}", quoted(&listener.name), listener.place);
    line!(text, "    addresses: [{}]", quoted(address));
    match listener.protocol {
        Protocol::Https => line!(text, "    protocol: https"),
        Protocol::HttpRedirect => line!(text, "    protocol: http"),
        Protocol::Http => line!(text, "    protocol: http\n    redirect: none"),
    }
    if listener.proxy_protocol {
        line!(text, "    # name the load balancer's own networks here");
        line!(text, "    proxy_protocol: {{trusted: [100.64.0.0/10]}}");
    }
}

/// Writes a site, and adds its name to `names`: a site is named by its first host, unless another one is.
fn write_site(text: &mut String, site: &Site, names: &mut Vec<String>) {
    line!(text, "  - hosts: {}  # {}", list(&site.hosts), site.place);
    let first = site.hosts.first().map_or("", String::as_str);
    let numbered = (2..).map(|number| format!("{first}-{number}"));
    let name = std::iter::once(first.to_owned()).chain(numbered).find(|name| !names.contains(name));
    let name = name.unwrap_or_default();
    if name != first {
        line!(text, "    name: {}", quoted(&name));
    }
    names.push(name);
    line!(text, "    listeners: {}", list(&site.listeners));
    if let Some(pair) = &site.certificate {
        line!(text, "    certificate: {{chain: {}, key: {}}}", quoted(&pair.chain), quoted(&pair.key));
    }
    if let Some(max_body) = &site.max_body {
        line!(text, "    max_body: {max_body}");
    }
    if let Some(compress) = site.compress {
        line!(text, "    compress: {compress}");
    }
    if site.is_cached {
        line!(text, "    cache: on");
    }
    if let Some(limit) = &site.rate_limit {
        let burst = limit.burst.map(|burst| format!(", burst: {burst}")).unwrap_or_default();
        line!(text, "    rate_limit: {{requests: {}{burst}, per: client}}", limit.requests);
    }
    line!(text, "    routes:");
    for route in &site.routes {
        write_route(text, route);
    }
}

fn write_route(text: &mut String, route: &Route) {
    let path = match &route.path {
        PathMatch::Prefix(path) => format!("path: {}", quoted(path)),
        PathMatch::Exact(path) => format!("path_exact: {}", quoted(path)),
    };
    let methods =
        if route.methods.is_empty() { String::new() } else { format!(", method: {}", list(&route.methods)) };
    let from = if route.from.is_empty() { String::new() } else { format!(", from: {}", list(&route.from)) };
    line!(text, "      - match: {{{path}{methods}{from}}}  # {}", route.place);
    match &route.action {
        Action::Origins(origins) => line!(text, "        origins: {}", list(origins)),
        Action::Redirect { to, status } => {
            line!(text, "        redirect: {{to: {}, status: {status}}}", quoted(to));
        }
        Action::Respond { status, body } => {
            let body = if body.is_empty() { String::new() } else { format!(", body: {}", quoted(body)) };
            line!(text, "        respond: {{status: {status}{body}}}");
        }
    }
    if let Some(PathRewrite { strip, prepend }) = &route.rewrite {
        let strip = strip.as_ref().map(|strip| format!("strip: {}", quoted(strip)));
        let prepend = prepend.as_ref().map(|prepend| format!("prepend: {}", quoted(prepend)));
        let both: Vec<String> = strip.into_iter().chain(prepend).collect();
        line!(text, "        path: {{{}}}", both.join(", "));
    }
    write_headers(text, "request_headers", &route.request_headers);
    write_headers(text, "response_headers", &route.response_headers);
    match route.cache {
        Some(true) => line!(text, "        cache: on"),
        Some(false) => line!(text, "        cache: off"),
        None => {}
    }
}

fn write_headers(text: &mut String, key: &str, changes: &HeaderChanges) {
    if changes.is_empty() {
        return;
    }
    line!(text, "        {key}:");
    if !changes.set.is_empty() {
        line!(text, "          set:");
        for (name, value) in &changes.set {
            line!(text, "            {}: {}", quoted(name), quoted(value));
        }
    }
    if !changes.remove.is_empty() {
        line!(text, "          remove: {}", list(&changes.remove));
    }
}

fn write_origin(text: &mut String, origin: &Origin) {
    line!(text, "  - name: {}  # {}", quoted(&origin.name), origin.place);
    line!(text, "    region: mainland  # or offshore: say where its servers are");
    line!(text, "    scheme: {}", if origin.is_tls { "https" } else { "http" });
    if let Some(name) = &origin.server_name {
        line!(text, "    server_name: {}", quoted(name));
    }
    line!(text, "    servers:");
    for Server { address, weight, is_backup } in &origin.servers {
        let weight = weight.map(|weight| format!(", weight: {weight}")).unwrap_or_default();
        let backup = if *is_backup { ", backup: true" } else { "" };
        line!(text, "      - {{address: {}{weight}{backup}}}", quoted(address));
    }
    if let Some(host) = &origin.host {
        line!(text, "    host: {}", quoted(host));
    }
    if let Some(balance) = &origin.balance {
        line!(text, "    balance: {balance}");
    }
    if let Some(path) = &origin.health_path {
        line!(text, "    health: {{path: {}, interval: 5s}}", quoted(path));
    }
    let connect = origin.connect_timeout.as_ref().map(|time| format!("connect: {time}"));
    let first_byte = origin.first_byte_timeout.as_ref().map(|time| format!("first_byte: {time}"));
    let timeouts: Vec<String> = connect.into_iter().chain(first_byte).collect();
    if !timeouts.is_empty() {
        line!(text, "    timeouts: {{{}}}", timeouts.join(", "));
    }
}
