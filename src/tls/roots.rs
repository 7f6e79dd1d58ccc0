//! What origins are verified by: a private CA's certificates or the system's.
//!
//! There is no switch that turns verification off.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::{AlertDescription, ClientConfig, RootCertStore};
use sha2::{Digest as _, Sha256};

/// What an origin is verified by.
#[derive(Debug)]
pub struct Roots {
    store: RootCertStore,
    /// Of the bytes that they were read from.
    pub fingerprint: Fingerprint,
}

/// Tells roots apart.
pub type Fingerprint = [u8; 32];

impl Roots {
    /// The certificates in `trust`, or the system's. The error says what is wrong with them, in a sentence.
    pub fn load(trust: Option<&Path>) -> Result<Self, String> {
        match trust {
            Some(path) => private_roots(path),
            None => system_roots(),
        }
    }

    /// The client side of TLS to an origin: HTTP/2 or else HTTP/1.1, verified by these. Its sessions are resumed for as
    /// long as the value is used.
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

/// The same as `config`, but for handshakes that begin from nothing.
pub fn without_resumption(config: &ClientConfig) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// The same for HTTP/1.1 alone.
pub fn http1_alone(config: &ClientConfig) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

/// The same for what is no HTTP: without protocols to choose from.
pub fn without_alpn(config: &ClientConfig) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.alpn_protocols = Vec::new();
    Arc::new(config)
}

/// Whether a handshake failed since the server speaks none of the protocols offered.
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
    // A system may carry certificates that no verifier takes; one bad one does not spoil the rest.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err("the system has no root certificates (install ca-certificates)".to_owned());
    }
    Ok(Roots { store: roots, fingerprint: digest.finalize().into() })
}
