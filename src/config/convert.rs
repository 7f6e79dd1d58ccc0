//! Converts nodes to a [`Config`], section by section.
//!
//! References between sections are resolved by position in the file, so that a section with a problem causes no
//! further problems where others refer to it.

mod acme;
mod assets;
mod cache;
mod compress;
mod context;
mod edits;
mod filings_source;
mod footer;
mod limits;
mod links;
mod listeners;
mod origins;
mod pool;
mod redirects;
mod resilience;
mod resolver;
mod routes;
mod sinks;
mod sites;
mod values;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::reader::Value;
use super::schema;
use super::{AccessLog, Admin, BodyPace, Config, Limits, Log, LogFormat, MemoryLimit, WhenFull, units};
use crate::hostname::Hostname;
use crate::rewrite::CompressSettings;
use crate::route::region::is_internal;
use listeners::AddressClaims;
pub(super) use sites::{filed_name, host_pattern};
pub(super) use values::ip_address;
use values::{Names, network, or};

pub(super) fn config(root: &Value<'_>, file: &Path) -> Option<Config> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let fields = root.fields(schema::ICPGATE)?;
    let node = fields.get("node").map_or_else(|| Some(host_name()), |node| node.name().map(Arc::from));
    let filings = fields.required("filings").and_then(|value| filings_source::source(value, folder));
    let client_regions = or(fields.get("client_regions"), None, |path| path.path(folder).map(Some));
    let name_servers = or(fields.get("resolver"), Vec::new(), resolver::name_servers);
    let compress = section(fields.get("compress"), CompressSettings::default(), compress::settings);
    let access_log = section(fields.get("access_log"), default_access_log(), |v, d| access_log(v, folder, d));
    let sinks = or(fields.get("access_log"), Vec::new(), |section| {
        let fields = section.fields(schema::ACCESS_LOG)?;
        let encrypt_to = fields.get("encrypt_to");
        match (fields.get("sinks"), encrypt_to) {
            (Some(list), _) => sinks::sinks(list, encrypt_to, folder),
            (None, Some(value)) => {
                value.fatal("encrypt_to has no effect here: there are no sinks", "take it away".to_owned());
                None
            }
            (None, None) => Some(Vec::new()),
        }
    });
    let free_shipped = or(fields.get("access_log"), false, |section| {
        let fields = section.fields(schema::ACCESS_LOG)?;
        or(fields.get("free_shipped"), false, |value| sinks::free_shipped(value, sinks.as_deref()))
    });
    let admin = section(fields.get("admin"), default_admin(), admin);
    let log = section(fields.get("log"), DEFAULT_LOG, log);
    let limits = section(fields.get("limits"), Limits::default(), limits);
    let acme = or(fields.get("acme"), None, |value| {
        acme::settings(value, folder).map(|settings| Some(Arc::new(settings)))
    });
    let cache = or(fields.get("cache"), None, |value| cache::cache(value, folder).map(Some));

    let claims = RefCell::new(AddressClaims::default());
    if let Some(admin) = &admin {
        claims.borrow_mut().claim(admin.address, "admin");
    }
    let listener_items = fields.required("listeners").and_then(Value::items).unwrap_or_default();
    let listener_names = Names::of(&listener_items, "listener");
    let listeners: Vec<_> = listener_items.iter().map(|item| listeners::listener(item, &claims)).collect();
    let origin_items = fields.get("origins").and_then(Value::items_or_none).unwrap_or_default();
    let origin_names = Names::of(&origin_items, "origin");
    let mut origins: Vec<_> = origin_items.iter().map(|item| origins::origin(item, folder)).collect();
    let links = or(fields.get("links"), Vec::new(), links::links);
    if let Some(links) = &links {
        links::assign(fields.get("links"), links, &mut origins);
    }
    let site_items = fields.required("sites").and_then(Value::items_or_none).unwrap_or_default();
    let mut context = context::Context::new(folder, &listener_names, &listeners, &origin_names, &origins);
    context.knows_clients = fields.get("client_regions").is_some();
    context.has_cache = fields.get("cache").is_some();
    context.has_acme = fields.get("acme").is_some();
    context.acme = acme.clone().flatten();
    let sites: Vec<_> = site_items.iter().map(|item| sites::site(item, &mut context)).collect();
    if root.is_sound() {
        context.warn_of_unused(&listener_items, &origin_items, fields.get("client_regions"));
        cache::warn_of_unused(fields.get("cache"), &sites);
        acme::warn_of_unused(fields.get("acme"), &sites);
    }
    if let Some(resolver) = fields.get("resolver") {
        resolver::warn_of_useless(resolver, &origins);
    }
    if let Some(section) = fields.get("compress") {
        compress::warn_of_useless(section, &sites);
    }
    listeners::warn_of_lost_redirects(&listener_items, &listeners);
    links?;

    Some(Config {
        file: file.to_owned(),
        node: node?,
        filings: filings?,
        listeners: listeners.into_iter().map(|listener| listener.map(Arc::new)).collect::<Option<_>>()?,
        sites: sites.into_iter().collect::<Option<_>>()?,
        origins: origins.into_iter().collect::<Option<_>>()?,
        client_regions: client_regions?,
        name_servers: name_servers?,
        compress: compress?,
        access_log: access_log?,
        sinks: sinks?,
        free_shipped: free_shipped?,
        admin: admin?,
        log: log?,
        limits: limits?,
        cache: cache?,
        acme: acme?,
    })
}

/// An optional section: its defaults, overridden by the keys that it has.
fn section<T>(
    value: Option<&Value<'_>>,
    default: T,
    read: impl FnOnce(&Value<'_>, T) -> Option<T>,
) -> Option<T> {
    match value {
        None => Some(default),
        Some(value) => read(value, default),
    }
}

fn host_name() -> Arc<str> {
    match rustix::system::uname().nodename().to_str() {
        Ok(name) if !name.is_empty() => name.into(),
        Ok(_) | Err(_) => "localhost".into(),
    }
}

fn default_access_log() -> AccessLog {
    AccessLog {
        directory: "/var/lib/icpgate/access".into(),
        retention: 190 * DAY,
        reserve: 1 << 30,
        when_full: WhenFull::default(),
        redact_query: ["token", "password", "access_token"].map(str::to_owned).to_vec(),
        client_budget: 64 << 10,
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn access_log(value: &Value<'_>, folder: &Path, default: AccessLog) -> Option<AccessLog> {
    let fields = value.fields(schema::ACCESS_LOG)?;
    let directory = or(fields.get("directory"), default.directory, |v| v.path(folder));
    let retention = or(fields.get("retention"), default.retention, |value| {
        let retention = value.duration()?;
        if retention < 180 * DAY {
            let shown = units::show_duration(retention);
            value.fatal(
                format_args!("{shown} is less than the 180d that the law asks for"),
                "190d leaves room".to_owned(),
            );
        }
        Some(retention)
    });
    let reserve = or(fields.get("reserve"), default.reserve, |v| v.size(0, 1 << 50));
    let when_full = or(fields.get("when_full"), default.when_full, |v| {
        v.word(&[("refuse", WhenFull::Refuse), ("drop", WhenFull::Drop)])
    });
    let redact_query = or(fields.get("redact_query"), default.redact_query, |v| {
        if v.items_or_none()?.is_empty() {
            Some(Vec::new())
        } else {
            v.distinct(|v| v.text().map(str::to_owned))
        }
    });
    let client_budget = or(fields.get("client_budget"), default.client_budget, |v| {
        v.size(1 << 10, 64 << 20)?.try_into().ok()
    });
    Some(AccessLog {
        directory: directory?,
        retention: retention?,
        reserve: reserve?,
        when_full: when_full?,
        redact_query: redact_query?,
        client_budget: client_budget?,
    })
}

fn default_admin() -> Admin {
    Admin { address: SocketAddr::from(([127, 0, 0, 1], 9180)), hosts: Vec::new() }
}

fn admin(value: &Value<'_>, default: Admin) -> Option<Admin> {
    let fields = value.fields(schema::ADMIN)?;
    let address = or(fields.get("address"), default.address, admin_address);
    let hosts = or(fields.get("hosts"), default.hosts, |list| {
        if list.items_or_none()?.is_empty() {
            return Some(Vec::new());
        }
        list.distinct(|name| name.parsed("a host name", "edge.internal", Hostname::from_unicode))
    });
    Some(Admin { address: address?, hosts: hosts? })
}

fn admin_address(value: &Value<'_>) -> Option<SocketAddr> {
    let address = listeners::socket_address(value)?;
    if !is_internal(address.ip()) {
        value.warn(
            format_args!("the admin pages are open to whoever reaches {address}"),
            "give a loopback or private address, such as 127.0.0.1:9180".to_owned(),
        );
    }
    Some(address)
}

const DEFAULT_LOG: Log = Log { format: LogFormat::Text, level: tracing::Level::INFO };

fn log(value: &Value<'_>, default: Log) -> Option<Log> {
    use tracing::Level;
    let fields = value.fields(schema::LOG)?;
    let format = or(fields.get("format"), default.format, |v| {
        v.word(&[("text", LogFormat::Text), ("json", LogFormat::Json)])
    });
    let level = or(fields.get("level"), default.level, |v| {
        v.word(&[
            ("error", Level::ERROR),
            ("warn", Level::WARN),
            ("info", Level::INFO),
            ("debug", Level::DEBUG),
            ("trace", Level::TRACE),
        ])
    });
    Some(Log { format: format?, level: level? })
}

/// A share such as `50%`, or a size of at least 16 MiB: a few connections take as much.
fn memory_limit(value: &Value<'_>) -> Option<MemoryLimit> {
    let is_share = value.plain_text().is_some_and(|text| text.ends_with('%'));
    if !is_share {
        return value.size(16 << 20, 1 << 50).map(MemoryLimit::Bytes);
    }
    match value.percent()? {
        percent @ 1..=90 => Some(MemoryLimit::Share(percent)),
        percent => {
            let hint = "the program itself, its caches and the kernel need the rest";
            value.fatal(format_args!("{percent}% is not from 1% to 90%"), Some(hint.to_owned()));
            None
        }
    }
}

/// Whether a limit of the same kind is larger. Of two kinds, nobody knows before the program runs.
fn exceeds(one: MemoryLimit, all: MemoryLimit) -> bool {
    match (one, all) {
        (MemoryLimit::Bytes(one), MemoryLimit::Bytes(all)) => one > all,
        (MemoryLimit::Share(one), MemoryLimit::Share(all)) => one > all,
        (MemoryLimit::Bytes(_), MemoryLimit::Share(_)) | (MemoryLimit::Share(_), MemoryLimit::Bytes(_)) => {
            false
        }
    }
}

fn limits(value: &Value<'_>, default: Limits) -> Option<Limits> {
    let fields = value.fields(schema::LIMITS)?;
    let count = |key, default| or(fields.get(key), default, |v| v.count(1, 10_000_000)?.try_into().ok());
    let time = |key, default| or(fields.get(key), default, Value::duration);
    let time_or_zero = |key, default| or(fields.get(key), default, Value::duration_or_zero);
    let head_bytes = or(fields.get("request_head_bytes"), default.request_head_bytes, |v| {
        v.size(1 << 10, 1 << 20)?.try_into().ok()
    });
    let connections = count("connections", default.connections);
    let per_client = count("connections_per_client", default.connections_per_client);
    if let (Some(all), Some(one), Some(value)) =
        (connections, per_client, fields.get("connections_per_client"))
        && one > all
    {
        value.warn(format_args!("{one} is more than limits.connections, {all}"), None);
    }
    let memory = or(fields.get("memory"), default.memory, memory_limit);
    let memory_of_one = or(fields.get("memory_per_client"), default.memory_per_client, memory_limit);
    if let (Some(all), Some(one), Some(value)) = (memory, memory_of_one, fields.get("memory_per_client"))
        && exceeds(one, all)
    {
        value.warn("it is more than limits.memory, which holds for all clients together", None);
    }
    let client_hello_timeout = time("client_hello_timeout", default.client_hello_timeout);
    let handshake_timeout = time("handshake_timeout", default.handshake_timeout);
    let request_head_timeout = time("request_head_timeout", default.request_head_timeout);
    let body_idle_timeout = time("body_idle_timeout", default.body_idle_timeout);
    let pace = default.body_pace;
    let rate = or(fields.get("body_rate"), pace.map_or(0, |pace| pace.rate.get()), |v| v.size(0, 1 << 30));
    let grace = time("body_rate_grace", pace.map_or(default.body_idle_timeout, |pace| pace.grace));
    let idle_timeout = time("idle_timeout", default.idle_timeout);
    let drain_timeout = time_or_zero("drain_timeout", default.drain_timeout);
    let upgrade_timeout = time("upgrade_timeout", default.upgrade_timeout);
    let revocation_grace = time_or_zero("revocation_grace", default.revocation_grace);
    let filings_stale_after = time_or_zero("filings_stale_after", default.filings_stale_after);
    Some(Limits {
        connections: connections?,
        connections_per_client: per_client?,
        memory: memory?,
        memory_per_client: memory_of_one?,
        client_hello_timeout: client_hello_timeout?,
        handshake_timeout: handshake_timeout?,
        request_head_timeout: request_head_timeout?,
        request_head_bytes: head_bytes?,
        body_idle_timeout: body_idle_timeout?,
        body_pace: BodyPace::new(rate?, grace?),
        idle_timeout: idle_timeout?,
        drain_timeout: drain_timeout?,
        upgrade_timeout: upgrade_timeout?,
        revocation_grace: revocation_grace?,
        filings_stale_after: filings_stale_after?,
    })
}
