//! `sites`. Each host belongs to at most one site on a listener.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::assets::Assets;
use super::context::Context;
use super::limits::rate_limit;
use super::redirects::SiteShape;
use super::routes::routes;
use super::{Value, acme, assets, cache, compress, footer, or};
use crate::config::acme::{DnsProvider, MAX_NAMES, names_to_order};
use crate::config::findings::quote;
use crate::config::reader::Fields;
use crate::config::{CertificateFiles, Listener, Protocol, Redirect, Site, schema};
use crate::gate::ListenerId;
use crate::hostname::{HostPattern, Hostname, InvalidHostname};
use crate::rewrite::{CompressMode, FooterSettings};
use crate::route::Routes;

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
    let certificate = certificate(&fields, listeners.as_deref(), name.as_deref(), context);
    if let Some((_, Some(_))) = certificate
        && hosts.as_ref().is_some_and(|hosts| names_to_order(hosts).len() > MAX_NAMES)
    {
        let message = format!("a certificate is ordered for at most {MAX_NAMES} names");
        item.fatal(message, "divide the site, or use wildcards".to_owned());
    }
    let footer = or(fields.get("footer"), FooterSettings::default(), footer::footer);
    let cached = cache::of_site(&fields, context.has_cache);
    context.site_cache = cached.unwrap_or_default();
    let assets = or(fields.get("assets"), Assets::default(), |value| {
        let pages = footer.as_ref().map(|footer| footer.pages);
        assets::assets(value, pages, hosts.as_deref().unwrap_or_default(), context.folder)
    });
    let compress = or(fields.get("compress"), CompressMode::default(), compress::mode);
    let rate_limit = or(fields.get("rate_limit"), None, |value| rate_limit(value).map(Some));
    let max_body = or(fields.get("max_body"), None, |value| value.size(1, 1 << 50).map(Some));
    let shape = SiteShape { hosts: hosts.as_deref(), listeners: listeners.as_deref() };
    let routes = or(fields.get("routes"), Vec::new(), |list| routes(list, shape, context)).map(Routes::from);
    if routes.as_ref().is_some_and(|routes| routes.is_empty()) {
        item.warn("it has no routes: every request gets 404", None);
    }
    let (certificate, acme) = certificate?;
    Some(Site {
        name: name?,
        hosts: hosts?,
        listeners: listeners?,
        certificate,
        acme,
        footer: footer?,
        reports_assets: assets.as_ref()?.is_reported,
        asset_folders: assets?.folders,
        compress: compress?,
        rate_limit: rate_limit?,
        max_body: max_body?,
        routes: cached.and(routes)?,
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

/// The files of the certificate, and how it is ordered.
type SiteCertificate = (Option<CertificateFiles>, Option<Arc<DnsProvider>>);

/// The certificate: required on https listeners, without effect on others.
fn certificate(
    fields: &Fields<'_>,
    listeners: Option<&[ListenerId]>,
    site: Option<&str>,
    context: &Context<'_>,
) -> Option<SiteCertificate> {
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
    fields.get("certificate").map_or(Some((None, None)), |value| given_or_ordered(value, site, context))
}

fn given_or_ordered(value: &Value<'_>, site: Option<&str>, context: &Context<'_>) -> Option<SiteCertificate> {
    let fields = value.fields(schema::CERTIFICATE)?;
    let Some(order) = fields.get("acme") else {
        let chain = fields.required("chain").and_then(|path| path.path(context.folder));
        let key = fields.required("key").and_then(|path| path.path(context.folder));
        return Some((Some(CertificateFiles { chain: chain?, key: key? }), None));
    };
    fields.useless("chain", "the certificate is ordered");
    fields.useless("key", "the certificate is ordered");
    if !context.has_acme {
        let hint = "acme: {directory: \"https://acme-v02.api.letsencrypt.org/directory\", contact: ops@example.cn, \
                    store: /var/lib/icpgate/acme}";
        order.fatal("no authority to order from: the top level has no acme", hint.to_owned());
    }
    let provider = acme::provider(order, context.folder)?;
    let file = context.acme.as_ref()?.file_of(site?);
    Some((Some(CertificateFiles { chain: file.clone(), key: file }), Some(provider)))
}

/// A host name in the strict form.
pub(in crate::config) fn filed_name(value: &Value<'_>) -> Option<Hostname> {
    value.parsed("a host name", "example.cn", Hostname::from_unicode)
}
