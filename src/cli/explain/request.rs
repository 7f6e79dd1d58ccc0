//! What becomes of a permitted request: the same route table, redirect and rewrite as `run`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, Method, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::config::{Limits, Protocol, Redirect, Site};
use crate::gate::{ListenerId, Permit};
use crate::origin::OriginId;
use crate::rate::{RateLimit, RateScope};
use crate::rewrite::{CompressMode, FooterPages};
use crate::route::{
    self, Action, Asked, CacheUse, Forward, Matcher, PathMatch, RequestValues, Residency, Unrouted,
};
use crate::snapshot::Snapshot;

/// A request without fields of its own.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) method: Method,
    /// Path and query.
    pub(super) target: String,
    /// `None`: routes for networks or regions of clients are not for it.
    pub(super) client: Option<IpAddr>,
}

/// What is done with a request.
#[derive(Debug, Serialize)]
pub(super) struct RequestAnswer {
    site: String,
    /// `forward`, `redirect`, `respond`, `redirect_to_tls`, `health_check`, `no_route`, `ambiguous_path` or
    /// `method_not_allowed`.
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<RouteReport>,
    /// Of an answer without an origin.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    forward: Option<ForwardReport>,
    limits: LimitsReport,
}

#[derive(Debug, Serialize)]
struct RouteReport {
    /// In `routes` of the site, from 0.
    index: usize,
    /// Its conditions, with the keys of the configuration.
    #[serde(rename = "match")]
    conditions: Map<String, Value>,
}

#[derive(Debug, Serialize)]
struct ForwardReport {
    /// In the order of preference.
    origins: Vec<OriginReport>,
    residency: &'static str,
    /// Path and query that are sent upstream.
    path: String,
    footer: &'static str,
    compress: &'static str,
    /// Whether answers may be stored, as far as the route decides.
    cache: &'static str,
}

#[derive(Debug, Serialize)]
struct OriginReport {
    name: String,
    region: &'static str,
    servers: Vec<String>,
}

/// Times are in seconds.
#[derive(Debug, Serialize)]
struct LimitsReport {
    request_head_bytes: usize,
    request_head_timeout: f64,
    body_idle_timeout: f64,
    /// Bytes of a request's body; `None` without a limit.
    max_body: Option<u64>,
    rate_limit: Option<RateReport>,
}

#[derive(Debug, Serialize)]
struct RateReport {
    requests_per_second: f64,
    burst: u32,
    per: &'static str,
}

impl RequestAnswer {
    /// The answer to `question` on `listener`, whose gate has permitted the host.
    pub(super) fn of(
        snapshot: &Snapshot,
        listener: ListenerId,
        permit: &Permit,
        question: &Question,
    ) -> Option<Self> {
        let site = snapshot.site(permit.site())?;
        let protocol = &snapshot.listener_config(listener)?.protocol;
        let limits = LimitsReport::of(&snapshot.config.limits, site);
        let nothing = Self {
            site: site.name.to_string(),
            action: "no_route",
            route: None,
            status: Some(StatusCode::NOT_FOUND.as_u16()),
            location: None,
            forward: None,
            limits,
        };
        let answered = |action, status: StatusCode, nothing: Self| Self {
            action,
            status: Some(status.as_u16()),
            ..nothing
        };
        let path = question.target.split('?').next().unwrap_or_default();
        if let Protocol::Http { health_check: Some(check), .. } = protocol
            && question.client.is_some_and(|client| check.is_asked(path.as_bytes(), client))
        {
            return Some(answered("health_check", StatusCode::OK, nothing));
        }
        if question.method == Method::TRACE || question.method == Method::CONNECT {
            return Some(answered("method_not_allowed", StatusCode::METHOD_NOT_ALLOWED, nothing));
        }
        if matches!(protocol, Protocol::Http { redirect: Redirect::Https, .. }) {
            let location = Some(format!("https://{}{}", permit.host(), question.target));
            return Some(Self {
                location,
                ..answered("redirect_to_tls", StatusCode::PERMANENT_REDIRECT, nothing)
            });
        }
        let scheme = if matches!(protocol, Protocol::Https { .. }) { "https" } else { "http" };
        Some(routed(snapshot, site, permit, scheme, question, nothing))
    }
}

/// The answer of the route that matches; `nothing` if none does.
fn routed(
    snapshot: &Snapshot,
    site: &Site,
    permit: &Permit,
    scheme: &'static str,
    question: &Question,
    nothing: RequestAnswer,
) -> RequestAnswer {
    let path = question.target.split('?').next().unwrap_or_default();
    let normal = route::normal(path);
    let region = question
        .client
        .and_then(|client| snapshot.regions.as_ref().and_then(|regions| regions.table.region(client)));
    let client = question.client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let headers = HeaderMap::new();
    let asked = Asked { method: &question.method, path: &normal, headers: &headers, region, client };
    let route = match site.routes.route(path, &asked) {
        Ok(route) => route,
        Err(Unrouted::NoMatch) => return nothing,
        Err(Unrouted::Ambiguous) => {
            let status = Some(StatusCode::BAD_REQUEST.as_u16());
            return RequestAnswer { action: "ambiguous_path", status, ..nothing };
        }
    };
    let index = site.routes.iter().position(|other| std::ptr::eq(other, route)).unwrap_or_default();
    let found = RouteReport { index, conditions: conditions(&route.matcher) };
    let nothing = RequestAnswer { route: Some(found), ..nothing };
    match &route.action {
        Action::Forward(forward) => RequestAnswer {
            action: "forward",
            status: None,
            forward: Some(ForwardReport::of(snapshot, site, forward, &question.target)),
            ..nothing
        },
        Action::Redirect(redirect) => {
            let values = RequestValues {
                client_ip: client,
                host: permit.host().as_str(),
                target: question.target.as_bytes(),
                request_id: "REQUEST-ID",
                scheme,
            };
            let (status, location) = (Some(redirect.status.as_u16()), Some(redirect.location(&values)));
            RequestAnswer { action: "redirect", status, location, ..nothing }
        }
        Action::Respond(fixed) => {
            RequestAnswer { action: "respond", status: Some(fixed.status.as_u16()), ..nothing }
        }
    }
}

impl ForwardReport {
    fn of(snapshot: &Snapshot, site: &Site, forward: &Forward, target: &str) -> Self {
        let origin = |id: &OriginId| {
            let origin = &snapshot.origin(*id)?.origin;
            Some(OriginReport {
                name: origin.name.to_string(),
                region: origin.region.label(),
                servers: origin.servers.iter().map(ToString::to_string).collect(),
            })
        };
        let sent = forward.path.as_ref().map(|path| path.target(target.as_bytes()));
        Self {
            origins: forward.origins.iter().filter_map(origin).collect(),
            residency: match forward.residency {
                Residency::Any => "any",
                Residency::Within(region) => region.label(),
            },
            path: sent.map_or_else(|| target.to_owned(), |sent| String::from_utf8_lossy(&sent).into_owned()),
            footer: match site.footer.pages {
                FooterPages::All => "all",
                FooterPages::Home => "home",
                FooterPages::Off => "off",
            },
            compress: match site.compress {
                CompressMode::Auto => "auto",
                CompressMode::On => "on",
                CompressMode::Off => "off",
            },
            cache: if forward.cache == CacheUse::Used { "on" } else { "off" },
        }
    }
}

impl LimitsReport {
    fn of(limits: &Limits, site: &Site) -> Self {
        let rate = |limit: RateLimit| RateReport {
            requests_per_second: (1e3 / limit.interval.as_secs_f64()).round() / 1e3,
            burst: limit.burst,
            per: match limit.per {
                RateScope::Client => "client",
                RateScope::Site => "site",
            },
        };
        Self {
            request_head_bytes: limits.request_head_bytes,
            request_head_timeout: limits.request_head_timeout.as_secs_f64(),
            body_idle_timeout: limits.body_idle_timeout.as_secs_f64(),
            max_body: site.max_body,
            rate_limit: site.rate_limit.map(rate),
        }
    }
}

/// The conditions of a route that there are, by their keys.
fn conditions(matcher: &Matcher) -> Map<String, Value> {
    let mut all = Map::new();
    match &matcher.path {
        PathMatch::Any => {}
        PathMatch::Prefix(path) => drop(all.insert("path".to_owned(), json!(path))),
        PathMatch::Exact(path) => drop(all.insert("path_exact".to_owned(), json!(path))),
    }
    if !matcher.methods.is_empty() {
        let methods: Vec<&str> = matcher.methods.iter().map(Method::as_str).collect();
        all.insert("method".to_owned(), json!(methods));
    }
    if !matcher.headers.is_empty() {
        let headers: Map<String, Value> =
            matcher.headers.iter().map(|(name, value)| (name.to_string(), json!(value))).collect();
        all.insert("header".to_owned(), Value::Object(headers));
    }
    if let Some(region) = matcher.clients {
        all.insert("clients".to_owned(), json!(region.label()));
    }
    if !matcher.from.is_empty() {
        let networks: Vec<String> = matcher.from.iter().map(ToString::to_string).collect();
        all.insert("from".to_owned(), json!(networks));
    }
    all
}

impl fmt::Display for RequestAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "    {}", self.action)?;
        if let Some(status) = self.status {
            write!(f, " {status}")?;
        }
        if let Some(location) = &self.location {
            write!(f, " {location}")?;
        }
        match &self.route {
            Some(RouteReport { index, conditions }) if conditions.is_empty() => {
                writeln!(f, " (routes[{index}], which takes everything)")?;
            }
            Some(RouteReport { index, conditions }) => {
                writeln!(f, " (routes[{index}] {})", Value::Object(conditions.clone()))?
            }
            None => writeln!(f)?,
        }
        if let Some(ForwardReport { origins, residency, path, footer, compress, cache }) = &self.forward {
            writeln!(f, "    path {path}")?;
            for OriginReport { name, region, servers } in origins {
                writeln!(f, "    origin {name} ({region}): {}", servers.join(", "))?;
            }
            writeln!(f, "    residency {residency}, footer {footer}, compress {compress}, cache {cache}")?;
        }
        let limits = &self.limits;
        let LimitsReport { request_head_bytes, request_head_timeout, body_idle_timeout, .. } = limits;
        write!(
            f,
            "    limits: head {request_head_bytes} bytes within {request_head_timeout} s, body {body_idle_timeout} s \
             without progress"
        )?;
        if let Some(bytes) = limits.max_body {
            write!(f, ", body at most {bytes} bytes")?;
        }
        if let Some(RateReport { requests_per_second, burst, per }) = &limits.rate_limit {
            write!(f, ", {requests_per_second} requests a second per {per}, {burst} at once")?;
        }
        writeln!(f)
    }
}
