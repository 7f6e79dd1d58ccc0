//! `access_log.sinks` as values: where records are shipped besides the local store.
//!
//! No secret stands here. Passwords and keys are read from their files when a sink is opened.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::hostname::Hostname;

/// One sink.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sink {
    /// In metrics and on the status page; no two sinks share one.
    pub name: Arc<str>,
    /// Whether nothing is bound while the sink does not keep its promise.
    pub require: bool,
    /// What it is.
    pub settings: SinkSettings,
}

/// What a sink is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SinkSettings {
    /// Another directory, such as a mounted share.
    Directory(DirectorySettings),
    /// An S3 bucket with Object Lock.
    S3(S3Settings),
    /// An Alibaba Cloud OSS bucket with a locked BucketWorm.
    Oss(OssSettings),
    /// A logstore of Alibaba Cloud Log Service.
    Sls(SlsSettings),
    /// A Kafka topic.
    Kafka(KafkaSettings),
    /// An rsyslog server by RELP.
    Relp(RelpSettings),
}

impl SinkSettings {
    /// The word for it under `type`.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Directory(_) => "directory",
            Self::S3(_) => "s3",
            Self::Oss(_) => "oss",
            Self::Sls(_) => "sls",
            Self::Kafka(_) => "kafka",
            Self::Relp(_) => "relp",
        }
    }

    /// Whether it takes sealed segments and checkpoints, rather than a message per record.
    pub fn takes_segments(&self) -> bool {
        matches!(self, Self::Directory(_) | Self::S3(_) | Self::Oss(_))
    }
}

/// Of a `directory`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DirectorySettings {
    /// Where segments are copied to.
    pub path: PathBuf,
}

/// Of an `s3`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct S3Settings {
    /// The service.
    pub endpoint: Endpoint,
    /// A private CA; the system's roots without one.
    pub trust: Option<PathBuf>,
    /// For the signature.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// What every key begins with; empty, or ending with a slash.
    pub prefix: String,
    /// Whether the bucket stands in the path rather than in the host.
    pub path_style: bool,
    /// Who signs.
    pub credentials: CredentialsFrom,
}

/// Of an `oss`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OssSettings {
    /// The service. Where it is an address, the bucket stands in the path.
    pub endpoint: Endpoint,
    /// A private CA; the system's roots without one.
    pub trust: Option<PathBuf>,
    /// For the signature.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// What every key begins with; empty, or ending with a slash.
    pub prefix: String,
    /// Who signs.
    pub credentials: CredentialsFrom,
}

/// Of an `sls`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SlsSettings {
    /// The service, without the project.
    pub endpoint: Endpoint,
    /// A private CA; the system's roots without one.
    pub trust: Option<PathBuf>,
    /// For the signature.
    pub region: String,
    /// The project.
    pub project: String,
    /// The logstore in it.
    pub logstore: String,
    /// Who signs.
    pub credentials: CredentialsFrom,
}

/// Of a `kafka`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KafkaSettings {
    /// Where the cluster is asked for its brokers; never empty.
    pub brokers: Vec<ServerAddress>,
    /// The topic.
    pub topic: String,
    /// Whether TLS is spoken, and whom it trusts.
    pub tls: Option<TlsSettings>,
    /// How the program authenticates, if at all.
    pub sasl: Option<SaslSettings>,
}

/// Of a `relp`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RelpSettings {
    /// The server.
    pub address: ServerAddress,
    /// Whether TLS is spoken, and whom it trusts.
    pub tls: Option<TlsSettings>,
}

/// The client side of TLS.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TlsSettings {
    /// The name to ask for and to verify; the host of the address without one.
    pub server_name: Option<Hostname>,
    /// A private CA; the system's roots without one.
    pub trust: Option<PathBuf>,
}

/// SASL.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SaslSettings {
    /// How the password is proved.
    pub mechanism: SaslMechanism,
    /// The user.
    pub username: String,
    /// The file that holds the password: its first line.
    pub password_file: PathBuf,
}

/// How a password is proved.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SaslMechanism {
    /// It is sent as it is; over TLS alone.
    Plain,
    /// SCRAM-SHA-256.
    ScramSha256,
    /// SCRAM-SHA-512.
    ScramSha512,
}

/// Where the credentials of a cloud service come from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CredentialsFrom {
    /// The environment: `AWS_*` for s3, `ALIBABA_CLOUD_*` for oss and sls.
    Environment,
    /// A file of `access_key_id`, `access_key_secret` and perhaps `security_token`.
    File(PathBuf),
    /// The metadata service of an Alibaba Cloud ECS instance.
    EcsRole {
        /// The role; the one that the instance has, without a name.
        role: Option<String>,
        /// The metadata service.
        metadata: Endpoint,
    },
}

/// The root of a service: `https://HOST:PORT`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// Whether TLS is spoken.
    pub is_tls: bool,
    /// Who serves.
    pub address: ServerAddress,
}

impl Endpoint {
    /// The host, and the port where it is not the scheme's own: what stands in the field `host`.
    pub fn authority(&self) -> String {
        let default = if self.is_tls { 443 } else { 80 };
        if self.address.port == default { self.address.host.to_string() } else { self.address.to_string() }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.is_tls { "https" } else { "http" }, self.authority())
    }
}

/// `HOST:PORT`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ServerAddress {
    /// A name or an address.
    pub host: SinkHost,
    /// The port.
    pub port: u16,
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// A name or an address.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum SinkHost {
    /// Looked up at every connection.
    Name(Hostname),
    /// As it is.
    Address(IpAddr),
}

impl fmt::Display for SinkHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Address(address) => address.fmt(f),
        }
    }
}
