//! The values of `acme` and of `certificate.acme` of sites: which authority issues, and who changes the DNS.
//!
//! They hold no secret: keys are read from their files for every order.

use std::fmt::Write as _;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use super::sinks::{CredentialsFrom, Endpoint, ServerAddress};
use crate::hostname::HostPattern;

/// The most names of one certificate (Let's Encrypt's limit).
pub const MAX_NAMES: usize = 100;
/// Names of files are at most 255 bytes long on Linux.
const MAX_FILE_NAME: usize = 200;

/// The certificate authority, and where its certificates are kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AcmeSettings {
    /// The URL of the authority's directory, `https`.
    pub directory: String,
    /// The mail address of the account.
    pub contact: String,
    /// The folder of the account, the orders and the certificates.
    pub store: PathBuf,
    /// Certificates that verify the directory, in place of the system's.
    pub trust: Option<PathBuf>,
    /// The customer's account that the authority's account is bound to (RFC 8555, 7.3.4).
    pub external_account: Option<ExternalAccount>,
}

/// An account with the authority outside ACME.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExternalAccount {
    /// Names the key.
    pub key_id: String,
    /// The file of the key, in base64url.
    pub key_file: PathBuf,
}

impl AcmeSettings {
    /// The file of a site's certificate. Key and chain are in one file, so that one rename replaces both.
    pub fn file_of(&self, site: &str) -> PathBuf {
        self.store.join("certificates").join(format!("{}.pem", file_name(site)))
    }
}

/// A site's name as a file name: other bytes than letters, digits, `-`, `_` and `.` as `%XX`.
pub fn file_name(site: &str) -> String {
    let mut name = String::new();
    for byte in site.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            name.push(char::from(byte));
        } else {
            let _ = write!(name, "%{byte:02X}");
        }
    }
    if name.len() <= MAX_FILE_NAME {
        return name;
    }
    Sha256::digest(site).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The names that a certificate for `hosts` is ordered for. Names that a wildcard covers are left out, since
/// authorities refuse an order with both.
pub fn names_to_order(hosts: &[HostPattern]) -> Vec<String> {
    let is_covered = |host: &HostPattern| {
        let HostPattern::Exact(name) = host else { return false };
        hosts.iter().any(|other| matches!(other, HostPattern::Wildcard(_)) && other.matches(name))
    };
    hosts.iter().filter(|host| !is_covered(host)).map(ToString::to_string).collect()
}

/// Who puts the challenge's TXT record into the DNS.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DnsProvider {
    /// Dynamic updates (RFC 2136), signed by TSIG (RFC 8945).
    Rfc2136(Rfc2136Settings),
    /// A program of the operator.
    Exec(ExecSettings),
    /// The DNS service of a cloud.
    Cloud(CloudSettings),
}

impl DnsProvider {
    /// The word for it in the configuration.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Rfc2136(_) => "rfc2136",
            Self::Exec(_) => "exec",
            Self::Cloud(settings) => settings.dns.name(),
        }
    }

    /// Where the record is looked for before the authority is told; `None` for the zone's name servers.
    pub fn server(&self) -> Option<&ServerAddress> {
        match self {
            Self::Rfc2136(settings) => Some(&settings.server),
            Self::Exec(settings) => settings.server.as_ref(),
            Self::Cloud(settings) => settings.server.as_ref(),
        }
    }
}

/// The keys of `provider: rfc2136`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rfc2136Settings {
    /// The primary server of the zone.
    pub server: ServerAddress,
    /// The name of the TSIG key.
    pub key_name: String,
    /// Its secret in base64, alone or in a `key` statement of BIND.
    pub key_file: PathBuf,
    /// The algorithm of the key.
    pub algorithm: TsigAlgorithm,
}

/// An algorithm of TSIG.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum TsigAlgorithm {
    /// HMAC with SHA-256.
    #[default]
    HmacSha256,
    /// HMAC with SHA-384.
    HmacSha384,
    /// HMAC with SHA-512.
    HmacSha512,
}

/// The keys of `provider: exec`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExecSettings {
    /// Called with `present` or `cleanup`, the record's name and its value.
    pub program: PathBuf,
    /// Where the record is looked for.
    pub server: Option<ServerAddress>,
}

/// The keys of the providers `alidns`, `dnspod` and `huawei`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CloudSettings {
    /// Which service it is.
    pub dns: CloudDns,
    /// Where its API answers.
    pub endpoint: Endpoint,
    /// The credentials.
    pub credentials: CredentialsFrom,
    /// Where the record is looked for.
    pub server: Option<ServerAddress>,
}

/// The DNS service of a cloud.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CloudDns {
    /// Alibaba Cloud DNS.
    Alidns,
    /// Tencent Cloud DNSPod.
    Dnspod,
    /// Huawei Cloud DNS.
    Huawei,
}

impl CloudDns {
    /// The word for it in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Alidns => "alidns",
            Self::Dnspod => "dnspod",
            Self::Huawei => "huawei",
        }
    }

    /// Where its API answers in public.
    pub fn public_host(self) -> &'static str {
        match self {
            Self::Alidns => "alidns.aliyuncs.com",
            Self::Dnspod => "dnspod.tencentcloudapi.com",
            Self::Huawei => "dns.myhuaweicloud.com",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_sites_make_safe_file_names() {
        for (site, expected) in [
            ("shop", "shop"),
            ("*.example.cn", "%2A.example.cn"),
            ("../a b", "..%2Fa%20b"),
            ("京", "%E4%BA%AC"),
        ] {
            assert_eq!(file_name(site), expected);
        }
        assert_eq!(file_name(&"京".repeat(80)).len(), 64);
    }

    #[test]
    fn a_name_below_a_wildcard_is_not_ordered_beside_it() {
        let hosts = ["example.cn", "www.example.cn", "*.example.cn", "a.b.example.cn"];
        let hosts = hosts.map(|host| HostPattern::parse(host).expect("valid"));
        assert_eq!(names_to_order(&hosts), ["example.cn", "*.example.cn", "a.b.example.cn"]);
    }
}
