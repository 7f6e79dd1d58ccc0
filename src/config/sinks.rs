//! The values of `access_log.sinks`: where records are shipped, beside the local store.
//!
//! They hold no secret: passwords and keys are read from their files when a sink is opened.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::encryption::Recipient;
use crate::hostname::Hostname;

/// One sink.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sink {
    /// The name in metrics and on the status page; unique.
    pub name: Arc<str>,
    /// Whether nothing is bound while the sink does not keep its promise.
    pub require: bool,
    /// Whom segments are encrypted for before they leave: `access_log.encrypt_to`. None for a sink that takes a
    /// message per record.
    pub encrypt_to: Option<Recipient>,
    /// Its type and settings.
    pub settings: SinkSettings,
}

/// The type of a sink, with its settings.
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
    /// The value of `type`.
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

    /// Whether it takes sealed segments and checkpoints rather than a message per record.
    pub fn takes_segments(&self) -> bool {
        matches!(self, Self::Directory(_) | Self::S3(_) | Self::Oss(_))
    }
}

/// Settings of type `directory`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DirectorySettings {
    /// Where segments are copied to.
    pub path: PathBuf,
}

/// Settings of type `s3`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct S3Settings {
    /// The service.
    pub endpoint: Endpoint,
    /// A private CA; the system's roots without one.
    pub trust: Option<PathBuf>,
    /// The region, for the signature.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// The prefix of every key; empty, or ending with a slash.
    pub prefix: String,
    /// Whether the bucket is in the path of URLs rather than in the host.
    pub path_style: bool,
    /// The credentials.
    pub credentials: CredentialsFrom,
}

/// Settings of type `oss`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OssSettings {
    /// The service. If it is an IP address, the bucket is in the path of URLs.
    pub endpoint: Endpoint,
    /// A private CA; the system's roots without one.
    pub trust: Option<PathBuf>,
    /// The region, for the signature.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// The prefix of every key; empty, or ending with a slash.
    pub prefix: String,
    /// The credentials.
    pub credentials: CredentialsFrom,
}

/// Settings of type `sls`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SlsSettings {
    /// The service, without the project.
    pub endpoint: Endpoint,
    /// A private CA; the system's roots without one.
    pub trust: Option<PathBuf>,
    /// The region, for the signature.
    pub region: String,
    /// The project.
    pub project: String,
    /// The logstore in it.
    pub logstore: String,
    /// The credentials.
    pub credentials: CredentialsFrom,
}

/// Settings of type `kafka`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KafkaSettings {
    /// Bootstrap brokers; never empty.
    pub brokers: Vec<ServerAddress>,
    /// The topic.
    pub topic: String,
    /// TLS, if it is spoken.
    pub tls: Option<TlsSettings>,
    /// Authentication, if any.
    pub sasl: Option<SaslSettings>,
}

/// Settings of type `relp`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RelpSettings {
    /// The server.
    pub address: ServerAddress,
    /// TLS, if it is spoken.
    pub tls: Option<TlsSettings>,
}

/// The client side of TLS.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TlsSettings {
    /// The name for SNI and verification; without one, the host of the address.
    pub server_name: Option<Hostname>,
    /// A private CA; the system's roots without one.
    pub trust: Option<PathBuf>,
}

/// SASL.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SaslSettings {
    /// The mechanism.
    pub mechanism: SaslMechanism,
    /// The user.
    pub username: String,
    /// The file that holds the password: its first line.
    pub password_file: PathBuf,
}

/// A SASL mechanism.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SaslMechanism {
    /// The password is sent in the clear, over TLS only.
    Plain,
    /// SCRAM-SHA-256.
    ScramSha256,
    /// SCRAM-SHA-512.
    ScramSha512,
}

/// Where the credentials of a cloud service come from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CredentialsFrom {
    /// The environment: `AWS_*` for s3, `ALIBABA_CLOUD_*` for oss, sls and alidns, `TENCENTCLOUD_*` for dnspod,
    /// `HUAWEICLOUD_SDK_*` for huawei.
    Environment,
    /// A file with `access_key_id`, `access_key_secret` and optionally `security_token`.
    File(PathBuf),
    /// The metadata service of an Alibaba Cloud ECS instance.
    EcsRole {
        /// The role; without one, the role of the instance.
        role: Option<String>,
        /// The metadata service.
        metadata: Endpoint,
    },
}

/// The root of a service: `https://HOST:PORT`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Endpoint {
    /// Whether it is `https`.
    pub is_tls: bool,
    /// The host and port.
    pub address: ServerAddress,
}

impl Endpoint {
    /// The value of the header `host`: the host, and the port unless it is the scheme's default.
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
    /// A name, looked up at every connection.
    Name(Hostname),
    /// An IP address.
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
