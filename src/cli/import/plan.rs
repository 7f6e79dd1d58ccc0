//! The plan of an import, in icpgate's terms: listeners, sites, routes, origins, and notes of what has no
//! counterpart.

use std::collections::BTreeMap;
use std::fmt;

use crate::config;

/// The place of a directive in a file that is imported.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Place {
    pub(super) file: String,
    pub(super) line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A directive that was not carried over.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Note {
    pub(super) place: Place,
    /// As written, in one line.
    pub(super) directive: String,
    pub(super) reason: String,
}

/// A whole configuration.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// By their address as icpgate writes it.
    pub(super) listeners: BTreeMap<String, Listener>,
    pub(super) sites: Vec<Site>,
    pub(super) origins: Vec<Origin>,
    pub(super) compress: Compress,
    pub(super) notes: Vec<Note>,
}

/// What is compressed, where anything else than the default is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Compress {
    /// Media types.
    pub(super) types: Vec<String>,
    /// Bytes.
    pub(super) min_bytes: Option<u64>,
}

/// One bound address.
#[derive(Clone, Debug)]
pub(super) struct Listener {
    pub(super) name: String,
    pub(super) protocol: Protocol,
    pub(super) proxy_protocol: bool,
    pub(super) place: Place,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Protocol {
    Https,
    /// Clear text that sends everybody to TLS.
    HttpRedirect,
    /// Clear text that serves sites.
    Http,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Site {
    pub(super) hosts: Vec<String>,
    /// Names of listeners.
    pub(super) listeners: Vec<String>,
    pub(super) certificate: Option<Pair>,
    /// Such as `64MiB`.
    pub(super) max_body: Option<String>,
    pub(super) compress: Option<&'static str>,
    pub(super) is_cached: bool,
    pub(super) rate_limit: Option<RateLimit>,
    pub(super) routes: Vec<Route>,
    pub(super) place: Place,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Pair {
    pub(super) chain: String,
    pub(super) key: String,
}

#[derive(Clone, Debug)]
pub(super) struct RateLimit {
    /// Such as `10/s`.
    pub(super) requests: String,
    pub(super) burst: Option<u64>,
}

#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) path: PathMatch,
    pub(super) methods: Vec<String>,
    /// Networks of clients; empty for everybody.
    pub(super) from: Vec<String>,
    pub(super) action: Action,
    pub(super) rewrite: Option<PathRewrite>,
    pub(super) request_headers: HeaderChanges,
    pub(super) response_headers: HeaderChanges,
    /// Overrides the site's.
    pub(super) cache: Option<bool>,
    pub(super) place: Place,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum PathMatch {
    Prefix(String),
    Exact(String),
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Action {
    Origins(Vec<String>),
    Redirect { to: String, status: u16 },
    Respond { status: u16, body: String },
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct PathRewrite {
    pub(super) strip: Option<String>,
    pub(super) prepend: Option<String>,
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct HeaderChanges {
    pub(super) set: Vec<(String, String)>,
    pub(super) remove: Vec<String>,
}

impl HeaderChanges {
    pub(super) fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Origin {
    pub(super) name: String,
    pub(super) is_tls: bool,
    /// The name verified, for TLS.
    pub(super) server_name: Option<String>,
    pub(super) servers: Vec<Server>,
    /// A host sent upstream in place of the client's.
    pub(super) host: Option<String>,
    /// The value of `balance`, where it is not the default.
    pub(super) balance: Option<String>,
    pub(super) health_path: Option<String>,
    /// Such as `3s`.
    pub(super) connect_timeout: Option<String>,
    pub(super) first_byte_timeout: Option<String>,
    pub(super) place: Place,
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Server {
    pub(super) address: String,
    pub(super) weight: Option<u32>,
    pub(super) is_backup: bool,
}

impl Plan {
    /// Takes out what needs a key that this version does not have, with a note of each.
    pub(super) fn keep_known_keys(&mut self) {
        let Self { sites, origins, notes, .. } = self;
        let mut lacks = |section: &str, key: &str, is_used: bool, place: &Place| {
            let is_lacking = is_used && !config::has_key(section, key);
            if is_lacking {
                let reason = format!("this version has no {section}.{key}");
                notes.push(Note { place: place.clone(), directive: key.to_owned(), reason });
            }
            is_lacking
        };
        for site in &mut *sites {
            let Site { max_body, compress, is_cached, rate_limit, routes, place, .. } = site;
            if lacks("sites[]", "max_body", max_body.is_some(), place) {
                *max_body = None;
            }
            if lacks("sites[]", "compress", compress.is_some(), place) {
                *compress = None;
            }
            if lacks("sites[]", "cache", *is_cached, place) {
                *is_cached = false;
            }
            if lacks("sites[]", "rate_limit", rate_limit.is_some(), place) {
                *rate_limit = None;
            }
            let of_route = "sites[].routes[]";
            routes.retain(|route| match &route.action {
                Action::Origins(_) => true,
                Action::Redirect { .. } => !lacks(of_route, "redirect", true, &route.place),
                Action::Respond { .. } => !lacks(of_route, "respond", true, &route.place),
            });
            for route in routes {
                if lacks(of_route, "path", route.rewrite.is_some(), &route.place) {
                    route.rewrite = None;
                }
                if lacks(of_route, "request_headers", !route.request_headers.is_empty(), &route.place) {
                    route.request_headers = HeaderChanges::default();
                }
                if lacks(of_route, "response_headers", !route.response_headers.is_empty(), &route.place) {
                    route.response_headers = HeaderChanges::default();
                }
                if lacks(of_route, "cache", route.cache.is_some(), &route.place) {
                    route.cache = None;
                }
            }
        }
        sites.retain(|site| !site.routes.is_empty());
        for origin in origins {
            if lacks("origins[]", "balance", origin.balance.is_some(), &origin.place) {
                origin.balance = None;
            }
        }
    }

    /// Notes that a directive was not carried over.
    pub(super) fn note(&mut self, place: &Place, directive: &str, reason: impl Into<String>) {
        self.notes.push(Note {
            place: place.clone(),
            directive: directive.to_owned(),
            reason: reason.into(),
        });
    }

    /// The listener of an address; created if there is none.
    pub(super) fn listener(&mut self, address: &str, protocol: Protocol, place: &Place) -> &mut Listener {
        let stem = if protocol == Protocol::Https { "https" } else { "http" };
        let alike = self.listeners.values().filter(|known| known.name.starts_with(stem)).count();
        self.listeners.entry(address.to_owned()).or_insert_with(|| Listener {
            name: if alike == 0 { stem.to_owned() } else { format!("{stem}-{}", alike + 1) },
            protocol,
            proxy_protocol: false,
            place: place.clone(),
        })
    }
}
