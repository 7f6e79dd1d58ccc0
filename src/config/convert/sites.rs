//! `sites`. Each host belongs to at most one site on a listener.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method};

use super::listeners::path;
use super::{Names, Value, or};
use crate::config::findings::quote;
use crate::config::reader::Fields;
use crate::config::{CertificateFiles, Listener, Protocol, Redirect, Site, schema};
use crate::gate::ListenerId;
use crate::hostname::{HostPattern, Hostname, InvalidHostname};
use crate::origin::{Origin, OriginId, Region};
use crate::rewrite::FooterPages;
use crate::route::{Matcher, PathMatch, Residency, Route, Routes};

/// What sites refer to, and what earlier sites have claimed.
pub(super) struct Context<'c> {
    folder: &'c Path,
    listener_names: &'c Names<'c>,
    listeners: &'c [Option<Listener>],
    origin_names: &'c Names<'c>,
    names: HashMap<Arc<str>, ()>,
    hosts: HashMap<(ListenerId, HostPattern), Arc<str>>,
    used_listeners: Vec<bool>,
    used_origins: Vec<bool>,
    /// The regions of the origins; `None` for an origin with a problem.
    origin_regions: Vec<Option<Region>>,
    /// Whether `client_regions` is configured.
    pub(super) knows_clients: bool,
    asks_for_clients: bool,
}

impl<'c> Context<'c> {
    pub(super) fn new(
        folder: &'c Path,
        listener_names: &'c Names<'c>,
        listeners: &'c [Option<Listener>],
        origin_names: &'c Names<'c>,
        origins: &[Option<Origin>],
    ) -> Self {
        Self {
            folder,
            listener_names,
            listeners,
            origin_names,
            names: HashMap::new(),
            hosts: HashMap::new(),
            used_listeners: vec![false; listener_names.count],
            used_origins: vec![false; origin_names.count],
            origin_regions: origins.iter().map(|origin| Some(origin.as_ref()?.region)).collect(),
            knows_clients: false,
            asks_for_clients: false,
        }
    }

    /// Warns of listeners, origins and client regions that no site refers to.
    pub(super) fn warn_of_unused(
        &self,
        listeners: &[Value<'_>],
        origins: &[Value<'_>],
        regions: Option<&Value<'_>>,
    ) {
        let unused = |items: &[Value<'_>], used: &[bool], message: &str| {
            for (item, _) in items.iter().zip(used).filter(|(_, used)| !**used) {
                item.warn(message, None);
            }
        };
        unused(listeners, &self.used_listeners, "no site is on this listener: it is never bound");
        unused(origins, &self.used_origins, "no route leads to this origin");
        if let Some(regions) = regions.filter(|_| !self.asks_for_clients) {
            regions.warn("no route asks where clients are", "match: {clients: mainland}".to_owned());
        }
    }
}

pub(super) fn site(item: &Value<'_>, context: &mut Context<'_>) -> Option<Site> {
    let fields = item.fields(schema::SITE)?;
    let listeners = listeners(&fields, context);
    let given_name = fields.get("name").map(Value::name);
    let hosts = fields.required("hosts").and_then(|list| list.distinct(host));
    let name: Option<Arc<str>> = match given_name {
        Some(name) => name.map(Arc::from),
        None => hosts.as_ref().and_then(|hosts| hosts.first()).map(|host| host.to_string().into()),
    };
    if let Some(name) = &name
        && context.names.insert(Arc::clone(name), ()).is_some()
    {
        let place = fields.get("name").unwrap_or(item);
        place.fatal(format_args!("another site is named {}", quote(name)), "rename one of them".to_owned());
    }
    if let (Some(name), Some(listeners), Some(list)) = (&name, &listeners, fields.get("hosts")) {
        claim_hosts(list, listeners, name, context);
    }
    let certificate = certificate(&fields, listeners.as_deref(), context);
    let footer = or(fields.get("footer"), FooterPages::default(), footer);
    let routes = or(fields.get("routes"), Vec::new(), |list| routes(list, context)).map(Routes::from);
    if routes.as_ref().is_some_and(|routes| routes.is_empty()) {
        item.warn("it has no routes: every request gets 404", None);
    }
    Some(Site {
        name: name?,
        hosts: hosts?,
        listeners: listeners?,
        certificate: certificate?,
        footer: footer?,
        routes: routes?,
    })
}

fn listeners(fields: &Fields<'_>, context: &mut Context<'_>) -> Option<Vec<ListenerId>> {
    let every = (0..context.listener_names.count).map(ListenerId).collect();
    let listeners = or(fields.get("listeners"), every, |list| {
        list.distinct(|name| context.listener_names.resolve(name, "listener").map(ListenerId))
    })?;
    for listener in &listeners {
        if let Some(used) = context.used_listeners.get_mut(listener.0) {
            *used = true;
        }
    }
    Some(listeners)
}

/// A host name or wildcard that a filing can cover.
fn host(value: &Value<'_>) -> Option<HostPattern> {
    let pattern = host_pattern(value)?;
    if pattern.base().registrable_domain().is_none() {
        value.fatal(
            format_args!("no filing can cover {pattern}: it is not below a public suffix"),
            "filings are made for domains such as example.cn or example.com.cn".to_owned(),
        );
    }
    Some(pattern)
}

pub(in crate::config) fn host_pattern(value: &Value<'_>) -> Option<HostPattern> {
    value.parsed("a host name", "www.example.cn or \"*.static.example.cn\"", |text| {
        let pattern = HostPattern::parse(text)?;
        // A wildcard needs room for the label that it stands for.
        if matches!(pattern, HostPattern::Wildcard(_)) {
            pattern.representative()?;
        }
        Ok::<_, InvalidHostname>(pattern)
    })
}

fn claim_hosts(list: &Value<'_>, listeners: &[ListenerId], site: &Arc<str>, context: &mut Context<'_>) {
    for item in list.items_or_none().unwrap_or_default() {
        let Some(Ok(pattern)) = item.plain_text().map(HostPattern::parse) else { continue };
        for listener in listeners {
            match context.hosts.entry((*listener, pattern.clone())) {
                Entry::Vacant(free) => {
                    free.insert(Arc::clone(site));
                }
                // Compared by index: two sites may share a name, which is reported elsewhere.
                Entry::Occupied(taken) if !Arc::ptr_eq(taken.get(), site) => {
                    let on = context.listeners.get(listener.0).and_then(Option::as_ref);
                    let on = on.map_or_else(String::new, |on| format!(" on listener {:?}", on.name));
                    item.fatal(
                        format_args!("{pattern} belongs to site {:?}{on} already", taken.get()),
                        "one site serves a host on a listener".to_owned(),
                    );
                    break;
                }
                Entry::Occupied(_) => {}
            }
        }
    }
}

/// The certificate: required on https listeners, without effect on others.
fn certificate(
    fields: &Fields<'_>,
    listeners: Option<&[ListenerId]>,
    context: &Context<'_>,
) -> Option<Option<CertificateFiles>> {
    let known: Option<Vec<&Listener>> = listeners.and_then(|listeners| {
        listeners.iter().map(|listener| context.listeners.get(listener.0)?.as_ref()).collect()
    });
    if let Some(known) = known {
        let https = known.iter().find(|listener| matches!(listener.protocol, Protocol::Https { .. }));
        let redirects = |listener: &&&Listener| {
            matches!(listener.protocol, Protocol::Http { redirect: Redirect::Https, .. })
        };
        match (https, fields.get("certificate")) {
            (Some(listener), None) => {
                let why = format!("the site is on the https listener {:?}", listener.name);
                let hint = "certificate: {chain: certs/example.cn.pem, key: certs/example.cn.key}";
                fields.missing("certificate", why, Some(hint.to_owned()));
                return None;
            }
            (None, Some(_)) => fields.useless("certificate", "the site is on http listeners alone"),
            (Some(_), Some(_)) | (None, None) => {}
        }
        let lost = known.iter().find(redirects).filter(|_| {
            let any = |l: &Listener| matches!(l.protocol, Protocol::Https { .. });
            https.is_none() && context.listeners.iter().flatten().any(any)
        });
        if let Some(listener) = lost {
            fields.map().warn(
                format_args!("listener {:?} redirects to https, where this site is not", listener.name),
                "put the site on an https listener too".to_owned(),
            );
        }
    }
    or(fields.get("certificate"), None, |value| {
        let fields = value.fields(schema::CERTIFICATE)?;
        let chain = fields.required("chain").and_then(|path| path.path(context.folder));
        let key = fields.required("key").and_then(|path| path.path(context.folder));
        Some(Some(CertificateFiles { chain: chain?, key: key? }))
    })
}

fn footer(value: &Value<'_>) -> Option<FooterPages> {
    let fields = value.fields(schema::FOOTER)?;
    let words = [("all", FooterPages::All), ("home", FooterPages::Home), ("off", FooterPages::Off)];
    or(fields.get("pages"), FooterPages::default(), |value| value.word(&words))
}

/// Routes are tried one by one, so their number is limited.
const MAX_ROUTES: usize = 4096;

fn routes(list: &Value<'_>, context: &mut Context<'_>) -> Option<Vec<Route>> {
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
    routes.into_iter().collect()
}

fn route(item: &Value<'_>, context: &mut Context<'_>) -> Option<Route> {
    let fields = item.fields(schema::ROUTE)?;
    let matcher = or(fields.get("match"), Matcher::default(), |value| matcher(value, context));
    let residency = or(fields.get("residency"), Residency::Any, residency);
    let origins = fields
        .required("origins")
        .and_then(|list| list.distinct(|name| context.origin_names.resolve(name, "origin").map(OriginId)));
    for origin in origins.iter().flatten() {
        if let Some(used) = context.used_origins.get_mut(origin.0) {
            *used = true;
        }
    }
    if let (Some(residency), Some(origins), Some(list)) = (residency, &origins, fields.get("origins")) {
        refuse_other_shore(list, residency, origins, context);
    }
    Some(Route { matcher: matcher?, origins: origins?, residency: residency? })
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
    Some(Matcher { path: path?, methods: methods?, headers: headers?, clients: clients? })
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

/// A host name in the strict form.
pub(in crate::config) fn filed_name(value: &Value<'_>) -> Option<Hostname> {
    value.parsed("a host name", "example.cn", Hostname::from_unicode)
}
