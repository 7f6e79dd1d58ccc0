//! Whether clients can verify a chain: it ends at a root, or where a root of this system continues it.

use std::path::Path;

use rustls_native_certs::load_native_certs;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::pem;

/// Subjects of the system's roots, in DER.
#[derive(Debug)]
pub struct SystemRoots(Vec<Vec<u8>>);

/// What a chain file says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ChainFacts {
    /// The organization that issued the site's certificate; its whole name if it states none.
    pub issuer: String,
    /// How the chain ends.
    pub end: ChainEnd,
}

/// How a chain ends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ChainEnd {
    /// At a root of this system, or just below one.
    SystemRoot,
    /// At a root that this system does not trust.
    OtherRoot,
    /// The site's certificate signs itself.
    SelfSigned,
    /// The file does not hold the issuer of the site's certificate.
    NoIntermediate,
    /// It has intermediates; the issuer of the last one is neither in the file nor a root of this system.
    Open {
        /// That issuer.
        issuer: String,
    },
}

impl SystemRoots {
    /// Reads them. A system without roots knows none.
    pub fn load() -> Self {
        let parsed = |der: &rustls::pki_types::CertificateDer<'_>| {
            X509Certificate::from_der(der).ok().map(|(_, root)| root.subject().as_raw().to_vec())
        };
        Self(load_native_certs().certs.iter().filter_map(parsed).collect())
    }

    fn has(&self, subject: &[u8]) -> bool {
        self.0.iter().any(|known| known == subject)
    }
}

impl ChainFacts {
    /// Reads the chain in `file`. The error says what is wrong with it.
    pub fn read(file: &Path, roots: &SystemRoots) -> Result<Self, String> {
        let bytes = super::read_pem(file).map_err(|error| error.to_string())?;
        let chain = pem::chain(&bytes, file).map_err(|fault| fault.to_string())?;
        let parsed = chain.iter().map(|der| X509Certificate::from_der(der).map(|(_, parsed)| parsed));
        let mut rest = parsed.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
        if rest.is_empty() {
            return Err("it holds no certificate".to_owned());
        }
        let leaf = rest.remove(0);
        let organization = leaf.issuer().iter_organization().next().and_then(|name| name.as_str().ok());
        let issuer = organization.map_or_else(|| leaf.issuer().to_string(), str::to_owned);
        Ok(Self { issuer, end: end(leaf, rest, roots) })
    }
}

/// Follows the issuers from `leaf` through `rest`.
fn end(leaf: X509Certificate<'_>, mut rest: Vec<X509Certificate<'_>>, roots: &SystemRoots) -> ChainEnd {
    let (mut last, mut length) = (leaf, 1);
    loop {
        if last.issuer().as_raw() == last.subject().as_raw() {
            return match length {
                _ if roots.has(last.subject().as_raw()) => ChainEnd::SystemRoot,
                1 => ChainEnd::SelfSigned,
                _ => ChainEnd::OtherRoot,
            };
        }
        let next = rest.iter().position(|next| next.subject().as_raw() == last.issuer().as_raw());
        match next {
            Some(place) => (last, length) = (rest.swap_remove(place), length + 1),
            None if roots.has(last.issuer().as_raw()) => return ChainEnd::SystemRoot,
            None if length == 1 => return ChainEnd::NoIntermediate,
            None => return ChainEnd::Open { issuer: last.issuer().to_string() },
        }
    }
}
