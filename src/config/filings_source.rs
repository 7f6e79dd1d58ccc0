//! Where the allowlist comes from: a file, a URL or etcd.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::sinks::Endpoint;

/// Where the allowlist comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FilingsSource {
    /// A file, which is watched.
    File(PathBuf),
    /// A service, which is followed.
    Remote(Arc<RemoteFilings>),
}

impl FilingsSource {
    /// Whether it is the file `path`.
    pub fn is_file(&self, path: &Path) -> bool {
        matches!(self, Self::File(file) if file == path)
    }

    /// The service, unless it is a file.
    pub fn remote(&self) -> Option<&Arc<RemoteFilings>> {
        match self {
            Self::File(_) => None,
            Self::Remote(remote) => Some(remote),
        }
    }
}

impl fmt::Display for FilingsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => file.display().fmt(f),
            Self::Remote(remote) => remote.fmt(f),
        }
    }
}

/// A service that holds the allowlist.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RemoteFilings {
    /// An HTTP server.
    Url(UrlSource),
    /// An etcd cluster.
    Etcd(EtcdSource),
}

impl RemoteFilings {
    /// A private CA; the system's roots without one.
    pub fn trust(&self) -> Option<&Path> {
        match self {
            Self::Url(url) => url.trust.as_deref(),
            Self::Etcd(etcd) => etcd.trust.as_deref(),
        }
    }

    /// The key that its signatures are verified by.
    pub fn public_key(&self) -> Option<&Path> {
        match self {
            Self::Url(url) => url.public_key.as_deref(),
            Self::Etcd(_) => None,
        }
    }
}

/// Names the place that the allowlist is taken from. It shows no secret.
impl fmt::Display for RemoteFilings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => write!(f, "{}{}", url.endpoint, url.target),
            Self::Etcd(etcd) => {
                let endpoints: Vec<String> = etcd.endpoints.iter().map(ToString::to_string).collect();
                write!(f, "etcd {} {}", endpoints.join(","), etcd.key)
            }
        }
    }
}

/// `filings: {url: …}`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UrlSource {
    /// The server.
    pub endpoint: Endpoint,
    /// Path and query.
    pub target: String,
    /// Between two fetches.
    pub interval: Duration,
    /// The minisign key that the allowlist has to be signed with.
    pub public_key: Option<PathBuf>,
    /// A private CA; the system's roots without one.
    pub trust: Option<PathBuf>,
}

/// `filings: {etcd: …}`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EtcdSource {
    /// The members of the cluster; never empty.
    pub endpoints: Vec<Endpoint>,
    /// The key whose value is the allowlist.
    pub key: String,
    /// A private CA; the system's roots without one.
    pub trust: Option<PathBuf>,
    /// The user, if etcd wants one.
    pub login: Option<EtcdLogin>,
}

/// A user of etcd.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EtcdLogin {
    /// The name.
    pub username: String,
    /// The file that holds the password: its first line.
    pub password_file: PathBuf,
}
