//! `access_log.sinks`: where records are shipped, beside the local store.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Names, Value, or};
use crate::config::reader::Fields;
use crate::config::schema::{self, Section};
use crate::config::sinks::{
    CredentialsFrom, DirectorySettings, Endpoint, KafkaSettings, OssSettings, RelpSettings, S3Settings,
    SaslMechanism, SaslSettings, ServerAddress, Sink, SinkHost, SinkSettings, SlsSettings, TlsSettings,
};
use crate::encryption::Recipient;
use crate::hostname::Hostname;
use crate::route::region::is_internal;

/// Each has a thread and up to 16 MiB of memory.
const MAX_SINKS: usize = 16;

/// The items of `access_log.sinks`, with `access_log.encrypt_to`.
pub(super) fn sinks(
    list: &Value<'_>,
    encrypt_to: Option<&Value<'_>>,
    folder: &Path,
) -> Option<Vec<Arc<Sink>>> {
    let items = list.items_or_none()?;
    if items.len() > MAX_SINKS {
        list.fatal(format_args!("there are more than {MAX_SINKS} sinks"), None);
    }
    let _ = Names::of(&items, "sink");
    let sinks: Vec<_> = items.iter().map(|item| sink(item, folder)).collect();
    let mut sinks: Vec<Sink> = sinks.into_iter().collect::<Option<_>>()?;
    if let Some(value) = encrypt_to {
        encrypt(value, &mut sinks)?;
    }
    Some(sinks.into_iter().map(Arc::new).collect())
}

/// `access_log.encrypt_to`, which holds for sinks of segments.
fn encrypt(value: &Value<'_>, sinks: &mut [Sink]) -> Option<()> {
    let recipient: Recipient = match value.text()?.parse() {
        Ok(recipient) => recipient,
        Err(why) => {
            let hint = "age1… and 58 characters more: the public key that age-keygen shows";
            value.fatal(format_args!("this is no public key of age: {why}"), hint.to_owned());
            return None;
        }
    };
    if !sinks.iter().any(|sink| sink.settings.takes_segments()) {
        value.fatal(
            "encrypt_to has no effect here: no sink is of type directory, s3 or oss, which take segments",
            "take it away".to_owned(),
        );
        return None;
    }
    for sink in sinks {
        if sink.settings.takes_segments() {
            sink.encrypt_to = Some(recipient.clone());
        } else {
            value.warn(
                format_args!("the sink {} takes a message per record, which is not encrypted", sink.name),
                None,
            );
        }
    }
    Some(())
}

/// `access_log.free_shipped`, which only a sink with an immutable promise can give an effect.
pub(super) fn free_shipped(value: &Value<'_>, sinks: Option<&[Arc<Sink>]>) -> Option<bool> {
    let free = value.boolean()?;
    let locks = |sink: &Arc<Sink>| matches!(sink.settings, SinkSettings::S3(_) | SinkSettings::Oss(_));
    if free && sinks.is_some_and(|sinks| !sinks.iter().any(locks)) {
        value.fatal(
            "free_shipped has no effect here: no sink is of type s3 or oss, which alone can keep segments immutable",
            "take it away".to_owned(),
        );
    }
    Some(free)
}

#[derive(Clone, Copy)]
enum Type {
    Directory,
    S3,
    Oss,
    Sls,
    Kafka,
    Relp,
}

fn sink(item: &Value<'_>, folder: &Path) -> Option<Sink> {
    let words = [
        ("directory", Type::Directory),
        ("s3", Type::S3),
        ("oss", Type::Oss),
        ("sls", Type::Sls),
        ("kafka", Type::Kafka),
        ("relp", Type::Relp),
    ];
    let Some(kind) = item.own("type") else {
        let known = "directory, s3, oss, sls, kafka, relp";
        item.fatal("type is missing: it is required here", format!("one of {known}"));
        return None;
    };
    let kind = kind.word(&words)?;
    let section = match kind {
        Type::Directory => schema::SINK_DIRECTORY,
        Type::S3 => schema::SINK_S3,
        Type::Oss => schema::SINK_OSS,
        Type::Sls => schema::SINK_SLS,
        Type::Kafka => schema::SINK_KAFKA,
        Type::Relp => schema::SINK_RELP,
    };
    let fields = item.fields(section)?;
    let name = fields.required("name").and_then(Value::name);
    let require = match kind {
        // Required without a promise, such a sink would keep every port closed.
        Type::Directory | Type::Relp => {
            fields.useless("require", "this type of sink promises nothing");
            Some(false)
        }
        Type::S3 | Type::Oss | Type::Sls | Type::Kafka => or(fields.get("require"), false, Value::boolean),
    };
    let settings = match kind {
        Type::Directory => {
            let path = fields.required("path").and_then(|value| value.path(folder));
            path.map(|path| SinkSettings::Directory(DirectorySettings { path }))
        }
        Type::S3 => s3(&fields, folder).map(SinkSettings::S3),
        Type::Oss => oss(&fields, folder).map(SinkSettings::Oss),
        Type::Sls => sls(&fields, folder).map(SinkSettings::Sls),
        Type::Kafka => kafka(&fields, folder).map(SinkSettings::Kafka),
        Type::Relp => relp(&fields, folder).map(SinkSettings::Relp),
    };
    Some(Sink { name: name?.into(), require: require?, encrypt_to: None, settings: settings? })
}

/// The keys that the HTTP services share.
struct Service {
    endpoint: Endpoint,
    trust: Option<PathBuf>,
    region: String,
    credentials: CredentialsFrom,
}

fn service(fields: &Fields<'_>, folder: &Path) -> Option<Service> {
    let endpoint = fields.required("endpoint").and_then(|value| endpoint(value, "records go"));
    if endpoint.as_ref().is_some_and(|endpoint| !endpoint.is_tls) {
        fields.useless("trust", "the endpoint is not https");
    }
    let trust = trust(fields, folder);
    let region = fields.required("region").and_then(word);
    let credentials =
        fields.required("credentials").and_then(|value| credentials(value, schema::SINK_CREDENTIALS, folder));
    Some(Service { endpoint: endpoint?, trust: trust?, region: region?, credentials: credentials? })
}

fn s3(fields: &Fields<'_>, folder: &Path) -> Option<S3Settings> {
    let service = service(fields, folder);
    let bucket = fields.required("bucket").and_then(word);
    let prefix = or(fields.get("prefix"), String::new(), prefix);
    let path_style = or(fields.get("path_style"), false, Value::boolean);
    if let (Some(false), Some(Service { endpoint: Endpoint { address, .. }, .. })) = (path_style, &service)
        && matches!(address.host, SinkHost::Address(_))
    {
        fields.missing(
            "path_style",
            "the endpoint is an IP address, so the bucket cannot be part of the host",
            Some("path_style: true".to_owned()),
        );
    }
    let Service { endpoint, trust, region, credentials } = service?;
    let (bucket, prefix, path_style) = (bucket?, prefix?, path_style?);
    Some(S3Settings { endpoint, trust, region, bucket, prefix, path_style, credentials })
}

fn oss(fields: &Fields<'_>, folder: &Path) -> Option<OssSettings> {
    let service = service(fields, folder);
    let bucket = fields.required("bucket").and_then(word);
    let prefix = or(fields.get("prefix"), String::new(), prefix);
    let Service { endpoint, trust, region, credentials } = service?;
    Some(OssSettings { endpoint, trust, region, bucket: bucket?, prefix: prefix?, credentials })
}

fn sls(fields: &Fields<'_>, folder: &Path) -> Option<SlsSettings> {
    let service = service(fields, folder);
    let project = fields.required("project").and_then(word);
    let logstore = fields.required("logstore").and_then(word);
    let Service { endpoint, trust, region, credentials } = service?;
    Some(SlsSettings { endpoint, trust, region, project: project?, logstore: logstore?, credentials })
}

fn kafka(fields: &Fields<'_>, folder: &Path) -> Option<KafkaSettings> {
    let brokers = fields.required("brokers").and_then(|list| list.distinct(server_address));
    let topic = fields.required("topic").and_then(word);
    let tls = or(fields.get("tls"), None, |value| tls(value, folder).map(Some));
    let sasl = or(fields.get("sasl"), None, |value| sasl(value, folder).map(Some));
    if let (Some(None), Some(Some(_)), Some(value)) = (&tls, &sasl, fields.get("sasl")) {
        value.warn("a password goes over a connection without TLS", "add tls: {trust: ca.pem}".to_owned());
    }
    Some(KafkaSettings { brokers: brokers?, topic: topic?, tls: tls?, sasl: sasl? })
}

fn relp(fields: &Fields<'_>, folder: &Path) -> Option<RelpSettings> {
    let address = fields.required("address").and_then(server_address);
    let tls = or(fields.get("tls"), None, |value| tls(value, folder).map(Some));
    if let (Some(None), Some(value)) = (&tls, fields.get("address"))
        && address.as_ref().is_some_and(is_public)
    {
        value.warn("records go over a connection without TLS", "add tls: {trust: ca.pem}".to_owned());
    }
    Some(RelpSettings { address: address?, tls: tls? })
}

fn tls(value: &Value<'_>, folder: &Path) -> Option<TlsSettings> {
    let fields = value.fields(schema::SINK_TLS)?;
    let server_name = or(fields.get("server_name"), None, |value| {
        value.parsed("a host name", "log.internal", Hostname::from_unicode).map(Some)
    });
    let trust = trust(&fields, folder);
    Some(TlsSettings { server_name: server_name?, trust: trust? })
}

fn sasl(value: &Value<'_>, folder: &Path) -> Option<SaslSettings> {
    let fields = value.fields(schema::SINK_SASL)?;
    let mechanism = fields.required("mechanism").and_then(|value| {
        value.word(&[
            ("plain", SaslMechanism::Plain),
            ("scram-sha-256", SaslMechanism::ScramSha256),
            ("scram-sha-512", SaslMechanism::ScramSha512),
        ])
    });
    let username = fields.required("username").and_then(|value| value.text().map(str::to_owned));
    let password_file = fields.required("password_file").and_then(|value| value.path(folder));
    Some(SaslSettings { mechanism: mechanism?, username: username?, password_file: password_file? })
}

/// The outer `None` means that a problem was reported.
fn trust(fields: &Fields<'_>, folder: &Path) -> Option<Option<PathBuf>> {
    or(fields.get("trust"), None, |value| value.path(folder).map(Some))
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum From {
    Environment,
    File,
    EcsRole,
}

/// The credentials of a cloud service, of which `section` lists the keys.
pub(super) fn credentials(
    value: &Value<'_>,
    section: &'static Section,
    folder: &Path,
) -> Option<CredentialsFrom> {
    let fields = value.fields(section)?;
    let from = fields.required("from").and_then(|value| {
        value.word(&[("environment", From::Environment), ("file", From::File), ("ecs_role", From::EcsRole)])
    })?;
    if from != From::File {
        fields.useless("path", "it is for `from: file` alone");
    }
    if from != From::EcsRole {
        fields.useless("role", "it is for `from: ecs_role` alone");
        fields.useless("metadata", "it is for `from: ecs_role` alone");
    }
    match from {
        From::Environment => Some(CredentialsFrom::Environment),
        From::File => fields.required("path").and_then(|value| value.path(folder)).map(CredentialsFrom::File),
        From::EcsRole => {
            let role = or(fields.get("role"), None, |value| word(value).map(Some));
            let metadata =
                or(fields.get("metadata"), ECS_METADATA, |value| endpoint(value, "requests for keys go"));
            Some(CredentialsFrom::EcsRole { role: role?, metadata: metadata? })
        }
    }
}

/// The metadata service of Alibaba Cloud ECS.
const ECS_METADATA: Endpoint = Endpoint {
    is_tls: false,
    address: ServerAddress {
        host: SinkHost::Address(IpAddr::V4(std::net::Ipv4Addr::new(100, 100, 100, 200))),
        port: 80,
    },
};

/// A name that goes into URLs without escaping: a bucket, a region, a topic.
fn word(value: &Value<'_>) -> Option<String> {
    value.parsed("a name", "audit-1", |text| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if text.len() <= 255 && text.bytes().all(plain) && !matches!(text, "." | "..") {
            Ok(text.to_owned())
        } else {
            Err("it holds more than letters, digits, '-', '_' and '.', or is longer than 255 bytes")
        }
    })
}

/// A prefix of keys, completed with a slash.
fn prefix(value: &Value<'_>) -> Option<String> {
    value.parsed("a prefix", "bj/edge-1/", |text| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        let is_part = |part: &str| !part.is_empty() && !matches!(part, "." | "..");
        let parts = text.strip_suffix('/').unwrap_or(text);
        if text.len() <= 512 && text.bytes().all(plain) && parts.split('/').all(is_part) {
            Ok(format!("{parts}/"))
        } else {
            Err("it is not parts of letters, digits, '-', '_' and '.' with one '/' between them")
        }
    })
}

/// `https://HOST[:PORT]`, without a path. `what` begins the warning of clear text, such as `records go`.
pub(super) fn endpoint(value: &Value<'_>, what: &str) -> Option<Endpoint> {
    let endpoint =
        value.parsed("the root of a service", "https://s3.cn-north-1.amazonaws.com.cn", |text| {
            let (is_tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
                (Some(rest), _) => (true, rest),
                (None, Some(rest)) => (false, rest),
                (None, None) => return Err("it begins with neither https:// nor http://".to_owned()),
            };
            let authority = rest.strip_suffix('/').unwrap_or(rest);
            let default = if is_tls { 443 } else { 80 };
            Ok(Endpoint { is_tls, address: host_and_port(authority, Some(default))? })
        })?;
    if !endpoint.is_tls && is_public(&endpoint.address) {
        value.warn(
            format_args!("{what} to {endpoint} in clear text"),
            "http:// is for tests and private networks: write https://".to_owned(),
        );
    }
    Some(endpoint)
}

fn server_address(value: &Value<'_>) -> Option<ServerAddress> {
    value.parsed("an address with a port", "10.0.0.7:9093 or kafka.internal:9093", |text| {
        host_and_port(text, None)
    })
}

/// `HOST:PORT`, or `HOST` where there is a default port.
pub(super) fn host_and_port(text: &str, default: Option<u16>) -> Result<ServerAddress, String> {
    let without_port = |host: SinkHost| match default {
        Some(port) => Ok(ServerAddress { host, port }),
        None => Err("the port is missing".to_owned()),
    };
    if text.contains('/') {
        return Err("it has a path".to_owned());
    }
    if let Some(rest) = text.strip_prefix('[') {
        return match text.parse::<SocketAddr>() {
            Ok(address) => Ok(ServerAddress { host: SinkHost::Address(address.ip()), port: address.port() }),
            Err(_) => match rest.strip_suffix(']').map(str::parse) {
                Some(Ok(ip)) => without_port(SinkHost::Address(ip)),
                _ => Err("the part in brackets is not an IPv6 address".to_owned()),
            },
        };
    }
    let host = |text: &str| match text.parse::<IpAddr>() {
        Ok(ip) => Ok(SinkHost::Address(ip)),
        Err(_) => Hostname::from_unicode(text).map(SinkHost::Name).map_err(|error| error.to_string()),
    };
    match text.rsplit_once(':') {
        None => without_port(host(text)?),
        Some((name, _)) if name.contains(':') => Err("an IPv6 address must be in brackets".to_owned()),
        Some((name, port)) => match port.parse() {
            Ok(port @ 1..) if port.to_string().len() == text.len() - name.len() - 1 => {
                Ok(ServerAddress { host: host(name)?, port })
            }
            Ok(_) | Err(_) => Err("the port is not from 1 to 65535".to_owned()),
        },
    }
}

/// Whether the address is public. A name counts as not public.
pub(super) fn is_public(address: &ServerAddress) -> bool {
    match &address.host {
        SinkHost::Address(ip) => !is_internal(*ip),
        SinkHost::Name(_) => true,
    }
}
