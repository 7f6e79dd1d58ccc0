//! `origins`: named groups of upstream servers.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use http::HeaderName;

use super::pool::{congestion, pool};
use super::resilience::{health, hedge_after, retries};
use super::{Value, or};
use crate::config::reader::Fields;
use crate::config::schema;
use crate::hostname::Hostname;
use crate::origin::{
    Balance, DEFAULT_LINK, HashKey, Origin, Pool, ProxyProtocol, Region, Retries, Scheme, Server, ServerHost,
    Timeouts, UpstreamHost,
};

pub(super) fn origin(item: &Value<'_>, folder: &Path) -> Option<Origin> {
    let fields = item.fields(schema::ORIGIN)?;
    let name = fields.required("name").and_then(Value::name);
    let regions = Region::ALL.map(|region| (region.label(), region));
    let region = fields.required("region").and_then(|value| value.word(&regions));
    let servers = fields.required("servers").and_then(servers);
    let scheme = fields.required("scheme").and_then(|value| {
        let clear = match value.word(&["http", "https", "h2c"].map(|word| (word, word)))? {
            "https" => return https(&fields, folder, servers.as_deref()),
            "h2c" => Scheme::H2c,
            _ => Scheme::Http,
        };
        for key in ["server_name", "trust"] {
            fields.useless(key, "it is for the scheme https alone");
        }
        Some(clear)
    });
    let timeouts = or(fields.get("timeouts"), Timeouts::default(), timeouts);
    let host = or(fields.get("host"), UpstreamHost::Preserve, |value| {
        value.parsed("`preserve` or a host name", "app.example.com", |text| match text {
            "preserve" => Ok(UpstreamHost::Preserve),
            name => Hostname::from_unicode(name).map(UpstreamHost::Fixed),
        })
    });
    let health = or(fields.get("health"), None, |value| health(value).map(Some));
    let retries = or(fields.get("retries"), Retries::default(), retries);
    let hedge_after = or(fields.get("hedge_after"), None, |value| hedge_after(value).map(Some));
    if retries.is_some_and(|retries| retries.attempts == 1 || retries.budget == 0) {
        fields.useless("hedge_after", "it needs a second attempt and a budget in `retries`");
    }
    let balance = or(fields.get("balance"), Balance::default(), balance);
    if let (Some(Balance::Hash(_)), Some([_]), Some(value)) =
        (&balance, servers.as_deref(), fields.get("balance"))
    {
        value.warn("there is one server: all values go there", "remove balance".to_owned());
    }
    let max_in_flight = or(fields.get("max_in_flight"), DEFAULT_MAX_IN_FLIGHT, |value| {
        value.count(1, 1_000_000)?.try_into().ok()
    });
    let words = [("v2", ProxyProtocol::V2)];
    let proxy_protocol = or(fields.get("proxy_protocol"), ProxyProtocol::None, |value| value.word(&words));
    let pool = or(fields.get("pool"), Pool::default(), |value| pool(value, proxy_protocol));
    let congestion = or(fields.get("congestion"), None, congestion);
    Some(Origin {
        name: name?.into(),
        region: region?,
        scheme: scheme?,
        servers: servers?,
        timeouts: timeouts?,
        host: host?,
        proxy_protocol: proxy_protocol?,
        retries: retries?,
        health: health?,
        hedge_after: hedge_after?,
        metered: Vec::new(),
        balance: balance?,
        max_in_flight: max_in_flight?,
        pool: pool?,
        congestion: congestion?,
    })
}

fn https(fields: &Fields<'_>, folder: &Path, servers: Option<&[Server]>) -> Option<Scheme> {
    let trust = or(fields.get("trust"), None, |value| value.path(folder).map(Some));
    let Some(server_name) = fields.get("server_name") else {
        let name = servers.and_then(|servers| {
            servers.iter().find_map(|server| match &server.host {
                ServerHost::Name(name) => Some(format!("such as server_name: {name}")),
                ServerHost::Address(_) => None,
            })
        });
        fields.missing("server_name", "https needs the name to ask for and to verify", name);
        return None;
    };
    let server_name = server_name.parsed("a host name", "app.example.com", Hostname::from_unicode);
    Some(Scheme::Https { server_name: server_name?, trust: trust? })
}

fn timeouts(value: &Value<'_>) -> Option<Timeouts> {
    let fields = value.fields(schema::TIMEOUTS)?;
    let default = Timeouts::default();
    let connect = or(fields.get("connect"), default.connect, Value::duration);
    let first_byte = or(fields.get("first_byte"), default.first_byte, Value::duration);
    let idle = or(fields.get("idle"), default.idle, Value::duration);
    Some(Timeouts { connect: connect?, first_byte: first_byte?, idle: idle? })
}

/// `least_loaded`, or `{hash: client}`, `{hash: {cookie: NAME}}`, `{hash: {header: NAME}}`.
fn balance(value: &Value<'_>) -> Option<Balance> {
    if !value.is_map() {
        return value.word(&[("least_loaded", ())]).map(|()| Balance::LeastLoaded);
    }
    let fields = value.fields(schema::BALANCE)?;
    let by = fields.required("hash")?;
    if !by.is_map() {
        return by.word(&[("client", ())]).map(|()| Balance::Hash(HashKey::Client));
    }
    let fields = by.fields(schema::HASH)?;
    let key = match (fields.get("cookie"), fields.get("header")) {
        (Some(cookie), None) => HashKey::Cookie(cookie.parsed("a cookie's name", "sid", |text| {
            // A cookie's name is a token, as a field's is (RFC 6265, 4.1.1).
            HeaderName::from_bytes(text.as_bytes()).map(|_| text.to_owned())
        })?),
        (None, Some(header)) => HashKey::Header(
            header.parsed("a field's name", "x-user", |text| HeaderName::from_bytes(text.as_bytes()))?,
        ),
        (Some(_), Some(header)) => {
            header.fatal("cookie and header exclude each other", "keep one of them".to_owned());
            return None;
        }
        (None, None) => {
            by.fatal(
                "it names neither a cookie nor a header",
                "{cookie: sid} or {header: x-user}".to_owned(),
            );
            return None;
        }
    };
    Some(Balance::Hash(key))
}

/// The default of `max_in_flight`.
const DEFAULT_MAX_IN_FLIGHT: u32 = 4096;
const MAX_WEIGHT: u64 = 1000;

fn servers(list: &Value<'_>) -> Option<Vec<Server>> {
    let items = list.items()?;
    let mut seen = HashSet::with_capacity(items.len());
    let servers: Vec<Option<Server>> = items.iter().map(server).collect();
    for (item, server) in items.iter().zip(servers.iter().flatten()) {
        if !seen.insert((&server.host, server.port)) {
            item.fatal("the server is there twice", "give it a weight instead".to_owned());
        }
    }
    if servers.iter().flatten().count() == items.len() && servers.iter().flatten().all(|server| server.backup)
    {
        list.warn(
            "every server is a backup: none is",
            "remove `backup` from the servers that are to serve normally".to_owned(),
        );
    }
    servers.into_iter().collect()
}

/// `HOST:PORT`, or a mapping with `address: HOST:PORT`.
fn server(value: &Value<'_>) -> Option<Server> {
    const EXAMPLE: &str = "10.0.1.10:8080, app.example.com:443 or \"[2001:db8::1]:443\"";
    if !value.is_map() {
        return value.parsed("a server's address with a port", EXAMPLE, address);
    }
    let fields = value.fields(schema::SERVER)?;
    let server =
        fields.required("address").and_then(|v| v.parsed("a server's address with a port", EXAMPLE, address));
    let weight = or(fields.get("weight"), 1, |value| value.count(1, MAX_WEIGHT)?.try_into().ok());
    let backup = or(fields.get("backup"), false, |value| value.boolean());
    let link = or(fields.get("link"), DEFAULT_LINK.into(), |value| value.name().map(Arc::from));
    Some(Server { weight: weight?, backup: backup?, link: link?, ..server? })
}

fn address(text: &str) -> Result<Server, String> {
    if text.starts_with('[') {
        let address: SocketAddr =
            text.parse().map_err(|_| "the part in brackets is not an IPv6 address with a port")?;
        return with_port(ServerHost::Address(address.ip()), address.port());
    }
    if text.contains('/') {
        return Err("it has a scheme or a path: write HOST:PORT alone".to_owned());
    }
    let (host, port) = text.rsplit_once(':').ok_or("the port is missing")?;
    if host.contains(':') {
        return Err("an IPv6 address must be in brackets".to_owned());
    }
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("the port is not a number".to_owned());
    }
    let port = port.parse().map_err(|_| "the port is not from 1 to 65535")?;
    let host = match host.parse::<IpAddr>() {
        Ok(address) => ServerHost::Address(address),
        Err(_) => ServerHost::Name(Hostname::from_unicode(host).map_err(|error| error.to_string())?),
    };
    with_port(host, port)
}

fn with_port(host: ServerHost, port: u16) -> Result<Server, String> {
    match port {
        0 => Err("the port is not from 1 to 65535".to_owned()),
        port => Ok(Server { host, port, weight: 1, backup: false, link: DEFAULT_LINK.into() }),
    }
}
