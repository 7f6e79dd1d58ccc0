//! `filings`: a path, or the service that holds the allowlist.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::Uri;

use super::sinks::{host_and_port, is_public};
use super::{Value, or};
use crate::config::filings_source::{EtcdLogin, EtcdSource, FilingsSource, RemoteFilings, UrlSource};
use crate::config::reader::Fields;
use crate::config::schema;
use crate::config::sinks::{Endpoint, SinkHost};

const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);
/// A fetch is a request and its answer: less would be a loop without a pause.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
/// A revocation may not wait longer.
const LONGEST_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// Members of an etcd cluster: more than any cluster has.
const MAX_ENDPOINTS: usize = 16;

pub(super) fn source(value: &Value<'_>, folder: &Path) -> Option<FilingsSource> {
    if !value.is_map() {
        return value.path(folder).map(FilingsSource::File);
    }
    let remote = match value.own("etcd") {
        Some(_) => {
            let fields = value.fields(schema::FILINGS_BY_ETCD)?;
            RemoteFilings::Etcd(fields.required("etcd").and_then(|section| etcd(section, folder))?)
        }
        None => RemoteFilings::Url(url(value, folder)?),
    };
    Some(FilingsSource::Remote(Arc::new(remote)))
}

fn url(value: &Value<'_>, folder: &Path) -> Option<UrlSource> {
    let fields = value.fields(schema::FILINGS_BY_URL)?;
    let url = fields.required("url").and_then(endpoint_and_target);
    let interval = or(fields.get("interval"), DEFAULT_INTERVAL, interval);
    let public_key = or(fields.get("public_key"), None, |value| value.path(folder).map(Some));
    let trust = trust(&fields, url.as_ref().is_some_and(|(endpoint, _)| endpoint.is_tls), folder);
    let (endpoint, target) = url?;
    Some(UrlSource { endpoint, target, interval: interval?, public_key: public_key?, trust: trust? })
}

fn interval(value: &Value<'_>) -> Option<Duration> {
    let interval = value.duration()?;
    if interval < SHORTEST_INTERVAL || interval > LONGEST_INTERVAL {
        value.fatal("it is not from 100ms to 1h", "10s is the default".to_owned());
        return None;
    }
    Some(interval)
}

fn etcd(value: &Value<'_>, folder: &Path) -> Option<EtcdSource> {
    let fields = value.fields(schema::FILINGS_ETCD)?;
    let endpoints = fields.required("endpoints").and_then(|list| list.distinct(endpoint));
    if let (Some(all), Some(value)) = (&endpoints, fields.get("endpoints"))
        && all.len() > MAX_ENDPOINTS
    {
        value.fatal(format_args!("there are more than {MAX_ENDPOINTS} endpoints"), None);
    }
    let key = fields.required("key").and_then(|value| {
        value.parsed("a key of etcd", "/icpgate/filings", |text| {
            if text.is_empty() || text.len() > 4096 || text.contains(char::is_control) {
                Err("it is empty, longer than 4096 bytes, or holds control characters")
            } else {
                Ok(text.to_owned())
            }
        })
    });
    let any_tls = endpoints.iter().flatten().any(|endpoint| endpoint.is_tls);
    let trust = trust(&fields, any_tls, folder);
    let login = login(&fields, folder);
    Some(EtcdSource { endpoints: endpoints?, key: key?, trust: trust?, login: login? })
}

fn login(fields: &Fields<'_>, folder: &Path) -> Option<Option<EtcdLogin>> {
    let username = fields.get("username");
    let Some(username) = username else {
        fields.useless("password_file", "there is no username");
        return Some(None);
    };
    let username = username.text().map(str::to_owned);
    let password_file = fields.required("password_file").and_then(|value| value.path(folder));
    Some(Some(EtcdLogin { username: username?, password_file: password_file? }))
}

/// The outer `None` means that a problem was reported.
fn trust(fields: &Fields<'_>, is_tls: bool, folder: &Path) -> Option<Option<PathBuf>> {
    if !is_tls {
        fields.useless("trust", "the address is not https");
    }
    or(fields.get("trust"), None, |value| value.path(folder).map(Some))
}

fn endpoint(value: &Value<'_>) -> Option<Endpoint> {
    let (endpoint, target) = value.parsed("the root of a service", "https://10.0.0.5:2379", split)?;
    if target != "/" {
        value.fatal("it has a path", "give scheme, host and port alone".to_owned());
        return None;
    }
    in_private(value, endpoint)
}

fn endpoint_and_target(value: &Value<'_>) -> Option<(Endpoint, String)> {
    let (endpoint, target) =
        value.parsed("the URL of an allowlist", "https://config.example.com/filings.yaml", split)?;
    Some((in_private(value, endpoint)?, target))
}

fn split(text: &str) -> Result<(Endpoint, String), String> {
    if text.contains('#') {
        return Err("it has a fragment".to_owned());
    }
    let uri: Uri = text.parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
    let (is_tls, default) = match uri.scheme_str() {
        Some("https") => (true, 443),
        Some("http") => (false, 80),
        _ => return Err("it begins with neither https:// nor http://".to_owned()),
    };
    let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
    if authority.contains('@') {
        return Err("it holds a user".to_owned());
    }
    let address = host_and_port(authority, Some(default))?;
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    Ok((Endpoint { is_tls, address }, target.to_owned()))
}

/// Refuses clear text to public addresses: anyone on the way could open and close hosts.
fn in_private(value: &Value<'_>, endpoint: Endpoint) -> Option<Endpoint> {
    let is_local = match &endpoint.address.host {
        SinkHost::Name(name) => name.as_str() == "localhost",
        SinkHost::Address(_) => !is_public(&endpoint.address),
    };
    if !endpoint.is_tls && !is_local {
        value.fatal(
            "the allowlist would come in clear text",
            "write https://; http:// is for loopback and private addresses".to_owned(),
        );
        return None;
    }
    if !endpoint.is_tls {
        value.warn(
            format_args!("the allowlist comes from {endpoint} in clear text"),
            "whoever can change it on the way decides what is served: write https://".to_owned(),
        );
    }
    Some(endpoint)
}
