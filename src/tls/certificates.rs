//! The certificate and key that a site is served with.
//!
//! A [`Certificate`] exists only if the key belongs to the chain. Whether it covers a host at a moment is
//! decided by the gate, from its [`Coverage`].

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::error::Unspecified;
use jiff::Timestamp;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::server::{NoServerSessionStorage, ResolvesServerCertUsingSni};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::chain::{self, Remark};
use super::pem::{self, Fault};
use super::ticket_keys::{HandedKeys, TicketKeys};
use crate::clock::{Moment, Within};
use crate::config::CertificateFiles;
use crate::gate::Coverage;
use crate::hostname::{HostPattern, HostTable};

/// A certificate with its key, ready to serve.
#[derive(Clone)]
pub struct Certificate {
    /// Offers TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1.
    pub server: Arc<ServerConfig>,
    /// Its names and dates.
    pub coverage: Arc<Coverage>,
    /// Findings about its chain.
    pub remarks: Vec<Remark>,
    fingerprint: u64,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("coverage", &self.coverage).finish_non_exhaustive()
    }
}

/// Shared by all certificates: the cryptography and the session ticket keys. Created once, so that sessions
/// outlive reloads and certificates stay small.
#[derive(Clone)]
pub struct Tickets {
    provider: Arc<CryptoProvider>,
    /// The configuration that every certificate's is cloned from; it has no certificate.
    server: ServerConfig,
    keys: Arc<TicketKeys>,
    hasher: RandomState,
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").finish_non_exhaustive()
    }
}

impl Tickets {
    /// New ticket keys, which only this process knows.
    pub fn new() -> Result<Self, rustls::Error> {
        Self::with(TicketKeys::new())
    }

    /// The ticket keys of the process that this one replaces.
    pub fn handed(keys: &HandedKeys) -> Result<Self, rustls::Error> {
        Self::with(TicketKeys::handed(keys))
    }

    /// The ticket keys, for the process that replaces this one.
    pub fn hand_over(&self) -> HandedKeys {
        self.keys.hand_over()
    }

    fn with(keys: Result<TicketKeys, Unspecified>) -> Result<Self, rustls::Error> {
        let unusable = |_| rustls::Error::General("session ticket keys cannot be made".to_owned());
        let keys = Arc::new(keys.map_err(unusable)?);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()));
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        server.ticketer = Arc::<TicketKeys>::clone(&keys);
        // Sessions resume by tickets only: clients could fill a session cache.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self { provider, server, keys, hasher: RandomState::new() })
    }
}

/// Why a certificate or key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadPair {
    /// A file cannot be read.
    #[error("{0}")]
    Unreadable(std::io::Error),
    /// A file is not what it should be.
    #[error("{file}: {what}", what = fault.what)]
    Content {
        /// The file.
        file: String,
        /// What is wrong with it.
        fault: Fault,
    },
    /// The key belongs to a certificate that is not the first.
    #[error("{chain}: the certificates are in the wrong order: the key in {key} belongs to number {place}")]
    NotFirst {
        /// The certificate's file.
        chain: String,
        /// The key's file.
        key: String,
        /// Its certificate, counted from 1.
        place: usize,
    },
    /// The key belongs to another certificate.
    #[error("the key in {key} does not belong to the certificate in {chain}")]
    Mismatch {
        /// The certificate's file.
        chain: String,
        /// The key's file.
        key: String,
    },
}

impl BadPair {
    /// How to mend it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Content { fault, .. } if !fault.mend.is_empty() => Some(fault.mend.clone()),
            Self::NotFirst { chain, .. } => Some(format!(
                "put the site's own certificate first, then its issuers; openssl storeutl -noout -text -certs {chain} \
                 lists them"
            )),
            Self::Unreadable(_) | Self::Content { .. } | Self::Mismatch { .. } => None,
        }
    }
}

impl Certificate {
    /// Reads a pair. Returns `previous` if both files still have the same content.
    pub fn load(
        files: &CertificateFiles,
        tickets: &Tickets,
        previous: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, BadPair> {
        let chain_pem = super::read_pem(&files.chain).map_err(BadPair::Unreadable)?;
        let key_pem = super::read_pem(&files.key).map_err(BadPair::Unreadable)?;
        let fingerprint = tickets.hasher.hash_one((&chain_pem, &key_pem));
        if let Some(previous) = previous.filter(|previous| previous.fingerprint == fingerprint) {
            return Ok(Arc::clone(previous));
        }
        let of_file = |file: &Path| {
            let file = file.display().to_string();
            move |fault| BadPair::Content { file, fault }
        };
        let chain = pem::chain(&chain_pem, &files.chain).map_err(of_file(&files.chain))?;
        let key = pem::key(&key_pem, &files.key).map_err(of_file(&files.key))?;
        let failed = |file: &Path, error: String| of_file(file)(Fault { what: error, mend: String::new() });
        let key = tickets.provider.key_provider.load_private_key(key);
        let key = key.map_err(|error| failed(&files.key, error.to_string()))?;
        let leaf = chain.first().map(|leaf| coverage(leaf)).unwrap_or_else(|| Err("it is empty".to_owned()));
        let coverage = Arc::new(leaf.map_err(|error| failed(&files.chain, error))?);
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(_) => return Err(mismatch(files, &certified)),
        }
        let remarks = chain::remarks(&certified.cert);
        let mut server = tickets.server.clone();
        server.cert_resolver = Arc::new(SingleCertAndKey::from(certified));
        Ok(Arc::new(Self { server: Arc::new(server), coverage, remarks, fingerprint }))
    }

    /// Whether the certificate names `pattern`: the host name, or the same wildcard.
    pub fn covers(&self, pattern: &HostPattern) -> bool {
        pattern.representative().is_ok_and(|host| self.coverage.names.get(&host).is_some())
    }

    /// Whether it can serve any host of `patterns` at `at`.
    pub fn serves(&self, patterns: &[HostPattern], at: Moment) -> bool {
        let covers_one_of = |pattern: &HostPattern| {
            let HostPattern::Wildcard(base) = pattern else { return self.covers(pattern) };
            let mut names = self.coverage.names.exact_names();
            self.covers(pattern) || names.any(|name| name.parent() == Some(base.as_str()))
        };
        at.within(Some(self.coverage.begins), Some(self.coverage.ends)) == Within::Yes
            && patterns.iter().any(covers_one_of)
    }
}

/// Why the key does not belong to the first certificate.
fn mismatch(files: &CertificateFiles, certified: &CertifiedKey) -> BadPair {
    let (chain, key) = (files.chain.display().to_string(), files.key.display().to_string());
    let public_key = certified.key.public_key();
    match public_key.and_then(|public_key| chain::place_of_key(&certified.cert, &public_key)) {
        Some(place) => BadPair::NotFirst { chain, key, place: place + 1 },
        None => BadPair::Mismatch { chain, key },
    }
}

pub(super) fn coverage(leaf: &CertificateDer<'_>) -> Result<Coverage, String> {
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(|error| error.to_string())?;
    let mut names = HostTable::default();
    if let Ok(Some(extension)) = parsed.subject_alternative_name() {
        for name in &extension.value.general_names {
            if let GeneralName::DNSName(name) = name
                && let Ok(pattern) = HostPattern::parse(&name.to_ascii_lowercase())
            {
                names.insert(&pattern, ());
            }
        }
    }
    let second = |time: i64| Timestamp::from_second(time).map_err(|error| error.to_string());
    let begins = second(parsed.validity().not_before.timestamp())?;
    // The last second is part of the validity: RFC 5280, 4.1.2.5.
    let ends = second(parsed.validity().not_after.timestamp().saturating_add(1))?;
    Ok(Coverage { names, begins, ends })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn write_pair(directory: &Path, name: &str, host: &str) -> CertificateFiles {
        let pair = rcgen::generate_simple_self_signed(vec![host.to_owned()]).expect("a certificate");
        let chain: PathBuf = directory.join(format!("{name}.pem"));
        let key = directory.join(format!("{name}.key"));
        fs_err::write(&chain, pair.cert.pem()).expect("written");
        fs_err::write(&key, pair.signing_key.serialize_pem()).expect("written");
        CertificateFiles { chain, key }
    }

    #[test]
    fn a_pair_is_usable_when_its_key_belongs_to_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let tickets = Tickets::new().expect("tickets");
        let one = write_pair(directory.path(), "one", "*.example.cn");
        let two = write_pair(directory.path(), "two", "www.example.cn");
        let loaded = Certificate::load(&one, &tickets, None).expect("usable");
        assert!(loaded.covers(&HostPattern::parse("*.example.cn").expect("a pattern")));
        assert!(!loaded.covers(&HostPattern::parse("example.cn").expect("a pattern")));
        let again = Certificate::load(&one, &tickets, Some(&loaded)).expect("usable");
        assert!(Arc::ptr_eq(&loaded, &again), "unchanged files keep the pair");
        let mixed = CertificateFiles { chain: one.chain, key: two.key };
        assert!(matches!(Certificate::load(&mixed, &tickets, None), Err(BadPair::Mismatch { .. })));
    }

    #[test]
    fn files_that_hold_something_else_are_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let tickets = Tickets::new().expect("tickets");
        let mut files = write_pair(directory.path(), "one", "www.example.cn");
        fs_err::write(&files.chain, "not a certificate").expect("written");
        let error = Certificate::load(&files, &tickets, None).expect_err("no certificate").to_string();
        assert!(error.contains("one.pem") && error.contains("no certificate"), "{error}");
        files.chain = directory.path().join("missing.pem");
        let error = Certificate::load(&files, &tickets, None).expect_err("no file").to_string();
        assert!(error.contains("missing.pem"), "{error}");
    }
}
