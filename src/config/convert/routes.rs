//! `routes` of a site.

use http::{HeaderName, HeaderValue, Method};
use sha2::{Digest as _, Sha256};

use super::cache;
use super::context::Context;
use super::edits::{field_edits, path_rewrite};
use super::listeners::path;
use super::redirects::{SiteShape, redirect, refuse_loops, respond};
use super::values::{network, or};
use crate::config::findings::quote;
use crate::config::reader::{Fields, Value};
use crate::config::schema;
use crate::origin::{OriginId, Region};
use crate::route::{Action, Forward, Heading, Matcher, PathMatch, Residency, Route};

/// Routes are tried one by one, so their number is limited.
const MAX_ROUTES: usize = 4096;

pub(super) fn routes(list: &Value<'_>, site: SiteShape<'_>, context: &mut Context<'_>) -> Option<Vec<Route>> {
    let items = list.items_or_none()?;
    if items.len() > MAX_ROUTES {
        list.fatal(format_args!("there are {} routes, more than {MAX_ROUTES}", items.len()), None);
        return None;
    }
    let routes: Vec<_> = items.iter().map(|item| route(item, context)).collect();
    for (index, route) in routes.iter().enumerate() {
        let Some(route) = route else { continue };
        let before = routes.iter().take(index);
        let covers = |one: &Option<Route>| one.as_ref().is_some_and(|one| one.matcher.covers(&route.matcher));
        let taken_by = match before.clone().position(covers) {
            Some(one) => format!("routes[{one}] takes"),
            None if route.matcher.is_covered_by(before.flatten().map(|one| &one.matcher)) => {
                "those before it take".to_owned()
            }
            None => continue,
        };
        if let Some(item) = items.get(index) {
            item.warn(format_args!("it is never reached: {taken_by} all of it"), "put it first".to_owned());
        }
    }
    let routes: Vec<Route> = routes.into_iter().collect::<Option<_>>()?;
    refuse_loops(&items, &routes, site, context);
    Some(routes)
}

fn route(item: &Value<'_>, context: &mut Context<'_>) -> Option<Route> {
    let fields = item.fields(schema::ROUTE)?;
    let matcher = or(fields.get("match"), Matcher::default(), |value| matcher(value, context));
    let action = action(&fields, matcher.as_ref(), context);
    let response_fields =
        or(fields.get("response_headers"), None, |value| field_edits(value, Heading::Downstream).map(Some));
    Some(Route { matcher: matcher?, action: action?, response_fields: response_fields? })
}

/// What a route does: exactly one of `origins`, `redirect` and `respond`.
fn action(fields: &Fields<'_>, matcher: Option<&Matcher>, context: &mut Context<'_>) -> Option<Action> {
    const ACTIONS: [&str; 3] = ["origins", "redirect", "respond"];
    let mut given = ACTIONS.into_iter().filter_map(|key| Some((key, fields.get(key)?)));
    let Some((key, value)) = given.next() else {
        let hint = "origins: [NAME], redirect: {to: URL} or respond: {status: 403}";
        fields.missing("origins", "a route needs it, or `redirect`, or `respond`", Some(hint.to_owned()));
        return None;
    };
    for (other, value) in given {
        value.fatal(format_args!("{other} and {key} exclude each other"), "keep one of them".to_owned());
    }
    if key != "origins" {
        for useless in ["residency", "path", "request_headers", "cache"] {
            fields.useless(useless, "nothing is sent to an origin");
        }
    }
    match key {
        "redirect" => redirect(value).map(Action::Redirect),
        "respond" => respond(value).map(Action::Respond),
        _ => forward(fields, value, matcher, context).map(Action::Forward),
    }
}

fn forward(
    fields: &Fields<'_>,
    list: &Value<'_>,
    matcher: Option<&Matcher>,
    context: &mut Context<'_>,
) -> Option<Forward> {
    let residency = or(fields.get("residency"), Residency::Any, residency);
    let origins = list.distinct(|name| context.origin_names.resolve(name, "origin").map(OriginId));
    for origin in origins.iter().flatten() {
        if let Some(used) = context.used_origins.get_mut(origin.0) {
            *used = true;
        }
    }
    if let (Some(residency), Some(origins)) = (residency, &origins) {
        refuse_other_shore(list, residency, origins, context);
    }
    let path = or(fields.get("path"), None, |value| path_rewrite(value, matcher).map(Some));
    let request_fields =
        or(fields.get("request_headers"), None, |value| field_edits(value, Heading::Upstream).map(Some));
    let cache = cache::of_route(fields, context.has_cache, context.site_cache);
    let (origins, residency, path, request_fields) = (origins?, residency?, path?, request_fields?);
    let names: Vec<_> = list.items()?.iter().map(Value::name).collect();
    let digest = digest(&format!("{names:?} {residency:?} {path:?} {request_fields:?}"));
    Some(Forward { origins, residency, path, request_fields, cache: cache?, digest })
}

fn digest(settings: &str) -> u64 {
    let digest = Sha256::digest(settings);
    u64::from_be_bytes(std::array::from_fn(|place| digest[place]))
}

fn residency(value: &Value<'_>) -> Option<Residency> {
    let [mainland, offshore] = Region::ALL.map(|region| (region.label(), Residency::Within(region)));
    value.word(&[("any", Residency::Any), mainland, offshore])
}

/// Reports every origin that the route's residency excludes.
fn refuse_other_shore(list: &Value<'_>, residency: Residency, origins: &[OriginId], context: &Context<'_>) {
    let items = list.items_or_none().unwrap_or_default();
    for (item, origin) in items.iter().zip(origins) {
        if let Some(Some(region)) = context.origin_regions.get(origin.0)
            && !residency.allows(*region)
        {
            item.fatal(
                format_args!(
                    "{} is {}, and the route must not leave its residency",
                    shown(item),
                    region.label()
                ),
                "name origins of one region only, or remove residency".to_owned(),
            );
        }
    }
}

fn shown(item: &Value<'_>) -> String {
    item.plain_text().map(quote).unwrap_or_default()
}

fn matcher(value: &Value<'_>, context: &mut Context<'_>) -> Option<Matcher> {
    let fields = value.fields(schema::MATCH)?;
    let prefix =
        or(fields.get("path"), PathMatch::Any, |value| path(value).map(|path| PathMatch::prefix(&path)));
    let path = match fields.get("path_exact") {
        None => prefix,
        Some(exact) => {
            if fields.get("path").is_some() {
                exact.fatal("path and path_exact exclude each other", "keep one of them".to_owned());
            }
            path(exact).map(|path| PathMatch::exact(&path))
        }
    };
    let methods = or(fields.get("method"), Vec::new(), |list| list.distinct(method));
    let headers = or(fields.get("header"), Vec::new(), headers);
    let clients = or(fields.get("clients"), None, |value| {
        context.asks_for_clients = true;
        if !context.knows_clients {
            value.fatal(
                "client_regions is missing: nothing tells where clients are",
                "client_regions: cn-cidrs.txt on the top level".to_owned(),
            );
        }
        value.word(&Region::ALL.map(|region| (region.label(), Some(region))))
    });
    let from = or(fields.get("from"), Vec::new(), |list| list.distinct(network));
    Some(Matcher { path: path?, methods: methods?, headers: headers?, clients: clients?, from: from? })
}

fn method(value: &Value<'_>) -> Option<Method> {
    value.parsed("a method", "GET", |text| match Method::from_bytes(text.as_bytes()) {
        Ok(_) if text.contains(|c: char| c.is_ascii_lowercase()) => Err("methods are in upper case"),
        Ok(method) => Ok(method),
        Err(_) => Err("it is not an HTTP token"),
    })
}

fn headers(value: &Value<'_>) -> Option<Vec<(HeaderName, String)>> {
    let mut headers: Vec<(HeaderName, String)> = Vec::new();
    for (name, value) in value.entries()? {
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
            value.fatal(format_args!("{} is not a header name", quote(name)), "such as x-tier".to_owned());
            continue;
        };
        if headers.iter().any(|(other, _)| *other == name) {
            value.fatal(format_args!("the header {name} is there twice"), "remove one of them".to_owned());
        }
        if headers.len() >= 64 {
            value.fatal("there are more than 64 headers", None);
            break;
        }
        let text = value.parsed("a header's value", "gold", |text| {
            HeaderValue::from_str(text).map(|_| text.trim().to_owned())
        });
        headers.extend(text.map(|text| (name, text)));
    }
    Some(headers)
}
