//! A certificate authority for tests, and the pairs that it issues.

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// A certificate authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// The authority's certificate, as PEM.
    pub(crate) pem: String,
}

/// A certificate and its key, as PEM.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) chain: String,
    pub(crate) key: String,
}

/// The kind of a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum KeyKind {
    Ecdsa,
    Rsa,
}

/// From the first day up to and excluding the second: year, month, day.
pub(crate) type Validity = ((i32, u8, u8), (i32, u8, u8));

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.distinguished_name.push(rcgen::DnType::CommonName, "icpgate test authority");
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A valid pair for `names`, with an ECDSA key.
    pub(crate) fn pair(&self, names: &[&str]) -> Pair {
        self.issue(names, KeyKind::Ecdsa, ((2020, 1, 1), (2999, 1, 1)))
    }

    /// A pair for `names` that has expired.
    pub(crate) fn expired(&self, names: &[&str]) -> Pair {
        self.issue(names, KeyKind::Ecdsa, ((2020, 1, 1), (2021, 1, 1)))
    }

    pub(crate) fn issue(&self, names: &[&str], kind: KeyKind, validity: Validity) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        let day = |(year, month, day)| rcgen::date_time_ymd(year, month, day);
        (params.not_before, params.not_after) = (day(validity.0), day(validity.1));
        let key = match kind {
            KeyKind::Ecdsa => KeyPair::generate(),
            KeyKind::Rsa => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
        }
        .expect("a key");
        let leaf = params.signed_by(&key, &self.issuer).expect("a certificate");
        Pair { chain: leaf.pem() + &self.pem, key: key.serialize_pem() }
    }

    /// A client that trusts only this authority and offers `alpn`.
    pub(crate) fn client_config(&self, alpn: &[&str]) -> ClientConfig {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(self.roots())
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        config
    }

    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).expect("PEM")).expect("a root");
        roots
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Pair {
    /// A server with this pair that offers `alpn`.
    pub(crate) fn server_config(&self, alpn: &[&str]) -> ServerConfig {
        let chain =
            CertificateDer::pem_slice_iter(self.chain.as_bytes()).collect::<Result<_, _>>().expect("PEM");
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("PEM");
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a pair");
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        config
    }

    /// Writes `NAME.pem` and `NAME.key` into `folder` by rename; only the owner may read the
    /// key.
    pub(crate) fn write(&self, folder: &Path, name: &str) {
        write_private(&folder.join(format!("{name}.key")), &self.key);
        write_private(&folder.join(format!("{name}.pem")), &self.chain);
    }
}

fn write_private(file: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let aside = file.with_extension("new");
    fs_err::write(&aside, text).expect("written");
    fs_err::set_permissions(&aside, std::fs::Permissions::from_mode(0o600)).expect("its owner's alone");
    fs_err::rename(&aside, file).expect("renamed");
}

/// The crypto provider that the program uses.
pub(crate) fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
