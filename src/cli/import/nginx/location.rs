//! nginx's locations as routes, in the order in which icpgate must try them.
//!
//! nginx takes the exact location, else the longest prefix; icpgate takes the first route that matches. So exact paths come
//! first, then prefixes, the longest first.

use http::HeaderName;

use super::syntax::Directive;
use super::upstream::{Target, Timeouts, Upstreams};
use super::values::{self, note};
use crate::cli::import::plan::{Action, HeaderChanges, PathMatch, PathRewrite, Place, Plan, Route};
use crate::route::{Heading, why_fixed};

/// What a block inherits from the one around it.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    pub(super) max_body: Option<String>,
    pub(super) compress: Option<&'static str>,
    pub(super) cache: Option<bool>,
    timeouts: Timeouts,
    /// `proxy_set_header`, as written. A block with one of its own inherits none, as nginx has it.
    request_fields: Vec<Directive>,
    owns_request_fields: bool,
    response_fields: Vec<Directive>,
    owns_response_fields: bool,
    /// `allow` and `deny`, in order.
    access: Vec<Directive>,
    owns_access: bool,
}

impl Scope {
    /// The scope of a block within this one.
    pub(super) fn inner(&self) -> Self {
        Self { owns_request_fields: false, owns_response_fields: false, owns_access: false, ..self.clone() }
    }

    /// Takes a directive that is inherited; `false` where it is none.
    pub(super) fn take(&mut self, directive: &Directive) -> bool {
        match directive.name.as_str() {
            "client_max_body_size" => self.max_body = values::size(directive.first()),
            "gzip" => self.compress = Some(if directive.first() == "on" { "on" } else { "off" }),
            "proxy_cache" => self.cache = Some(directive.first() != "off"),
            "proxy_connect_timeout" => self.timeouts.connect = values::time(directive.first()),
            "proxy_read_timeout" => self.timeouts.first_byte = values::time(directive.first()),
            "proxy_set_header" => add(&mut self.request_fields, &mut self.owns_request_fields, directive),
            "add_header" => add(&mut self.response_fields, &mut self.owns_response_fields, directive),
            "allow" | "deny" => add(&mut self.access, &mut self.owns_access, directive),
            _ => return false,
        }
        true
    }
}

fn add(fields: &mut Vec<Directive>, owned: &mut bool, directive: &Directive) {
    if !std::mem::replace(owned, true) {
        fields.clear();
    }
    fields.push(directive.clone());
}

/// Whether a server does nothing but send everybody to the same URL over TLS.
pub(super) fn sends_everybody_to_tls(server: &Directive) -> bool {
    let redirect = |directive: &Directive| {
        let is_https = |to: &str| {
            matches!(
                values::with_placeholders(to).as_deref(),
                Some("https://{host}{path}{query}" | "https://{host}{path}")
            )
        };
        match directive.name.as_str() {
            "return" => {
                directive.first().starts_with("30")
                    && directive.arguments.get(1).is_some_and(|to| is_https(to))
            }
            "rewrite" => directive.arguments.get(1).is_some_and(|to| {
                is_https(&to.replace("$1", "$request_uri")) || is_https(to.trim_end_matches('?'))
            }),
            _ => false,
        }
    };
    let locations = || server.children().iter().filter(|one| one.name == "location");
    server.children().iter().any(redirect) && locations().next().is_none()
        || locations().count() == 1
            && locations().all(|one| one.arguments == ["/"] && one.children().iter().any(redirect))
}

/// The routes of a server.
pub(super) fn routes(
    plan: &mut Plan,
    upstreams: &mut Upstreams,
    server: &Directive,
    scope: &Scope,
) -> Vec<Route> {
    let mut routes = Vec::new();
    for location in server.children().iter().filter(|one| one.name == "location") {
        let is_only = only_location(server).is_some();
        for setting in location.children().iter().filter(|one| is_of_site(one) && !is_only) {
            plan.note(&setting.place, &setting.text(), "a site has one such setting for all of its routes");
        }
        if let Some(route) = route(plan, upstreams, location, scope) {
            routes.extend(guarded(plan, route, location, scope));
        }
    }
    let whole = Directive { arguments: vec!["/".to_owned()], ..server.clone() };
    let has_action = |one: &Directive| matches!(one.name.as_str(), "return" | "rewrite");
    if server.children().iter().any(has_action) && !sends_everybody_to_tls(server) {
        routes.extend(route(plan, upstreams, &whole, scope));
    }
    // Stable: routes of one location stay in order.
    routes.sort_by_key(|route| match &route.path {
        PathMatch::Exact(path) => (0, usize::MAX - path.len()),
        PathMatch::Prefix(path) => (1, usize::MAX - path.len()),
    });
    routes
}

/// The only location of a server, whose settings are the site's.
pub(super) fn only_location(server: &Directive) -> Option<&Directive> {
    let mut locations = server.children().iter().filter(|one| one.name == "location");
    locations.next().filter(|_| locations.next().is_none())
}

/// The path that a location matches; the error says why it cannot be carried over.
fn path_of(location: &Directive) -> Result<PathMatch, &'static str> {
    match location.arguments.as_slice() {
        [path] if path.starts_with('@') => {
            Err("a named location is reached by try_files or error_page alone")
        }
        [path] => Ok(PathMatch::Prefix(path.clone())),
        [exact, path] if exact == "=" => Ok(PathMatch::Exact(path.clone())),
        [prefix, path] if prefix == "^~" => Ok(PathMatch::Prefix(path.clone())),
        _ => Err("routes match prefixes and exact paths, not regular expressions"),
    }
}

/// A setting that a site has, and a route has not.
fn is_of_site(directive: &Directive) -> bool {
    matches!(directive.name.as_str(), "client_max_body_size" | "gzip")
}

/// The route with `allow` and `deny` of its location: the first of them that names the client's network decides, and
/// whoever is named by none may pass. nginx answers `return` before it looks at them.
fn guarded(plan: &mut Plan, route: Route, location: &Directive, outer: &Scope) -> Vec<Route> {
    let mut scope = outer.inner();
    for directive in location.children() {
        scope.take(directive);
    }
    if scope.access.is_empty() || !matches!(route.action, Action::Origins(_)) {
        return vec![route];
    }
    let denied = Route {
        action: Action::Respond { status: 403, body: String::new() },
        rewrite: None,
        request_headers: HeaderChanges::default(),
        cache: None,
        ..route.clone()
    };
    let mut routes: Vec<Route> = Vec::new();
    for directive in &scope.access {
        let ruled = if directive.name == "allow" { &route } else { &denied };
        match directive.first() {
            "all" => {
                routes.push(ruled.clone());
                return routes;
            }
            "unix:" => plan.note(&directive.place, &directive.text(), "icpgate binds TCP addresses"),
            network => match routes.last_mut().filter(|last| last.action == ruled.action) {
                Some(last) => last.from.push(network.to_owned()),
                None => routes.push(Route { from: vec![network.to_owned()], ..ruled.clone() }),
            },
        }
    }
    routes.push(route);
    routes
}

fn route(plan: &mut Plan, upstreams: &mut Upstreams, location: &Directive, outer: &Scope) -> Option<Route> {
    let path = match path_of(location) {
        Ok(path) => path,
        Err(reason) => {
            plan.note(&location.place, &location.text(), reason);
            return None;
        }
    };
    let mut scope = outer.inner();
    let mut action = None;
    let is_server = location.name == "server";
    for directive in location.children() {
        match directive.name.as_str() {
            "proxy_pass" => match Target::parse(directive.first()) {
                Ok(target) => action = Some(Step::Pass(target, directive.place.clone())),
                Err(reason) => plan.note(&directive.place, &directive.text(), reason),
            },
            "return" | "rewrite" => match answer(directive) {
                Ok(answer) => action = Some(Step::Answer(answer)),
                Err(reason) => plan.note(&directive.place, &directive.text(), reason),
            },
            // The server's own directives were looked at before.
            _ if is_server => {}
            _ if scope.take(directive) => {}
            _ => note(plan, directive),
        }
    }
    let mut request_headers = HeaderChanges::default();
    let host = request_fields(plan, &scope, &mut request_headers);
    let response_headers = response_fields(plan, &scope);
    let (action, rewrite) = match action? {
        Step::Answer(answer) => (answer, None),
        Step::Pass(target, place) => {
            // Without `proxy_set_header Host`, nginx sends the name of the target.
            let host = match host {
                Host::Preserved => None,
                Host::Fixed(host) => Some(host),
                Host::OfTarget => {
                    target.is_tls.then(|| target.authority.split(':').next().unwrap_or_default().to_owned())
                }
            };
            let rewrite = rewrite(&path, target.path.as_deref());
            (Action::Origins(vec![upstreams.origin(&target, host, &scope.timeouts, &place)]), rewrite)
        }
    };
    let asks_origin = matches!(action, Action::Origins(_));
    Some(Route {
        path,
        methods: Vec::new(),
        from: Vec::new(),
        rewrite,
        request_headers: if asks_origin { request_headers } else { HeaderChanges::default() },
        response_headers,
        cache: scope.cache.filter(|cache| asks_origin && Some(*cache) != outer.cache),
        action,
        place: location.place.clone(),
    })
}

enum Step {
    Pass(Target, Place),
    Answer(Action),
}

/// The action of `return` and of a `rewrite` that redirects everything.
fn answer(directive: &Directive) -> Result<Action, &'static str> {
    let words: Vec<&str> = directive.arguments.iter().map(String::as_str).collect();
    let (status, text) = match (directive.name.as_str(), words.as_slice()) {
        ("return", [code]) => {
            (code.parse().unwrap_or(302), if code.parse::<u16>().is_ok() { "" } else { code })
        }
        ("return", [code, text]) => (code.parse().map_err(|_| "its code is no number")?, *text),
        ("rewrite", ["^" | "^/" | ".*" | "^.*$", to, "permanent"]) => (301, to.trim_end_matches('?')),
        ("rewrite", ["^" | "^/" | ".*" | "^.*$", to, "redirect"]) => (302, to.trim_end_matches('?')),
        _ => return Err("icpgate rewrites prefixes (`path: {strip, prepend}`), not regular expressions"),
    };
    match status {
        301 | 302 | 303 | 307 | 308 => {
            let to = values::with_placeholders(text).ok_or("it uses a variable without a counterpart")?;
            Ok(Action::Redirect { to, status })
        }
        444 => Err("icpgate resets what is not filed by itself"),
        200..=599 if !text.contains('$') => Ok(Action::Respond { status, body: text.to_owned() }),
        _ => Err("a body has no placeholders"),
    }
}

/// The prefix that nginx replaces: the location's by the path of `proxy_pass`.
fn rewrite(path: &PathMatch, target: Option<&str>) -> Option<PathRewrite> {
    let (PathMatch::Prefix(location) | PathMatch::Exact(location)) = path;
    let strip = Some(location.trim_end_matches('/')).filter(|strip| !strip.is_empty()).map(str::to_owned);
    let prepend = Some(target?.trim_end_matches('/')).filter(|path| !path.is_empty()).map(str::to_owned);
    (strip != prepend).then_some(PathRewrite { strip, prepend })
}

/// The host that goes upstream.
enum Host {
    Preserved,
    Fixed(String),
    OfTarget,
}

fn request_fields(plan: &mut Plan, scope: &Scope, changes: &mut HeaderChanges) -> Host {
    let mut host = Host::OfTarget;
    for directive in &scope.request_fields {
        let name = directive.first().to_ascii_lowercase();
        let value = directive.arguments.get(1).map_or("", String::as_str);
        match (name.as_str(), values::with_placeholders(value)) {
            ("host", Some(value)) if value == "{host}" => host = Host::Preserved,
            ("host", Some(value)) if !value.contains('{') => host = Host::Fixed(value),
            ("x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host" | "x-request-id", _) => {}
            // WebSockets and kept connections need no field.
            ("upgrade" | "connection", _) => {}
            (_, Some(value)) => edit(plan, directive, Heading::Upstream, (name, value), changes),
            (_, None) => {
                plan.note(&directive.place, &directive.text(), "it uses a variable without a counterpart")
            }
        }
    }
    host
}

/// Carries a field over, unless icpgate writes it itself. An empty value removes it, as nginx has it.
fn edit(
    plan: &mut Plan,
    directive: &Directive,
    heading: Heading,
    (name, value): (String, String),
    changes: &mut HeaderChanges,
) {
    let fixed = HeaderName::from_bytes(name.as_bytes()).map(|name| why_fixed(&name, heading));
    match fixed {
        Err(_) => plan.note(&directive.place, &directive.text(), "its name is not one of HTTP"),
        Ok(Some(why)) => plan.note(&directive.place, &directive.text(), why),
        Ok(None) if value.is_empty() => changes.remove.push(name),
        Ok(None) => changes.set.push((name, value)),
    }
}

fn response_fields(plan: &mut Plan, scope: &Scope) -> HeaderChanges {
    let mut changes = HeaderChanges::default();
    for directive in &scope.response_fields {
        let value = directive.arguments.get(1).map_or("", String::as_str);
        match values::with_placeholders(value) {
            Some(value) => {
                let field = (directive.first().to_ascii_lowercase(), value);
                edit(plan, directive, Heading::Downstream, field, &mut changes);
            }
            None => {
                plan.note(&directive.place, &directive.text(), "it uses a variable without a counterpart")
            }
        }
    }
    changes
}
