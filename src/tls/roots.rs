//! Roots that verify origins: those of a private CA, or the system's.
//!
//! Verification cannot be turned off.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::{AlertDescription, ClientConfig, RootCertStore};
use sha2::{Digest as _, Sha256};

/// The roots that verify an origin.
#[derive(Debug)]
pub struct Roots {
    store: RootCertStore,
    /// A hash of the bytes that they were read from.
    pub fingerprint: Fingerprint,
}

/// Identifies a set of roots.
pub type Fingerprint = [u8; 32];

impl Roots {
    /// The roots in `trust`, or the system's. The error is a sentence for the operator.
    pub fn load(trust: Option<&Path>) -> Result<Self, String> {
        match trust {
            Some(path) => private_roots(path),
            None => system_roots(),
        }
    }

    /// A client configuration that verifies servers by these roots and offers HTTP/2 and HTTP/1.1. It also holds the
    /// sessions to resume.
    pub fn client_config(self) -> Result<Arc<ClientConfig>, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(self.store)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// `config` without session resumption.
pub fn without_resumption(config: &ClientConfig) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// `config` that offers HTTP/1.1 alone.
pub fn http1_alone(config: &ClientConfig) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

/// `config` without ALPN, for protocols other than HTTP.
pub fn without_alpn(config: &ClientConfig) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.alpn_protocols = Vec::new();
    Arc::new(config)
}

/// Whether a handshake failed because the server speaks none of the offered protocols.
pub fn is_no_protocol_in_common(error: &io::Error) -> bool {
    let alert = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    matches!(alert, Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)))
}

fn private_roots(path: &Path) -> Result<Roots, String> {
    let pem = super::read_pem(path).map_err(|error| error.to_string())?;
    let mut roots = RootCertStore::empty();
    let certificates = super::pem::chain(&pem, path);
    for certificate in certificates.map_err(|fault| format!("{}: {fault}", path.display()))? {
        roots.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(Roots { store: roots, fingerprint: Sha256::digest(&pem).into() })
}

fn system_roots() -> Result<Roots, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let mut digest = Sha256::new();
    found.certs.iter().for_each(|certificate| digest.update(certificate));
    // Some systems ship certificates that rustls does not accept. They are skipped.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err("the system has no root certificates (install ca-certificates)".to_owned());
    }
    Ok(Roots { store: roots, fingerprint: digest.finalize().into() })
}
